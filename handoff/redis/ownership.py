"""Taking possession of a namespace at opening: whose it is, of which schema, on which server."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from handoff.errors import StoreMismatchError
from handoff.redis.commands import Command, command, run_script, script
from handoff.redis.connection import Link
from handoff.redis.keys import Keys
from handoff.redis.namespace import Namespace

SCHEMA_VERSION = 1
PROGRAM = b"switchboard"
FIRST_SOUND_VERSION = (6, 2)


async def claim(link: Link, name: str, clock: Callable[[], float] | None) -> Namespace:
    """Begin the namespace if it is empty, else see that it is this owner's.

    Raises: StoreMismatchError with a one-line reason; StoreUnavailableError.
    """
    keys = Keys.of(name)
    _verify_server(await server_information(link, "server"))
    arguments = (PROGRAM, name, SCHEMA_VERSION, uuid.uuid4().hex)
    found = await link.run(run_script(script("claim"), keys.fixed, arguments, writes=True))
    if found == b"headless":
        raise StoreMismatchError(
            "the namespace holds data, but not the key that says whose it is",
            suggestion="restore the database from a backup, or name another one for the store",
        )
    return Namespace(name, keys, _verified(found, name), clock)


def ping_command(namespace: Namespace, *, write: bool) -> Command:
    """Whether the namespace is still the one that was claimed, and takes a write where that is asked."""
    arguments = (namespace.store_id, "write" if write else "read")
    return run_script(script("ping"), (namespace.keys.meta,), arguments, writes=write)


async def server_information(link: Link, section: str) -> dict[str, str]:
    """What the server says of itself under a heading of `INFO`."""
    text = (await link.run(command("INFO", section))).decode()
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _verified(found: list[bytes | None] | bytes, name: str) -> bytes:
    program, owner, version, store_id = found if isinstance(found, list) else [None] * 4
    if program != PROGRAM or owner is None or version is None or store_id is None:
        raise StoreMismatchError(
            "the namespace belongs to another program", suggestion="name another database for the store"
        )
    if owner.decode() != name:
        raise StoreMismatchError(
            f"the namespace is the store of {owner.decode()!r}, not of {name!r}",
            suggestion="give every server a namespace of its own",
        )
    if int(version) > SCHEMA_VERSION:
        raise StoreMismatchError(
            f"the store has schema version {int(version)}, this program knows up to {SCHEMA_VERSION}",
            suggestion="run the newer version of the program that wrote it",
        )
    return store_id


def _verify_server(information: dict[str, str]) -> None:
    version = information.get("redis_version", "0")
    if tuple(map(int, version.split(".")[:2])) < FIRST_SOUND_VERSION:
        raise StoreMismatchError(
            f"Redis {version} is too old", suggestion="run Redis 6.2 or newer for the store"
        )
