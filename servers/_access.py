"""Who makes a tool call, for which customer, and under which token: what every rule decides by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from handoff.store import Fence
from servers._results import ForbiddenError

LOCAL = "local"
"""The principal of everybody who reaches the server over stdio or, without credentials, loopback."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end, and what they were given to do."""

    name: str
    scopes: frozenset[str]
    customer_id: str | None = None
    """The only customer they may ever act for; None leaves it to each call."""

    @property
    def principal(self) -> str:
        """Whose tokens and sessions these are; apart for each customer that a credential is tied to."""
        return self.name if self.customer_id is None else f"{self.name}@{self.customer_id}"

    def check_scope(self, scope: str) -> None:
        """Raises: ForbiddenError with the code `forbidden` and the scope that is needed."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"this needs the scope {scope}, which the caller was not given",
                suggestion="leave it, or have the operator give out a credential with that scope",
                details={"scope": scope},
            )


_acting: ContextVar[Identity | None] = ContextVar("switchboard_identity", default=None)


def acting_identity() -> Identity | None:
    """Who made the request that is being answered, if anybody was noted."""
    return _acting.get()


@contextmanager
def acting(identity: Identity) -> Iterator[None]:
    """Answer a request as one of `identity`; what it starts and leaves running goes on under it."""
    reset = _acting.set(identity)
    try:
        yield
    finally:
        _acting.reset(reset)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call on its way through the server's guarded path."""

    tool: str
    principal: str = LOCAL
    customer_id: str | None = None
    """The only customer whose records this call may see and change; None for staff."""
    token: str | None = None
    """The idempotency token, if the caller gave one."""
    fingerprint: str = ""
    """Hash of the tool's name and arguments without the token: what the token stands for."""
    fence: Fence | None = None
    """Set while a handoff's resume task runs the tool; the commit is refused once it is stale."""

    def check_customer(self, customer_id: str) -> None:
        """Raises: ForbiddenError when the call is for another customer; the wording gives nothing away."""
        if self.customer_id is not None and self.customer_id != customer_id:
            raise ForbiddenError(
                "this conversation may only use its own customer's records",
                field="customer_id",
                suggestion="use the customer of this conversation, or hand over to a person",
            )


_current: ContextVar[Call] = ContextVar("switchboard_call")


def current_call() -> Call:
    """The call being served; set by the guarded path around every tool."""
    return _current.get()


@contextmanager
def serving(call: Call) -> Iterator[Call]:
    """Make `call` the current one, as the guarded path does; domain tests use it too."""
    reset = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(reset)
