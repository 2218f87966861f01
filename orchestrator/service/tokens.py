"""Who calls: bearer tokens from a file that holds only their hashes.

    [[tokens]]
    principal = "web-chat"
    sha256 = "5e88…"

    [[tokens]]
    principal = "ada-portal"
    sha256 = "03ac…"
    customer_id = "cus_1001"

    [[tokens]]
    principal = "grace"
    sha256 = "2c26…"
    decides = true

Several tokens of one principal may be valid at once, so that a new one can be given out before the old
one is taken away. A changed file counts from the next request on; one that cannot be read does not.
"""

from __future__ import annotations

import hashlib
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

log = structlog.get_logger(__name__)

LOCAL = "local"
"""The principal of everybody on this machine, where no tokens are asked for."""

CustomerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class TokenFileError(Exception):
    """The token file cannot be used; the message is one line that says where and what to change."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller."""

    principal: str
    customer_id: str | None = None
    """The only customer this caller may speak for; None for staff, who name the customer with each run."""

    decides: bool = False
    """Whether this caller is a person who may decide about escalations."""

    @property
    def is_staff(self) -> bool:
        return self.customer_id is None

    def may_see(self, customer_id: str | None) -> bool:
        """Whether runs of this customer may be shown and changed."""
        return self.is_staff or self.customer_id == customer_id


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    principal: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True)]
    customer_id: CustomerId | None = None
    decides: bool = False

    @model_validator(mode="after")
    def _staff_decide(self) -> Self:
        if self.decides and self.customer_id is not None:
            raise ValueError("a token for one customer cannot decide; leave decides or customer_id out")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: Annotated[list[_Entry], "at least one"]


class Tokens:
    """The callers that a token file names."""

    def __init__(self, path: Path) -> None:
        """Raises: TokenFileError"""
        self._path = path
        self._read_at = _changed_at(path)
        self._callers = _read(path)

    def caller(self, token: str) -> Caller | None:
        """Whose token this is; None for one that nobody has."""
        self._read_again_if_changed()
        # Found by its hash: how long the search takes tells nothing about a token.
        return self._callers.get(hashed(token))

    def _read_again_if_changed(self) -> None:
        changed_at = _changed_at(self._path)
        if changed_at == self._read_at:
            return
        self._read_at = changed_at
        try:
            self._callers = _read(self._path)
        except TokenFileError as error:
            log.error("token_file_not_read", reason=str(error))


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> tuple[str, str]:
    """A token to give out, and its hash for the file."""
    token = f"swb_{secrets.token_urlsafe(32)}"
    return token, hashed(token)


def _read(path: Path) -> dict[str, Caller]:
    try:
        found = _File.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TokenFileError(f"cannot read the token file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise TokenFileError(f"the token file {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TokenFileError(f"the token file {path}: {where}: {first['msg']}") from error
    if not found.tokens:
        raise TokenFileError(f"the token file {path} names no token")
    return {entry.sha256: Caller(entry.principal, entry.customer_id, entry.decides) for entry in found.tokens}


def _changed_at(path: Path) -> tuple[int, int, int]:
    """When the file was last written, its size, and which file it is; zeros while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino
