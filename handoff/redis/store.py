"""The Store on Redis: one script per commit, and search in a projection of each process."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from redis.asyncio import BlockingConnectionPool

from handoff.errors import StoreError, StoreUnavailableError
from handoff.redis import findings, leases, reads, retention
from handoff.redis.commands import Command, command
from handoff.redis.commit import commit_command, outcome, replayed
from handoff.redis.connection import Link, Reply, connection_pool
from handoff.redis.faults import closed_error
from handoff.redis.keys import Keys, encoded, measured
from handoff.redis.namespace import GONE, Namespace, gone_error
from handoff.redis.ownership import claim, ping_command
from handoff.retention import SWEEP_LIMIT
from handoff.store import (
    Committed,
    Entry,
    Fence,
    Hit,
    Lease,
    Locks,
    LogEntry,
    Page,
    Record,
    Replayed,
    Scan,
    StreamHead,
    Token,
    Write,
)

if TYPE_CHECKING:
    from handoff.redis.erasure import RedisEraser
    from handoff.redis.text_projection import TextProjection


class RedisStore:
    """Durable state in one namespace of a Redis database, shared by several processes and machines.

    An acknowledged commit is as durable as the server's settings make it; `unsafe` names those that are
    not enough. Reads see every commit acknowledged before them. Time is the server's. A commit whose
    answer was lost says so in its error's details (`outcome_unknown`); one with a token can be repeated.
    """

    def __init__(self, link: Link, namespace: Namespace, *, accept_loss: bool) -> None:
        self.locks = Locks()
        self._open_link = link
        self._namespace = namespace
        self._accept_loss = accept_loss
        self._write_failed = False
        self._projection: asyncio.Task[TextProjection] | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        namespace: str,
        accept_loss: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> RedisStore:
        """Open the store of `namespace`, the server (or `orchestrator`) whose state it holds.

        A server whose settings may lose commits is opened too: `check` and `ping` report it, unless
        `accept_loss` says that this is wanted. `clock` is for tests; all processes go by the server's.
        Raises: StructuredError for a URL or name that is not one; StoreMismatchError; StoreUnavailableError.
        """
        Keys.of(namespace)  # a name that is none is refused before anything is connected
        pool = connection_pool(url)
        link = Link(pool)
        try:
            return cls(link, await claim(link, namespace, clock), accept_loss=accept_loss)
        except StoreError as error:
            await link.close()
            raise _naming_server(error, pool) from error
        except BaseException:
            await link.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what waits, then close; later calls are refused."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def commit(
        self,
        writes: Sequence[Write],
        *,
        token: Token | None = None,
        fence: Fence | None = None,
        release: bool = False,
        actor: str = "",
    ) -> Committed | Replayed:
        reply = await self._run(commit_command(self._namespace, writes, token, fence, actor, release=release))
        return outcome(reply, writes)

    async def get(self, collection: str, id: str) -> Record | None:
        field = measured(collection) + encoded(id)
        return reads.record(id, await self._run(command("HGET", self._keys.records, field)))

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[Record]:
        return await reads.get_many(self._link, self._keys, collection, ids)

    async def scan(self, collection: str, *, after: str | None = None, limit: int = 1000) -> Scan:
        return await reads.scan(self._link, self._keys, collection, after, limit)

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
        place = (collection, index, key)
        return await reads.find(self._link, self._keys, place, limit, cursor, descending)

    async def count(self, collection: str, index: str, key: str) -> int:
        return await reads.count(self._link, self._keys, (collection, index, key))

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
        """Raises: StructuredError with code `invalid_query` for a malformed expression."""
        projection = await self._searchable()
        return await projection.search(collection, match, limit, offset, within, excerpts)

    async def excerpts(self, collection: str, match: str, ids: Sequence[str]) -> dict[str, str]:
        """Raises: StructuredError with code `invalid_query` for a malformed expression."""
        return await (await self._searchable()).excerpts(collection, match, ids)

    async def token(self, key: str) -> Replayed | None:
        known = await self._run(retention.token_command(self._namespace, key))
        return replayed(known) if known else None

    async def entries(self, stream: str, key: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        return await reads.entries(self._link, self._keys, stream, key, after, limit)

    async def streams(self, stream: str, *, limit: int = 100) -> list[StreamHead]:
        return await reads.streams(self._link, self._keys, stream, limit)

    async def count_streams(self, stream: str) -> int:
        return await reads.count_streams(self._link, self._keys, stream)

    async def log(self, collection: str, *, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        return await reads.log(self._link, self._keys, collection, after, limit)

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        reply = await self._run(leases.acquire(self._namespace, name, owner, seconds))
        return leases.granted(reply, name, owner)

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        reply = await self._run(leases.renew(self._namespace, lease, seconds))
        return leases.granted(reply, lease.name, lease.owner)

    async def release(self, lease: Lease) -> None:
        leases.granted(await self._run(leases.release(self._namespace, lease)), lease.name, lease.owner)

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        return retention.swept_count(await self._run(retention.sweep_command(self._namespace, limit)))

    def eraser(self) -> RedisEraser:
        """What this store can do for the erasure of a person."""
        from handoff.redis.erasure import RedisEraser

        return RedisEraser(self._run, self._namespace)

    async def ping(self) -> None:
        """Raises: StoreUnavailableError unless the server answers, keeps what it acknowledges, and takes a
        write if the last one failed; StoreMismatchError when the database was emptied or replaced.
        """
        if await self._run(ping_command(self._namespace, write=self._write_failed)) == GONE:
            raise gone_error()
        if self._accept_loss:
            return
        if unsafe := await self.unsafe():
            raise findings.unsafe_error(unsafe)

    async def unsafe(self) -> list[str]:
        """A line for each setting of the server that lets an acknowledged commit be lost."""
        return (await findings.persistence(self._link)).unsafe()

    async def check(self) -> list[str]:
        """One line per finding about the server and its settings; a problem's line has a colon in it."""
        lines = await findings.server(self._link)
        settings = (await findings.persistence(self._link)).lines()
        if self._accept_loss:
            settings = [line.partition(":")[0] for line in settings]
        return lines + settings

    @property
    def _keys(self) -> Keys:
        return self._namespace.keys

    @property
    def _link(self) -> Link:
        if self._closing is not None:
            raise closed_error()
        return self._open_link

    async def _run(self, command: Command) -> Reply:
        try:
            reply = await self._link.run(command)
        except StoreUnavailableError:
            self._write_failed = self._write_failed or command.writes
            raise
        self._write_failed = self._write_failed and not command.writes
        return reply

    async def _searchable(self) -> TextProjection:
        # Imported here, so that a process that never searches does not load SQLite.
        from handoff.redis.text_projection import TextProjection

        link = self._link
        if self._projection is None or (self._projection.done() and self._projection.exception()):
            self._projection = asyncio.create_task(TextProjection.open(link, self._namespace))
        return await asyncio.shield(self._projection)

    async def _close(self) -> None:
        await self._open_link.close()
        if self._projection is not None:
            opened = await asyncio.gather(self._projection, return_exceptions=True)
            for projection in opened:
                if not isinstance(projection, BaseException):
                    await projection.close()


def _naming_server(error: StoreError, pool: BlockingConnectionPool) -> StoreError:
    """The error with the server's name in front: at opening, the reader is who configured it."""
    named = copy.copy(error)
    where = pool.connection_kwargs
    named.message = f"{where.get('host')}:{where.get('port', 6379)}: {error.message}"
    named.args = (named.message,)
    return named
