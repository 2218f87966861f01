"""The keys under which a call carries its conversation and its customer in `_meta`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

EXTENSION = "dev.switchboard/handoff"
"""The extension's identifier."""
SESSION_META = "dev.switchboard/session"
"""The conversation a call belongs to, a UUID. It names the conversation and proves nothing."""
CUSTOMER_META = "dev.switchboard/customer"
"""The only customer whose records a call may see and change."""


def session_of(meta: Mapping[str, Any] | None) -> str | None:
    """The session a call names, in the one spelling of its UUID; None for anything but a UUID."""
    return as_uuid((meta or {}).get(SESSION_META))


def customer_of(meta: Mapping[str, Any] | None) -> str | None:
    """The customer a call is restricted to, if it is."""
    customer = (meta or {}).get(CUSTOMER_META)
    return None if customer is None else str(customer)


def as_uuid(value: Any) -> str | None:
    """The one spelling of a UUID given as text; None when it is not one."""
    if not isinstance(value, str):
        return None
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None
