"""A customer's message, taken apart: what they say, what they only quote, and their signature."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARS = 6_000
"""How much of a message is read; whoever writes more has said what they want by then."""

_FORWARDED = re.compile(
    r"^\s*(on .{4,150} wrote:|-{2,}\s*(original|forwarded) message.*|begin forwarded message:?"
    r"|_{10,}|from: .+ sent: .+)\s*$",
    re.IGNORECASE,
)
_HEADER = re.compile(r"^\s*(from|to|cc|sent|date|reply-to):\s", re.IGNORECASE)
_SUBJECT = re.compile(r"^\s*(subject|re|betreff):\s*", re.IGNORECASE)
_CLOSING = re.compile(
    r"^\s*((with )?(best|kind|warm|many)?\s*(regards|wishes|thanks)|best|cheers|thanks( a lot| again| so much"
    r"| in advance| and regards)?|thank you( very much| so much| in advance)?|sincerely|respectfully"
    r"|yours( sincerely| faithfully| truly)?|all the best|br|rgds|greetings|love|ta)\s*[,.!-]*\s*$",
    re.IGNORECASE,
)
_DEVICE = re.compile(r"^\s*(sent from (my|outlook|yahoo|mail for)|get outlook for)\b", re.IGNORECASE)
_FENCE = re.compile(r"```.*?(```|\Z)", re.DOTALL)
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]"
)

_SIGNATURE_LINES = 7
_SIGNATURE_WIDTH = 70


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in its parts. Only `body` speaks for the customer; the rest is read as data."""

    body: str
    quoted: str = ""
    signature: str = ""


def open_letter(text: str) -> Letter:
    """Take `text` apart."""
    text = _INVISIBLE.sub("", text[:MAX_CHARS]).replace("\r\n", "\n").replace("\r", "\n")
    quoted = [match.group() for match in _FENCE.finditer(text)]
    kept: list[str] = []
    lines = _FENCE.sub("\n", text).split("\n")
    for number, line in enumerate(lines):
        if line.lstrip().startswith(">"):
            quoted.append(line)
        elif _FORWARDED.match(line) and any(kept):
            quoted += lines[number:]
            break
        elif not _HEADER.match(line):
            kept.append(_SUBJECT.sub("", line))
    body, signature = _split_signature(kept)
    return Letter(body, "\n".join(quoted), signature)


def _split_signature(lines: list[str]) -> tuple[str, str]:
    """The text above the closing words, and the few short lines below them."""
    end = len(lines)
    for number, line in enumerate(lines):
        below = [rest for rest in lines[number + 1 :] if rest.strip()]
        short = len(below) <= _SIGNATURE_LINES and all(len(rest) <= _SIGNATURE_WIDTH for rest in below)
        closes = line.rstrip() == "--" or _DEVICE.match(line) or (_CLOSING.match(line) and number > 0)
        if closes and short:
            end = number
            break
    return "\n".join(lines[:end]).strip(), "\n".join(lines[end:]).strip()
