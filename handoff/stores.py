"""Opening the Store that a URL names."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from handoff.errors import StructuredError
from handoff.store import Store

SUPPORTED = (
    "sqlite:///relative/file.db, sqlite:////absolute/file.db, a directory ending in /, "
    "or redis://[user:password@]host[:port][/number] (rediss:// for TLS)"
)


async def open_store(url: str, *, namespace: str, accept_loss: bool = False) -> Store:
    """Open the store at `url` for `namespace`, the server (or `orchestrator`) whose state it holds.

    A path ending in `/` is a directory in which each namespace has a file of its own. `accept_loss`
    calls a Redis ready although its settings may lose acknowledged commits.
    Raises: StructuredError with code `unsupported_store`; StoreMismatchError; StoreUnavailableError.
    """
    scheme, separator, _ = url.partition("://")
    opener = _OPENERS.get(scheme)
    if opener is None or not separator:
        raise _unsupported()
    return await opener(url, namespace, accept_loss)


async def _open_sqlite(url: str, namespace: str, accept_loss: bool) -> Store:
    # Imported here, so that a process on another store does not load SQLite.
    from handoff.sqlite.store import SqliteStore

    path = sqlite_path(url.removeprefix("sqlite://"), namespace)
    return await SqliteStore.open(path, owner=namespace)


async def _open_redis(url: str, namespace: str, accept_loss: bool) -> Store:
    try:
        from handoff.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise StructuredError(
            "the store URL names a Redis server, but the package redis is not installed",
            code="unsupported_store",
            field="store",
            suggestion="pip install 'switchboard-mcp[redis]'",
        ) from error
    return await RedisStore.open(url, namespace=namespace, accept_loss=accept_loss)


def sqlite_path(rest: str, namespace: str) -> Path:
    """The file that the part after `sqlite://` names; no host may stand there."""
    path = rest.removeprefix("/")
    if not rest.startswith("/") or not path or "\0" in path:
        raise _unsupported()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", namespace):
        raise StructuredError("a namespace is a plain name", code="invalid_value", field="namespace")
    return Path(path) / f"{namespace}.db" if path.endswith("/") else Path(path)


_OPENERS: dict[str, Callable[[str, str, bool], Awaitable[Store]]] = {
    "redis": _open_redis,
    "rediss": _open_redis,
    "sqlite": _open_sqlite,
}


def _unsupported() -> StructuredError:
    return StructuredError(
        "the store URL has a form that is not supported",
        code="unsupported_store",
        field="store",
        suggestion=f"use {SUPPORTED}",
    )
