"""Changing one member of a JSON text that is a person's own, and not one other character of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BLANK = re.compile("[ \t\r\n\ufeff]*")
"""White space, and the byte order mark that some editors put first."""
_DEFAULT_INDENT = "  "


class JsonTextError(Exception):
    """The text cannot be changed safely; the message is half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    key_at: int
    value_at: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    at: int
    end: int
    members: tuple[_Member, ...]

    def member(self, key: str) -> _Member | None:
        return next((member for member in self.members if member.key == key), None)


def parsed(text: str) -> Any:
    """The value of the whole text. Raises: JsonTextError."""
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise JsonTextError(f"is not valid JSON{where}") from error


def with_member(text: str, path: Sequence[str], value: object) -> str:
    """The text with the member at `path` set; objects on the way are made. Raises: JsonTextError."""
    found, unit = _root(text), _indent(text)
    *parents, last = path
    for depth, key in enumerate(parents):
        member = found.member(key)
        if member is None:
            for inner in reversed(path[depth + 1 :]):
                value = {inner: value}
            return _inserted(text, found, key, value, unit)
        found = _object(text, member.value_at, key)
    member = found.member(last)
    if member is None:
        return _inserted(text, found, last, value, unit)
    own_line = "\n" in _gap(text, member.key_at)
    rendered = _rendered(text, value, unit if own_line else None, _margin(text, member.key_at))
    return text[: member.value_at] + rendered + text[member.end :]


def without_member(text: str, path: Sequence[str]) -> str:
    """The text without the member at `path`, which is there. Raises: JsonTextError."""
    found = _root(text)
    *parents, last = path
    for key in parents:
        member = found.member(key)
        assert member is not None
        found = _object(text, member.value_at, key)
    keys = [member.key for member in found.members]
    at = keys.index(last)
    if len(keys) == 1:
        return text[: found.at] + "{}" + text[found.end :]
    if at == 0:
        return text[: found.members[0].key_at] + text[found.members[1].key_at :]
    return text[: found.members[at - 1].end] + text[found.members[at].end :]


def _root(text: str) -> _Object:
    parsed(text)
    return _object(text, _skip(text, 0), "the file")


def _object(text: str, at: int, name: str) -> _Object:
    """The members of the object at `at`; the text is known to be valid JSON."""
    if text[at] != "{":
        raise JsonTextError(f"holds no object as {name}")
    decoder = json.JSONDecoder()
    members: list[_Member] = []
    position = _skip(text, at + 1)
    while text[position] != "}":
        key, end = decoder.raw_decode(text, position)
        value_at = _skip(text, _skip(text, end) + 1)
        _, value_end = decoder.raw_decode(text, value_at)
        members.append(_Member(key, position, value_at, value_end))
        position = _skip(text, value_end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    if len({member.key for member in members}) < len(members):
        raise JsonTextError(f"has a name twice in {name}")
    return _Object(at, position + 1, tuple(members))


def _inserted(text: str, found: _Object, key: str, value: object, unit: str) -> str:
    if found.members:
        last = found.members[-1]
        gap = _gap(text, last.key_at)
        margin = _margin(text, last.key_at)
        rendered = _rendered(text, value, unit if "\n" in gap else None, margin)
        return f"{text[: last.end]},{gap or ' '}{json.dumps(key)}: {rendered}{text[last.end :]}"
    if found.at and "\n" not in text:
        return f"{text[: found.at]}{json.dumps({key: value}, ensure_ascii=False)}{text[found.end :]}"
    rendered = _rendered(text, {key: value}, unit, _margin(text, found.at))
    return text[: found.at] + rendered + text[found.end :]


def _rendered(text: str, value: object, unit: str | None, margin: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + margin)


def _indent(text: str) -> str:
    """One step of the text's own indentation."""
    first = re.match(r"\ufeff?[ \t\r\n]*\{[ \t]*\r?\n([ \t]+)\"", text)
    return first[1] if first else _DEFAULT_INDENT


def _gap(text: str, at: int) -> str:
    """The white space before `at`."""
    before = text[:at]
    return before[len(before.rstrip(" \t\r\n")) :]


def _margin(text: str, at: int) -> str:
    """The indentation of the line that `at` is on."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _no_constant(name: str) -> None:
    raise ValueError(name)
