"""Markdown files as articles: a few lines of front matter, then the body.

Front matter is the part of YAML that help centres use for it: `name: value`, and lists written as
`a, b`, `[a, b]` or one `- item` a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from handoff.errors import StructuredError

_FENCE = re.compile(r"-{3,}\s*")
_PAIR = re.compile(r"([A-Za-z][\w-]*)\s*:(?:\s+(.*))?")
_HEADING = re.compile(r"#\s+(.+?)\s*#*")


class MalformedPageError(StructuredError):
    """The file is not front matter followed by a body; `line` says where."""

    code = "malformed_page"

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class MarkdownPage:
    """A markdown file in its two parts."""

    body: str
    body_line: int
    """Where the body begins in the file, from 1."""
    fields: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        return self.fields.get(name) or None

    def items(self, name: str) -> list[str]:
        """The values of a list, however it is written."""
        written = self.lists.get(name) or _split(self.fields.get(name, ""))
        return [item for item in map(_unquoted, written) if item]

    def instant(self, name: str) -> datetime | None:
        """A day or a moment; without a zone it is UTC. Raises: MalformedPageError."""
        value = self.text(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise MalformedPageError(1, f"{name}: must be a date such as 2026-11-20") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_page(text: str) -> MarkdownPage:
    """Raises: MalformedPageError."""
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or not _FENCE.fullmatch(lines[0]):
        return _titled(MarkdownPage(text.lstrip("\ufeff"), 1))
    end = next((at for at, line in enumerate(lines[1:], 1) if _FENCE.fullmatch(line)), None)
    if end is None:
        raise MalformedPageError(1, "the front matter has no closing ---")
    page = MarkdownPage("\n".join(lines[end + 1 :]).strip(), end + 2)
    _read_fields(page, lines[1:end])
    return _titled(page)


def _read_fields(page: MarkdownPage, lines: Iterable[str]) -> None:
    name = ""
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if name and line.lstrip().startswith("- "):
            page.lists.setdefault(name, []).append(line.lstrip()[2:].strip())
        elif name and line[0].isspace():
            page.fields[name] = f"{page.fields[name]} {line.strip()}".strip()
        elif pair := _PAIR.fullmatch(line.rstrip()):
            name = pair[1].lower()
            page.fields[name] = _unquoted((pair[2] or "").strip())
        else:
            raise MalformedPageError(number, "front matter is written as `name: value`")


def _titled(page: MarkdownPage) -> MarkdownPage:
    """Without a title in the front matter, the first line is it if it is a heading."""
    first, _, rest = page.body.strip().partition("\n")
    heading = _HEADING.fullmatch(first.strip())
    if heading and not page.fields.get("title"):
        page.fields["title"] = heading[1]
        page.body = rest.strip()
    return page


def _split(value: str) -> list[str]:
    return value.removeprefix("[").removesuffix("]").split(",")


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
