"""Cursors of index pages: opaque text that says after which place of which list to go on."""

from __future__ import annotations

import base64
import binascii
import json
import zlib

from handoff.errors import StructuredError

Place = tuple[str, str]
"""Where a record stands in an index list: its sort value and its id."""


def list_tag(collection: str, index: str, key: str, descending: bool) -> int:
    """A checksum that tells one list from another; it protects from mix-ups, not from forgery."""
    identity = json.dumps([collection, index, key, descending])
    return zlib.crc32(identity.encode())


def encode_cursor(tag: int, place: Place) -> str:
    text = json.dumps([tag, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(tag: int, cursor: str) -> Place:
    """Raises: StructuredError with code `invalid_cursor` for one that is malformed or of another list."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        found_tag, sort, id = content
        for part in (sort, id):
            part.encode()
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise _invalid() from error
    if found_tag != tag:
        raise _invalid()
    return sort, id


def _invalid() -> StructuredError:
    return StructuredError(
        "cursor is not one that this list returned",
        code="invalid_cursor",
        field="cursor",
        suggestion="pass next_cursor of the page before, with the same filters, or leave cursor out",
    )
