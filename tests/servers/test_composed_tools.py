"""Shipped tools made of steps: what is missing is named, and a lost race may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handoff.errors import StoreUnavailableError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._results import NotFoundError, StepError
from servers.customer_data import history
from servers.customer_data.customers import NewCustomer
from servers.customer_data.directory import Directory
from servers.ticketing.desk import EVENTS, Desk
from servers.ticketing.tickets import NewTicket

STAFF = Call("a_tool", principal="marta")


def failing(monkeypatch: pytest.MonkeyPatch, method: str, when: Callable[..., Exception | None]) -> None:
    """Let the store raise what `when` makes of a call of this method, where it makes something."""
    real = getattr(SqliteStore, method)

    async def instead(self: SqliteStore, *args: Any, **options: Any) -> Any:
        error = when(*args, **options)
        if error is not None:
            raise error
        return await real(self, *args, **options)

    monkeypatch.setattr(SqliteStore, method, instead)


async def test_a_ticket_whose_history_cannot_be_read_is_shown_without_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(store)
    opened = await desk.open(STAFF, NewTicket(subject="Sync is stuck", description="Since today."))
    assert (await desk.get(STAFF, opened.ticket_id)).incomplete_steps == []
    failing(
        monkeypatch,
        "entries",
        lambda stream, *_, **__: StoreUnavailableError("the disk is busy") if stream == EVENTS else None,
    )
    shown = await desk.get(STAFF, opened.ticket_id)
    assert (shown.subject, shown.history) == ("Sync is stuck", [])
    assert [(step.step, step.code, step.retryable) for step in shown.incomplete_steps] == [
        ("read_history", "store_unavailable", True)
    ]


async def test_a_profile_whose_history_cannot_be_read_is_shown_without_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(store)
    known = await directory.create(STAFF, NewCustomer(name="Ada", email="ada@example.com"))
    reads = 0

    def second(stream: str, *_: Any, **__: Any) -> Exception | None:
        nonlocal reads
        reads += stream == history.STREAM
        return StoreUnavailableError("the disk is busy") if reads > 1 else None

    failing(monkeypatch, "entries", second)
    shown = await directory.get(STAFF, known.customer_id, include_history=True)
    assert (shown.name, shown.history) == ("Ada", None)
    assert [step.step for step in shown.incomplete_steps] == ["read_history"]


async def test_an_escalation_that_loses_every_race_names_its_step_and_may_be_repeated(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(store)
    opened = await desk.open(STAFF, NewTicket(subject="Sync is stuck", description="Since today."))
    failing(monkeypatch, "commit", lambda *_, **__: VersionConflictError("tickets", opened.ticket_id, 1, 2))
    with pytest.raises(StepError) as failed:
        await desk.escalate(STAFF, opened.ticket_id, "data loss")
    told = failed.value.to_json()
    assert (told["step"], told["retryable"], told["cause"]) == ("escalate", True, "contention")
    assert told["context"] == {"ticket_id": opened.ticket_id, "done": []}


async def test_what_a_tool_refuses_is_no_failure_of_a_step(store: SqliteStore) -> None:
    with pytest.raises(NotFoundError):
        await Desk(store).escalate(STAFF, "tck_none", "data loss")
