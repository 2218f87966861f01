"""The bearer token of a server, read where the team file says it lies, again when it was rotated."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import httpx2


class CredentialMissingError(Exception):
    """There is no token where it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a token lies: in a variable, or in a file, which can be changed while this process runs."""

    variable: str | None = None
    file: Path | None = None

    def read(self) -> str:
        """Raises: CredentialMissingError."""
        if self.file is not None:
            try:
                token = self.file.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise CredentialMissingError(f"check that {self.file} can be read") from None
            if not token.isascii() or not token.isprintable() or not token:
                raise CredentialMissingError(f"put the token into {self.file}, and nothing else")
            return token
        token = os.environ.get(self.variable or "", "")
        if not token:
            raise CredentialMissingError(f"set {self.variable}")
        return token

    def __str__(self) -> str:
        """The place, never the token."""
        return str(self.file) if self.file is not None else str(self.variable)


def credential_at(variable: str | None, file: Path | None) -> Credential | None:
    """None when neither is named: then the server is called without one."""
    return None if variable is None and file is None else Credential(variable, file)


class Bearer(httpx2.Auth):
    """Sends the token, and once more the one that lies there now when the server refuses it.

    A server refuses a token before it looks at the request, so nothing is done twice by that, and to
    whoever made the request it is one request.
    """

    def __init__(self, credential: Credential) -> None:
        """Raises: CredentialMissingError."""
        self._credential = credential
        self._token = credential.read()

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        sent = self._token
        request.headers["authorization"] = f"Bearer {sent}"
        response = yield request
        if response.status_code == 401 and self._newer_than(sent):
            request.headers["authorization"] = f"Bearer {self._token}"
            yield request

    def _newer_than(self, sent: str) -> bool:
        if self._token == sent:  # else another request has found the new one already
            try:
                self._token = self._credential.read()
            except CredentialMissingError:
                return False
        return self._token != sent
