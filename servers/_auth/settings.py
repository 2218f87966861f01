"""What an operator decides about who may reach a server over HTTP."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from handoff.errors import StructuredError

if TYPE_CHECKING:
    from servers._access import Identity
    from servers._auth.jwts import JwtVerifier
    from servers._auth.tokens import Tokens

REQUESTS_PER_MINUTE = 6_000
"""Of one principal; as many may come at once."""
MAX_REQUESTS = 256


class AccessError(StructuredError):
    """The settings contradict each other or are incomplete."""

    code = "access_settings"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches that address."""
    if address == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """How callers prove who they are, by which names the server is called, and how much each may ask."""

    tokens: Path | None = None
    jwks: str | None = None
    """URL or file of the issuer's keys."""
    issuer: str | None = None
    audience: str | None = None
    """What a JWT must be made for; the public URL by default."""
    public_url: str | None = None
    """The URL under which callers reach `/mcp`, where it is not the address listened on."""
    allowed_hosts: tuple[str, ...] = ()
    requests_per_minute: int = REQUESTS_PER_MINUTE
    max_requests: int = MAX_REQUESTS
    """Requests in work at once, of all callers together."""

    @property
    def asks_for_credentials(self) -> bool:
        return self.tokens is not None or self.jwks is not None

    def findings(self) -> list[str]:
        """One line each for an operator who checks the configuration. Raises: StructuredError."""
        if not self.asks_for_credentials:
            return []
        credentials = self.opened()
        lines = ["callers over HTTP need a credential"]
        if credentials.tokens is not None:
            lines.append(f"{credentials.tokens.count} tokens are known")
        if credentials.jwts is not None:
            lines.append("tokens of an issuer are accepted")
        return lines

    def opened(self) -> Credentials:
        """Raises: AccessError; TokenFileError."""
        from servers._auth.tokens import Tokens

        self._check_url()
        return Credentials(Tokens(self.tokens) if self.tokens is not None else None, self._verifier())

    def _verifier(self) -> JwtVerifier | None:
        if self.jwks is None:
            if self.issuer is not None or self.audience is not None:
                raise AccessError(
                    "an issuer and an audience need the issuer's keys",
                    field="--jwks",
                    suggestion="name the URL or the file of its key set",
                )
            return None
        if self.jwks.startswith("http://") and not is_loopback(urlsplit(self.jwks).hostname or ""):
            raise AccessError(
                "keys that come over plain HTTP could be anybody's",
                field="--jwks",
                suggestion="use https, or a file",
            )
        audience = self.audience or self.public_url
        if self.issuer is None or audience is None:
            raise AccessError(
                "with an issuer's keys it must be said which issuer, and for whom its tokens must be made",
                field="--jwks",
                suggestion="add --issuer, and --audience or --public-url",
            )
        from servers._auth.jwts import JwtVerifier
        from servers._auth.keys import IssuerKeys

        return JwtVerifier(IssuerKeys(self.jwks), self.issuer, audience)

    def _check_url(self) -> None:
        if self.public_url is None:
            return
        parts = urlsplit(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise AccessError(
                "is not a URL that callers could use",
                field="--public-url",
                suggestion="give it like https://billing.example.com/mcp",
            )


@dataclass(frozen=True, slots=True)
class Credentials:
    """Tells whose a bearer token is."""

    tokens: Tokens | None = None
    jwts: JwtVerifier | None = None

    async def identity(self, token: str) -> Identity | None:
        """None for a token that nobody has. Raises: KeysUnavailableError."""
        if self.jwts is not None and token.count(".") == 2:  # our own tokens have no dots
            return await self.jwts.identity(token)
        return self.tokens.identity(token) if self.tokens is not None else None
