"""Composed tools: steps that fail by name, and many items with partial success."""

from __future__ import annotations

import asyncio
import logging

import pytest

from handoff.errors import StaleFenceError, StoreUnavailableError
from servers._pipeline import Pipeline, map_reduce
from servers._records import ReplayedCall
from servers._results import InvalidError, StepError


async def seven() -> int:
    return 7


async def unavailable() -> int:
    raise StoreUnavailableError("the disk is full", suggestion="free some space")


async def buggy() -> int:
    raise KeyError("secret of the customer")


async def replayed() -> int:
    raise ReplayedCall({"done": True})


async def test_a_failing_critical_step_is_named_with_what_was_done_before_it() -> None:
    steps = Pipeline(customer_id="cus_1")
    assert await steps.critical("read", seven) == 7
    with pytest.raises(StepError) as failed:
        await steps.critical("compare", unavailable)
    told = failed.value.to_json()
    assert told["code"] == "step_failed"
    assert told["step"] == "compare"
    assert told["context"] == {"customer_id": "cus_1", "done": ["read"]}
    assert told["cause"] == "store_unavailable"
    assert told["retryable"] is True
    assert told["suggestion"] == "free some space"
    assert isinstance(failed.value.__cause__, StoreUnavailableError)


async def test_a_failing_optional_step_is_listed_and_its_stand_in_is_used() -> None:
    steps = Pipeline()
    assert await steps.optional("look", unavailable, otherwise=0) == 0
    assert await steps.optional("count", seven, otherwise=0) == 7
    assert [(step.step, step.retryable) for step in steps.incomplete_steps] == [("look", True)]
    assert steps.done == ["count"]


async def test_a_bug_in_a_step_tells_the_log_its_text_and_the_caller_only_the_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Pipeline()
    with caplog.at_level(logging.ERROR), pytest.raises(StepError) as failed:
        await steps.critical("compare", buggy)
    assert "secret" not in str(failed.value.to_json())
    assert failed.value.to_json()["cause"] == "internal_error"
    assert "secret" in caplog.text


async def test_a_known_token_or_a_lost_lease_ends_the_call_and_is_no_failure_of_a_step() -> None:
    steps = Pipeline()
    with pytest.raises(ReplayedCall):
        await steps.critical("write", replayed)
    with pytest.raises(ReplayedCall):
        await steps.optional("write", replayed, otherwise=0)
    assert steps.incomplete_steps == []


async def test_a_cancelled_step_is_cancelled_and_not_degraded() -> None:
    steps = Pipeline()
    forever = asyncio.Event()
    task = asyncio.create_task(steps.optional("wait", forever.wait, otherwise=False))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_some_items_fail_and_the_others_are_done_in_the_order_asked() -> None:
    async def halve(number: int) -> int:
        await asyncio.sleep(0)
        if number % 2:
            raise InvalidError("must be even", field="number", suggestion="give an even one")
        return number // 2

    outcome = await map_reduce([8, 3, 6, 1], halve, limit=2)
    assert outcome.successful == [4, 3]
    assert [(failed.index, failed.field, failed.code) for failed in outcome.failed] == [
        (1, "number", "invalid_argument"),
        (3, "number", "invalid_argument"),
    ]
    assert outcome.total == 4


async def test_no_more_items_than_the_limit_are_in_work_at_once() -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return number

    outcome = await map_reduce(range(50), work, limit=4)
    assert most == 4
    assert outcome.successful == list(range(50))


async def test_nothing_to_do_is_an_empty_outcome() -> None:
    outcome = await map_reduce([], lambda _: seven())
    assert (outcome.successful, outcome.failed, outcome.total) == ([], [], 0)


async def test_a_bug_in_one_item_leaves_the_others_and_hides_its_text() -> None:
    async def work(number: int) -> int:
        return 1 // number

    outcome = await map_reduce([1, 0], work)
    assert outcome.successful == [1]
    assert outcome.failed[0].code == "internal_error"
    assert "division" not in outcome.failed[0].message


async def test_a_lost_lease_ends_the_whole_reduction() -> None:
    started: list[int] = []

    async def work(number: int) -> int:
        started.append(number)
        raise StaleFenceError("the lease was taken over")

    with pytest.raises(StaleFenceError):
        await map_reduce(range(100), work, limit=3)
    assert len(started) <= 3
