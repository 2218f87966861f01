"""Guardrails by their kind: the shipped ones, those a program registers, and classes by their place."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import ValidationError

from orchestrator.guardrails.guardrail import Guardrail

_SHIPPED = {
    "amount": "orchestrator.guardrails.amount:Amount",
    "destructive": "orchestrator.guardrails.destructive:Destructive",
    "evidence": "orchestrator.guardrails.evidence:Evidence",
    "injection": "orchestrator.guardrails.injection:Injection",
    "length": "orchestrator.guardrails.length:Length",
    "private-data": "orchestrator.guardrails.private_data:PrivateData",
    "stated": "orchestrator.guardrails.stated:Stated",
}
_registered: dict[str, type[Guardrail]] = {}


class GuardrailError(ValueError):
    """A guardrail cannot be had as the team file asks for it; the message says what to change."""


def register(kind: str, guardrail: type[Guardrail]) -> None:
    """Make `kind` usable in team files of this process. Raises: GuardrailError when it is taken."""
    if kind in _SHIPPED or _registered.get(kind, guardrail) is not guardrail:
        raise GuardrailError(f"there is a guardrail {kind!r} already")
    _registered[kind] = guardrail


def build(name: str, table: dict[str, Any] | None = None) -> Guardrail:
    """The guardrail that a team file calls `name`, with the options of its table.

    The table's `kind` says what it is, else the name does: a shipped or registered kind, or a class by its
    place, as in `my_checks:NoSwearing`.
    Raises: GuardrailError.
    """
    options = dict(table or {})
    kind = options.pop("kind", name)
    guardrail = _class(str(kind))
    try:
        return guardrail(guardrail.Options.model_validate(options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise GuardrailError(f"checks.{name}: {where + ': ' if where else ''}{first['msg']}") from None


def _class(kind: str) -> type[Guardrail]:
    if (known := _registered.get(kind)) is not None:
        return known
    place, _, member = _SHIPPED.get(kind, kind).partition(":")
    if not member:
        kinds = ", ".join(sorted([*_SHIPPED, *_registered]))
        raise GuardrailError(
            f"there is no guardrail {kind!r}; use one of {kinds}, or a class as module:Class"
        )
    try:
        found = getattr(import_module(place), member)
    except (ImportError, AttributeError) as error:
        raise GuardrailError(f"cannot import the guardrail {kind!r} ({type(error).__name__})") from error
    if not (isinstance(found, type) and issubclass(found, Guardrail)):
        raise GuardrailError(f"{kind!r} is not a Guardrail")
    return found
