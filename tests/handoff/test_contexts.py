"""The promises of `Contexts`: one suite for memory and for both stores."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from handoff import ContextLimits, Contexts, MemoryContexts, RecordedCall, StoredContexts
from handoff.context import CHARS_PER_TOKEN, MAX_ARGUMENTS_CHARS, recorded_call, shortened
from handoff.errors import StoreUnavailableError
from handoff.store import Store
from tests.conftest import STORES
from tests.handoff.desk import Clock

Make = Callable[..., Contexts]

ADA, BEN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


@pytest.fixture(params=["memory", *sorted(STORES)])
async def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Make]:
    """Makes contexts of one kind; those over a store share it."""
    store = None
    if request.param != "memory":
        store = await STORES[request.param](request, tmp_path, clock.seconds)
    made: list[Contexts] = []

    def make(**options: Any) -> Contexts:
        contexts: Contexts
        if store is None:
            contexts = MemoryContexts(clock=clock, **options)
        else:
            contexts = StoredContexts(store, clock=clock, store_clock=clock.seconds, **options)
        made.append(contexts)
        return contexts

    yield make
    for contexts in made:
        await contexts.close()
    if store is not None:
        await store.close()


def call(clock: Clock, tool: str = "get_ticket", **arguments: Any) -> RecordedCall:
    return recorded_call(tool, arguments, None, clock())


def session(number: int) -> str:
    return str(uuid.UUID(int=number))


async def test_a_recorded_call_is_in_the_context(make: Make, clock: Clock) -> None:
    contexts = make()
    noted = [call(clock, ticket_id="tck_1"), recorded_call("pay", {}, {"code": "conflict"}, clock())]
    for each in noted:
        contexts.record("local", ADA, each)
    context = await contexts.get("local", ADA)
    assert (context.session_id, context.calls) == (ADA, noted)
    assert (context.summary_before_window, context.calls_before_window) == (None, 0)
    assert context.last_call_at == clock()
    assert context.calls[1].error_code == "conflict"


async def test_an_unknown_session_is_empty(make: Make) -> None:
    context = await make().get("local", ADA)
    assert (context.calls, context.summary_before_window, context.last_call_at) == ([], None, None)


async def test_sessions_and_principals_do_not_mix(make: Make, clock: Clock) -> None:
    contexts = make()
    keys = [(principal, each) for principal in ("local", "other") for each in (ADA, BEN)]

    async def speak(principal: str, each: str) -> None:
        for number in range(15):
            contexts.record(principal, each, call(clock, f"{principal}-{each}", number=number))
            await asyncio.sleep(0)

    await asyncio.gather(*(speak(*key) for key in keys))
    for principal, each in keys:
        calls = (await contexts.get(principal, each)).calls
        assert [(noted.tool, noted.arguments["number"]) for noted in calls] == [
            (f"{principal}-{each}", number) for number in range(15)
        ]


async def test_the_last_twenty_calls_stay_and_older_ones_are_summarised(make: Make, clock: Clock) -> None:
    contexts = make()
    for number in range(25):
        contexts.record("local", ADA, call(clock, number=number))
    context = await contexts.get("local", ADA)
    assert [noted.arguments["number"] for noted in context.calls] == list(range(5, 25))
    assert context.calls_before_window == 5
    assert context.summary_before_window == "\n".join(
        f"09:00 get_ticket(number={number}): ok" for number in reversed(range(5))
    )


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_a_long_session_stays_within_its_window_and_budget(
    one_by_one: bool, make: Make, clock: Clock
) -> None:
    limits = ContextLimits(window=5, budget_tokens=500)
    contexts = make(limits=limits)
    for number in range(137):
        contexts.record("local", ADA, call(clock, number=number, text="x" * 80))
        if one_by_one:
            await contexts.get("local", BEN)  # which waits until the call is written down
    context = await contexts.get("local", ADA)
    assert context.calls_before_window + len(context.calls) == 137
    assert [noted.arguments["number"] for noted in context.calls] == list(range(132, 137))
    kept = sum(len(noted.model_dump_json()) for noted in context.calls)
    assert context.summary_before_window is not None
    assert kept + len(context.summary_before_window) <= limits.budget_tokens * CHARS_PER_TOKEN
    assert "number=131" in context.summary_before_window


async def test_calls_too_long_for_the_budget_leave_the_window_early(make: Make, clock: Clock) -> None:
    contexts = make(limits=ContextLimits(budget_tokens=200))
    for number in range(10):
        contexts.record("local", ADA, call(clock, number=number, a="x" * 100, b="y" * 100))
    context = await contexts.get("local", ADA)
    assert 1 <= len(context.calls) < 3
    assert context.calls[-1].arguments["number"] == 9
    assert context.calls_before_window == 10 - len(context.calls)


async def test_the_summariser_can_be_replaced_and_gets_its_own_summary_back(make: Make, clock: Clock) -> None:
    async def count(previous: str | None, calls: Sequence[RecordedCall]) -> str:
        return str(int(previous or 0) + len(calls))

    contexts = make(limits=ContextLimits(window=3), summarise=count)
    for number in range(40):
        contexts.record("local", ADA, call(clock, number=number))
        await contexts.get("local", BEN)
    context = await contexts.get("local", ADA)
    assert (context.summary_before_window, context.calls_before_window) == ("37", 37)


async def test_clearing_forgets_one_session_and_says_whether_it_was_known(make: Make, clock: Clock) -> None:
    contexts = make()
    for each in (ADA, BEN):
        contexts.record("local", each, call(clock))
    assert await contexts.clear("other", ADA) is False
    assert await contexts.clear("local", ADA) is True
    assert await contexts.clear("local", ADA) is False
    assert (await contexts.get("local", ADA)).calls == []
    assert len((await contexts.get("local", BEN)).calls) == 1


async def test_a_cleared_session_starts_anew(make: Make, clock: Clock) -> None:
    contexts = make(limits=ContextLimits(window=3))
    for _ in range(2):
        for number in range(12):
            contexts.record("local", ADA, call(clock, number=number))
        context = await contexts.get("local", ADA)
        assert [noted.arguments["number"] for noted in context.calls] == [9, 10, 11]
        assert context.calls_before_window == 9
        await contexts.clear("local", ADA)


async def test_a_session_idle_for_half_an_hour_is_over(make: Make, clock: Clock) -> None:
    contexts = make()
    contexts.record("local", ADA, call(clock))
    clock.advance(1800)
    assert len((await contexts.get("local", ADA)).calls) == 1
    clock.advance(1)
    assert (await contexts.get("local", ADA)).calls == []
    contexts.record("local", ADA, call(clock, number=2))
    assert len((await contexts.get("local", ADA)).calls) == 1


async def test_beyond_the_most_sessions_the_longest_silent_is_dropped(make: Make, clock: Clock) -> None:
    contexts = make(limits=ContextLimits(max_sessions=3))
    for number in (1, 2, 3, 1, 4):
        clock.advance(1)
        contexts.record("local", session(number), call(clock, number=number))
        await contexts.get("local", session(99))
    live = [number for number in (1, 2, 3, 4) if (await contexts.get("local", session(number))).calls]
    assert live == [1, 3, 4]


async def test_many_sessions_in_one_breath_stay_within_the_most(make: Make, clock: Clock) -> None:
    contexts = make(limits=ContextLimits(max_sessions=10))
    for number in range(60):
        contexts.record("local", session(number), call(clock))
    live = [number for number in range(60) if (await contexts.get("local", session(number))).calls]
    assert len(live) == 10


async def test_a_new_session_sweeps_the_idle_ones(either_store: Store, clock: Clock) -> None:
    contexts = StoredContexts(either_store, clock=clock, store_clock=clock.seconds)
    for number in range(5):
        contexts.record("local", session(number), call(clock))
    await contexts.close()
    assert await either_store.count_streams("context") == 5
    clock.advance(1801)
    contexts.record("local", session(9), call(clock))
    await contexts.close()
    assert await either_store.count_streams("context") == 1


async def test_stored_contexts_survive_a_restart(either_store: Store, clock: Clock) -> None:
    for start in (0, 30, 60):
        contexts = StoredContexts(either_store, clock=clock, store_clock=clock.seconds)
        for number in range(start, start + 30):
            contexts.record("local", ADA, call(clock, number=number))
            await contexts.get("local", BEN)
        await contexts.close()
    context = await StoredContexts(either_store, clock=clock).get("local", ADA)
    assert [noted.arguments["number"] for noted in context.calls] == list(range(70, 90))
    assert context.calls_before_window == 70


async def test_two_replicas_keep_one_context(either_store: Store, clock: Clock) -> None:
    limits = ContextLimits(window=5)
    replicas = [
        StoredContexts(either_store, limits=limits, clock=clock, store_clock=clock.seconds) for _ in range(2)
    ]
    for number in range(100):
        replicas[number % 2].record("local", ADA, call(clock, number=number))
        if number % 7 == 0:
            await asyncio.gather(*(replica.get("local", ADA) for replica in replicas))
    for replica in replicas:
        await replica.close()
    contexts = [await replica.get("local", ADA) for replica in replicas]
    assert contexts[0] == contexts[1]
    assert contexts[0].calls_before_window + len(contexts[0].calls) == 100


async def test_a_sessions_stream_does_not_grow_with_its_history(either_store: Store, clock: Clock) -> None:
    limits = ContextLimits(window=5)
    contexts = StoredContexts(either_store, limits=limits, clock=clock, store_clock=clock.seconds)
    for number in range(300):
        contexts.record("local", ADA, call(clock, number=number))
        await contexts.get("local", BEN)
    [head] = await either_store.streams("context")
    assert len(await either_store.entries("context", head.key)) <= 3 * limits.window
    assert await either_store.log("context") == []


async def test_recording_never_fails_and_never_waits(
    either_store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    contexts = StoredContexts(either_store, clock=clock, store_clock=clock.seconds)
    await either_store.close()
    for _ in range(100):
        contexts.record("local", ADA, call(clock))
    await contexts.close()
    assert "could not be noted" in caplog.text
    with pytest.raises(StoreUnavailableError):
        await contexts.get("local", ADA)


def test_recorded_arguments_are_shortened_and_hold_no_token() -> None:
    short = shortened(
        {
            "idempotency_token": "tok",
            "text": "é" * 500,
            "nested": {"list": list(range(200))},
            "amount": 4800,
            "flag": None,
        }
    )
    assert short["text"] == "é" * 120 + "…"
    assert short["nested"].startswith('{"list": [0, 1, 2')
    assert short["nested"].endswith("…")
    assert (short["amount"], short["flag"]) == (4800, None)
    assert "idempotency_token" not in short
    many = shortened({f"argument_{number}": "x" * 100 for number in range(50)})
    assert sum(len(name) + len(value) for name, value in many.items()) <= MAX_ARGUMENTS_CHARS
