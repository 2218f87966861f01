"""The texts inside of JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def texts_in(value: Any) -> Iterator[str]:
    """Every text of a value, names of members not included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy in which each text is what `change` makes of it; names of members stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: with_texts(member, change) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, change) for item in value]
    return value


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a value, the outer ones first."""
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from objects_in(member)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from objects_in(item)
