"""One commit as a unit of work: token, fence and versions are looked at first, then all is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from handoff.errors import StaleFenceError, StructuredError
from handoff.numbering import check_numbered
from handoff.retention import TokenExpiredError
from handoff.sqlite.encoding import encode
from handoff.sqlite.records import check_version, delete_record, put_record
from handoff.sqlite.streams import append_next, append_numbered, trim_stream
from handoff.sqlite.writer import Transaction
from handoff.store import Append, Check, Committed, Delete, Fence, Put, Token, Trim, Write

TOKEN_SQL = "SELECT fingerprint, result, expires_at FROM tokens WHERE key = ?"
ADD_TOKEN_SQL = "INSERT INTO tokens(key, fingerprint, result, created_at, expires_at) VALUES (?, ?, ?, ?, ?)"
RELEASE_SQL = "UPDATE leases SET owner = NULL, expires_at = 0 WHERE name = ? AND number = ?"
FENCE_SQL = "SELECT number FROM leases WHERE name = ?"


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token's stored row; the caller decodes `result`, so that the writer's thread need not."""

    fingerprint: str
    result: str


def known_token(row: tuple[str, str, float], now: float) -> KnownToken:
    """Raises: TokenExpiredError once the token's time is over, whether it was swept already or not."""
    fingerprint, result, expires_at = row
    if expires_at <= now or not result:
        raise TokenExpiredError
    return KnownToken(fingerprint, result)


class CommitUnit:
    """What `Store.commit` was asked to do, with its JSON encoded before it reaches the writer."""

    __slots__ = ("_actor", "_fence", "_release", "_result", "_token", "_writes")

    def __init__(
        self,
        writes: Sequence[Write],
        token: Token | None,
        fence: Fence | None,
        actor: str,
        *,
        release: bool = False,
    ) -> None:
        check_numbered(writes, token)
        self._writes = [(write, _payload(write)) for write in writes]
        self._token = token
        self._result = encode(token.result) if token else ""
        self._fence = fence
        self._release = release
        self._actor = actor

    def __call__(self, work: Transaction) -> Committed | KnownToken:
        token = self._token
        if token is not None:
            known = work.execute(TOKEN_SQL, (token.key,)).fetchone()
            if known:
                return known_token(known, work.now)
        if self._fence is not None:
            check_fence(work, self._fence)
        for write, _ in self._writes:
            if isinstance(write, Put | Delete | Check):
                check_version(work, write)
        done = self._write_all(work)
        if self._fence is not None and self._release:
            work.execute(RELEASE_SQL, (self._fence.name, self._fence.number))
        if token is not None:
            result = encode(token.outcome(done)) if token.numbered else self._result
            times = (work.now, work.now + token.keep_seconds)
            work.execute(ADD_TOKEN_SQL, (token.key, token.fingerprint, result, *times))
        return done

    def _write_all(self, work: Transaction) -> Committed:
        versions: list[int] = []
        seqs: list[int] = []
        for stream, together in groupby(self._writes, key=_numbered_stream):
            if stream is not None:
                seqs += append_numbered(work, *stream, [(_seq(write), data) for write, data in together])
                continue
            for write, data in together:
                self._write(work, write, data, versions, seqs)
        return Committed(tuple(versions), tuple(seqs))

    def _write(
        self, work: Transaction, write: Write, data: str, versions: list[int], seqs: list[int]
    ) -> None:
        token = self._token.key if self._token else None
        match write:
            case Put():
                versions.append(put_record(work, write, data, self._actor, token))
            case Delete():
                delete_record(work, write, self._actor, token)
            case Append():
                seqs.append(append_next(work, write.stream, write.key, data))
            case Trim():
                trim_stream(work, write)
            case Check():
                pass  # looked at before anything was written


def check_fence(work: Transaction, fence: Fence) -> None:
    """Raises: StaleFenceError when the lease was taken over since."""
    row = work.execute(FENCE_SQL, (fence.name,)).fetchone()
    if row is None or row[0] != fence.number:
        raise StaleFenceError(
            "the lease was taken over by another worker; this write came too late",
            suggestion="stop this work; the new holder of the lease carries on",
        )


def _numbered_stream(each: tuple[Write, str]) -> tuple[str, str] | None:
    """The stream of an entry that brings its number; those that follow one another are written together."""
    write = each[0]
    return (write.stream, write.key) if isinstance(write, Append) and write.seq is not None else None


def _seq(write: Write) -> int:
    assert isinstance(write, Append) and write.seq is not None
    return write.seq


def _payload(write: Write) -> str:
    if isinstance(write, Append) and write.seq is not None and write.seq < 1:
        raise StructuredError("entries are numbered from 1", code="invalid_value", field="seq")
    return encode(write.data) if isinstance(write, Put | Append) else ""
