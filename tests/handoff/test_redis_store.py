"""What the Redis store promises beyond the contract: one step, whose clock, many processes, safe settings."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from handoff.errors import StoreUnavailableError, StructuredError
from handoff.redis.store import RedisStore
from handoff.store import ABSENT, Append, Committed, Delete, Index, Put, Record, Token, Write
from tests.redis_server import RedisServer

INCREMENT = """
import asyncio, sys
from handoff.errors import ContentionError
from handoff.redis.store import RedisStore
from handoff.store import Put
from handoff.update import update

def counted(record):
    return Put("counters", "c", {"n": record.data["n"] + 1 if record else 1})

async def main(url, namespace, times):
    async with await RedisStore.open(url, namespace=namespace) as store:
        for _ in range(times):
            while True:
                try:
                    await update(store, "counters", "c", counted)
                    break
                except ContentionError:
                    pass

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
SEARCH_ON_DEMAND = """
import asyncio, sys
from handoff.redis.store import RedisStore
from handoff.store import Put

async def main(url, namespace):
    async with await RedisStore.open(url, namespace=namespace) as store:
        for line in sys.stdin:
            word, id = line.split()
            print(*[hit.id for hit in await store.search("articles", word)], flush=True)
            await store.commit([Put("articles", id, {}, text={"title": word})])
            print("written", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def store(redis_server: RedisServer, namespace: str) -> AsyncIterator[RedisStore]:
    async with await RedisStore.open(redis_server.url, namespace=namespace) as opened:
        yield opened


async def start(program: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-c", program, *map(str, arguments)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


async def finish(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        _, errors = await process.communicate(b"")
    assert process.returncode == 0, errors.decode()


async def test_increments_from_several_processes_lose_none(
    redis_server: RedisServer, namespace: str, store: RedisStore
) -> None:
    processes = [await start(INCREMENT, redis_server.url, namespace, 40) for _ in range(3)]
    await asyncio.gather(*(finish(process) for process in processes))
    assert await store.get("counters", "c") == Record("c", 120, {"n": 120})


async def test_a_replica_finds_what_another_process_has_just_committed(
    redis_server: RedisServer, namespace: str, store: RedisStore
) -> None:
    replica = await start(SEARCH_ON_DEMAND, redis_server.url, namespace)
    assert replica.stdin and replica.stdout
    async with asyncio.timeout(60):
        for n in range(20):
            await store.commit([Put("articles", f"mine{n}", {}, text={"title": f"word{n}"})])
            replica.stdin.write(f"word{n} theirs{n}\n".encode())
            assert await replica.stdout.readline() == f"mine{n}\n".encode()
            assert await replica.stdout.readline() == b"written\n"
            assert [hit.id for hit in await store.search("articles", f"word{n}")] == [
                f"mine{n}",
                f"theirs{n}",
            ]
    await finish(replica)


async def test_a_thousand_commits_at_once_wait_their_turn(store: RedisStore) -> None:
    outcomes = await asyncio.gather(*(store.commit([Append("notes", "a", {})]) for _ in range(1000)))
    assert sorted(done.seqs for done in outcomes if isinstance(done, Committed)) == [
        (n,) for n in range(1, 1001)
    ]


async def test_a_few_connections_serve_any_number_of_calls(redis_server: RedisServer, namespace: str) -> None:
    def connections() -> int:
        return redis_server.ask("CLIENT", "LIST").count(b"id=") - 1

    before = connections()
    async with await RedisStore.open(redis_server.url, namespace=namespace) as store:
        await asyncio.gather(*(store.get("things", str(n)) for n in range(500)))
        assert 1 <= connections() - before <= 4
    await until(lambda: connections() == before)


async def test_a_large_commit_is_one_step(store: RedisStore) -> None:
    writes: list[Write] = [
        Put("things", f"t{n:04}", {"n": n}, ABSENT, [Index("all", "", f"{n:04}")], {"title": f"t{n}"})
        for n in range(3000)
    ]
    assert await store.commit(writes) == Committed((1,) * 3000)
    assert await store.count("things", "all", "") == 3000
    assert [record.id for record in await store.get_many("things", ["t2999", "t0000"])] == ["t2999", "t0000"]
    assert [hit.id for hit in await store.search("things", "t1234")] == ["t1234"]


async def test_a_scan_does_not_pay_for_records_that_were_deleted(store: RedisStore) -> None:
    await store.commit([Put("things", f"t{n}", {}) for n in range(10)])
    await store.commit([Delete("things", f"t{n}") for n in range(7)])
    page = await store.scan("things", limit=3)
    assert [record.id for record in page.records] == ["t7", "t8", "t9"] and not page.more


async def test_a_server_that_forgot_the_scripts_is_told_them_again(
    redis_server: RedisServer, store: RedisStore
) -> None:
    for n in range(1, 4):
        assert redis_server.ask("SCRIPT", "FLUSH") == b"+OK\r\n"
        outcomes = await asyncio.gather(*(store.commit([Append("notes", str(n), {})]) for _ in range(40)))
        assert len(outcomes) == len(await store.entries("notes", str(n)))
        assert redis_server.ask("SCRIPT", "FLUSH") == b"+OK\r\n"
        assert await store.acquire(f"work{n}", "first", 60)


async def test_time_is_the_servers_and_not_the_callers(
    redis_server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    seconds, _ = re.findall(rb"\r\n(\d+)\r\n", redis_server.ask("TIME"))
    lease = await store.acquire("work", "first", 5)
    assert lease and 4 <= lease.expires_at - int(seconds) <= 10
    await store.commit([Append("notes", "a", {}), Put("things", "a", {})])
    (entry,), (change,) = await store.entries("notes", "a"), await store.log("things")
    assert 0 <= entry.at - int(seconds) <= 10 and change.at == entry.at


async def test_a_lease_that_expired_by_the_servers_clock_can_be_taken_over(store: RedisStore) -> None:
    first = await store.acquire("work", "first", 0.05)
    assert first
    async with asyncio.timeout(5):
        second = await store.acquire("work", "second", 5)
        while second is None:
            second = await store.acquire("work", "second", 5)
    assert second.number == first.number + 1
    assert await store.renew(first, 5) is None


HOSTILE = [
    *("", "*", "?", "[a]", "{}", "{switchboard:other}:records", "a}b{c", "a\r\nFLUSHALL\r\n", "\0", "a\0b"),
    *("a\0\0b", "\0\xff", "../../etc/passwd", "%00", "%2e%2e", "a:b", "1:a", "3:abc1:", ":", "-1:x", " "),
    *("12 {}", "🙈", "é", "e\u0301", "\u202eabc", "x" * 5000, "'\"\\", "${jndi:x}", "\x7f\x80"),
]
KEY = re.compile(
    rb"\{switchboard:(mine|other)\}:"
    rb"(meta|records|ids|places|index|texts|changed|entries|heads|ages|tokens|token_ends|leases|lease_ends|log:[A-Za-z0-9_.~%-]*)"
)


async def test_hostile_names_never_become_part_of_a_key_or_of_each_other(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        other = await RedisStore.open(server.url, namespace="other")
        await other.commit([Put("things", "a", {"theirs": True})])
        async with await RedisStore.open(server.url, namespace="mine") as store:
            for n, name in enumerate(HOSTILE):
                await write_under(store, name, n)
            for n, name in enumerate(HOSTILE):
                await verify_under(store, name, n)
        assert await other.get("things", "a") == Record("a", 1, {"theirs": True})
        await other.close()
        listed = server.ask("KEYS", "*").split(b"\r\n")[2::2]
    assert len(listed) > len(HOSTILE) and all(KEY.fullmatch(key) for key in listed)


async def write_under(store: RedisStore, name: str, n: int) -> None:
    """Use a name in every place where one can stand."""
    indexes = [Index(name, "k", "s"), Index("i", name, "s"), Index("i", "k", name)]
    lease = await store.acquire(name, name, 60)
    assert lease
    writes: list[Write] = [
        Put("things", name, {"n": n}, ABSENT, indexes, {"title": f"word{n}"}),
        Put(name + "!", "a", {"n": n}),
        Append(name, "k", {"n": n}),
        Append("s", name, {"n": n}),
    ]
    await store.commit(writes, token=Token(name, name, {"n": n}), fence=lease.fence, actor=name)


async def verify_under(store: RedisStore, name: str, n: int) -> None:
    """Everything written under the name, and nothing else, is found under it."""
    assert await store.get("things", name) == Record(name, 1, {"n": n})
    assert await store.get(name + "!", "a") == Record("a", 1, {"n": n})
    for index, key in ((name, "k"), ("i", name)):
        page = await store.find("things", index, key)
        assert [record.data["n"] for record in page.records] == [n] and page.more == 0
    for stream, key in ((name, "k"), ("s", name)):
        assert [entry.data["n"] for entry in await store.entries(stream, key)] == [n]
    assert [head.key for head in await store.streams(name)] == ["k"]
    assert (await store.log(name + "!"))[0].actor == name
    token = await store.token(name)
    assert token and (token.fingerprint, token.result) == (name, {"n": n})
    lease = await store.acquire(name, name, 60)
    assert lease and lease.number == 1
    hits = await store.search("things", f"word{n}", within=("i", name))
    assert [hit.id for hit in hits] == [name]


@pytest.mark.parametrize(
    "write",
    [
        Put("\ud800", "a", {}),
        Put("things", "a", {}, indexes=[Index("all", "\ud800")]),
        Put("things", "a", {}, text={"title": "\ud800"}),
        Append("notes", "\ud800", {}),
        Append("notes", "a", {}, seq=2**53),
    ],
)
async def test_what_the_server_cannot_hold_is_refused_before_it_is_sent(
    store: RedisStore, write: Write
) -> None:
    with pytest.raises(StructuredError) as refused:
        await store.commit([write])
    assert refused.value.code == "invalid_value"


async def test_a_safe_server_is_called_safe(store: RedisStore) -> None:
    await store.ping()
    assert await store.unsafe() == []
    lines = await store.check()
    assert lines[0].startswith("Redis ") and not any(":" in line for line in lines)
    assert lines[1:] == [
        "schema version 1",
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
    ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")],
)
async def test_a_setting_that_may_lose_commits_is_named_and_not_ready(
    tmp_path: Path, setting: str, value: str
) -> None:
    with RedisServer(tmp_path / "redis", {setting: value}) as server:
        async with await RedisStore.open(server.url, namespace="billing") as store:
            (line,) = await store.unsafe()
            assert line.startswith(f"{setting} {value}: ") and line in await store.check()
            with pytest.raises(StoreUnavailableError, match=setting) as refused:
                await store.ping()
            assert refused.value.code == "store_unsafe" and not refused.value.retryable
        async with await RedisStore.open(server.url, namespace="billing", accept_loss=True) as store:
            await store.ping()
            assert await store.unsafe() == [line]
            assert f"{setting} {value}" in await store.check()


async def test_settings_that_cannot_be_read_are_not_called_safe(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        server.ask("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-config")
        url = server.url.replace("redis://", "redis://limited:secret@")
        async with await RedisStore.open(url, namespace="billing") as store:
            await store.commit([Put("things", "a", {})])
            assert len(await store.unsafe()) == 3
            assert all("unknown: " in line for line in await store.unsafe())
            with pytest.raises(StoreUnavailableError, match="unknown"):
                await store.ping()


async def test_wrong_credentials_are_told_apart_from_a_server_that_is_gone(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", {"requirepass": "right"}) as server:
        for user in ("", ":wrong@", "nobody:right@"):
            with pytest.raises(StoreUnavailableError, match="credentials") as refused:
                await RedisStore.open(server.url.replace("redis://", f"redis://{user}"), namespace="billing")
            assert not refused.value.retryable and "wrong" not in str(refused.value.to_json())
        right = server.url.replace("redis://", "redis://:right@")
        async with await RedisStore.open(right, namespace="billing") as store:
            await store.ping()
