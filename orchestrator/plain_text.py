"""Texts as a reader sees them: without characters that only hide something or turn the writing around."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"  # fillers and soft hyphens
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # zero width, and the direction of writing
    "\ud800-\udfff\ufff9-\ufffb\ufffe\uffff"  # halves of characters, annotations, no characters
    "\ufe00-\ufe0d\U000e0000-\U000e0fff"  # selectors and tags, which spell text that nobody sees
    "]"
)
_LINE_ENDS = re.compile("\r\n?|\x85|\u2028|\u2029")
_JOINERS = re.compile(
    "(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\u200c\u200d])"
)
"""Joiners belong between letters of scripts that join, and between emoji; beside ASCII they only hide."""


def plain(text: str) -> str:
    """The text without control, zero-width, direction and tag characters; what is seen stays as it was."""
    if text.isascii() and text.isprintable():
        return text
    lines = _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))
    return _JOINERS.sub("", lines)


def plain_values(value: Any) -> Any:
    """The same for every text of a JSON value, names of members included."""
    return _changed(value, plain)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(name)): _changed(member, change) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(item, change) for item in value]
    return value
