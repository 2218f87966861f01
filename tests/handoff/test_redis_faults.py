"""What the Redis store does while its server, or the way to it, is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest

from handoff.errors import StoreError, StoreUnavailableError
from handoff.redis import connection
from handoff.redis.store import RedisStore
from handoff.redis.text_projection import TextProjection
from handoff.store import Append, Committed, Put, Record, Replayed, Token
from tests.redis_server import LossyProxy, RedisServer

PROMISED_SECONDS = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be broken."""
    with RedisServer(tmp_path / "redis") as started:
        yield started


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    async with await RedisStore.open(server.url, namespace="billing") as opened:
        yield opened


async def refusal(call: Awaitable[object]) -> StoreUnavailableError:
    """The error of a call, which must come in the promised time and invite another try."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as refused:
        await call
    assert time.monotonic() - began <= PROMISED_SECONDS
    assert refused.value.retryable and refused.value.suggestion
    assert "127.0.0.1" not in refused.value.message
    return refused.value


async def until_it_works(store: RedisStore) -> None:
    """Commit as soon as that is possible again, without opening anything anew."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.commit([Put("things", "healed", {})])
            except StoreUnavailableError as error:
                assert error.retryable
                await asyncio.sleep(0.01)
            else:
                return


async def until_more(names: list[str], count: int) -> None:
    enough = len(names) + count
    for _ in iter(lambda: len(names) >= enough, True):
        await asyncio.sleep(0)


async def write_until_refused(store: RedisStore, worker: int, outcomes: dict[str, list[str]]) -> None:
    for n in range(100_000):
        name = f"{worker}-{n}"
        try:
            await store.commit([Append("effects", name, {}), Put("things", name, {})])
        except StoreUnavailableError as error:
            outcomes["unknown" if error.details.get("outcome_unknown") else "refused"].append(name)
            if len(outcomes["refused"]) > 50:
                return
        else:
            outcomes["acknowledged"].append(name)


async def is_kept(store: RedisStore, name: str) -> bool:
    """Whether a commit of `write_until_refused` is there; half of one is a failure."""
    entries, record = await store.entries("effects", name), await store.get("things", name)
    assert len(entries) == (record is not None)
    return bool(entries)


async def test_every_acknowledged_commit_survives_a_kill_of_the_server(
    server: RedisServer, store: RedisStore
) -> None:
    outcomes: dict[str, list[str]] = {"acknowledged": [], "unknown": [], "refused": []}
    for round in range(1, 4):
        outcomes["refused"].clear()
        writers = [
            asyncio.create_task(write_until_refused(store, round * 100 + n, outcomes)) for n in range(20)
        ]
        async with asyncio.timeout(60):
            await until_more(outcomes["acknowledged"], 200)
            server.kill()
            await asyncio.gather(*writers)
        server.start()
        await until_it_works(store)
        assert {name for name in outcomes["acknowledged"] if not await is_kept(store, name)} == set()
        assert {name for name in outcomes["refused"] if await is_kept(store, name)} == set()
        for name in outcomes["unknown"]:
            await is_kept(store, name)


