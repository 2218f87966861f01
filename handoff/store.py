"""The Store: one place where durability is right.

Everything Switchboard keeps goes through one `commit`: versioned records with compare-and-swap,
ordered indexes, text to search, insert-only entries, and at most one idempotency record, all of it
or nothing. `SqliteStore` and the other implementations pass one contract suite
(`tests/handoff/test_store_contract.py`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from handoff.errors import JsonObject
from handoff.retention import SWEEP_LIMIT

ABSENT = 0
"""As `expected`: the record must not exist yet."""

LEASE_KEPT_SECONDS = 24 * 3600
"""How long after its end a sweep forgets a lease."""


def new_id(prefix: str) -> str:
    """A prefixed id with 122 random bits, such as `tck_2f1c…`; safe in keys and in URLs."""
    return f"{prefix}_{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Record:
    """A stored record. `version` starts at 1 and grows by one with each write."""

    id: str
    version: int
    data: JsonObject


@dataclass(frozen=True, slots=True)
class Index:
    """One place to find a record: the list `name` under `key`, ordered bytewise by `sort`, then by id."""

    name: str
    key: str
    sort: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record. `expected` is its present version, `ABSENT`, or None for whatever it is.

    `indexes` and `text` replace what the record had before. `text` maps to the searchable fields
    `title` and `body`.
    """

    collection: str
    id: str
    data: JsonObject
    expected: int | None = None
    indexes: Sequence[Index] = ()
    text: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record with its index rows and text; an absent one is fine unless `expected` says not."""

    collection: str
    id: str
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Let the commit through only while the record has this version (`ABSENT`: does not exist)."""

    collection: str
    id: str
    expected: int


@dataclass(frozen=True, slots=True)
class Append:
    """Insert one entry into the stream `(stream, key)`; entries never change and are not in the log.

    `seq` numbers from 1; None takes the next. A `seq` that is taken is a `VersionConflictError`.
    """

    stream: str
    key: str
    data: JsonObject
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop a stream's entries up to and including `through`; None drops the stream with its counter."""

    stream: str
    key: str
    through: int | None = None


Write = Put | Delete | Check | Append | Trim


@dataclass(frozen=True, slots=True)
class Token:
    """An idempotency record: `result` was the outcome of the work that `fingerprint` describes.

    `keep_seconds` is how long it is kept after the commit; afterwards the token answers `TokenExpiredError`.
    """

    key: str
    fingerprint: str
    result: JsonObject
    keep_seconds: int = 30 * 24 * 3600
    numbered: Mapping[str, int] = field(default_factory=dict)
    """Fields that the commit adds at the end of `result`: each the number that its first append gets,
    plus this. So an append that takes any number can still be answered with the one it got."""

    def outcome(self, done: Committed) -> JsonObject:
        """The result as the commit stored it."""
        return {**self.result, **{name: done.seqs[0] + plus for name, plus in self.numbered.items()}}


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of a lease: a commit that carries it is refused once somebody else holds the lease."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on `name` until `expires_at` (Unix seconds by the store's clock)."""

    name: str
    owner: str
    number: int
    expires_at: float
    abandoned: bool = False
    """It was taken from a holder that let it expire: one that died, or stood still."""

    @property
    def fence(self) -> Fence:
        return Fence(self.name, self.number)


@dataclass(frozen=True, slots=True)
class Committed:
    """The commit is durable. `versions` and `seqs` follow the order of the puts and of the appends."""

    versions: tuple[int, ...] = ()
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Replayed:
    """The token was known: nothing was written. Compare `fingerprint` before trusting `result`."""

    fingerprint: str
    result: JsonObject


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at: float
    data: JsonObject


@dataclass(frozen=True, slots=True)
class StreamHead:
    """A stream's newest entry: its number and when it came (Unix seconds)."""

    key: str
    last_seq: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record's change: who wrote which version under which token. `position` only grows."""

    position: int
    id: str
    version: int
    actor: str
    token: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in index order. `cursor` continues after the last one; `more` counts what is left."""

    records: tuple[Record, ...]
    cursor: str | None = None
    more: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """Some of a collection's records in the order of their ids, as of one moment.

    `position` is that of the collection's newest change then: whatever changed since is in the log after it.
    """

    records: tuple[Record, ...]
    position: int
    more: bool = False
    """Whether records with greater ids follow."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result; a higher `score` is better. `excerpt` marks matches in the body with `[` and `]`."""

    id: str
    score: float
    excerpt: str


