"""Names of the keys, and how names and places are coded in what is kept under them.

A namespace has a fixed set of keys under one hash tag, so that one script may touch them all, also in a
cluster. Ids, index keys and session keys are fields and members, never parts of a key's name; the only
name that is, a collection's in the key of its log, is percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from handoff.errors import StructuredError
from handoff.store import Index

BEYOND = b"\xff"
"""Sorts behind every UTF-8 text: no encoded character begins with this byte."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace, and what each holds."""

    meta: bytes
    """Hash: whose store this is, its schema version, and the log's newest position."""
    records: bytes
    """Hash by collection and id: `version data`, or `version` alone once deleted."""
    ids: bytes
    """Sorted set of the records there are, each `collection id`."""
    places: bytes
    """Hash by collection and id: where the record stands in index lists."""
    index: bytes
    """Sorted set of all index rows, each `collection name key sort id`."""
    texts: bytes
    """Hash by collection and id: title and body to search."""
    changed: bytes
    """Sorted set of the records with a text, by the log position of the last change that concerns it."""
    entries: bytes
    """Sorted set of all entries, each `stream key number time data`."""
    heads: bytes
    """Hash by stream and key: `last trimmed time`."""
    ages: bytes
    """Sorted set of all streams, each `stream time key`."""
    tokens: bytes
    """Hash by token: `created expires fingerprint result`, empty once it expired and was swept."""
    token_ends: bytes
    """Sorted set of the tokens that still have a result, by the time at which it expires."""
    leases: bytes
    """Hash by name: `number expires owner` while held, `number` once given up."""
    lease_ends: bytes
    """Sorted set of the leases, by the time at which they end; zero once given up."""
    logs: bytes
    """What the keys of the logs begin with; each is a Redis stream whose ids are positions."""

    @classmethod
    def of(cls, namespace: str) -> Keys:
        """Raises: StructuredError unless `namespace` is a plain name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", namespace):
            raise StructuredError("a namespace is a plain name", code="invalid_value", field="namespace")
        tag = f"{{switchboard:{namespace}}}:"
        return cls(**{name: (tag + name).encode() for name in cls.__slots__[:-1]}, logs=f"{tag}log:".encode())

    @property
    def fixed(self) -> tuple[bytes, ...]:
        """All keys but the logs, in the order that the commit script expects."""
        return (
            *(self.meta, self.records, self.ids, self.places, self.index, self.texts, self.changed),
            *(self.entries, self.heads, self.ages),
            *(self.tokens, self.token_ends, self.leases, self.lease_ends),
        )

    def log(self, collection: str) -> bytes:
        return self.logs + quote(encoded(collection), safe="").encode()


def encoded(text: str) -> bytes:
    """Raises: StructuredError with code `invalid_value` for what is not Unicode text."""
    try:
        return text.encode()
    except (UnicodeEncodeError, AttributeError) as error:
        raise StructuredError(
            "a name, key or text cannot be stored", code="invalid_value", suggestion="send valid Unicode text"
        ) from error


def measured(text: str) -> bytes:
    """The text after its length, `5:abcde`: no two rows of such parts are alike or begin alike."""
    content = encoded(text)
    return b"%d:%b" % (len(content), content)


def unmeasured(coded: bytes) -> tuple[bytes, bytes]:
    """The first measured text, and what follows it."""
    length, _, rest = coded.partition(b":")
    end = int(length)
    return rest[:end], rest[end:]


def sortable(sort: str) -> bytes:
    """A sort value that a zero byte can end: its own are marked, and the order stays bytewise."""
    return encoded(sort).replace(b"\0", b"\0\xff")


def unsortable(coded: bytes) -> str:
    return coded.replace(b"\0\xff", b"\0").decode()


def list_prefix(collection: str, name: str, key: str) -> bytes:
    """What all rows of one index list, and no others, begin with."""
    return measured(collection) + measured(name) + measured(key)


def packed_places(indexes: Sequence[Index]) -> bytes:
    """A record's index rows without their collection and id, in an order that depends on nothing else."""
    rows = {measured(index.name) + measured(index.key) + sortable(index.sort) for index in indexes}
    return b"".join(b"%d:%b" % (len(row), row) for row in sorted(rows))


def unpacked_places(packed: bytes) -> list[Index]:
    indexes = []
    while packed:
        row, packed = unmeasured(packed)
        name, rest = unmeasured(row)
        key, sort = unmeasured(rest)
        indexes.append(Index(name.decode(), key.decode(), unsortable(sort)))
    return indexes