async def test_a_server_that_is_gone_refuses_within_two_seconds_and_heals_by_itself(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit([Put("things", "a", {"v": 1})])
    server.kill()
    for _ in range(2):
        for call in (
            store.get("things", "a"),
            store.commit([Put("things", "a", {"v": 2})]),
            store.acquire("work", "first", 5),
            store.search("things", "word"),
            store.ping(),
        ):
            await refusal(call)
    assert not (await refusal(store.commit([Put("things", "a", {"v": 2})]))).details
    server.start()
    await until_it_works(store)
    assert await store.get("things", "a") == Record("a", 1, {"v": 1})
    await store.ping()


async def test_opening_without_a_server_says_which_one_is_missing(server: RedisServer) -> None:
    server.kill()
    url = server.url.replace("redis://", "redis://user:secret@")
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{server.port}") as refused:
        await RedisStore.open(url, namespace="billing")
    assert "secret" not in str(refused.value.to_json())


async def test_a_server_that_stalls_is_not_waited_for_and_what_was_sent_is_unknown(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit([Append("notes", "a", {"n": 0})])
    server.pause()
    try:
        calls = [store.commit([Append("notes", "a", {"n": n})]) for n in range(1, 201)]
        errors = await asyncio.gather(
            *(refusal(call) for call in calls), refusal(store.entries("notes", "a"))
        )
    finally:
        server.resume()
    assert "outcome_unknown" not in errors[-1].details
    sent = {n for n, error in enumerate(errors[:-1], start=1) if error.details.get("outcome_unknown")}
    assert sent and len(sent) < 200
    await until_it_works(store)
    kept = {entry.data["n"] for entry in await store.entries("notes", "a")}
    assert kept <= sent | {0}


async def test_a_lost_answer_is_called_unknown_and_the_token_tells_what_happened(server: RedisServer) -> None:
    async with (
        LossyProxy(server) as proxy,
        await RedisStore.open(proxy.url, namespace="billing") as store,
    ):
        await store.commit([Append("effects", "refund", {})])
        proxy.losing = True
        token = Token("t", "f", {"refund": 1})
        for _ in range(2):
            error = await refusal(store.commit([Append("effects", "refund", {})], token=token))
            assert error.details == {"outcome_unknown": True} and "token" in (error.suggestion or "")
        assert not (await refusal(store.get("things", "a"))).details
        proxy.losing = False
        assert await store.commit([Append("effects", "refund", {})], token=token) == Replayed(
            "f", {"refund": 1}
        )
        assert len(await store.entries("effects", "refund")) == 2


async def test_a_full_memory_refuses_whole_commits_keeps_reads_and_heals(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit([Put("things", "a", {"v": 1}), Append("notes", "a", {})])
    server.ask("CONFIG", "SET", "maxmemory", "100kb")
    for call in (
        store.commit([Append("notes", "a", {}), Put("things", "a", {"v": 2})], token=Token("t", "f", {})),
        store.acquire("work", "first", 5),
    ):
        assert "memory" in (await refusal(call)).message
    assert await store.get("things", "a") == Record("a", 1, {"v": 1})
    assert len(await store.entries("notes", "a")) == 1 and await store.token("t") is None
    assert "memory" in (await refusal(store.ping())).message
    server.ask("CONFIG", "SET", "maxmemory", "0")
    await store.ping()
    assert await store.commit([Append("notes", "a", {})], token=Token("t", "f", {})) == Committed(seqs=(2,))


async def test_a_server_that_became_a_replica_refuses_writes_until_it_leads_again(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit([Put("things", "a", {"v": 1})])
    server.ask("REPLICAOF", "127.0.0.1", "1")
    error = await refusal(store.commit([Put("things", "a", {"v": 2})]))
    assert "replica" in error.message and not error.details
    assert any(line.startswith("role replica: ") for line in await store.check())
    server.ask("REPLICAOF", "NO", "ONE")
    await until_it_works(store)
    assert await store.get("things", "a") == Record("a", 1, {"v": 1})


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"-LOADING Redis is loading the dataset in memory", "loading"),
        (b"-MISCONF Redis is configured to save RDB snapshots, but unable to persist", "disk"),
        (b"-ERR Error running script (call to f_1): @user_script:9: -MISCONF Errors writing", "disk"),
        (b"-NOREPLICAS Not enough good replicas to write.", "replicas"),
        (b"-BUSY Redis is busy running a script.", "busy"),
        (b"-CLUSTERDOWN Hash slot not served", "cluster"),
        (b"-ERR max number of clients reached", "reached"),
        (b"-ERR unknown command `INFO`", None),
    ],
)
async def test_a_refusal_of_the_server_is_told_in_its_own_words(answer: bytes, word: str | None) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer + b"\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailableError) as refused:
            await RedisStore.open(f"redis://127.0.0.1:{port}", namespace="billing")
    assert refused.value.retryable is (word is not None)
    assert not refused.value.details and (word or "could not run") in refused.value.message


async def test_what_a_crash_of_the_server_lost_is_no_longer_found(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", {"appendonly": "no"}) as server:
        async with await RedisStore.open(server.url, namespace="kb", accept_loss=True) as store:
            await store.commit([Put("articles", "kept", {}, text={"title": "word"})])
            assert server.ask("SAVE") == b"+OK\r\n"
            await store.commit([Put("articles", "lost", {}, text={"title": "word"})])
            assert len(await store.search("articles", "word")) == 2
            server.kill()
            server.start()
            await until_it_works(store)
            await store.commit([Put("articles", "new", {}, text={"title": "word"})])
            assert {hit.id for hit in await store.search("articles", "word")} == {"kept", "new"}


async def test_a_process_too_busy_to_look_does_not_blame_the_server(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    asked = [asyncio.create_task(store.get("things", str(number))) for number in range(20)]
    for _ in range(4):
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - as a thousand calls at once would
    assert await asyncio.gather(*asked) == [None] * 20


async def test_a_cancelled_call_leaves_the_answers_of_the_others_in_order(store: RedisStore) -> None:
    await store.commit([Put("things", str(n), {"n": n}) for n in range(200)])
    for turns in range(6):
        tasks = [asyncio.create_task(store.get("things", str(n))) for n in range(200)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for n, record in enumerate(found):
            assert isinstance(record, asyncio.CancelledError) or record == Record(str(n), 1, {"n": n})
    assert await store.get("things", "7") == Record("7", 1, {"n": 7})


async def test_closing_during_a_search_leaves_no_connection_behind(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.commit([Put("articles", str(n), {}, text={"title": "word"}) for n in range(1500)])
    under_way = asyncio.Event()
    take_over = TextProjection._take_over

    async def noticed(projection: TextProjection, rows: list[bytes]) -> None:
        under_way.set()
        await take_over(projection, rows)

    monkeypatch.setattr(TextProjection, "_take_over", noticed)
    searching = asyncio.create_task(store.search("articles", "word"))
    async with asyncio.timeout(10):
        await under_way.wait()
        await store.close()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await searching
    assert server.ask("CLIENT", "LIST").count(b"id=") == 1


async def test_closing_while_the_server_is_gone_ends_in_time(server: RedisServer, store: RedisStore) -> None:
    server.pause()
    try:
        commit = asyncio.create_task(store.commit([Put("things", "a", {})]))
        await asyncio.sleep(0)
        async with asyncio.timeout(2 * PROMISED_SECONDS):
            await store.close()
        with pytest.raises(StoreError):
            await commit
    finally:
        server.resume()
