"""The records of escalations on every store, with two processes deciding at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from handoff.errors import ContentionError
from handoff.store import Store
from orchestrator.links.approvals import ServerApprovals
from orchestrator.runs.deciding import Decisions
from orchestrator.runs.escalations import DecidedError, Escalation, Escalations, opened
from orchestrator.runs.journal import Journal
from orchestrator.runs.steps import Decision

MakeStore = Callable[..., Awaitable[Store]]


def asked(number: int, **more: object) -> Escalation:
    known = {
        "escalation_id": f"esc_{number}",
        "kind": "person",
        "reason": "asked_for_person",
        "explanation": "",
        "request": "",
        "run_id": "run_1",
        "root_run_id": "run_1",
        "session_id": "s",
        "principal": "local",
        "agent": "desk",
        "agent_path": ["desk"],
        "created_at": float(number),
        "deadline_at": 100.0,
    }
    return Escalation.model_validate({**known, **more})


def decisions(store: Store, *, now: float = 50.0) -> Decisions:
    return Decisions(Journal(store), ServerApprovals({}, {}), clock=lambda: now)


async def test_many_people_in_many_processes_decide_once(make_store: MakeStore) -> None:
    stores = [await make_store(), await make_store()]
    await stores[0].commit(opened(asked(1)))

    async def decide(number: int) -> Escalation:
        return await decisions(stores[number % 2]).resolve("esc_1", "reject", by=f"person-{number}")

    found = await asyncio.gather(*(decide(number) for number in range(50)), return_exceptions=True)
    made = [each for each in found if isinstance(each, Escalation)]
    assert {type(each) for each in found} <= {Escalation, ContentionError}
    assert len({each.decided_by for each in made}) == 1
    events = [entry.data["event"] for entry in await Escalations(stores[1]).history("esc_1")]
    assert events == ["opened", "rejected"]


async def test_one_of_two_different_decisions_wins(make_store: MakeStore) -> None:
    stores = [await make_store(), await make_store()]
    await stores[0].commit(opened(asked(1)))
    wanted: list[Decision] = ["reject", "expire"]
    found = await asyncio.gather(
        *(
            decisions(store).resolve("esc_1", decision, by=decision)
            for store, decision in zip(stores, wanted, strict=True)
        ),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in found) == ["DecidedError", "Escalation"]


async def test_only_what_is_due_expires_and_the_next_deadline_is_known(make_store: MakeStore) -> None:
    store = await make_store()
    for number, deadline in enumerate((10.0, 60.0, 40.0)):
        await store.commit(opened(asked(number, deadline_at=deadline)))
    people = decisions(store)
    assert await people.next_deadline() == 10.0
    await people.expire_due()
    statuses = [(await people.escalations.get(f"esc_{number}")).status for number in range(3)]
    assert statuses == ["expired", "open", "expired"]
    assert await people.next_deadline() == 60.0
    with pytest.raises(DecidedError):
        await decisions(store, now=60.0).resolve("esc_1", "reject", by="late")


async def test_a_claim_is_one_person_s(make_store: MakeStore) -> None:
    store = await make_store()
    await store.commit(opened(asked(1)))
    people = Escalations(store)
    found = await asyncio.gather(
        *(people.claim("esc_1", by=name) for name in ("ada", "ben", "ada")), return_exceptions=True
    )
    claimed = [each.claimed_by for each in found if isinstance(each, Escalation)]
    assert len(set(claimed)) == 1
    assert [entry.data["event"] for entry in await people.history("esc_1")] == ["opened", "claimed"]
