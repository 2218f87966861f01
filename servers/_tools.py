"""How a server declares its tools: methods of one class, each with its four annotations.

No MCP here: `_hosting` turns what is declared into MCP tools, so that a domain never imports the protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_MARK = "__switchboard_tool__"


@dataclass(frozen=True, slots=True)
class ToolTraits:
    """What a host and a model may rely on; the wire's four annotations and the title."""

    title: str
    read_only: bool
    destructive: bool
    idempotent: bool
    scope: str
    """What a credential needs to call it, after the server's name: `read` is `billing:read` on billing."""
    open_world: bool = False


def read_tool(title: str, *, scope: str = "read") -> Callable[[F], F]:
    """Mark a method as a tool that changes nothing."""
    return _mark(ToolTraits(title, read_only=True, destructive=False, idempotent=True, scope=scope))


def write_tool(title: str, *, destructive: bool = False, scope: str = "write") -> Callable[[F], F]:
    """Mark a method as a tool that writes, idempotently by its `idempotency_token`.

    `destructive`: it takes something away that cannot simply be put back, such as money.
    """
    return _mark(ToolTraits(title, read_only=False, destructive=destructive, idempotent=True, scope=scope))


def declared_tools(tools: object) -> list[tuple[Callable[..., Awaitable[Any]], ToolTraits]]:
    """The marked methods of `tools`, bound, in the order they are written."""
    names = [name for base in reversed(type(tools).__mro__) for name in vars(base)]
    methods = (getattr(tools, name) for name in dict.fromkeys(names) if not name.startswith("__"))
    return [(method, getattr(method, _MARK)) for method in methods if hasattr(method, _MARK)]


def _mark(traits: ToolTraits) -> Callable[[F], F]:
    def mark(method: F) -> F:
        setattr(method, _MARK, traits)
        return method

    return mark
