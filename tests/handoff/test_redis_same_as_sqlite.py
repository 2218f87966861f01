"""Both stores are asked to do the same: they must answer, keep and find the same."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff.errors import StructuredError, VersionConflictError
from handoff.redis.store import RedisStore
from handoff.sqlite.store import SqliteStore
from handoff.store import (
    Append,
    Check,
    Committed,
    Delete,
    Fence,
    Hit,
    Index,
    Lease,
    Page,
    Put,
    Store,
    Token,
    Trim,
    Write,
)
from tests.redis_server import RedisServer

THOROUGH = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NAMES = ["", "a", "b", "a\0", "\0", "a\0b", "1:a", "é", "\U0001f600", "{}*\r\n"]
names = st.sampled_from(NAMES)
collections = st.sampled_from(["things", "a\0"])
streams = st.sampled_from(["notes", "1:a"])
lists = st.sampled_from(["all", ""])
keys = st.sampled_from(["", "k", "a\0"])
versions = st.sampled_from([None, None, 0, 1, 2, 7])
texts = st.none() | st.fixed_dictionaries(
    {}, optional={"title": st.sampled_from(["", "red fox"]), "body": st.sampled_from(["fox", "\0 blue"])}
)
data = st.fixed_dictionaries({"n": st.integers(0, 3) | st.sampled_from(["\ud800", "x\0", 1.5, None])})
indexes = st.lists(st.builds(Index, lists, keys, names), max_size=3)
puts = st.builds(Put, collections, names, data, versions, indexes, texts)
writes = st.one_of(
    puts,
    puts,
    st.builds(Delete, collections, names, versions),
    st.builds(Check, collections, names, st.sampled_from([0, 1, 2])),
    st.builds(Append, streams, keys, data, st.sampled_from([None, None, 1, 2, 3, 9])),
    st.builds(Trim, streams, keys, st.sampled_from([None, -1, 0, 1, 2, 5, 100])),
)


@dataclass(frozen=True)
class Commit:
    pause: float
    writes: list[Write]
    token: Token | None
    fence: Fence | None
    actor: str


@dataclass(frozen=True)
class Hold:
    """Acquire, renew or release the lease of a name, or sweep what is over."""

    pause: float
    verb: str
    name: str
    owner: str
    number: int
    seconds: float


pauses = st.sampled_from([0.25, 0.25, 0.25, 2.0, 90_000.0])
commits = st.builds(
    Commit,
    pauses,
    st.lists(writes, max_size=5),
    st.none()
    | st.builds(
        Token,
        st.sampled_from(["t", "u\0"]),
        st.sampled_from(["f", "g:"]),
        data,
        st.sampled_from([1, 50_000, 2_592_000]),
        st.sampled_from([{}, {}, {"n": 2}, {'é"': -3, "m": 0}]),
    ),
    st.none() | st.none() | st.builds(Fence, keys, st.integers(1, 3)),
    st.sampled_from(["", "ada\0"]),
)
holds = st.builds(
    Hold,
    pauses,
    st.sampled_from(["acquire", "acquire", "renew", "release", "sweep"]),
    keys,
    st.sampled_from(["", "first", "second one"]),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 3.0]),
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def both(
    server: RedisServer, directory: Path, clock: Clock
) -> AsyncIterator[tuple[SqliteStore, RedisStore]]:
    name = uuid.uuid4().hex
    async with (
        await SqliteStore.open(directory / f"{name}.db", owner=name, clock=clock) as sqlite,
        await RedisStore.open(server.url, namespace=name, clock=clock) as redis,
    ):
        yield sqlite, redis


async def told(call: Awaitable[object]) -> object:
    """An answer, or an error in a form that can be compared."""
    try:
        return await call
    except VersionConflictError as error:
        return type(error), error.collection, error.id, error.expected, error.actual
    except StructuredError as error:
        return type(error), error.code, error.message, error.suggestion, error.field


def step(store: Store, act: Commit | Hold) -> Awaitable[object]:
    if isinstance(act, Commit):
        return store.commit(act.writes, token=act.token, fence=act.fence, actor=act.actor)
    if act.verb == "acquire":
        return store.acquire(act.name, act.owner, act.seconds)
    lease = Lease(act.name, act.owner, act.number, 0.0)
    if act.verb == "renew":
        return store.renew(lease, act.seconds)
    return store.release(lease) if act.verb == "release" else store.sweep(limit=act.number)


async def everything(store: Store) -> list[object]:
    """All that can be read of a store, positions of the log aside, which need only grow."""
    seen: list[object] = [await told(store.token(key)) for key in ("t", "u\0")]
    for collection in ("things", "a\0"):
        seen.append(await store.get_many(collection, NAMES))
        for after in (None, "", "a"):
            scan = await store.scan(collection, after=after, limit=3)
            seen.append((scan.records, scan.more))
        seen += [replace(change, position=0) for change in await store.log(collection)]
        for name in ("all", ""):
            for key in ("", "k", "a\0"):
                seen.append(await store.count(collection, name, key))
                for descending in (False, True):
                    seen += await pages(store, collection, Index(name, key), descending)
        for match in ("fox", "red", "blue OR red"):
            hits = await store.search(collection, match)
            seen += [hits, await store.search(collection, match, excerpts=False)]
            seen.append(await store.excerpts(collection, match, [hit.id for hit in hits] + ["x"]))
            seen.append(await store.search(collection, match, within=("all", "k"), limit=2, offset=1))
    for stream in ("notes", "1:a"):
        seen += [await store.count_streams(stream), await store.streams(stream)]
        for key in ("", "k", "a\0"):
            seen.append(await store.entries(stream, key))
            seen.append(await store.entries(stream, key, after=1, limit=2))
    return seen


async def pages(store: Store, collection: str, index: Index, descending: bool) -> list[Page]:
    found: list[Page] = []
    while not found or found[-1].cursor:
        cursor = found[-1].cursor if found else None
        found.append(
            await store.find(collection, index.name, index.key, limit=2, cursor=cursor, descending=descending)
        )
    return found


@THOROUGH
@given(acts=st.lists(commits | holds, min_size=1, max_size=12))
async def test_any_course_of_commits_and_leases_is_the_same_on_both(
    redis_server: RedisServer, tmp_path: Path, acts: Sequence[Commit | Hold]
) -> None:
    clock = Clock()
    async with both(redis_server, tmp_path, clock) as (sqlite, redis):
        for act in acts:
            clock.now += act.pause
            assert await told(step(redis, act)) == await told(step(sqlite, act))
        assert await everything(redis) == await everything(sqlite)


WORDS = [
    f"{first}{last}" for first in ("re", "sync", "bill", "pass", "fold") for last in ("ing", "er", "ed", "")
]


def article(rng: random.Random, id: str) -> Put:
    customers = [Index("customer", f"c{rng.randrange(4)}", "") for _ in range(rng.randrange(3))]
    text = {
        "title": " ".join(rng.choices(WORDS, k=rng.randint(1, 5))),
        "body": ". ".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(rng.randrange(9))),
    }
    return Put("articles", id, {}, indexes=customers, text=text)


def changes(rng: random.Random, count: int) -> list[Write]:
    """A generation of writes: new texts, changed ones, moved ones, some without text, some deleted."""
    made: list[Write] = []
    for _ in range(count):
        id = f"a{rng.randrange(300):03}"
        put = article(rng, id)
        dull = replace(put, text=None)
        note = Put("notes", id, {}, text={"title": rng.choice(WORDS)})
        kinds: list[Write] = [put, dull, Delete("articles", id), note]
        made += rng.choices(kinds, [8, 1, 1, 2])
    return made


def queries(rng: random.Random, count: int) -> list[str]:
    return [
        rng.choice([" AND ", " OR ", " "]).join(rng.sample(WORDS, rng.randint(1, 3))) for _ in range(count)
    ]


async def test_every_search_ranks_and_quotes_as_on_sqlite(redis_server: RedisServer, tmp_path: Path) -> None:
    rng = random.Random(20261120)
    compared = 0
    async with both(redis_server, tmp_path, Clock()) as (sqlite, redis):
        for count in (500, 1, 7, 250, 30):
            batch = changes(rng, count)
            for store in (sqlite, redis):
                assert isinstance(await store.commit(batch), Committed)
            for match in queries(rng, 25):
                within = rng.choice([None, ("customer", f"c{rng.randrange(4)}")])
                offset = rng.choice([0, 3])
                expected, found = [
                    await store.search("articles", match, limit=7, offset=offset, within=within)
                    for store in (sqlite, redis)
                ]
                assert found == expected
                compared += len(found)
    assert compared > 300


async def test_a_replica_opened_later_ranks_as_the_one_that_saw_every_change(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(7)
    async with both(redis_server, tmp_path, Clock()) as (_, redis):
        for count in (400, 300):
            await redis.commit(changes(rng, count))
            assert await redis.search("articles", "syncing")
        late = await RedisStore.open(redis_server.url, namespace=redis._namespace.name)
        for match in queries(rng, 25):
            early: list[Hit] = await redis.search("articles", match, limit=50)
            assert await late.search("articles", match, limit=50) == early
        await late.close()


async def test_a_restricted_search_follows_a_record_whose_lists_change_but_not_its_text(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with both(redis_server, tmp_path, Clock()) as (_, redis):
        for customer in ("ada", "ben", None):
            indexes = [Index("customer", customer)] if customer else []
            await redis.commit([Put("tickets", "t", {}, indexes=indexes, text={"title": "printer"})])
            for asked in ("ada", "ben"):
                hits = await redis.search("tickets", "printer", within=("customer", asked))
                assert bool(hits) is (asked == customer)
