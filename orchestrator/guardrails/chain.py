"""Guardrails one after the other: what each says, and what is left of the thing they looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from orchestrator.guardrails.guardrail import Guardrail
from orchestrator.guardrails.subjects import Answer, Call, Request, Result
from orchestrator.guardrails.verdicts import Named, Verdict

Subject = TypeVar("Subject", Request, Call, Result, Answer)
Check = Callable[[Subject], Awaitable[Verdict | None]]

log = structlog.get_logger(__name__)

FAILED = "the check itself failed"


class Chain:
    """Guardrails in their order. The first one that stops a thing has the last word on it."""

    def __init__(self, guardrails: Sequence[tuple[str, Guardrail]]) -> None:
        self._guardrails = guardrails

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could say anything."""
        return not self._guardrails

    async def request(self, request: Request) -> tuple[Request, list[Named]]:
        """What is left of the request, and what was said about it."""
        checks = [(name, each.on_input) for name, each in self._guardrails]
        return await _run(checks, request, "text")

    async def call(self, call: Call) -> tuple[Call, list[Named]]:
        checks = [(name, each.on_tool_call) for name, each in self._guardrails]
        return await _run(checks, call, "arguments")

    async def result(self, result: Result) -> tuple[Result, list[Named]]:
        checks = [(name, each.on_tool_result) for name, each in self._guardrails]
        return await _run(checks, result, "content")

    async def answer(self, answer: Answer) -> tuple[Answer, list[Named]]:
        checks = [(name, each.on_answer) for name, each in self._guardrails]
        return await _run(checks, answer, "text")


async def _run(
    checks: Sequence[tuple[str, Check[Subject]]], subject: Subject, content: str
) -> tuple[Subject, list[Named]]:
    said: list[Named] = []
    for name, check in checks:
        verdict = await _verdict(name, check, subject)
        if verdict is None:
            continue
        said.append(Named(name, verdict))
        if verdict.action == "redact":
            changed: dict[str, Any] = {content: verdict.replacement}
            subject = replace(subject, **changed)
        elif verdict.action != "allow":
            break
    return subject, said


async def _verdict(name: str, check: Check[Subject], subject: Subject) -> Verdict | None:
    try:
        return await check(subject)
    except Exception as error:
        # What cannot be checked does not go on: a person looks at it.
        log.error("guardrail_failed", guardrail=name, error=type(error).__name__, run_id=subject.case.run_id)
        return Verdict("escalate", FAILED)