@dataclass(slots=True)
class Locks:
    """Per-record locks of one process: a fairness aid in front of the compare-and-swap, not a guarantee."""

    _held: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def of(self, collection: str, id: str) -> asyncio.Lock:
        return self._held.setdefault((collection, id), asyncio.Lock())


class Store(Protocol):
    """Durable state. Every method raises `StoreUnavailableError` when the store cannot answer."""

    locks: Locks

    async def commit(
        self,
        writes: Sequence[Write],
        *,
        token: Token | None = None,
        fence: Fence | None = None,
        release: bool = False,
        actor: str = "",
    ) -> Committed | Replayed:
        """Do all writes, durably, or none.

        A known `token` answers `Replayed` and nothing is written, checked before all else. With `release`
        the lease that the fence proves is given up in the same commit.
        Raises: TokenExpiredError, StaleFenceError, VersionConflictError, StoreUnavailableError.
        """
        ...

    async def get(self, collection: str, id: str) -> Record | None: ...

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[Record]:
        """The records that exist, in the order asked."""
        ...

    async def scan(self, collection: str, *, after: str | None = None, limit: int = 1000) -> Scan:
        """The records that exist now with ids that follow `after` bytewise; deleted ones are not among them.

        The cost depends on what there is, and not on how often it changed. `limit` 0 asks for the
        position alone.
        """
        ...

    async def find(
        self,
        collection: str,
        index: str,
        key: str,
        *,
        limit: int = 10,
        cursor: str | None = None,
        descending: bool = False,
    ) -> Page:
        """A page of the index list. A malformed cursor is a `StructuredError` with code `invalid_cursor`."""
        ...

    async def count(self, collection: str, index: str, key: str) -> int: ...

    async def search(
        self,
        collection: str,
        match: str,
        *,
        limit: int = 10,
        offset: int = 0,
        within: tuple[str, str] | None = None,
        excerpts: bool = True,
    ) -> list[Hit]:
        """Full-text search, best first; `match` is an FTS5 expression, made by `servers._search.search` only.

        `within` restricts to the records listed under that index name and key. Excerpts cost about as
        much as the search: without them each hit's is empty.
        """
        ...

    async def excerpts(self, collection: str, match: str, ids: Sequence[str]) -> dict[str, str]:
        """The part of each record's body that matches best, by id; a record that does not match has none."""
        ...

    async def token(self, key: str) -> Replayed | None:
        """The idempotency record of a token, if it is known.

        Raises: TokenExpiredError when it was, and its time is over.
        """
        ...

    async def entries(self, stream: str, key: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with `seq > after`, oldest first."""
        ...

    async def streams(self, stream: str, *, limit: int = 100) -> list[StreamHead]:
        """Heads of the streams of that name, the longest untouched first."""
        ...

    async def count_streams(self, stream: str) -> int: ...

    async def log(self, collection: str, *, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Changes of a collection with `position > after`, oldest first."""
        ...

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take the lease if it is free, expired, or already `owner`'s; None while another holds it.

        Each time the holder changes `number` grows, so the former holder's fence is stale.
        """
        ...

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Extend a lease that nobody took meanwhile; None when it is lost."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still held. Its number stays, so numbers never repeat."""
        ...

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove payloads of expired tokens and leases that ended a day ago; answers how many of both.

        At most `limit` of each go at once; fewer than `limit` in all means that nothing is left. The
        tokens stay known. A lease's number stays above that of every lease forgotten.
        """
        ...

    async def ping(self) -> None:
        """Whether the store keeps what it acknowledges, as far as a probe every few seconds can tell.

        If the last write failed it writes something, durably.
        Raises: StoreUnavailableError, with code `store_unsafe` for settings that may lose commits;
        StoreMismatchError when it is no longer the store that was opened.
        """
        ...

    async def close(self) -> None: ...
