"""Promises about what the extension offers: its tools, its settings, receipts, envelopes, contexts."""

from __future__ import annotations

import uuid

from handoff.check.answers import canonical
from handoff.check.connection import Reply
from handoff.check.examination import Examination, Refusal
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.envelope import MAX_BYTES, parse_envelope
from handoff.errors import EnvelopeError, JsonObject
from handoff.hints import OWN_TOOLS

FIRST_MODERN_PROTOCOL = "2026-07-28"
"""The first one in which a server can advertise extensions. Versions are dates, so they compare as text."""

STATUSES = ("accepted", "processing", "completed", "failed", "parked")

Shape = type | tuple[type, ...]
RECEIPT: dict[str, Shape] = {
    "handoff_id": str,
    "status": str,
    "result": object,
    "missing_arguments": list,
    "retry_after_seconds": (int, float, type(None)),
    "next_tools": list,
    "replayed": bool,
}


async def tools(exam: Examination) -> str:
    for name, required in OWN_TOOLS.items():
        listed = exam.connection.tools.get(name)
        if listed is None:
            raise BrokenError(f"the server lists no tool {name}")
        if set(listed.required) != set(required):
            raise BrokenError(f"{name} does not require exactly {', '.join(required)}")
    if not exam.connection.tools["clear_context"].destructive:
        raise BrokenError("clear_context is not annotated as destructive")
    return ", ".join(OWN_TOOLS)


async def settings(exam: Examination) -> str:
    found = exam.connection.settings
    if found is None:
        if exam.connection.protocol < FIRST_MODERN_PROTOCOL:
            raise UnseenError(f"protocol {exam.connection.protocol} cannot advertise extensions")
        raise BrokenError("the extension is not advertised")
    for name, most in (("schema_version", 1), ("max_bytes", MAX_BYTES), ("max_in_flight", None)):
        value = found.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BrokenError(f"{name} is not advertised as a positive integer")
        if most is not None and value > most:
            raise BrokenError(f"{name} is more than {most:,}")
    return ", ".join(f"{name} {found[name]}" for name in ("schema_version", "max_bytes", "max_in_flight"))


async def receipt_form(exam: Examination) -> str:
    for sent in (exam.envelope(), exam.work()):
        receipt = await exam.receipt(sent)
        for name, kind in RECEIPT.items():
            if name not in receipt or not isinstance(receipt[name], kind):
                raise BrokenError(f"a receipt has no `{name}` of the right type")
        if receipt["handoff_id"].lower() != sent["handoff_id"]:
            raise BrokenError("a receipt names another handoff_id")
        if receipt["status"] not in STATUSES:
            raise BrokenError("a receipt has a status beyond the contract")
        if receipt["replayed"]:
            raise BrokenError("a first delivery was answered as a replay")
    return ", ".join(RECEIPT)


async def prepare(exam: Examination) -> str:
    asked: JsonObject = {
        "target_server": "handoff-check-target",
        "accumulated_context": {"facts": ["é", 1, {"b": 1, "a": None}], "arguments": {"id": "x"}},
        "idempotency_token": f"handoff-check-{uuid.uuid4()}",
        "session_id": str(uuid.uuid4()),
        "next_tool_hint": "some_tool",
        "continuation_token": "page-2",
        "ttl_seconds": 77,
    }
    first = await prepared(exam, asked)
    for name, value in asked.items():
        if canonical(first.get(name)) != canonical(value):
            raise BrokenError(f"the prepared envelope has another {name} than was asked for")
    if canonical(await prepared(exam, asked)) != canonical(first):
        raise BrokenError("the same token answered another envelope")
    await _check_conflict(exam, {**asked, "ttl_seconds": 78})
    own = {"target_server": exam.server, "accumulated_context": {}}
    one, other = await prepared(exam, own), await prepared(exam, own)
    if one.get("idempotency_token") == other.get("idempotency_token"):
        raise BrokenError("two handoffs prepared without a token got the same one")
    await exam.receipt(one, of="its own envelope")
    return "one token, one envelope, and the receiver accepts it"


async def prepared(exam: Examination, asked: JsonObject) -> JsonObject:
    """The envelope that `prepare_handoff` answers. Raises: BrokenError when it answers no valid one."""
    reply = await exam.call("prepare_handoff", asked)
    envelope = reply.data.get("envelope") if isinstance(reply.data, dict) else None
    if reply.is_error or not isinstance(envelope, dict):
        raise BrokenError("prepare_handoff answers no `envelope`")
    try:
        parse_envelope(envelope)
    except EnvelopeError as error:
        raise BrokenError(f"the prepared envelope is not valid ({error.field})") from None
    return envelope


async def context(exam: Examination) -> str:
    hint = exam.reader or exam.chosen_hint()
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    for session in (one, other):
        await _make_a_call(exam, session)
    for session in (one, other):
        if (noted := await exam.noted(session)) != [hint.tool.name]:
            raise BrokenError(f"after one call of {hint.tool.name} its session shows {len(noted)} calls")
    if await exam.noted(str(uuid.uuid4())):
        raise BrokenError("a session without calls shows calls")
    cleared = await exam.call("clear_context", {"session_id": one})
    if cleared.is_error or await exam.noted(one):
        raise BrokenError("a cleared session still shows its call")
    if await exam.noted(other) != [hint.tool.name]:
        raise BrokenError("clearing one session changed another")
    return f"{hint.tool.name} in two sessions, one of them cleared"


async def _make_a_call(exam: Examination, session: str) -> None:
    if exam.reader is not None:
        await exam.call(exam.reader.tool.name, dict(exam.reader.arguments), session=session)
    else:
        await exam.settled(exam.work(session_id=session))


async def _check_conflict(exam: Examination, asked: JsonObject) -> None:
    what = "a known token with other content"
    reply: Reply = await exam.call("prepare_handoff", asked)
    if not reply.is_error:
        raise BrokenError(f"prepare_handoff answered {what}")
    exam.refusals.append(Refusal("prepare_handoff", what, reply, ("idempotency_token",), ""))
