"""What the service does with a run, whichever way the caller came in: HTTP or MCP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from handoff.store import Entry, Replayed, Token
from orchestrator.desk import Desk
from orchestrator.dispatch.protocol import Dispatcher
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.swarm_state import SwarmState, SwarmStates
from orchestrator.service.problems import RequestError
from orchestrator.service.requests import IDEMPOTENCY_KEY, RunQuery, RunRequest
from orchestrator.service.settings import MAX_INPUT_BYTES, ServiceSettings
from orchestrator.service.tokens import Caller
from orchestrator.service.views import RunPage, RunView, summary_of, view_of
from orchestrator.service.watching import Watch, within

UNENDED = ("queued", "running")
RESTS = ("ended", "waiting")
"""Steps after which nothing goes on by itself."""

ELSEWHERE_SECONDS = 1.0
"""How often the store is asked about a run that another process works on."""

_MOST_PAGES = 20
"""Pages of the store read for one page of a list, when most of them do not meet its conditions."""
_STEPS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that exists, and whether it did before this request."""

    run_id: str
    replayed: bool


class Front:
    """Takes requests for runs, and tells of them, as far as the caller may know."""

    def __init__(
        self, desk: Desk, dispatcher: Dispatcher, sessions: Sessions, watch: Watch, settings: ServiceSettings
    ) -> None:
        self.desk = desk
        self.dispatcher = dispatcher
        self.watch = watch
        self.settings = settings
        self.streams = 0
        """How many follow the steps of a run now."""
        self._sessions = sessions

    async def accept(self, caller: Caller, body: RunRequest, key: str | None) -> Accepted:
        """Make a run of the request, durably, and have it worked on.

        Raises: RequestError, SessionConflictError, QueueFullError, DrainingError, StoreError.
        """
        if len(body.input.encode()) > MAX_INPUT_BYTES:
            raise RequestError(
                413, "input_too_large", f"input is longer than {MAX_INPUT_BYTES:,} bytes", field="input"
            )
        customer_id = _customer_of(caller, body)
        if body.agent is not None and not caller.is_staff:
            raise RequestError(
                403,
                "agent_not_allowed",
                "only staff choose the agent that begins",
                field="agent",
                suggestion="leave agent out",
            )
        token_key, fingerprint = f"service:{caller.principal}:{key}", _fingerprint(body, customer_id)
        if key is not None and (known := await self.desk.store.token(token_key)) is not None:
            return _replayed(known, fingerprint)
        if body.session_id is not None:
            await self._sessions.check(
                str(body.session_id), principal=caller.principal, customer_id=customer_id
            )
        async with self.dispatcher.place():
            started = self.desk.runner.request(
                body.input,
                customer_id=customer_id,
                session_id=str(body.session_id) if body.session_id else None,
                agent=body.agent,
            ).model_copy(update={"principal": caller.principal, "metadata": body.metadata})
            token = Token(token_key, fingerprint, {"run_id": started.run_id}) if key is not None else None
            replayed = await self.desk.journal.queue(started, token=token)
            if replayed is not None:
                return _replayed(replayed, fingerprint)
            await self.dispatcher.submit(started.run_id, started.session_id)
        return Accepted(started.run_id, replayed=False)

    async def view(self, caller: Caller, run_id: str) -> RunView:
        """The run with all that came of it. Raises: RequestError when there is none the caller may see."""
        head = await self.head(caller, run_id)
        state = await self.desk.journal.load(run_id)
        children = await self.desk.children(state)
        return view_of(state, children, head, model=self.desk.model_name, now=time.time())

    async def shared_state(self, caller: Caller, run_id: str) -> SwarmState:
        """What the agents of the request know together. Raises: RequestError when there is none."""
        await self.head(caller, run_id)
        root = (await self.desk.journal.load(run_id)).started.root
        state = await SwarmStates(self.desk.store).get(root)
        if state is None:
            raise RequestError(404, "state_not_found", "the agents of this run share no state")
        return state

    async def head(self, caller: Caller, run_id: str) -> JsonObject:
        """The run in short. Raises: RequestError when there is none the caller may see."""
        head = await self.head_of(run_id)
        if not caller.may_see(head["customer_id"]):
            raise _unknown()
        return head

    async def runs(self, caller: Caller, query: RunQuery) -> RunPage:
        """A page of the runs that meet the query's conditions, newest first."""
        if not caller.may_see(query.customer_id) and query.customer_id is not None:
            raise _other_customer()
        wanted = {
            "session_id": str(query.session_id) if query.session_id else None,
            "customer_id": query.customer_id or caller.customer_id,
            "status": query.status,
        }
        conditions = {name: value for name, value in wanted.items() if value is not None}
        # The list of the first condition is the shortest; the others are checked on the way through it.
        index, key = next(
            ((name.removesuffix("_id"), value) for name, value in conditions.items()), ("all", "")
        )
        found: list[JsonObject] = []
        cursor = query.cursor
        for _ in range(_MOST_PAGES):
            page = await self.desk.journal.find(index, key, limit=query.limit - len(found), cursor=cursor)
            heads = [record.data for record in page.records]
            found += [
                head for head in heads if all(head[name] == value for name, value in conditions.items())
            ]
            cursor = page.cursor
            if cursor is None or len(found) == query.limit:
                break
        return RunPage(items=[summary_of(head) for head in found], next_cursor=cursor)

    async def cancel(self, caller: Caller, run_id: str) -> RunView:
        """Stop the run. Raises: RequestError when it cannot be stopped."""
        await self._own_run(caller, run_id)
        try:
            state = await self.dispatcher.cancel(run_id)
        except RunHeldError:
            raise _held() from None
        assert state.ended is not None
        if state.ended.status != "cancelled":
            raise _ended(state.ended.status)
        return await self.view(caller, run_id)

    async def resume(self, caller: Caller, run_id: str) -> RunView:
        """Have an unfinished run worked on again. Raises: RequestError when it has ended, or waits."""
        head = await self._own_run(caller, run_id)
        if head["status"] == "waiting_approval":
            raise _waits()
        if head["status"] not in UNENDED:
            raise _ended(head["status"])
        if self.dispatcher.draining:
            raise RequestError(503, "draining", "the service is shutting down", retry_after_seconds=5)
        await self.dispatcher.submit(run_id, head["session_id"])
        return await self.view(caller, run_id)

    async def wait(self, run_id: str, seconds: float) -> None:
        """Return when the run rests, the time is over, or the service shuts down."""
        until = asyncio.get_running_loop().time() + seconds
        with self.watch.end(run_id) as ended:
            while not self.watch.closed and (left := until - asyncio.get_running_loop().time()) > 0:
                ended.clear()
                record = await self.desk.journal.head(run_id)
                if record is None or record.data["status"] not in UNENDED:
                    return
                await within(ended, min(left, self.patience(run_id)))

    async def steps(self, run_id: str, after: int) -> AsyncGenerator[Entry | None, None]:
        """The run's steps after that one until it rests, each once it is durable; None is a sign of life.

        Read from the store as fast as they are taken, so that nothing piles up for a slow reader.
        """
        self.streams += 1
        sent = False
        try:
            with self.watch.steps(run_id) as stepped:
                while not self.watch.closed:
                    stepped.clear()
                    entries = await self.desk.journal.entries(run_id, after=after, limit=_STEPS_AT_ONCE)
                    for entry in entries:
                        after = entry.seq
                        yield entry
                    if entries and entries[-1].data["kind"] in RESTS and await self._rests(run_id, after):
                        return
                    sent = sent or bool(entries)
                    # The reader may have named a step that the run never comes to.
                    if not sent and await self._rests(run_id, after):
                        return
                    if not entries and not await within(stepped, self.patience(run_id)):
                        yield None
        finally:
            self.streams -= 1

    def patience(self, run_id: str) -> float:
        """How long to wait for a sign of the run before the store is asked."""
        heartbeat = self.settings.heartbeat_seconds
        return heartbeat if self.dispatcher.holds(run_id) else min(heartbeat, ELSEWHERE_SECONDS)

    async def _rests(self, run_id: str, seq: int) -> bool:
        """Whether nothing followed that step: a run that waited may have gone on since."""
        head = await self.head_of(run_id)
        return head["seq"] <= seq and head["status"] not in UNENDED

    async def head_of(self, run_id: str) -> JsonObject:
        """The run in short, whoever asks. Raises: RequestError when there is none."""
        record = await self.desk.journal.head(run_id)
        if record is None:
            raise _unknown()
        return record.data

    async def _own_run(self, caller: Caller, run_id: str) -> JsonObject:
        head = await self.head(caller, run_id)
        if head["parent_run_id"] is not None:
            raise RequestError(
                409, "part_of_a_run", "this run is part of another one", suggestion="use the other run's id"
            )
        return head


