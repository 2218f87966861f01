"""Approvals in any order of asking, deciding, waiting and paying."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from handoff.errors import JsonObject, StructuredError
from handoff.sqlite.store import SqliteStore
from handoff.store import new_id
from servers._results import ApprovalRequiredError
from servers.billing.refunds import Refund, RefundOrder
from tests.servers.billing_desk import Clock, Desk, enter, invoice, order

BIG = 36_000


class ApprovalMachine(RuleBasedStateMachine):
    """Any order of asking, deciding, waiting and paying, against a model of a few words."""

    runner: asyncio.Runner
    desk: Desk

    @initialize()
    def begin(self) -> None:
        self.invoice_id = new_id("inv")
        made = invoice(self.invoice_id, paid=(BIG * 4,), total=BIG * 4)
        self.payment_id = made.payments[0].payment_id
        self.left = BIG * 4
        self.granted: dict[int, str] = {}
        """By amount: the yes that is good right now."""
        self.rejected: set[int] = set()
        self.waiting: dict[int, str] = {}
        self.tokens: dict[str, tuple[int, Refund]] = {}
        self.runner.run(enter(self.desk.store, made))

    def asked(self, amount: int) -> RefundOrder:
        return order(amount, invoice_id=self.invoice_id, payment_id=self.payment_id)

    @rule(extra=st.integers(0, 2), token=st.integers(0, 6))
    def pay(self, extra: int, token: int) -> None:
        amount, key = BIG + extra, f"{self.invoice_id}-{token}"
        answer = self.runner.run(self.desk.try_refund(self.asked(amount), key))
        if key in self.tokens:
            paid, refund = self.tokens[key]
            assert answer == refund if paid == amount else _code(answer) == "token_conflict"
        elif amount > self.left:
            assert _code(answer) == "conflict"
        elif amount in self.granted:
            assert isinstance(answer, Refund)
            assert answer.approval_id == self.granted.pop(amount)
            self.left -= amount
            self.tokens[key] = (amount, answer)
        elif amount in self.rejected:
            assert _code(answer) == "approval_rejected"
        else:
            assert isinstance(answer, ApprovalRequiredError)
            approval_id = answer.details["approval_id"]
            assert self.waiting.setdefault(amount, approval_id) == approval_id

    @rule(extra=st.integers(0, 2), approve=st.booleans())
    def decide(self, extra: int, approve: bool) -> None:
        amount = BIG + extra
        if (approval_id := self.waiting.pop(amount, None)) is None:
            return
        self.runner.run(self.desk.decide(approval_id, "approved" if approve else "rejected"))
        if approve:
            self.granted[amount] = approval_id
        else:
            self.rejected.add(amount)

    @rule()
    def a_day_passes(self) -> None:
        self.desk.clock.turn(hours=24)
        self.granted.clear()
        self.rejected.clear()
        self.waiting.clear()

    @invariant()
    def only_what_was_approved_went_back(self) -> None:
        if not hasattr(self, "left"):
            return
        after = self.runner.run(self.desk.invoice(self.invoice_id))
        assert after.refundable_minor == self.left
        refunds = self.runner.run(self.desk.refunds_of(self.invoice_id))
        used = [refund.approval_id for refund in refunds]
        assert None not in used
        assert len(set(used)) == len(used)


def _code(answer: Refund | StructuredError) -> str:
    told: JsonObject = answer.to_json() if isinstance(answer, StructuredError) else {"code": "made"}
    return str(told["code"])


@pytest.fixture
def machine() -> Iterator[type[ApprovalMachine]]:
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(Path(folder) / "store.db", owner="test"))

        class Bound(ApprovalMachine):
            pass

        Bound.runner, Bound.desk = runner, Desk(store, Clock())
        yield Bound
        runner.run(store.close())


def test_no_order_of_asking_and_deciding_moves_money_without_a_yes(machine: type[ApprovalMachine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )
