"""The `claude` model against the real wire: every way a reply can go wrong ends classified."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.models.claude import ClaudeModel, Patience
from orchestrator.models.protocol import Fault, ModelChoiceError, ModelError, ModelReply, ModelRequest, Stop
from tests.orchestrator import fake_messages_api as wire
from tests.orchestrator.fake_messages_api import Answer, Plain, Stream, messages_api

QUICK = Patience(attempts=3, first_event=2.0, idle=0.6, backoff=0.001, longest_backoff=0.01)
REFUND = '{"invoice_id": "inv_1", "amount_minor": 4800}'


async def ask(
    respond: Callable[[wire.JsonObject], Answer],
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float = 10.0,
    messages: list[wire.JsonObject] | None = None,
) -> tuple[ModelReply | ModelError, wire.FakeMessagesApi]:
    async with messages_api(respond) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        model = ClaudeModel(patience=QUICK)
        request = ModelRequest(
            model="claude-haiku-5-5",
            agent="billing",
            system="You are billing.",
            messages=messages or [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
            tools=[
                {"name": "billing__process_refund", "description": "d", "input_schema": {"type": "object"}}
            ],
            deadline_seconds=seconds,
        )
        try:
            return await model.reply(request), api
        except ModelError as error:
            return error, api
        finally:
            await model.close()


def once(*events: bytes, **options: object) -> Callable[[wire.JsonObject], Answer]:
    return lambda _: Stream(list(events), **options)  # type: ignore[arg-type]  # test shorthand


def then(*answers: Answer) -> Callable[[wire.JsonObject], Answer]:
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


GOOD = Stream([wire.start(), *wire.text(0, "all good"), *wire.stop("end_turn")])


async def test_text_thinking_and_parallel_tool_calls_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        wire.start(),
        *wire.thinking(0),
        *wire.text(1, "Let me |look."),
        *wire.tool(2, "toolu_1", "billing__get_invoice", '{"invoice_id": "inv_1"}'),
        *wire.tool(3, "toolu_2", "billing__process_refund", REFUND),
        *wire.stop("tool_use"),
    ]
    reply, api = await ask(once(*events), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert reply.stop is Stop.TOOLS
    assert reply.text == "Let me look."
    assert [call["id"] for call in reply.tool_uses] == ["toolu_1", "toolu_2"]
    assert reply.tool_uses[1]["input"] == json.loads(REFUND)
    assert reply.content[0] == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 57)
    assert (reply.usage.cache_read_tokens, reply.usage.cache_write_tokens) == (1000, 40)
    assert reply.request_id == "req_test"
    assert api.authorizations == ["Bearer key-for-tests"]
    assert api.requests[0]["stream"] is True
    assert "temperature" not in api.requests[0]


@pytest.mark.parametrize(
    ("respond", "fault", "requests"),
    [
        pytest.param(once(wire.start(), *wire.text(0, "Hel")), Fault.TRUNCATED, 3, id="clean cut in text"),
        pytest.param(
            once(wire.start(), *wire.tool(0, "t", "billing__process_refund", REFUND[:-3], closed=False)),
            Fault.TRUNCATED,
            3,
            id="clean cut in a tool call",
        ),
        pytest.param(
            once(wire.start(), *wire.tool(0, "t", "refund", '{"amount": tru!!}'), *wire.stop("tool_use")),
            Fault.TRUNCATED,
            3,
            id="tool call that is no JSON",
        ),
        pytest.param(
            once(wire.start(), *wire.tool(0, "t", "refund", "[1]"), *wire.stop("tool_use")),
            Fault.TRUNCATED,
            3,
            id="tool call that is no object",
        ),
        pytest.param(
            once(wire.start(), *wire.text(0, "Hel"), drop=True), Fault.NETWORK, 3, id="dropped socket"
        ),
        pytest.param(
            once(wire.start(), *wire.text(0, "Hel"), wire.error_event("overloaded_error")),
            Fault.OVERLOADED,
            3,
            id="overloaded in the stream",
        ),
        pytest.param(once(wire.error_event("api_error")), Fault.SERVER, 3, id="error as the first event"),
        pytest.param(once(), Fault.TRUNCATED, 3, id="empty stream"),
        pytest.param(
            lambda _: Plain(200, b"<html>portal</html>", "text/html"),
            Fault.TRUNCATED,
            3,
            id="HTML with status 200",
        ),
        pytest.param(lambda _: Plain(200, b""), Fault.TRUNCATED, 3, id="empty body with status 200"),
        pytest.param(lambda _: Plain(200, b'{"foo": 1}'), Fault.TRUNCATED, 3, id="JSON with status 200"),
        pytest.param(lambda _: Plain(502, b"<html>bad</html>", "text/html"), Fault.SERVER, 3, id="502 HTML"),
        pytest.param(lambda _: wire.failure(529, "overloaded_error"), Fault.OVERLOADED, 3, id="529"),
        pytest.param(lambda _: wire.failure(500, "api_error"), Fault.SERVER, 3, id="500"),
        pytest.param(lambda _: wire.failure(408, "timeout_error"), Fault.TIMEOUT, 3, id="408"),
        pytest.param(lambda _: wire.failure(429, "rate_limit_error"), Fault.RATE_LIMITED, 3, id="429"),
        pytest.param(
            lambda _: wire.failure(429, "rate_limit_error", retry_after="3600"),
            Fault.RATE_LIMITED,
            1,
            id="429 for an hour is not slept through",
        ),
        pytest.param(
            lambda _: wire.failure(429, "rate_limit_error", code="enforced_spend_limit_reached"),
            Fault.SPEND_LIMIT,
            1,
            id="a spending limit is never retried",
        ),
        pytest.param(
            lambda _: wire.failure(429, "rate_limit_error", x_should_retry="false"),
            Fault.BAD_REQUEST,
            1,
            id="x-should-retry false is obeyed",
        ),
        pytest.param(lambda _: wire.failure(402, "billing_error"), Fault.SPEND_LIMIT, 1, id="402"),
        pytest.param(lambda _: wire.failure(401, "authentication_error"), Fault.CREDENTIALS, 1, id="401"),
        pytest.param(lambda _: wire.failure(404, "not_found_error"), Fault.NOT_FOUND, 1, id="404"),
        pytest.param(lambda _: wire.failure(413, "request_too_large"), Fault.TOO_LARGE, 1, id="413"),
        pytest.param(lambda _: wire.failure(400, "invalid_request_error"), Fault.BAD_REQUEST, 1, id="400"),
    ],
)
async def test_what_goes_wrong_ends_classified_and_no_call_of_it_survives(
    respond: Callable[[wire.JsonObject], Answer],
    fault: Fault,
    requests: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome, api = await ask(respond, monkeypatch)
    assert isinstance(outcome, ModelError)
    assert outcome.fault is fault
    assert len(api.requests) == requests
    assert "key-for-tests" not in str(outcome)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(wire.failure(529, "overloaded_error"), id="529"),
        pytest.param(wire.failure(429, "rate_limit_error", retry_after="0.05"), id="429 with retry-after"),
        pytest.param(Stream([wire.start(), *wire.text(0, "Hel")], drop=True), id="dropped socket"),
        pytest.param(Stream([wire.start(), wire.error_event("overloaded_error")]), id="error in the stream"),
    ],
)
async def test_a_passing_trouble_is_tried_again(first: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    reply, api = await ask(then(first, GOOD), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert (reply.text, reply.attempts, len(api.requests)) == ("all good", 2, 2)


async def test_what_a_broken_reply_cost_is_counted_with_the_whole_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Stream([wire.start(), *wire.text(0, "Hel")], drop=True)
    whole, _ = await ask(lambda _: GOOD, monkeypatch)
    reply, _ = await ask(then(broken, GOOD), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert isinstance(whole, ModelReply)
    assert reply.usage.input_tokens == 2 * whole.usage.input_tokens > 0
    lost, api = await ask(lambda _: broken, monkeypatch)
    assert isinstance(lost, ModelError)
    assert lost.usage.input_tokens == len(api.requests) * whole.usage.input_tokens


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "end_turn", "a_reason_of_the_future"])
async def test_tool_calls_run_only_when_the_model_stopped_for_tools(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        wire.start(),
        *wire.text(0, "so"),
        *wire.tool(1, "t", "billing__process_refund", REFUND),
        *wire.stop(reason),
    ]
    reply, _ = await ask(once(*events), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert reply.stop is not Stop.TOOLS
    assert reply.tool_uses == []
    assert reply.text == "so"


async def test_a_tool_call_cut_off_at_the_output_limit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = wire.tool(0, "t", "billing__process_refund", '{"invoice_id": "inv_1", "amount_minor": 48')
    reply, _ = await ask(once(wire.start(), *cut, *wire.stop("max_tokens")), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert (reply.stop, reply.content) == (Stop.LENGTH, [])


async def test_pings_do_not_keep_a_stalled_reply_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    stalled = Stream([wire.start(), *wire.text(0, "Hel", closed=False)], pings=200)
    reply, api = await ask(then(stalled, GOOD), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert (reply.text, len(api.requests)) == ("all good", 2)


async def test_the_request_s_deadline_bounds_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    stalled = Stream([wire.start()], pings=200)
    outcome, _ = await ask(lambda _: stalled, monkeypatch, seconds=0.3)
    assert isinstance(outcome, ModelError)
    assert outcome.fault is Fault.TIMEOUT


async def test_unknown_events_and_blocks_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        wire.start(),
        wire.event("brand_new", {"x": 1}),
        *wire.block(0, {"type": "hologram", "data": "x"}, [{"type": "hologram_delta", "z": 1}]),
        *wire.text(1, "hi"),
        *wire.stop("end_turn"),
    ]
    reply, _ = await ask(once(*events), monkeypatch)
    assert isinstance(reply, ModelReply)
    assert reply.text == "hi"
    assert reply.content[0]["type"] == "hologram"


async def test_thinking_of_another_conversation_is_left_out_and_tried_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = json.dumps(
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "messages.1: thinking block is bound to a different conversation",
            },
        }
    ).encode()
    history = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "other"},
                {"type": "text", "text": "hi"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
    ]
    reply, api = await ask(then(Plain(400, body), GOOD), monkeypatch, messages=history)
    assert isinstance(reply, ModelReply)
    assert "thinking" in json.dumps(api.requests[0]["messages"])
    assert "thinking" not in json.dumps(api.requests[1]["messages"])


async def test_text_that_was_shown_is_never_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    async def show(part: str) -> None:
        shown.append(part)

    async with messages_api(once(wire.start(), *wire.text(0, "Hel|lo"))) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        model = ClaudeModel(patience=QUICK)
        message = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
        request = ModelRequest("claude-haiku-5-5", "triage", "You are triage.", [message])
        with pytest.raises(ModelError) as caught:
            await model.reply(request, on_text=show)
        await model.close()
    assert caught.value.fault is Fault.TRUNCATED
    assert (shown, len(api.requests)) == (["Hel", "lo"], 1)


def test_a_missing_key_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with pytest.raises(ModelChoiceError, match="set ANTHROPIC_API_KEY"):
        ClaudeModel.from_environment()


async def sent_bodies(
    monkeypatch: pytest.MonkeyPatch, *requests: ModelRequest, answer: Answer = GOOD
) -> list[wire.JsonObject]:
    """What the API receives for these requests, in order."""
    async with messages_api(lambda _: answer) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        model = ClaudeModel(patience=QUICK)
        try:
            for request in requests:
                await model.reply(request)
        finally:
            await model.close()
        return api.requests


TOOLS = [
    {"name": name, "description": "d", "input_schema": {"type": "object"}}
    for name in ("billing__look", "billing__refund", "billing__rare")
]


async def test_two_turns_of_an_agent_share_their_whole_beginning_to_the_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages: list[wire.JsonObject] = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    first = ModelRequest("claude-haiku-5-5", "billing", "You are billing.", messages, TOOLS)
    more = [
        *messages,
        {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]},
        {"role": "user", "content": [{"type": "text", "text": "again"}]},
    ]
    one, two = await sent_bodies(monkeypatch, first, replace(first, messages=more))
    for part in ("tools", "system"):
        assert json.dumps(one[part]) == json.dumps(two[part])
    spelt, longer = json.dumps(one["messages"]), json.dumps(two["messages"])
    assert longer.startswith(spelt.removesuffix("]"))
    assert one["system"][-1]["cache_control"] == one["cache_control"] == {"type": "ephemeral"}


async def test_deferred_tools_stay_out_of_the_prompt_for_the_provider_s_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages: list[wire.JsonObject] = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    request = ModelRequest("claude-haiku-5-5", "billing", "b", messages, TOOLS[:1], deferred=TOOLS[1:])
    [body] = await sent_bodies(monkeypatch, request)
    assert [(tool["name"], tool.get("defer_loading", False)) for tool in body["tools"]] == [
        ("billing__look", False),
        ("billing__refund", True),
        ("billing__rare", True),
        ("tool_search_tool_bm25", False),
    ]
    assert body["tools"][-1]["type"].startswith("tool_search_tool_bm25_")


def test_only_the_provider_itself_is_trusted_to_search_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    model = ClaudeModel()
    assert model.searches_tools("claude-sonnet-5-5")
    assert not model.searches_tools("claude-haiku-3-5") and not model.searches_tools("local-model")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    assert not model.searches_tools("claude-sonnet-5-5")
