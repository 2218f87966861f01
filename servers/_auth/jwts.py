"""JWTs of an issuer that the operator trusts: signature, issuer, audience and lifetime, then the scopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from servers._access import Identity
from servers._auth.keys import IssuerKeys
from servers._auth.scopes import approves_its_own, is_customer_id, is_scope

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones only: who can check a token must not be able to make one."""
LEEWAY_SECONDS = 30
CUSTOMER_CLAIM = "customer_id"
LONGEST_TOKEN = 8 * 1024


@dataclass(frozen=True, slots=True)
class JwtVerifier:
    """Tells whose token a JWT is."""

    keys: IssuerKeys
    issuer: str
    audience: str

    async def identity(self, token: str) -> Identity | None:
        """None for a token that does not hold. Raises: KeysUnavailableError."""
        if len(token) > LONGEST_TOKEN or token.count(".") != 2:
            return None
        try:
            head = jwt.get_unverified_header(token)
            id = head.get("kid")
            if not isinstance(id, str) or head.get("alg") not in ALGORITHMS:
                return None
            key = await self.keys.key(id)
            if key is None or key.key_type == "oct":
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return _identity(claims)


def _identity(claims: dict[str, Any]) -> Identity | None:
    subject, customer_id = claims.get("sub"), claims.get(CUSTOMER_CLAIM)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        return None
    if customer_id is not None and not is_customer_id(customer_id):
        return None
    scopes = _scopes(claims)
    if approves_its_own(scopes):
        # An issuer's mistake must not let an agent approve what it asks for itself.
        scopes = frozenset(scope for scope in scopes if not scope.endswith(":approve"))
    # The colon keeps an issuer's subjects apart from the names in the token file.
    return Identity(f"jwt:{subject}", scopes, customer_id)


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    given = claims.get("scope", claims.get("scp", ""))
    named = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(scope for scope in named if isinstance(scope, str) and is_scope(scope))
