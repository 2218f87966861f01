"""What a credential may be given: `<server>:<action>` for tools, and two that every server knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from handoff.errors import StructuredError
from servers._access import LOCAL, Identity
from servers._results import ForbiddenError

STAFF = "staff"
"""Calls that name no customer, and so reach every customer's records."""
HANDOFF = "handoff"
"""The four tools of the handoff extension."""
SCOPES_VARIABLE = "SWITCHBOARD_SCOPES"
CUSTOMER_VARIABLE = "SWITCHBOARD_CUSTOMER"

_SCOPE = re.compile(r"[a-z][a-z0-9-]{0,39}(:[a-z][a-z0-9_-]{0,39})?")
_CUSTOMER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class ScopeError(StructuredError):
    """A scope, or a set of them, that no credential may have."""

    code = "invalid_scope"


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scopes of one server."""

    of_tools: Mapping[str, str]
    """By the name of the tool."""
    of_people: frozenset[str] = field(default_factory=frozenset)
    """What its routes and questions for people need."""
    reading: str = "read"
    """What its resources need, beside `staff`."""

    @property
    def every(self) -> frozenset[str]:
        return frozenset(self.of_tools.values()) | self.of_people | {STAFF, HANDOFF, self.reading}

    def of(self, tool: str) -> str:
        """What a call of `tool` needs; tools that the server does not declare are the extension's."""
        return self.of_tools.get(tool, HANDOFF)

    def local(self, environment: Mapping[str, str], *, with_person: bool) -> Identity:
        """The local user, as the environment says: everything by default.

        What needs a person is only theirs where the server knows that it talks to a person's host, which
        is over stdio. Raises: ScopeError.
        """
        given = environment.get(SCOPES_VARIABLE)
        scopes = self.every if given is None else parsed_scopes(given)
        customer_id = environment.get(CUSTOMER_VARIABLE) or None
        if customer_id is not None and not is_customer_id(customer_id):
            raise ScopeError(
                "is not a customer id", field=CUSTOMER_VARIABLE, suggestion="set it like cus_1001"
            )
        return Identity(LOCAL, scopes if with_person else scopes - self.of_people, customer_id)


def check_call(identity: Identity, scope: str, customer_id: str | None) -> None:
    """Raises: ForbiddenError when `identity` lacks `scope`, or `staff` for a call without a customer."""
    identity.check_scope(scope)
    if customer_id is None and STAFF not in identity.scopes:
        raise ForbiddenError(
            f"a call that names no customer needs the scope {STAFF}",
            suggestion="name the customer of the conversation in _meta, or use a credential of staff",
            details={"scope": STAFF},
        )


def parsed_scopes(text: str) -> frozenset[str]:
    """Scopes separated by blanks or commas. Raises: ScopeError."""
    return checked_scopes(text.replace(",", " ").split(), field=SCOPES_VARIABLE)


def checked_scopes(scopes: Iterable[str], *, field: str = "scopes") -> frozenset[str]:
    """Raises: ScopeError when one of them cannot be a scope."""
    found = frozenset(scopes)
    if not all(is_scope(scope) for scope in found):
        raise ScopeError(
            "names something that is no scope", field=field, suggestion="write scopes like billing:read"
        )
    return found


def is_scope(text: str) -> bool:
    return _SCOPE.fullmatch(text) is not None


def is_customer_id(text: object) -> bool:
    return isinstance(text, str) and _CUSTOMER_ID.fullmatch(text) is not None


def approves_its_own(scopes: Iterable[str]) -> bool:
    """Whether one credential could both ask for something on a server and approve it."""
    given = [scope.partition(":") for scope in scopes]
    approving = {server for server, _, action in given if action == "approve"}
    asking = {server for server, _, action in given if action not in ("", "read", "approve")}
    return bool(approving & asking)
