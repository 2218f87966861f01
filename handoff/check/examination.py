"""One examination of one server: how the checks deliver, ask again, and look at what was done."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from handoff.check.answers import again_after, busy_for, receipt_in, standing, status_in
from handoff.check.connection import Connection, Reply
from handoff.check.target import Target
from handoff.check.tool_choice import Hint
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.envelope import MAX_BYTES, parse_envelope
from handoff.errors import EnvelopeError, JsonObject
from handoff.meta import SESSION_META
from handoff.signing import sign
from handoff.signing_keys import KeySource

SOURCE = "handoff-check"
"""Who the kit says it is."""

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the kit waits, in seconds."""

    start: float = 30.0
    """For a connection, and for the process behind it."""
    call: float = 30.0
    """For one answer; a delivery has to be answered after 20."""
    finish: float = 60.0
    """For a handoff that is asked for again and again until it is finished."""
    takeover: float = 30.0
    """For a handoff whose worker was killed; a lease lasts 5."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal that was seen, for the promise about how refusals look."""

    tool: str
    what: str
    reply: Reply
    fields: tuple[str, ...]
    """The fields of which it should name one."""
    secret: str
    """A value it must not repeat; empty when none was sent."""


@dataclass(slots=True)
class Examination:
    """A connected server, what is known of it, and what was seen so far."""

    target: Target
    connection: Connection
    patience: Patience
    server: str = ""
    """The name envelopes for this server carry."""
    clock_offset: timedelta = timedelta(0)
    """How far the server's clock is ahead of ours."""
    keys: KeySource | None = None
    """With these the kit signs its envelopes."""
    hint: Hint | None = None
    """A tool call that completes; most handoffs ask for it. None when none was found or given."""
    reader: Hint | None = None
    """A call of a read-only tool, made directly."""
    runs_are_noted: bool = False
    """Whether the session's context shows each run of a hinted tool once, so that runs can be counted."""
    refusals: list[Refusal] = field(default_factory=list)
    _seen: dict[Callable[..., Any], Any] = field(default_factory=dict)

    @property
    def max_bytes(self) -> int:
        found = (self.connection.settings or {}).get("max_bytes")
        return found if isinstance(found, int) and 0 < found <= MAX_BYTES else MAX_BYTES

    def now(self) -> datetime:
        """The time by the server's clock."""
        return datetime.now(UTC) + self.clock_offset

    def envelope(self, **changes: Any) -> JsonObject:
        """A valid envelope for the server, with ids of its own and no hint."""
        fields: JsonObject = {
            "session_id": str(uuid.uuid4()),
            "handoff_id": str(uuid.uuid4()),
            "idempotency_token": f"{SOURCE}-{uuid.uuid4()}",
            "source_server": SOURCE,
            "target_server": self.server,
            "accumulated_context": {},
            "created_at": self.now().isoformat(),
            "ttl_seconds": 300,
        }
        return {**fields, **changes}

    def work(self, **changes: Any) -> JsonObject:
        """An envelope that asks for the hinted call, where there is one."""
        if self.hint is None:
            return self.envelope(**changes)
        asked = {
            "next_tool_hint": self.hint.tool.name,
            "accumulated_context": {"arguments": dict(self.hint.arguments)},
        }
        return self.envelope(**{**asked, **changes})

    def chosen_hint(self) -> Hint:
        """Raises: UnseenError when there is no tool to run."""
        if self.hint is None:
            raise UnseenError("no tool to run was found; name one with --hint TOOL --arguments JSON")
        return self.hint

    async def call(self, tool: str, arguments: JsonObject, *, session: str | None = None) -> Reply:
        """Call a tool of the server, once. Raises: NoAnswerError, UnseenError for a tool it does not list."""
        if tool not in self.connection.tools:
            raise UnseenError(f"the server lists no tool {tool}")
        meta = {SESSION_META: session} if session else {}
        return await self.connection.call(tool, arguments, meta, self.patience.call)

    async def deliver(self, envelope: Any) -> Reply:
        """Call `receive_handoff`, once."""
        session = envelope.get("session_id") if isinstance(envelope, dict) else None
        return await self.call("receive_handoff", {"envelope": self._signed(envelope)}, session=session)

    async def receipt(self, envelope: Any, *, of: str = "a valid envelope") -> JsonObject:
        """The receipt for one delivery. Raises: BrokenError when it was refused."""
        return receipt_in(await self._answered(envelope), of)

    async def settled(
        self, envelope: JsonObject, *, answered: Reply | None = None, seconds: float | None = None
    ) -> JsonObject:
        """The receipt that is the last word, asking again as long as the server says so.

        `answered` is what a first delivery was answered. Raises: BrokenError when there is no last word
        within `seconds`.
        """
        reply = answered or await self.deliver(envelope)
        reply = await self._asked_again(envelope, reply, again_after, seconds or self.patience.finish)
        return receipt_in(reply, "a valid envelope")

    async def refused(
        self, envelope: Any, what: str, *, fields: tuple[str, ...] = (), secret: str = ""
    ) -> Reply:
        """The refusal of one delivery. Raises: BrokenError when it was not refused."""
        reply = await self._answered(envelope)
        if not reply.is_error:
            raise BrokenError(f"{what} was answered with status {status_in(reply)}")
        self.refusals.append(Refusal("receive_handoff", what, reply, fields, secret))
        return reply

    async def refused_unstored(
        self, envelope: JsonObject, what: str, *, fields: tuple[str, ...] = (), secret: str = ""
    ) -> None:
        """Like `refused`, and its token stays free: a good envelope under it is a first delivery."""
        await self.refused(envelope, what, fields=fields, secret=secret)
        token = envelope["idempotency_token"]
        reply = await self._answered(self.envelope(idempotency_token=token))
        if reply.is_error or receipt_in(reply, "a good envelope").get("replayed"):
            raise BrokenError(f"{what} was refused, but its token is taken afterwards")

    async def _answered(self, envelope: Any) -> Reply:
        """The answer to one delivery by a server that is not too busy to answer."""
        reply = await self.deliver(envelope)
        return await self._asked_again(envelope, reply, busy_for, self.patience.finish)

    async def _asked_again(
        self, envelope: Any, reply: Reply, wait: Callable[[Reply], float | None], seconds: float
    ) -> Reply:
        deadline = time.monotonic() + seconds
        while (delay := wait(reply)) is not None:
            if time.monotonic() + delay > deadline:
                raise BrokenError(f"after {seconds:g} s it still answers {standing(reply)}")
            await asyncio.sleep(delay)
            reply = await self.deliver(envelope)
        return reply

    async def noted(self, session: str) -> list[str]:
        """The tools that `get_context` shows for a session. Raises: BrokenError when it shows no list."""
        reply = await self.call("get_context", {"session_id": session})
        calls = reply.data.get("calls") if isinstance(reply.data, dict) else None
        if reply.is_error or not isinstance(calls, list):
            raise BrokenError("get_context answers no list `calls`")
        return [str(call.get("tool")) if isinstance(call, dict) else "" for call in calls]

    async def check_runs(self, session: str, expected: int, after: str) -> None:
        """Raises: BrokenError when the hinted tool ran another number of times in a session."""
        if not self.runs_are_noted or self.hint is None:
            return
        runs = (await self.noted(session)).count(self.hint.tool.name)
        if runs != expected:
            raise BrokenError(f"after {after} the hinted tool ran {runs} times instead of {expected}")

    async def once(self, observe: Callable[[Examination], Awaitable[Seen]]) -> Seen:
        """What `observe` saw, for checks that share one observation."""
        if observe not in self._seen:
            self._seen[observe] = await observe(self)
        return cast("Seen", self._seen[observe])

    def _signed(self, envelope: Any) -> Any:
        """The envelope with a signature, if we have a key and it has none yet and can have one."""
        if self.keys is None or not isinstance(envelope, dict) or envelope.get("signature"):
            return envelope
        try:
            return {**envelope, "signature": sign(parse_envelope(envelope), self.keys).signature}
        except EnvelopeError:
            return envelope

    async def reconnect(self) -> None:
        """Close what is left of the connection and open another. Raises: UncheckableError."""
        await self.connection.close()
        self.connection = Connection(self.target)
        await self.connection.open(self.patience.start)

    async def kill_and_restart(self) -> None:
        """Kill the server as a crash does, and start it again.

        Raises: UnseenError for a server that cannot be killed, UncheckableError when it does not come back.
        """
        self.need_process()
        self.target.kill()
        await self.reconnect()

    def need_process(self) -> None:
        if not self.target.restartable:
            raise UnseenError("only a server that is given as a command can be killed and started again")


async def all_of(work: Iterable[Coroutine[Any, Any, Seen]]) -> list[Seen]:
    """What all of it came to. When one piece fails, the others are stopped."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
