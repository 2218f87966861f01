"""Promises about a token that is known: one piece of work, one outcome, whoever asks how often."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

from handoff.check.answers import canonical, check_replay, code_in, receipt_in
from handoff.check.examination import Examination, all_of
from handoff.check.reference import check_outcome, reference
from handoff.check.tool_choice import needing_arguments
from handoff.check.verdicts import BrokenError
from handoff.envelope import parse_envelope
from handoff.errors import JsonObject

AT_ONCE = 8
"""Deliveries of one envelope that are under way together."""


async def replay(exam: Examination) -> str:
    cases = {"a handoff": exam.work(), "a handoff without a hint": exam.envelope()}
    if tool := needing_arguments(exam.connection.tools.values()):
        cases["a handoff without its arguments"] = exam.envelope(next_tool_hint=tool.name)
    for name, sent in cases.items():
        first = await exam.settled(sent)
        for _ in range(2):
            check_replay(first, await exam.receipt(sent), f"{name} delivered again")
    first_run = cases["a handoff"]
    await exam.check_runs(first_run["session_id"], 1, "three deliveries")
    ran = f"{exam.hint.tool.name} ran once" if exam.hint else "no tool was run"
    return f"three deliveries of each, {ran}"


async def spelling(exam: Examination) -> str:
    sent = exam.work(ttl_seconds=300)
    sent["accumulated_context"] |= {"facts": {"b": 2.0, "a": [1, {"y": 1, "x": "é"}]}}
    first = await exam.settled(sent)
    for name, same in _spellings(sent).items():
        check_replay(first, await exam.receipt(same, of=f"the same envelope with {name}"), f"{name} alone")
    # An envelope as text is beyond the contract: it may be refused, but it is the same envelope.
    reply = await exam.deliver(json.dumps(sent, indent=2, ensure_ascii=True))
    if not reply.is_error:
        check_replay(first, receipt_in(reply, "the envelope as text"), "whitespace alone")
    elif code_in(reply.data) == "token_conflict":
        raise BrokenError("whitespace alone made a conflict")
    return ", ".join(_spellings(sent))


async def conflict(exam: Examination) -> str:
    sent = exam.work()
    first = await exam.settled(sent)
    changes = _changes(exam, sent)
    for name, changed in changes.items():
        what = f"a known token with another {name}"
        reply = await exam.refused({**sent, name: changed}, what, fields=("idempotency_token",))
        if (code := code_in(reply.data)) != "token_conflict":
            raise BrokenError(f"{what} was refused as {code}, not as token_conflict")
    check_replay(first, await exam.receipt(sent), "the first envelope after the conflicts")
    await exam.check_runs(sent["session_id"], 1, f"{len(changes)} conflicts")
    return f"{len(changes)} fields, each changed alone"


async def in_flight(exam: Examination) -> str:
    sent = exam.work()
    receipts = [
        receipt_in(reply, "one of several deliveries at once")
        for reply in await all_of(exam.deliver(sent) for _ in range(AT_ONCE))
    ]
    working = [receipt for receipt in receipts if receipt["status"] == "processing"]
    ended = [receipt for receipt in receipts if receipt["status"] != "processing"]
    if any(not receipt.get("retry_after_seconds") for receipt in working):
        raise BrokenError("status processing came without retry_after_seconds")
    if sum(receipt.get("replayed") is False for receipt in ended) > 1:
        raise BrokenError(f"several of {AT_ONCE} deliveries at once did the work")
    final = await exam.settled(sent)
    if any(canonical(receipt.get("result")) != canonical(final.get("result")) for receipt in ended):
        raise BrokenError("deliveries at once ended with different results")
    await exam.check_runs(sent["session_id"], 1, f"{AT_ONCE} deliveries at once")
    return f"{AT_ONCE} at once: {len(working)} in work, {len(ended)} ended"


async def caller_gone(exam: Examination) -> str:
    hint = exam.chosen_hint()
    known = await exam.once(reference)
    sent = exam.work()
    caller = asyncio.create_task(exam.deliver(sent))
    await asyncio.wait({caller}, timeout=min(known.seconds / 2, 1.0))
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    check_outcome(known, await exam.settled(sent), "a handoff whose caller gave up")
    await exam.check_runs(sent["session_id"], 1, "a caller that gave up")
    return f"{hint.tool.name} ran to its end"


@dataclass(frozen=True, slots=True)
class Aged:
    """A handoff that was done when its time was almost over."""

    envelope: JsonObject
    receipt: JsonObject
    over: bool
    """Its end is as long ago as the clocks may differ, so that as a new one it would be refused."""


AGES = (timedelta(seconds=57), timedelta(0))
"""How long ago an aged envelope ended; the second is for receivers that allow clocks less difference."""


async def aged(exam: Examination) -> Aged:
    """Deliver a handoff whose redelivery will be stale, early, so that little of the wait is left later."""
    for age in AGES:
        created = exam.now() - age - timedelta(seconds=1)
        sent = exam.work(created_at=created.isoformat(), ttl_seconds=1 if age else 3)
        reply = await exam.deliver(sent)
        if not reply.is_error:
            return Aged(sent, await exam.settled(sent, answered=reply), over=bool(age))
    raise BrokenError("an envelope within its time to live was refused")


async def after_ttl(exam: Examination) -> str:
    done = await exam.once(aged)
    margin = timedelta(seconds=61 if done.over else 1)
    since_end = exam.now() - parse_envelope(done.envelope).expires_at()
    await asyncio.sleep(max((margin - since_end).total_seconds(), 0.0))
    check_replay(done.receipt, await exam.receipt(done.envelope), "a delivery after the time to live")
    return f"{margin.seconds} s after its end"


def _spellings(sent: JsonObject) -> dict[str, JsonObject]:
    """The same envelope, written in other ways."""
    context = sent["accumulated_context"]
    reversed_context = dict(reversed(context.items()))
    facts = {"a": [1, {"x": "é", "y": 1}], "b": 2}
    elsewhere = parse_envelope(sent).created_at.astimezone(timezone(timedelta(hours=5)))
    return {
        "another key order": dict(reversed({**sent, "accumulated_context": reversed_context}.items())),
        "2 for 2.0": {**sent, "accumulated_context": {**context, "facts": facts}},
        "a default left out": {name: value for name, value in sent.items() if name != "ttl_seconds"},
        "defaults spelt out": {**sent, "schema_version": 1, "hops": [], "summary_before_window": None},
        "another time zone": {**sent, "created_at": elsewhere.isoformat()},
    }


def _changes(exam: Examination, sent: JsonObject) -> dict[str, Any]:
    """Another value for each field that makes another handoff under the same token."""
    created = parse_envelope(sent).created_at
    return {
        "session_id": str(uuid.uuid4()),
        "handoff_id": str(uuid.uuid4()),
        "source_server": f"{sent['source_server']}-2",
        "next_tool_hint": "get_context" if exam.hint is None else None,
        "accumulated_context": {**sent["accumulated_context"], "more": True},
        "continuation_token": "page-2",
        "created_at": (created + timedelta(seconds=1)).isoformat(),
        "ttl_seconds": sent["ttl_seconds"] + 1,
        "summary_before_window": "they called twice",
        "context_ref": "handoff-check",
        "hops": ["somebody"],
    }
