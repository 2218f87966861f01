"""From a tool call as it arrives to the `Call` that every rule decides by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pydantic_core
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from pydantic import ValidationError

from handoff.canonical import canonical_json
from handoff.checkpoints import current_fence
from handoff.errors import JsonObject
from handoff.meta import CUSTOMER_META
from servers._access import LOCAL, Call, acting_identity
from servers._hosting.failures import refused_arguments, unknown_argument
from servers._results import ForbiddenError, InvalidError

CallContext = Context[Any, Any]

TOKEN = "idempotency_token"
"""The argument that names a write; it is not part of what is asked."""

_CUSTOMER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def call_of(tool: Tool, asked: JsonObject, context: CallContext | None) -> Call:
    """Who calls, for whom, and what the call's token stands for; `asked` are the validated arguments.

    Raises: InvalidError when the customer is none; EnvelopeError for a number that JSON cannot carry.
    """
    customer_id = customer_of(context)
    token = asked.get(TOKEN)
    return Call(
        tool=tool.name,
        principal=principal_of(context),
        customer_id=customer_id,
        token=token,
        fingerprint=_fingerprint(tool.name, asked, customer_id) if token is not None else "",
        fence=current_fence(),
    )


def validated(tool: Tool, arguments: JsonObject) -> JsonObject:
    """The arguments as the tool will get them. Raises: InvalidError naming what is wrong, without values."""
    known = list(tool.parameters.get("properties", {}))
    for name in arguments:
        if name not in known:
            raise unknown_argument(name, known)
    try:
        return tool.fn_metadata.validate_arguments(arguments)
    except ValidationError as error:
        raise refused_arguments(error) from None


def principal_of(context: CallContext | None) -> str:
    """Who calls, as tokens and sessions are kept apart by."""
    identity = acting_identity()
    return identity.principal if identity is not None else LOCAL


def party_of(context: CallContext | None) -> str:
    """Whose conversations and handoffs a call may reach: the caller's, apart for each customer.

    The id of a session is no credential: one customer's conversation must not show another's.
    """
    principal, identity = principal_of(context), acting_identity()
    customer_id = _meta_of(context).get(CUSTOMER_META)
    tied = identity is not None and identity.customer_id is not None
    return principal if customer_id is None or tied else f"{principal}@{customer_id}"


def customer_of(context: CallContext | None) -> str | None:
    """The customer the call is restricted to; None for staff, who leave the key out altogether.

    Raises: InvalidError for an id that is none: restricting to nobody must not mean not restricting;
    ForbiddenError for another customer than the caller's credential is tied to.
    """
    identity, meta = acting_identity(), _meta_of(context)
    tied_to = identity.customer_id if identity is not None else None
    if CUSTOMER_META not in meta:
        return tied_to
    customer_id = meta[CUSTOMER_META]
    if tied_to is not None and customer_id != tied_to:
        raise ForbiddenError(
            "the caller may only act for one customer, and this is another",
            field=f"_meta.{CUSTOMER_META}",
            suggestion="leave the key out",
        )
    if not isinstance(customer_id, str) or not _CUSTOMER_ID.fullmatch(customer_id):
        raise InvalidError(
            f"_meta.{CUSTOMER_META} is not a customer id",
            field=f"_meta.{CUSTOMER_META}",
            suggestion="send the id of the conversation's customer, or leave the key out for staff",
        )
    return customer_id


def _meta_of(context: CallContext | None) -> Mapping[str, Any]:
    try:
        meta = context.request_context.meta if context else None
    except ValueError:  # a context outside of any request
        meta = None
    return meta or {}


def _fingerprint(tool: str, asked: JsonObject, customer_id: str | None) -> str:
    """Hash of what is asked: equal for equal values, however spelt and with defaults left out or not.

    The customer is part of it, so that a token never shows one customer's outcome to another.
    """
    plain = pydantic_core.to_jsonable_python({name: asked[name] for name in asked if name != TOKEN})
    parts = [tool, plain] if customer_id is None else [tool, plain, customer_id]
    return hashlib.sha256(canonical_json(parts, field="arguments")).hexdigest()
