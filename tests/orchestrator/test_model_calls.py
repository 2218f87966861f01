"""The limits of model calls: shared by all workers, slower when the provider says so, and never a leak."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from orchestrator.dispatch.shared_quota import SharedQuota
from orchestrator.limits import LimiterFullError
from orchestrator.model_calls import HOLD_SECONDS, ModelCall, ModelCalls
from orchestrator.models.claude import ClaudeModel
from orchestrator.models.protocol import Fault, ModelError, ModelRequest, Usage
from orchestrator.team import ModelLimits
from tests.conftest import redis_namespace
from tests.orchestrator import fake_messages_api as messages
from tests.orchestrator.fake_messages_api import Plain, Stream, failure, messages_api
from tests.redis_server import RedisServer

WAIT_SECONDS = 10.0
REQUEST = ModelRequest("m", "triage", "s", [{"role": "user", "content": "x" * 400}], deadline_seconds=5)
BUSY = ModelError(Fault.RATE_LIMITED, "slow down")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def once(calls: ModelCalls, *faults: ModelError, tokens: int = 1) -> ModelCall:
    async with calls.slot(REQUEST) as call:
        for fault in faults:
            call.on_fault(fault)
        call.done(Usage(output_tokens=tokens))
    return call


async def test_a_refusal_halves_what_may_run_and_successes_raise_it_slowly() -> None:
    clock = Clock()
    calls = ModelCalls(ModelLimits(max_running=8), clock=clock)
    await once(calls, BUSY, BUSY, BUSY)
    assert calls.statistics.max_running == 4  # one burst counts once
    clock.now += HOLD_SECONDS
    await once(calls, ModelError(Fault.OVERLOADED, "529"))
    assert calls.statistics.max_running == 2
    await once(calls)
    assert calls.statistics.max_running == 2  # not so soon
    clock.now += HOLD_SECONDS
    rounds = 0
    while calls.statistics.max_running < 8:
        await once(calls)
        rounds += 1
    assert 20 < rounds < 40  # about as many as run at once for each further one
    for _ in range(20):
        await once(calls)
    assert calls.statistics.max_running == 8


async def test_other_faults_do_not_slow_anybody_down() -> None:
    calls = ModelCalls(ModelLimits(max_running=8), clock=Clock())
    await once(calls, ModelError(Fault.SERVER, "500"), ModelError(Fault.NETWORK, "cut"))
    assert calls.statistics.max_running == 8


async def test_never_fewer_than_one_call_may_run() -> None:
    clock = Clock()
    calls = ModelCalls(ModelLimits(max_running=4), clock=clock)
    for _ in range(10):
        await once(calls, BUSY)
        clock.now += HOLD_SECONDS
    assert calls.statistics.max_running == 1


async def test_a_minutes_tokens_hold_the_next_call_up_until_the_debt_is_paid() -> None:
    calls = ModelCalls(ModelLimits(tokens_per_minute=60_000))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await once(calls, tokens=1_200)  # a fifth of a second's worth in debt
    await once(calls)
    assert loop.time() - began >= 0.15


async def test_waiting_for_tokens_ends_at_the_deadline() -> None:
    calls = ModelCalls(ModelLimits(tokens_per_minute=60))
    await once(calls, tokens=1_000)
    with pytest.raises(LimiterFullError):
        async with calls.slot(REQUEST, asyncio.get_running_loop().time() + 0.05):
            pytest.fail("the tokens were there")
    assert calls.statistics.running == 0


@pytest.fixture
def quotas(redis_server: RedisServer, tmp_path: Path) -> Quotas:
    return Quotas(redis_server, redis_namespace(tmp_path))


class Quotas:
    """Quotas of several processes on one Redis."""

    def __init__(self, server: RedisServer, namespace: str) -> None:
        self._server = server
        self._namespace = namespace

    def of(self, **bounds: float) -> SharedQuota:
        return SharedQuota(self._server.url, self._namespace, ModelLimits.model_validate(bounds))


async def test_workers_together_run_no_more_than_may_run(quotas: Quotas) -> None:
    running = peak = 0

    async def work(calls: ModelCalls) -> None:
        nonlocal running, peak
        async with calls.slot(REQUEST) as call:
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0.01)  # the time in which others could begin
            running -= 1
            call.done(Usage())

    async with AsyncExitStack() as stack:
        several = [await stack.enter_async_context(aclosing(quotas.of(max_running=3))) for _ in range(3)]
        workers = [ModelCalls(ModelLimits(max_running=3), quota) for quota in several]
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(*(work(calls) for calls in workers for _ in range(6)))
    assert peak == 3


async def test_slots_of_a_worker_that_died_come_back(quotas: Quotas) -> None:
    async with aclosing(quotas.of(max_running=1)) as dead, aclosing(quotas.of(max_running=1)) as alive:
        assert await dead.take("a", tokens=1, seconds=0.3) == 0
        assert await alive.take("b", tokens=1, seconds=5) > 0
        async with asyncio.timeout(WAIT_SECONDS):
            while (wait := await alive.take("b", tokens=1, seconds=5)) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait)
        await dead.give_back("a", tokens=0, congested=False)  # too late to take another's slot away
        assert await dead.take("c", tokens=1, seconds=5) > 0


async def test_a_refusal_that_one_worker_hears_slows_all_of_them(quotas: Quotas) -> None:
    async with aclosing(quotas.of(max_running=4)) as one, aclosing(quotas.of(max_running=4)) as other:
        await one.congested()
        await one.congested()
        granted = [await other.take(f"{number}", tokens=1, seconds=5) == 0 for number in range(4)]
        assert granted == [True, True, False, False]


async def test_calls_and_tokens_of_a_minute_are_counted_together(quotas: Quotas) -> None:
    bounds = {"max_running": 50, "calls_per_minute": 120}
    async with aclosing(quotas.of(**bounds)) as one, aclosing(quotas.of(**bounds)) as other:
        waits = [
            await quota.take(f"{number}", tokens=1, seconds=5)
            for number, quota in enumerate([one, other] * 3)
        ]
        assert [wait == 0 for wait in waits] == [True, True, False, False, False, False]
        assert all(wait <= 0.5 for wait in waits)


async def test_tokens_used_beyond_the_estimate_hold_everybody_up(quotas: Quotas) -> None:
    bounds = {"max_running": 50, "tokens_per_minute": 600}
    async with aclosing(quotas.of(**bounds)) as one, aclosing(quotas.of(**bounds)) as other:
        assert await one.take("a", tokens=1, seconds=5) == 0
        await one.give_back("a", tokens=100, congested=False)
        assert await other.take("b", tokens=1, seconds=5) > 1


async def test_without_redis_each_worker_goes_on_by_its_own_limits(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        quota = SharedQuota(server.url, "gone", ModelLimits())
    async with aclosing(quota), asyncio.timeout(WAIT_SECONDS):
        await once(ModelCalls(ModelLimits(), quota))


async def test_the_claude_model_tells_of_refusals_that_it_retries() -> None:
    heard: list[Fault] = []
    answers: list[Plain | Stream] = [
        failure(429, "rate_limit_error", retry_after="0"),
        failure(529, "overloaded_error", retry_after="0"),
        Stream([messages.start(), *messages.text(0, "Hello."), *messages.stop("end_turn")]),
    ]
    async with messages_api(lambda body: answers.pop(0)) as api:
        import anthropic

        model = ClaudeModel(anthropic.AsyncAnthropic(api_key="k", base_url=api.url, max_retries=0))
        request = ModelRequest(
            "m",
            "triage",
            "s",
            [{"role": "user", "content": "Hi"}],
            on_fault=lambda error: heard.append(error.fault),
        )
        async with asyncio.timeout(WAIT_SECONDS):
            reply = await model.reply(request)
        await model.close()
    assert reply.text == "Hello."
    assert heard == [Fault.RATE_LIMITED, Fault.OVERLOADED]
