"""Everything that stands under a key of Redis, whatever its type, in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from handoff.redis.commands import command

if TYPE_CHECKING:
    from handoff.redis.erasure import Run

_COUNT = 500
_SCANS = {b"hash": "HSCAN", b"set": "SSCAN", b"zset": "ZSCAN"}


async def values_of(run: Run, key: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """Names and contents; where there are only members, a member is both."""
    kind = await run(command("TYPE", key))
    if kind in _SCANS:
        async for pair in _scanned(run, _SCANS[kind], key):
            yield pair
    elif kind == b"stream":
        after = "-"
        while rows := await run(command("XRANGE", key, after, "+", "COUNT", _COUNT)):
            for id, fields in rows:
                yield id, b"\0".join(fields)
            after = "(" + rows[-1][0].decode()
    elif kind == b"list":
        for content in await run(command("LRANGE", key, 0, -1)):
            yield content, content
    elif kind == b"string":
        yield b"", await run(command("GET", key)) or b""


async def _scanned(run: Run, order: str, key: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    cursor: bytes | int = 0
    while True:
        cursor, found = await run(command(order, key, cursor, "COUNT", _COUNT))
        if order == "SSCAN":
            for member in found:
                yield member, member
        else:
            for name, content in zip(found[::2], found[1::2], strict=True):
                yield name, name if order == "ZSCAN" else content
        if int(cursor) == 0:
            return
