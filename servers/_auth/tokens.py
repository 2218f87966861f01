"""Bearer tokens from a file that holds only their hashes.

    [[tokens]]
    principal = "orchestrator"
    sha256 = "5e88…"
    scopes = ["billing:read", "billing:refund", "handoff", "staff"]
    expires_at = 2027-01-31T00:00:00Z

    [[tokens]]
    principal = "ada-portal"
    sha256 = "03ac…"
    scopes = ["billing:read"]
    customer_id = "cus_1001"

Several tokens of one principal may be valid at once, so that a new one can be given out before the old one
is taken away. A changed file counts from the next request on; one that cannot be read does not.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from handoff.errors import StructuredError
from servers._access import LOCAL, Identity
from servers._auth.scopes import approves_its_own, is_scope

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

Principal = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class TokenFileError(StructuredError):
    """The token file cannot be used; the message says where and what to change."""

    code = "token_file"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential stands for, and until when."""

    identity: Identity
    expires_at: datetime | None = None


class Entry(BaseModel):
    """One token of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    principal: Principal
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True)]
    scopes: list[str]
    customer_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    expires_at: AwareDatetime | None = None
    person: bool = False
    """Held by a person who may be asked in their own host, and so may approve what they ask for."""

    @model_validator(mode="after")
    def _given_with_care(self) -> Self:
        if self.principal == LOCAL:
            raise ValueError(f"the principal {LOCAL} is the local user's")
        if not all(is_scope(scope) for scope in self.scopes):
            raise ValueError("scopes names something that is no scope, which is written like billing:read")
        if approves_its_own(self.scopes) and not self.person:
            raise ValueError(
                "one token would both ask for refunds and approve them; give out two, or set person = true "
                "if only a person uses it"
            )
        return self

    def grant(self) -> Grant:
        return Grant(Identity(self.principal, frozenset(self.scopes), self.customer_id), self.expires_at)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[Entry]


class Tokens:
    """The callers that a token file names."""

    def __init__(self, path: Path, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        """Raises: TokenFileError"""
        self._path = path
        self._clock = clock
        self._read_at = _changed_at(path)
        self._grants = _grants(path)

    @property
    def count(self) -> int:
        """How many tokens the file names."""
        return sum(len(grants) for grants in self._grants.values())

    def identity(self, token: str) -> Identity | None:
        """Whose token this is; None for one that nobody has, or has no more."""
        self._read_again_if_changed()
        given = hashed(token)
        # Found by its hash: how long the search takes tells nothing about a token.
        for known, grant in self._grants.get(given[:8], ()):
            if hmac.compare_digest(known, given):
                expired = grant.expires_at is not None and grant.expires_at <= self._clock()
                return None if expired else grant.identity
        return None

    def _read_again_if_changed(self) -> None:
        changed_at = _changed_at(self._path)
        if changed_at == self._read_at:
            return
        self._read_at = changed_at
        try:
            self._grants = _grants(self._path)
        except TokenFileError as error:
            logger.error("the tokens stay as they were: %s", error.message)


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> tuple[str, str]:
    """A token to give out, and its hash for the file."""
    token = f"swb_{secrets.token_urlsafe(32)}"
    return token, hashed(token)


def entries(path: Path) -> list[Entry]:
    """What the file says. Raises: TokenFileError."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text("utf-8"))).tokens
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TokenFileError(f"cannot read the token file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise TokenFileError(f"the token file {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise TokenFileError(f"the token file {path}: {where}: {reason}") from error


def _grants(path: Path) -> dict[str, list[tuple[str, Grant]]]:
    found = entries(path)
    if not found:
        raise TokenFileError(f"the token file {path} names no token")
    grants: dict[str, list[tuple[str, Grant]]] = {}
    for entry in found:
        grants.setdefault(entry.sha256[:8], []).append((entry.sha256, entry.grant()))
    return grants


def _changed_at(path: Path) -> tuple[int, int, int]:
    """When the file was last written, which one it is, and its size; zeros while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_size
