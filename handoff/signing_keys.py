"""The keys of signed envelopes: several are valid at once and one signs, so that keys can rotate."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from handoff.errors import StructuredError

logger = logging.getLogger(__name__)

KEYS_FILE_VARIABLE = "SWITCHBOARD_HANDOFF_KEYS_FILE"
KEYS_VARIABLE = "SWITCHBOARD_HANDOFF_KEYS"

LEAST_KEY_BYTES = 32
"""A shorter key could be weaker than the hash."""
MOST_FILE_BYTES = 65_536

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeysError(StructuredError):
    """The signing keys cannot be used as they are configured."""

    code = "invalid_keys"


class KeySource(Protocol):
    """Where the keys come from that count now."""

    def current(self) -> Keys: ...


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys by their ids, all valid; `signs` is the one to sign with, None to verify only.

    Raises: KeysError for a malformed id, a key under 32 bytes, or a signing key that is not there.
    """

    secrets: Mapping[str, bytes] = field(repr=False)
    signs: str | None = None

    def __post_init__(self) -> None:
        if not self.secrets or not all(_KEY_ID.fullmatch(name) for name in self.secrets):
            raise _invalid("keys", "needs at least one key, under ids of letters, digits, dots and dashes")
        if any(len(secret) < LEAST_KEY_BYTES for secret in self.secrets.values()):
            raise _invalid("keys", f"needs keys of at least {LEAST_KEY_BYTES} bytes, in base64")
        if self.signs is not None and self.signs not in self.secrets:
            raise _invalid("sign", "names a key that is not there")

    def current(self) -> Keys:
        return self

    @classmethod
    def parse(cls, text: str, *, toml: bool = False) -> Keys:
        """From `{"sign": "<key id>", "keys": {"<key id>": "<base64>", ...}}`. Raises: KeysError."""
        try:
            found = tomllib.loads(text) if toml else json.loads(text)
        except (ValueError, RecursionError):
            raise _invalid("keys", "is not the JSON or TOML it should be") from None
        if not isinstance(found, dict) or not found.keys() <= {"sign", "keys"}:
            raise _invalid("keys", "is an object with the members `sign` and `keys`")
        secrets, signs = found.get("keys"), found.get("sign")
        if not isinstance(secrets, dict) or not isinstance(signs, str | None):
            raise _invalid("keys", "is an object with the members `sign` and `keys`")
        return cls({name: _secret(value) for name, value in secrets.items()}, signs)


class KeyFile:
    """Keys in a file, JSON or, by its ending, TOML. It is read again when it changed.

    A change that cannot be read is logged and the keys before it stay in use: replacing a file must not
    stop handoffs half-way.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises: KeysError when the file cannot be used."""
        self._path = Path(path)
        self._seen = self._stamp()
        self._keys = self._read()
        self._trouble = ""
        """What was wrong at the last look, so that it is logged once."""

    def current(self) -> Keys:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._keys = self._read()
                self._seen = stamp
            self._trouble = ""
        except KeysError as error:
            if error.message != self._trouble:
                logger.warning("%s; the keys read before stay in use", error.message)
            self._trouble = error.message
        return self._keys

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise _unreadable(error) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Keys:
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_FILE_BYTES).decode()
        except OSError as error:
            raise _unreadable(error) from None
        except UnicodeDecodeError:
            raise _invalid("keys", "is not text") from None
        return Keys.parse(text, toml=self._path.suffix == ".toml")


def keys_from_environment(environment: Mapping[str, str]) -> KeySource | None:
    """The keys in `SWITCHBOARD_HANDOFF_KEYS_FILE` or, as JSON, in `SWITCHBOARD_HANDOFF_KEYS`, if any.

    Raises: KeysError when they cannot be used, or when both are set.
    """
    file, text = environment.get(KEYS_FILE_VARIABLE), environment.get(KEYS_VARIABLE)
    if file and text:
        raise KeysError(
            f"{KEYS_FILE_VARIABLE} and {KEYS_VARIABLE} are both set", suggestion="set one of them"
        )
    if file:
        return KeyFile(file)
    return Keys.parse(text) if text else None


def _secret(value: Any) -> bytes:
    """A key from base64, in either alphabet, padded or not."""
    try:
        text = str(value).strip().translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("keys", "holds a key that is not base64") from None


def _invalid(field: str, what: str) -> KeysError:
    return KeysError(
        f"the configuration of signing keys {what}",
        field=field,
        suggestion='write {"sign": "<key id>", "keys": {"<key id>": "<base64 of 32 random bytes>"}}',
    )


def _unreadable(error: OSError) -> KeysError:
    return KeysError(
        f"the file of signing keys cannot be read: {error.strerror}",
        field=KEYS_FILE_VARIABLE,
        suggestion="name a file that this user may read",
    )
