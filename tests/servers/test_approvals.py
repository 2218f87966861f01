"""Approvals: one person's yes to one refund, to the letter, once, and in time."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import servers.billing
from handoff.sqlite.store import SqliteStore
from servers._results import ApprovalRequiredError, ConflictError, ForbiddenError, NotFoundError
from servers.billing.approvals import MAX_WAITING, ApprovalStatus
from servers.billing.decisions import Decision
from servers.billing.refunds import Refund, RefundOrder
from tests.servers.billing_desk import NOW, Clock, Desk, enter, invoice, order

BIG = 36_000


def big(invoice_id: str = "inv_1") -> RefundOrder:
    return order(BIG, invoice_id=invoice_id, payment_id=f"pay_{invoice_id.removeprefix('inv_')}a")


@pytest.fixture
async def desk(store: SqliteStore) -> Desk:
    desk = Desk(store, Clock())
    await enter(store, invoice(paid=(BIG, BIG), total=BIG))
    return desk


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Sequence[Desk]]:
    """Four processes' worth of desks on one file."""
    async with AsyncExitStack() as opened:
        path = tmp_path / "shared.db"
        stores = [
            await opened.enter_async_context(await SqliteStore.open(path, owner="test")) for _ in range(4)
        ]
        await enter(stores[0], invoice(paid=(BIG, BIG), total=BIG))
        yield [Desk(each, Clock()) for each in stores]


async def asked_for(desk: Desk, asked: RefundOrder, token: str | None = "tok-1") -> str:
    """Ask for a refund above the limit; the id of the approval it needs."""
    with pytest.raises(ApprovalRequiredError) as refused:
        await desk.refund(asked, token)
    approval_id = refused.value.details["approval_id"]
    assert isinstance(approval_id, str)
    return approval_id


async def events(desk: Desk, approval_id: str) -> list[str]:
    return [entry["event"] for entry in await desk.decisions.history(approval_id)]


async def test_a_refund_above_the_limit_waits_for_a_person_and_moves_nothing(desk: Desk) -> None:
    with pytest.raises(ApprovalRequiredError) as refused:
        await desk.refund(big())
    told = refused.value.to_json()
    assert told["code"] == "approval_required"
    assert told["retryable"] is False
    assert told["approval_id"].startswith("apr_")
    assert told["expires_at"] == "2026-11-21T12:00:00+00:00"
    assert told["how"] == f"a person runs: switchboard-billing approvals approve {told['approval_id']}"
    assert "200.00 EUR" in told["message"]
    assert await desk.refunds_of() == []
    asked = await desk.decisions.get(told["approval_id"])
    assert asked.terms.model_dump() == {"customer_id": "cus_1", **big().model_dump()}
    assert (asked.status, asked.requested_by, asked.requested_at) == (ApprovalStatus.PENDING, "local", NOW)


async def test_exactly_the_limit_needs_nobody(desk: Desk) -> None:
    assert (await desk.refund(order(20_000))).approval_id is None


async def test_the_same_call_waits_on_the_same_approval_whatever_its_token(desk: Desk) -> None:
    first = await asked_for(desk, big())
    assert await asked_for(desk, big()) == first
    assert await asked_for(desk, big(), "tok-2") == first
    assert (await desk.decisions.everything()).items == [await desk.decisions.get(first)]
    assert await events(desk, first) == ["requested"]


async def test_twenty_calls_at_once_make_one_request(desks: Sequence[Desk]) -> None:
    ids = await asyncio.gather(*(asked_for(desks[n % 4], big(), f"tok-{n}") for n in range(20)))
    assert len(set(ids)) == 1
    assert len((await desks[0].decisions.everything()).items) == 1
    assert await events(desks[0], ids[0]) == ["requested"]