def _customer_of(caller: Caller, body: RunRequest) -> str | None:
    """Whose request it is: said by staff, or fixed by the token; never taken from text."""
    if caller.is_staff:
        return body.customer_id
    if body.customer_id is not None and body.customer_id != caller.customer_id:
        raise _other_customer()
    return caller.customer_id


def _other_customer() -> RequestError:
    return RequestError(
        403,
        "customer_not_allowed",
        "your token is for another customer",
        field="customer_id",
        suggestion="leave customer_id out",
    )


def _fingerprint(body: RunRequest, customer_id: str | None) -> str:
    asked = {**body.model_dump(mode="json"), "customer_id": customer_id}
    if body.agent is None:
        del asked["agent"]  # keys from before there was a choice go on counting
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _replayed(known: Replayed, fingerprint: str) -> Accepted:
    if known.fingerprint != fingerprint:
        raise RequestError(
            422,
            "idempotency_key_reused",
            "this key was used before for another request",
            field=IDEMPOTENCY_KEY,
            suggestion="use a new key for a new request, and the same body with the same key",
        )
    return Accepted(known.result["run_id"], replayed=True)


def _unknown() -> RequestError:
    return RequestError(404, "run_not_found", "there is no run with this id")


def _waits() -> RequestError:
    return RequestError(
        409,
        "run_waits",
        "the run waits for a person's decision and goes on by itself then",
        suggestion="decide about its escalations: GET /v1/escalations",
    )


def _ended(status: str) -> RequestError:
    return RequestError(409, "run_ended", f"the run has ended already: {status}")


def _held() -> RequestError:
    return RequestError(
        409,
        "run_held",
        "another process works on this run",
        suggestion="repeat the request there, or when that process has ended",
        retry_after_seconds=5,
    )
