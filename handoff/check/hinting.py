"""Promises about what a hint runs, with which arguments, and what it never runs."""

from __future__ import annotations

from typing import Any

from handoff.check.answers import canonical, code_in
from handoff.check.connection import Reply
from handoff.check.examination import Examination
from handoff.check.reference import reference
from handoff.check.tool_choice import Hint, destructive, needing_arguments, readers
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.errors import JsonObject
from handoff.hints import OWN_TOOLS

NO_CURSOR = "handoff-check-cursor"
"""Given as a cursor, to see whether it arrives."""


async def arguments(exam: Examination) -> str:
    hint = exam.chosen_hint()
    known = await exam.once(reference)
    contexts: dict[str, JsonObject] = {}
    if required := {name: hint.arguments[name] for name in hint.tool.required if name in hint.arguments}:
        optional = {name: value for name, value in hint.arguments.items() if name not in required}
        contexts["flat keys"] = {**required, "arguments": optional}
        contexts["`arguments` before flat keys"] = {
            **dict.fromkeys(required, "another value"),
            "arguments": dict(hint.arguments),
        }
    for name, context in contexts.items():
        receipt = await exam.settled(exam.work(accumulated_context=context))
        _check_same(receipt, known.receipt, f"a hint with its arguments from {name}", known.repeats)
    if not hint.tool.read_only or not known.repeats:
        return f"{hint.tool.name} ran; what it answers directly was not compared"
    direct = await exam.call(hint.tool.name, dict(hint.arguments))
    if isinstance(direct.data, dict) and canonical(direct.data) != canonical(known.receipt.get("result")):
        raise BrokenError(f"{hint.tool.name} answers a direct call otherwise than a hint")
    return f"{hint.tool.name} answers as to a direct call"


async def cursor(exam: Examination) -> str:
    with_cursor = [hint for hint in _known(exam) if "cursor" in hint.tool.parameters]
    for hint in with_cursor:
        plain = await exam.call(hint.tool.name, dict(hint.arguments))
        paged = await exam.call(hint.tool.name, {**hint.arguments, "cursor": NO_CURSOR})
        if _told(plain) == _told(paged):
            continue
        asked = {"next_tool_hint": hint.tool.name, "accumulated_context": {"arguments": dict(hint.arguments)}}
        receipt = await exam.receipt(exam.envelope(continuation_token=NO_CURSOR, **asked))
        found = code_in(receipt["error"]) if receipt.get("error") else canonical(receipt.get("result"))
        if found != _told(paged):
            raise BrokenError(f"{hint.tool.name} was not called with the continuation_token as its cursor")
        return f"{hint.tool.name} got it"
    raise UnseenError("no reading tool shows which cursor it was called with")


async def missing_arguments(exam: Examination) -> str:
    tool = needing_arguments(exam.connection.tools.values())
    if tool is None:
        raise UnseenError("the server has no tool that a hint may run and that requires arguments")
    sent = exam.envelope(next_tool_hint=tool.name)
    receipt = await exam.receipt(sent)
    expected = set(tool.required) - {"idempotency_token"}
    missing = receipt.get("missing_arguments")
    if receipt["status"] != "accepted":
        raise BrokenError(f"a hint without its arguments has status {receipt['status']}")
    if not isinstance(missing, list) or set(missing) - {"idempotency_token"} != expected:
        raise BrokenError(f"missing_arguments does not list what {tool.name} requires")
    if tool.name not in (receipt.get("next_tools") or []):
        raise BrokenError(f"next_tools does not name {tool.name}")
    if exam.runs_are_noted and tool.name in await exam.noted(sent["session_id"]):
        raise BrokenError(f"{tool.name} ran without its arguments")
    return f"{tool.name}: {', '.join(sorted(expected))}"


async def never_from_a_hint(exam: Examination) -> str:
    """The extension's own tools are asked for in earnest; the server's own only without their arguments."""
    kept = exam.work()
    await exam.settled(kept)
    session = kept["session_id"]
    own: dict[str, JsonObject] = {
        "clear_context": {"session_id": session},
        "get_context": {"session_id": session},
        "prepare_handoff": {"target_server": exam.server, "accumulated_context": {}},
        "receive_handoff": {"envelope": exam.envelope()},
    }
    for name in OWN_TOOLS:
        await _check_left_to_the_caller(exam, name, {"arguments": own[name]})
        if exam.runs_are_noted and not await exam.noted(session):
            raise BrokenError(f"a hint ran {name}, which is destructive")
    others = destructive(exam.connection.tools.values())
    for tool in others:
        await _check_left_to_the_caller(exam, tool.name, {})
    return ", ".join([*OWN_TOOLS, *(tool.name for tool in others)])


async def _check_left_to_the_caller(exam: Examination, tool: str, context: JsonObject) -> None:
    sent = exam.envelope(next_tool_hint=tool, accumulated_context=context)
    receipt = await exam.receipt(sent, of=f"a hint for {tool}")
    if receipt["status"] != "accepted" or receipt.get("result") is not None:
        raise BrokenError(f"a hint for {tool} has status {receipt['status']}, as if it had run")
    if tool not in (receipt.get("next_tools") or []):
        raise BrokenError(f"a hint for {tool} is not named in next_tools")


def _known(exam: Examination) -> list[Hint]:
    chosen = [exam.reader] if exam.reader else []
    return [*chosen, *(hint for hint in readers(exam.connection.tools.values()) if hint not in chosen)]


def _check_same(receipt: JsonObject, known: JsonObject, what: str, repeats: bool) -> None:
    if receipt["status"] != known["status"]:
        raise BrokenError(f"{what} ended with status {receipt['status']}")
    if repeats and canonical(receipt.get("result")) != canonical(known.get("result")):
        raise BrokenError(f"{what} has another result")


def _told(reply: Reply) -> Any:
    """What a direct call came to, in the terms of a receipt."""
    return code_in(reply.data) if reply.is_error else canonical(reply.data)