async def test_after_the_approval_the_same_call_pays_once(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    decided = await desk.decide(approval_id, "approved")
    assert (decided.status, decided.decided_by, decided.decided_at) == (ApprovalStatus.APPROVED, "mia", NOW)
    made = await desk.refund(big())
    assert made.approval_id == approval_id
    assert await desk.refund(big()) == made
    used = await desk.decisions.get(approval_id)
    assert (used.status, used.used_at, used.refund_id) == (ApprovalStatus.USED, NOW, made.refund_id)
    assert await events(desk, approval_id) == ["requested", "approved", "used"]
    assert (await desk.invoice()).unapproved_minor == 0


@pytest.mark.parametrize(
    "changed",
    [
        order(BIG - 1),
        order(BIG, payment_id="pay_1b"),
        order(BIG, reason="something else"),
        order(BIG, invoice_id="inv_2", payment_id="pay_2a"),
    ],
)
async def test_a_changed_parameter_needs_its_own_approval(desk: Desk, changed: RefundOrder) -> None:
    await enter(desk.store, invoice("inv_2", paid=(BIG,), total=BIG))
    approval_id = await asked_for(desk, big())
    await desk.decide(approval_id, "approved")
    for token in ("tok-1", "tok-2"):
        assert await asked_for(desk, changed, token) != approval_id
    assert (await desk.invoice()).refunded_minor == 0
    assert (await desk.decisions.get(approval_id)).status is ApprovalStatus.APPROVED


async def test_another_caller_cannot_spend_it(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    await desk.decide(approval_id, "approved")
    with pytest.raises(ApprovalRequiredError) as refused:
        await desk.refund(big(), principal="somebody else")
    assert refused.value.details["approval_id"] != approval_id


async def test_a_used_approval_is_not_good_for_a_second_refund(desk: Desk) -> None:
    asked = order(BIG // 2 + 3000)
    await enter(desk.store, invoice("inv_2", paid=(BIG * 3,), total=BIG * 3))
    asked = asked.model_copy(update={"invoice_id": "inv_2", "payment_id": "pay_2a"})
    approval_id = await asked_for(desk, asked)
    await desk.decide(approval_id, "approved")
    await desk.refund(asked, "first")
    again = await asked_for(desk, asked, "second")
    assert again != approval_id
    assert (await desk.invoice("inv_2")).refunded_minor == asked.amount_minor


async def test_silence_means_no(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    desk.clock.turn(hours=24)
    with pytest.raises(ConflictError) as refused:
        await desk.decide(approval_id, "approved")
    assert "expired" in refused.value.message
    again = await asked_for(desk, big())
    assert again != approval_id
    assert await events(desk, approval_id) == ["requested", "expired", "decision_refused"]
    assert (await desk.decisions.get(approval_id)).status is ApprovalStatus.EXPIRED


async def test_an_approval_that_nobody_uses_expires(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    desk.clock.turn(hours=23)
    await desk.decide(approval_id, "approved")
    desk.clock.turn(hours=24)
    again = await asked_for(desk, big())
    assert again != approval_id
    assert await events(desk, approval_id) == ["requested", "approved", "expired"]
    assert await desk.refunds_of() == []


async def test_an_approval_that_expires_while_the_refund_is_on_its_way_is_not_spent(
    desks: Sequence[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = desks[0], desks[1]
    approval_id = await asked_for(slow, big())
    await slow.decide(approval_id, "approved")
    other.clock.turn(hours=24)
    commit = slow.store.commit

    async def late_commit(*writes: Any, **options: Any) -> Any:
        if "token" in options:
            await asked_for(other, big())
        return await commit(*writes, **options)

    monkeypatch.setattr(slow.store, "commit", late_commit)
    assert await asked_for(slow, big()) != approval_id
    assert await slow.refunds_of() == []


async def test_an_approval_given_late_may_still_be_used_for_a_day(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    desk.clock.turn(hours=23, minutes=59)
    await desk.decide(approval_id, "approved")
    desk.clock.turn(hours=23, minutes=59)
    assert (await desk.refund(big())).approval_id == approval_id


async def test_a_rejected_refund_is_refused_and_not_asked_for_again(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    await desk.decisions.decide(approval_id, "rejected", by="mia", source="a test", reason="not a duplicate")
    for token in ("tok-1", "tok-2"):
        with pytest.raises(ConflictError) as refused:
            await desk.refund(big(), token)
        assert refused.value.code == "approval_rejected"
        assert refused.value.details == {"approval_id": approval_id}
    assert len((await desk.decisions.everything()).items) == 1
    assert (await desk.decisions.history(approval_id))[-1]["reason"] == "not a duplicate"
    desk.clock.turn(hours=24)
    assert await asked_for(desk, big()) != approval_id


@pytest.mark.parametrize("first", ["approved", "rejected"])
@pytest.mark.parametrize("second", ["approved", "rejected"])
async def test_a_second_decision_is_refused(desk: Desk, first: Decision, second: Decision) -> None:
    approval_id = await asked_for(desk, big())
    await desk.decide(approval_id, first)
    with pytest.raises(ConflictError) as refused:
        await desk.decide(approval_id, second, by="noor")
    assert first in refused.value.message
    after = await desk.decisions.get(approval_id)
    assert (after.status.value, after.decided_by) == (first, "mia")
    assert await events(desk, approval_id) == ["requested", first, "decision_refused"]


async def test_of_a_hundred_decisions_at_once_one_counts(desks: Sequence[Desk]) -> None:
    approval_id = await asked_for(desks[0], big())

    async def decide(number: int) -> bool:
        decision: Decision = "rejected" if number % 2 else "approved"
        try:
            await desks[number % 4].decide(approval_id, decision, by=f"person {number}")
        except ConflictError:
            return False
        return True

    decided = await asyncio.wait_for(asyncio.gather(*(decide(number) for number in range(100))), 30)
    assert sum(decided) == 1
    after = await desks[0].decisions.get(approval_id)
    assert after.decided_by == f"person {decided.index(True)}"


async def test_whoever_asks_cannot_decide(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    with pytest.raises(ForbiddenError):
        await desk.decide(approval_id, "approved", by="local")
    assert (await desk.decisions.get(approval_id)).status is ApprovalStatus.PENDING
    assert await events(desk, approval_id) == ["requested", "decision_refused"]


async def test_an_unknown_approval_cannot_be_decided(desk: Desk) -> None:
    with pytest.raises(NotFoundError) as refused:
        await desk.decide("apr_nothing", "approved")
    assert refused.value.field == "approval_id"


@pytest.mark.parametrize("same_token", [True, False])
async def test_a_hundred_calls_at_once_after_one_approval_make_one_refund(
    desks: Sequence[Desk], same_token: bool
) -> None:
    approval_id = await asked_for(desks[0], big())
    await desks[0].decide(approval_id, "approved")
    calls = [
        desks[number % 4].try_refund(big(), "tok-1" if same_token else f"tok-{number}")
        for number in range(100)
    ]
    answers = await asyncio.wait_for(asyncio.gather(*calls), 60)
    made = {answer.refund_id for answer in answers if isinstance(answer, Refund)}
    assert len(made) == 1
    assert sum(isinstance(answer, Refund) for answer in answers) == (100 if same_token else 1)
    assert (await desks[0].invoice()).refunded_minor == BIG
    assert [refund.refund_id for refund in await desks[0].refunds_of()] == list(made)
    assert await events(desks[0], approval_id) == ["requested", "approved", "used"]


async def test_an_approval_does_not_loosen_the_rules(desk: Desk) -> None:
    approval_id = await asked_for(desk, big())
    await desk.decide(approval_id, "approved")
    await desk.refund(order(1000), "small")
    with pytest.raises(ConflictError) as refused:
        await desk.refund(big())
    assert refused.value.field == "amount_minor"
    assert (await desk.decisions.get(approval_id)).status is ApprovalStatus.APPROVED


async def test_varying_the_amount_cannot_bury_the_person_who_decides(desk: Desk) -> None:
    for number in range(MAX_WAITING):
        await asked_for(desk, order(BIG - number))
    with pytest.raises(ConflictError) as refused:
        await desk.refund(order(BIG - MAX_WAITING))
    assert refused.value.field == "invoice_id"
    await asked_for(desk, order(BIG))
    desk.clock.turn(hours=24)
    await asked_for(desk, order(BIG - MAX_WAITING))


async def test_requests_that_nobody_answered_do_not_hide_those_that_still_wait(desk: Desk) -> None:
    for number in range(3):
        await asked_for(desk, order(BIG - number))
    desk.clock.turn(hours=20)
    recent = [await asked_for(desk, order(BIG - number)) for number in (3, 4)]
    desk.clock.turn(hours=5)
    assert [each.approval_id for each in (await desk.decisions.waiting(limit=2)).items] == recent
    everything = await desk.decisions.waiting()
    assert ([each.approval_id for each in everything.items], everything.more) == (recent, 0)


async def test_no_tool_can_reach_a_decision() -> None:
    folder = Path(servers.billing.__file__).parent
    trees = {path.stem: ast.parse(path.read_text("utf-8")) for path in folder.glob("*.py")}
    people = {"commands", "approval_routes", "approval_questions", "approval_views"}
    assert {name for name, tree in trees.items() if "decisions" in imports_of(tree)} == people
    # The server only names them to the hosting, and not where its tools could use them.
    reaching = {name for name, tree in trees.items() if imports_of(tree) & people} - people
    assert reaching == {"server"}
    functions = [node for node in trees["server"].body if imports_of(node) & people]
    assert [getattr(node, "name", None) for node in functions] == ["_people", "_approver", "_commands"]


def imports_of(tree: ast.AST) -> set[str]:
    """The modules of billing that the code imports."""
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.removeprefix("servers.billing.") for name in found}
