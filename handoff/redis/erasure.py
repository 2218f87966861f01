"""What the Redis store can do for the erasure of a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from handoff.errors import JsonObject, StoreUnavailableError
from handoff.redis.commands import Command, Part, command, run_script, script
from handoff.redis.keys import encoded, measured, unmeasured
from handoff.redis.namespace import GONE, Namespace, gone_error
from handoff.redis.values import values_of
from handoff.remains import search_files, wanted
from handoff.sqlite.encoding import decode

BATCH = 500
REWRITE_SECONDS = 300.0
"""How long the server may take to write its files anew."""
_LOOK_SECONDS = 0.05
_REMOVED_SECONDS = 5.0
"""How long it may take to remove the old files afterwards."""
_EVERYTHING = "*switchboard*"
"""Keys of all namespaces of this program, whoever's they are."""


class Run(Protocol):
    """Sends a command to the server."""

    async def __call__(self, command: Command) -> Any: ...


class RedisEraser:
    """The `Eraser` of one namespace."""

    def __init__(self, run: Run, namespace: Namespace) -> None:
        self._run = run
        self._namespace = namespace
        self._keys = namespace.keys

    async def tokens(self) -> AsyncIterator[list[tuple[str, JsonObject]]]:
        cursor: bytes | int = 0
        while True:
            cursor, pairs = await self._run(command("HSCAN", self._keys.tokens, cursor, "COUNT", BATCH))
            rows = zip(pairs[::2], pairs[1::2], strict=True)
            found = [(key.decode(), _result(value)) for key, value in rows if value]
            if found:
                yield found
            if int(cursor) == 0:
                return

    async def expire(self, keys: Sequence[str]) -> None:
        touched = (self._keys.meta, self._keys.tokens, self._keys.token_ends)
        await self._script("expire", touched, (self._namespace.store_id, *map(encoded, keys)))

    async def actors(self) -> set[str]:
        found: set[str] = set()
        for log in await self._logs():
            async for fields in self._entries(log):
                found.add(fields[b"actor"].decode())
        return found - {""}

    async def rename(self, old: str, new: str) -> int:
        renamed = 0
        logs = await self._logs()
        for log in logs:
            count = 0
            async for fields in self._entries(log):
                named = fields[b"id"] == old.encode() or fields[b"actor"].endswith(b"@" + old.encode())
                count += named
            if count:
                await self._write_log_anew(log, old, new)
            renamed += count
        return renamed + await self._forget(logs, old, new)

    async def compact(self) -> list[str]:
        done: list[str] = []
        found = await self._persistence()
        if found.get("aof_enabled") == "1":
            await self._write_files("BGREWRITEAOF", "aof_last_bgrewrite_status")
            done.append("append-only file rewritten")
        if await self._keeps_snapshots():
            await self._write_files("BGSAVE", "rdb_last_bgsave_status")
            done.append("snapshot written anew")
        return done

    async def remains(self, values: Collection[str]) -> tuple[dict[str, int], list[str]]:
        loop = asyncio.get_running_loop()
        until = loop.time() + _REMOVED_SECONDS
        while True:
            paths = await self._files()
            found = await asyncio.to_thread(search_files, paths, values)
            # The server removes the files of before in the background.
            if not found or loop.time() > until:
                return found, [str(path) for path in paths]
            await asyncio.sleep(_LOOK_SECONDS)

    async def places(self, values: Collection[str], whole: Collection[str] = ()) -> dict[str, list[str]]:
        searched = wanted(values, whole)
        found: dict[str, dict[str, None]] = {value: {} for value in values}
        for key in await self._scanned(_EVERYTHING):
            async for name, content in values_of(self._run, key):
                for value, each in searched.items():
                    if each.stands_in(content) or each.stands_in(name):
                        found[value][self._place(key, name)] = None
        return {value: list(places) for value, places in found.items() if places}

    def _place(self, key: bytes, name: bytes) -> str:
        """What a person calls the place, such as `tickets tck_1`: never what stands there."""
        keys = self._keys
        if key in (keys.records, keys.ids, keys.places, keys.texts, keys.changed):
            collection, id = unmeasured(name)
        elif key in (keys.entries, keys.heads):
            collection, rest = unmeasured(name)
            id, _ = unmeasured(rest)
        elif key == keys.index:
            collection, rest = unmeasured(name)
            id = rest.rpartition(b"\0")[2]
        elif key in (keys.tokens, keys.token_ends):
            collection, id = b"token", name[:12]
        else:
            return key.decode()
        return f"{collection.decode()} {id.decode()}"

    async def _write_log_anew(self, log: bytes, old: str, new: str) -> None:
        fresh = self._keys.logs.removesuffix(b"log:") + b"relog"
        await self._run(Command(command("DEL", fresh).packed, writes=True))
        arguments = (self._namespace.store_id, encoded(old), encoded(new), BATCH)
        while await self._script("relog", (self._keys.meta, log, fresh), arguments) != b"0":
            pass

    async def _forget(self, logs: Iterable[bytes], old: str, new: str) -> int:
        collections = [unquote_to_bytes(log.removeprefix(self._keys.logs)).decode() for log in logs]
        fields = [measured(each) + encoded(id) for each in collections for id in (old, new)]
        touched = (self._keys.meta, self._keys.records, self._keys.changed)
        return int(await self._script("forget", touched, (self._namespace.store_id, *fields)))

    async def _script(self, name: str, keys: Sequence[bytes], arguments: Sequence[Part]) -> bytes:
        reply: bytes = await self._run(run_script(script(name), keys, arguments, writes=True))
        if reply == GONE:
            raise gone_error()
        return reply

    async def _logs(self) -> list[bytes]:
        return await self._scanned(self._keys.logs.decode() + "*")

    async def _entries(self, log: bytes) -> AsyncIterator[dict[bytes, bytes]]:
        after = "-"
        while rows := await self._run(command("XRANGE", log, after, "+", "COUNT", BATCH)):
            for _, fields in rows:
                yield dict(zip(fields[::2], fields[1::2], strict=True))
            after = "(" + rows[-1][0].decode()

    async def _scanned(self, pattern: str) -> list[bytes]:
        found: set[bytes] = set()
        cursor: bytes | int = 0
        while True:
            cursor, keys = await self._run(command("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH))
            found.update(keys)
            if int(cursor) == 0:
                return sorted(found)

    async def _persistence(self) -> dict[str, str]:
        text = (await self._run(command("INFO", "persistence"))).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def _write_files(self, order: str, status: str) -> None:
        """Have the server write its files anew, and wait until it has.

        Raises: StoreUnavailableError when it could not, or not in time.
        """
        await self._quiet()
        await self._run(command(order))
        await self._quiet()
        if (await self._persistence()).get(status) != "ok":
            raise StoreUnavailableError(
                "Redis could not write its files anew; what was erased may stand in the old ones",
                suggestion="free disk space on the Redis server, then run the command again",
            )

    async def _quiet(self) -> None:
        busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
        loop = asyncio.get_running_loop()
        until = loop.time() + REWRITE_SECONDS
        while True:
            found = await self._persistence()
            if not any(found.get(name) == "1" for name in busy):
                return
            if loop.time() > until:
                raise StoreUnavailableError(
                    "Redis did not finish writing its files anew in time",
                    suggestion="run the command again when it has",
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def _setting(self, name: str) -> str | None:
        try:
            pair = await self._run(command("CONFIG", "GET", name))
        except StoreUnavailableError as error:
            if error.retryable:
                raise
            return None  # hosted servers often forbid it
        return pair[1].decode() if pair else None

    async def _keeps_snapshots(self) -> bool:
        directory, name = await self._setting("dir"), await self._setting("dbfilename")
        there = directory is not None and name is not None and (Path(directory) / name).is_file()
        return there or bool(await self._setting("save"))

    async def _files(self) -> list[Path]:
        """The server's files, as far as they can be reached from here."""
        names = ("dir", "appenddirname", "appendfilename", "dbfilename")
        directory, below, log, snapshot = [await self._setting(name) for name in names]
        if directory is None or not (root := Path(directory)).is_dir():
            return []
        found = [*root.glob(f"{log or 'appendonly.aof'}*"), root / (snapshot or "dump.rdb")]
        if below:
            found += (root / below).glob("*")
        return [path for path in found if path.is_file()]


def _result(kept: bytes) -> JsonObject:
    """The outcome in a token's row: `created expires fingerprint result`."""
    _, _, rest = kept.split(b" ", 2)
    _, result = unmeasured(rest)
    return decode(result.decode())
