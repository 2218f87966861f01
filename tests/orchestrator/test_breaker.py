"""The circuit breaker: when it opens, what it lets through, and what it does not count."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.links.breaker import Breaker, Circuit, CircuitOpenError, Passage


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("server one", failures=5, open_seconds=5.0, clock=clock)


def end(breaker: Breaker, *ends: bool | None) -> None:
    for failed in ends:
        breaker.leave(breaker.enter(), failed=failed)


def opened(breaker: Breaker) -> Breaker:
    end(breaker, *[True] * 5)
    assert breaker.state is Circuit.OPEN
    return breaker


def refused(breaker: Breaker) -> CircuitOpenError:
    with pytest.raises(CircuitOpenError) as error:
        breaker.enter()
    return error.value


def test_it_opens_after_five_failures_in_a_row_and_not_after_four(breaker: Breaker) -> None:
    end(breaker, *[True] * 4, False, *[True] * 4)
    assert breaker.state is Circuit.CLOSED
    end(breaker, True)
    assert breaker.state is Circuit.OPEN


def test_it_opens_when_every_other_call_fails(breaker: Breaker) -> None:
    end(breaker, *[True, False] * 4, True)
    assert breaker.state is Circuit.CLOSED  # nine calls say too little
    end(breaker, False, True)
    assert breaker.state is Circuit.OPEN


def test_failures_of_long_ago_do_not_count(breaker: Breaker, clock: Clock) -> None:
    end(breaker, *[True, False] * 4, True)
    clock.now += 31
    end(breaker, False, True)
    assert breaker.state is Circuit.CLOSED


def test_while_open_nothing_goes_through_and_the_caller_is_told_for_how_long(
    breaker: Breaker, clock: Clock
) -> None:
    opened(breaker)
    clock.now += 2
    told = refused(breaker).to_json()
    assert (told["code"], told["retryable"], told["retry_after_seconds"]) == ("circuit_open", True, 3.0)
    assert told["outcome_unknown"] is False
    assert breaker.waits() == 3.0


async def test_of_twenty_calls_at_once_one_is_the_probe(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5
    reached = 0

    async def call() -> None:
        nonlocal reached
        passage = breaker.enter()
        reached += 1
        await asyncio.sleep(0)
        breaker.leave(passage, failed=False)

    outcomes = await asyncio.gather(*(call() for _ in range(20)), return_exceptions=True)
    assert reached == 1
    assert sum(isinstance(outcome, CircuitOpenError) for outcome in outcomes) == 19
    assert breaker.state is Circuit.CLOSED


def test_a_probe_that_fails_doubles_the_wait_up_to_a_minute(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    waits = []
    for _ in range(6):
        waits.append(breaker.waits())
        clock.now += breaker.waits() or 0
        end(breaker, True)
    assert waits == [5, 10, 20, 40, 60, 60]
    clock.now += 60
    end(breaker, False, *[True] * 5)
    assert breaker.waits() == 5  # it was well in between


def test_a_cancelled_call_counts_for_nothing(breaker: Breaker, clock: Clock) -> None:
    end(breaker, *[None] * 20, *[True] * 4)
    end(breaker, None)
    assert breaker.state is Circuit.CLOSED
    end(breaker, True)
    assert breaker.state is Circuit.OPEN
    clock.now += 5
    end(breaker, None)
    assert breaker.state is Circuit.HALF_OPEN
    end(breaker, False)  # the next call is the probe instead
    assert breaker.state is Circuit.CLOSED


def test_calls_that_began_before_the_circuit_changed_are_not_heard(breaker: Breaker, clock: Clock) -> None:
    late: list[Passage] = [breaker.enter() for _ in range(3)]
    opened(breaker)
    breaker.leave(late[0], failed=False)
    assert breaker.state is Circuit.OPEN
    clock.now += 5
    probe = breaker.enter()
    breaker.leave(late[1], failed=False)
    assert breaker.state is Circuit.HALF_OPEN
    refused(breaker)
    breaker.leave(probe, failed=False)
    breaker.leave(late[2], failed=True)
    end(breaker, *[True] * 4)
    assert breaker.state is Circuit.CLOSED


def test_failures_to_connect_count_and_a_connection_allows_the_probe_at_once(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.failed()
    assert breaker.state is Circuit.OPEN
    refused(breaker)
    breaker.try_soon()
    end(breaker, False)
    assert breaker.state is Circuit.CLOSED


def test_each_change_is_told_once(clock: Clock) -> None:
    told: list[Circuit] = []
    breaker = Breaker("server one", failures=1, open_seconds=5.0, clock=clock, on_change=told.append)
    end(breaker, False, True)
    clock.now += 5
    end(breaker, False)
    assert told == [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]
