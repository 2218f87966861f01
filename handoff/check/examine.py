"""The course of an examination: get to know the server, then check one promise after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from handoff.check.connection import Connection, NoAnswerError
from handoff.check.examination import Examination, Patience
from handoff.check.offers import FIRST_MODERN_PROTOCOL, prepared
from handoff.check.promises import PROMISES
from handoff.check.target import Target
from handoff.check.tokens import aged
from handoff.check.tool_choice import Hint, readers
from handoff.check.verdicts import BrokenError, Finding, Promise, UncheckableError, UnseenError, Verdict
from handoff.envelope import parse_envelope
from handoff.errors import JsonObject
from handoff.meta import EXTENSION
from handoff.signing_keys import KEYS_FILE_VARIABLE, KeySource

CHECK_SECONDS = 180.0
"""Longest time for one promise, whatever the server does."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller knows better than the kit can find out."""

    server: str | None = None
    """The name by which the server receives."""
    hint: str | None = None
    """A tool that handoffs may ask for, and that completes with `arguments`."""
    arguments: JsonObject = field(default_factory=dict)
    keys: KeySource | None = None
    """Keys to sign with, for a server that takes signed envelopes only."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A server and what was found."""

    server: str
    protocol: str
    findings: list[Finding]
    seconds: float


async def examine(
    target: Target,
    *,
    wish: Wish | None = None,
    patience: Patience | None = None,
    promises: Sequence[Promise] = PROMISES,
    tell: Callable[[Finding], None] = lambda _: None,
) -> Examined:
    """Check `promises`, telling each finding when it is there. Raises: UncheckableError."""
    started = time.monotonic()
    patience = patience or Patience()
    connection = Connection(target)
    wish = wish or Wish()
    exam = Examination(target, connection, patience, keys=wish.keys)
    try:
        await connection.open(patience.start)
        await _introduce(exam, wish)
        findings: list[Finding] = []
        for promise in promises:
            findings.append(await _check(exam, promise, findings))
            tell(findings[-1])
    finally:
        await exam.connection.close()
    return Examined(exam.server, exam.connection.protocol, findings, time.monotonic() - started)


async def _introduce(exam: Examination, wish: Wish) -> None:
    """Find out name, clock, and what may be run. Raises: UncheckableError."""
    connection = exam.connection
    before_extensions = connection.protocol < FIRST_MODERN_PROTOCOL
    if connection.settings is None and not (before_extensions and "receive_handoff" in connection.tools):
        raise UncheckableError(f"the server does not claim the extension {EXTENSION}")
    with suppress(BrokenError, UnseenError, NoAnswerError):
        sample = {"target_server": "handoff-check-target", "accumulated_context": {}}
        asked_at = datetime.now(UTC)
        envelope = parse_envelope(await prepared(exam, sample))
        exam.server = envelope.source_server
        exam.clock_offset = envelope.created_at - (asked_at + (datetime.now(UTC) - asked_at) / 2)
    exam.server = wish.server or exam.server or connection.announced_name
    if not exam.server:
        raise UncheckableError("the server does not say by which name it receives; give --server NAME")
    await _check_signs(exam)
    await _choose_tools(exam, wish)
    with suppress(BrokenError, UnseenError, NoAnswerError):
        await _see_whether_runs_are_noted(exam)
    with suppress(BrokenError, UnseenError, NoAnswerError):
        await exam.once(aged)


async def _check_signs(exam: Examination) -> None:
    """Raises: UncheckableError when the server takes only signed envelopes and we cannot sign."""
    with suppress(UnseenError, NoAnswerError):
        reply = await exam.deliver(exam.envelope())
        if reply.is_error and isinstance(reply.data, dict) and reply.data.get("code") == "unsigned":
            raise UncheckableError(f"it takes signed envelopes only; set {KEYS_FILE_VARIABLE} to its keys")


async def _choose_tools(exam: Examination, wish: Wish) -> None:
    for candidate in readers(exam.connection.tools.values()):
        with suppress(NoAnswerError):
            if not (await exam.call(candidate.tool.name, dict(candidate.arguments))).is_error:
                exam.reader = candidate
                break
    if wish.hint is None:
        exam.hint = exam.reader
        return
    tool = exam.connection.tools.get(wish.hint)
    if tool is None:
        raise UncheckableError(f"the server lists no tool {wish.hint}; give another --hint")
    if tool.destructive:
        raise UncheckableError(f"{wish.hint} is destructive, so no handoff runs it; give another --hint")
    exam.hint = Hint(tool, wish.arguments)


async def _see_whether_runs_are_noted(exam: Examination) -> None:
    hint = exam.chosen_hint()
    sent = exam.work()
    await exam.settled(sent)
    exam.runs_are_noted = await exam.noted(sent["session_id"]) == [hint.tool.name]


async def _check(exam: Examination, promise: Promise, before: Sequence[Finding]) -> Finding:
    started = time.monotonic()
    verdict, reason = await _verdict(exam, promise, before)
    return Finding(promise, verdict, reason, time.monotonic() - started)


async def _verdict(exam: Examination, promise: Promise, before: Sequence[Finding]) -> tuple[Verdict, str]:
    if broken := _broken_needs(promise, {finding.promise.id: finding for finding in before}):
        return "skip", f"means nothing while {broken[0]} is broken"
    try:
        if exam.connection.lost:
            await exam.reconnect()
        async with asyncio.timeout(CHECK_SECONDS):
            return "pass", await promise.check(exam)
    except UnseenError as error:
        return "skip", str(error)
    except (BrokenError, NoAnswerError) as error:
        return "fail", str(error)
    except UncheckableError as error:
        return "fail", f"the server is gone: {error}"
    except TimeoutError:
        return "fail", f"it could not be checked within {CHECK_SECONDS:g} s"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The checks read what any server answers; whatever cannot be read is not what was promised.
        return "fail", f"its answers do not have the form of the contract ({type(error).__name__})"


def _broken_needs(promise: Promise, before: dict[str, Finding]) -> list[str]:
    """The broken promises among those that this one needs, directly or by way of others."""
    found = []
    for finding in (before[need] for need in promise.needs if need in before):
        found += [finding.promise.id] if finding.verdict == "fail" else _broken_needs(finding.promise, before)
    return found
