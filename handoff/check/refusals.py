"""Promises about what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from handoff.check.examination import Examination, Refusal
from handoff.check.offers import prepared
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.envelope import parse_envelope
from handoff.errors import JsonObject

SECRET = "do-not-repeat-4111111111111111"
"""Part of refused values. It must not come back."""

BEYOND_SKEW = timedelta(seconds=90)
WITHIN_SKEW = timedelta(seconds=30)
"""60 seconds are allowed; half a minute on either side is left to slow machines."""


async def wrong_target(exam: Examination) -> str:
    for target in (f"not-{exam.server}-{SECRET}", f"{exam.server} ", exam.server.swapcase()):
        if target == exam.server:
            continue
        await exam.refused_unstored(
            exam.work(target_server=target),
            "an envelope for another server",
            fields=("target_server",),
            secret=SECRET if SECRET in target else "",
        )
    return "other names, also those that differ in case or a blank"


async def largest_size(exam: Examination) -> str:
    size = exam.max_bytes
    receipt = await exam.receipt(filled_to(exam, size), of=f"an envelope of {size:,} bytes")
    if receipt["status"] != "accepted":
        raise BrokenError(f"an envelope without a hint has status {receipt['status']}")
    return f"{size:,} bytes"


async def excess_size(exam: Examination) -> str:
    size = exam.max_bytes + 1
    await exam.refused_unstored(filled_to(exam, size), f"an envelope of {size:,} bytes")
    return f"{size:,} bytes"


async def unknown_field(exam: Examination) -> str:
    sent = exam.work(handoff_check_field=SECRET)
    what = "an envelope with an unknown field"
    await exam.refused_unstored(sent, what, fields=("handoff_check_field",), secret=SECRET)
    return "refused"


WRONG: list[JsonObject] = [
    {"session_id": SECRET},
    {"handoff_id": 7},
    {"created_at": SECRET},
    {"created_at": "2026-11-20T09:00:00"},
    {"ttl_seconds": 0},
    {"ttl_seconds": SECRET},
    {"accumulated_context": [SECRET]},
    {"accumulated_context": {"arguments": SECRET}},
    {"accumulated_context": {"number": 2**53 + 1}},
    {"schema_version": 2},
]
NEEDED = ("session_id", "handoff_id", "target_server", "created_at")


async def malformed(exam: Examination) -> str:
    for change in WRONG:
        [field] = change
        secret = SECRET if SECRET in str(change) else ""
        what = f"an envelope with a wrong {field}"
        await exam.refused_unstored(exam.work(**change), what, fields=(field,), secret=secret)
    for token in ("", "x" * 256):
        what = f"a token of {len(token)} characters"
        await exam.refused(exam.work(idempotency_token=token), what, fields=("idempotency_token",))
    for field in NEEDED:
        sent = exam.work()
        del sent[field]
        await exam.refused_unstored(sent, f"an envelope without {field}", fields=(field,))
    return f"{len(WRONG) + len(NEEDED) + 2} ways to be wrong"


async def stale(exam: Examination) -> str:
    ago = timedelta(seconds=60) + BEYOND_SKEW
    what = f"an envelope that ended {BEYOND_SKEW.seconds} s ago"
    await exam.refused_unstored(_created(exam, -ago, 60), what, fields=("ttl_seconds", "created_at"))
    return f"{BEYOND_SKEW.seconds} s after its end"


async def clock_skew(exam: Examination) -> str:
    for created, ttl in ((WITHIN_SKEW, 300), (-WITHIN_SKEW - timedelta(seconds=60), 60)):
        side = "ahead" if created > timedelta(0) else "past its end"
        await exam.receipt(_created(exam, created, ttl), of=f"an envelope {WITHIN_SKEW.seconds} s {side}")
    what = f"an envelope from {BEYOND_SKEW.seconds} s ahead"
    await exam.refused_unstored(_created(exam, BEYOND_SKEW, 300), what, fields=("created_at",))
    return f"{WITHIN_SKEW.seconds} s either way are accepted, {BEYOND_SKEW.seconds} s ahead are not"


async def bad_signature(exam: Examination) -> str:
    """A server that signs what it prepares has keys, so it can tell that such an envelope was changed."""
    asked: JsonObject = {"target_server": exam.server, "accumulated_context": {"facts": 1}}
    own = await prepared(exam, asked)
    if not own.get("signature"):
        raise UnseenError("the server does not sign what it prepares")
    changed = {**own, "accumulated_context": {"facts": 2}}
    await exam.refused_unstored(changed, "a changed signed envelope", fields=("signature",))
    await exam.receipt(await prepared(exam, asked), of="a signed envelope")
    return "an envelope it signed is accepted, and refused once changed"


async def structured(exam: Examination) -> str:
    """The form of every refusal that the other checks saw."""
    if "get_context" in exam.connection.tools:
        reply = await exam.call("get_context", {"session_id": SECRET})
        if not reply.is_error:
            raise BrokenError("get_context answers for a session_id that is no UUID")
        exam.refusals.append(Refusal("get_context", "a wrong session_id", reply, ("session_id",), SECRET))
    if not exam.refusals:
        raise UnseenError("no refusal was seen")
    for refusal in exam.refusals:
        if flaw := _flaw(refusal, exam.server):
            raise BrokenError(f"{refusal.tool} refused {refusal.what} {flaw}")
    return f"{len(exam.refusals)} refusals"


def filled_to(exam: Examination, size: int) -> JsonObject:
    """An envelope whose canonical form has `size` bytes, which is more than it has characters."""
    sent = exam.envelope(accumulated_context={"notes": "漢"})
    room = size - len(parse_envelope(sent, max_bytes=size).canonical())
    sent["accumulated_context"]["notes"] += "é" * (room // 2) + "x" * (room % 2)
    return sent


def _created(exam: Examination, after_now: timedelta, ttl_seconds: int) -> JsonObject:
    return exam.work(created_at=(exam.now() + after_now).isoformat(), ttl_seconds=ttl_seconds)


def _flaw(refusal: Refusal, server: str) -> str:
    """What is wrong with the form of a refusal; empty when nothing is."""
    error: Any = refusal.reply.data
    if refusal.secret and refusal.secret in refusal.reply.text:
        return "and repeated the refused value"
    if refusal.reply.protocol_error is not None:
        return f"with a protocol error ({refusal.reply.protocol_error}), not with a tool result"
    if not isinstance(error, dict):
        return "without structured content"
    for name, kind in (("code", str), ("message", str), ("retryable", bool)):
        if not isinstance(error.get(name), kind) or error[name] == "":
            return f"without `{name}`"
    told = f"{error.get('field', '')} {error['message']}"
    if refusal.fields and not any(field in told for field in refusal.fields):
        return f"without naming {' or '.join(refusal.fields)}"
    if refusal.tool == "receive_handoff" and server not in (error.get("server"), *_words(error["message"])):
        return "without naming the server"
    return ""


def _words(message: str) -> list[str]:
    return [word.strip(".,;:'\"()`") for word in message.split()]
