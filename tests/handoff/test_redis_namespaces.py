"""Whose data a Redis holds: a namespace has one owner, and what is another's is refused and left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from handoff.errors import StoreMismatchError, StructuredError
from handoff.redis import ownership
from handoff.redis.store import RedisStore
from handoff.store import ABSENT, Append, Committed, Put, Record, Token
from handoff.stores import open_store
from tests.redis_server import RedisServer


async def test_a_url_opens_the_namespace_of_its_own(redis_server: RedisServer, namespace: str) -> None:
    for name in (namespace, f"{namespace}-2"):
        store = await open_store(redis_server.url, namespace=name)
        assert isinstance(store, RedisStore)
        await store.commit([Put("things", "a", {"of": name})])
        assert await store.get("things", "a") == Record("a", 1, {"of": name})
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://host:port/0",
        "redis://:secret@host/secret",
        "redis://host/0/1",
        "redis://host/0?socket_timeout=secret",
        "rediss://host#secret",
    ],
)
async def test_a_url_that_says_something_else_is_refused(url: str) -> None:
    with pytest.raises(StructuredError) as refused:
        await open_store(url, namespace="billing")
    assert refused.value.code == "unsupported_store" and "secret" not in str(refused.value.to_json())


@pytest.mark.parametrize("name", ["", "../up", "a}b", "a:b", "*", "a b", "a\n"])
async def test_a_namespace_is_a_plain_name(redis_server: RedisServer, name: str) -> None:
    with pytest.raises(StructuredError) as refused:
        await RedisStore.open(redis_server.url, namespace=name)
    assert refused.value.field == "namespace"


async def test_a_new_namespace_may_be_opened_by_many_at_once(
    redis_server: RedisServer, namespace: str
) -> None:
    stores = await asyncio.gather(*(RedisStore.open(redis_server.url, namespace=namespace) for _ in range(6)))
    await asyncio.gather(*(store.commit([Append("notes", "a", {})]) for store in stores))
    assert len(await stores[0].entries("notes", "a")) == 6
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize(
    ("tampering", "reason"),
    [
        (("HSET", "meta", "owner", "ticketing"), "'ticketing'"),
        (("HSET", "meta", "schema_version", "99"), "99"),
        (("HSET", "meta", "program", "theirs"), "another program"),
        (("DEL", "meta"), "whose it is"),
    ],
)
async def test_a_namespace_that_is_not_this_owners_is_refused(
    redis_server: RedisServer, namespace: str, tampering: tuple[str, ...], reason: str
) -> None:
    async with await RedisStore.open(redis_server.url, namespace=namespace) as store:
        await store.commit([Put("things", "a", {})])
    verb, name, *rest = tampering
    redis_server.ask(verb, f"{{switchboard:{namespace}}}:{name}", *rest)
    with pytest.raises(StoreMismatchError) as refused:
        await RedisStore.open(redis_server.url, namespace=namespace)
    assert reason in refused.value.message and not refused.value.retryable


async def test_another_programs_key_is_refused_and_left_as_it_is(
    redis_server: RedisServer, namespace: str
) -> None:
    redis_server.ask("SET", f"{{switchboard:{namespace}}}:meta", "theirs")
    with pytest.raises(StoreMismatchError, match="another program"):
        await RedisStore.open(redis_server.url, namespace=namespace)
    assert redis_server.ask("GET", f"{{switchboard:{namespace}}}:meta") == b"$6\r\ntheirs\r\n"


async def test_a_server_that_is_too_old_is_refused(
    redis_server: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "FIRST_SOUND_VERSION", (99, 0))
    with pytest.raises(StoreMismatchError, match="too old"):
        await RedisStore.open(redis_server.url, namespace=namespace)


async def test_an_emptied_database_takes_no_writes_from_those_who_knew_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with await RedisStore.open(server.url, namespace="billing") as store:
            await store.commit([Put("refunds", "a", {})], token=Token("t", "f", {}))
            lease = await store.acquire("work", "first", 60)
            assert lease and await store.search("refunds", "word") == []
            server.ask("FLUSHALL")
            for late in (
                store.commit([Put("refunds", "a", {})], token=Token("t", "f", {})),
                store.acquire("work", "second", 60),
                store.renew(lease, 60),
                store.search("refunds", "word"),
                store.ping(),
            ):
                with pytest.raises(StoreMismatchError, match="emptied"):
                    await late
        async with await RedisStore.open(server.url, namespace="billing") as store:
            assert await store.commit([Put("refunds", "a", {}, ABSENT)]) == Committed((1,))
