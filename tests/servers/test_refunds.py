"""Refunds: what may go back, once, and never more than came, however many ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from handoff.errors import (
    ContentionError,
    StructuredError,
    TokenConflictError,
    VersionConflictError,
)
from handoff.sqlite.store import SqliteStore
from handoff.store import Committed, Replayed, new_id
from servers._access import Call
from servers._results import ApprovalRequiredError, ConflictError, InvalidError, NotFoundError
from servers.billing.refunds import Refund, RefundOrder
from tests.servers.billing_desk import Clock, Desk, enter, invoice, order


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    return Desk(store, Clock())


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Sequence[Desk]]:
    """Four processes' worth of desks on one file: no lock in memory stands between them."""
    async with AsyncExitStack() as opened:
        path = tmp_path / "shared.db"
        stores = [
            await opened.enter_async_context(await SqliteStore.open(path, owner="test")) for _ in range(4)
        ]
        yield [Desk(each, Clock()) for each in stores]


async def test_a_refund_goes_back_and_is_found_again(desk: Desk) -> None:
    await enter(desk.store, invoice())
    made = await desk.refund(order(1800, reason="  one seat\n too many "))
    assert (made.amount_minor, made.currency, made.refundable_minor_left) == (1800, "EUR", 3000)
    assert made.reason == "one seat too many"
    assert made.customer_id == "cus_1"
    assert await desk.refunds_of() == [made]
    after = await desk.invoice()
    assert after.payments[0].refunded_minor == 1800
    assert after.status.value == "partly_refunded"


@pytest.mark.parametrize(
    ("asked", "field", "kind"),
    [
        (order(0), "amount_minor", InvalidError),
        (order(-1), "amount_minor", InvalidError),
        (order(2**52), "amount_minor", InvalidError),
        (order(4801), "amount_minor", ConflictError),
        (order(currency="USD"), "currency", InvalidError),
        (order(currency="eur"), "currency", InvalidError),
        (order(payment_id="pay_2a"), "payment_id", InvalidError),
        (order(payment_id=""), "payment_id", InvalidError),
        (order(invoice_id="inv_none"), "invoice_id", NotFoundError),
        (order(invoice_id="inv_3", payment_id="pay_3a"), "invoice_id", ConflictError),
        (order(reason=""), "reason", InvalidError),
        (order(reason=" \n\t "), "reason", InvalidError),
        (order(reason="x" * 501), "reason", InvalidError),
        (order(reason="ok\x1b[2K"), "reason", InvalidError),
        (order(reason="abc\u202edef"), "reason", InvalidError),
    ],
)
async def test_a_refusal_names_the_field_and_the_next_step_and_moves_nothing(
    desk: Desk, asked: RefundOrder, field: str, kind: type[StructuredError]
) -> None:
    await enter(desk.store, invoice("inv_1"), invoice("inv_2"), invoice("inv_3", voided=True))
    with pytest.raises(kind) as refused:
        await desk.refund(asked)
    assert refused.value.field == field
    assert refused.value.suggestion
    assert refused.value.retryable is False
    for invoice_id in ("inv_1", "inv_2", "inv_3"):
        assert await desk.refunds_of(invoice_id) == []
    # Nothing is stored under the token of a refusal: the corrected call may use it.
    assert (await desk.refund(order(100))).amount_minor == 100


async def test_a_refund_repeated_with_its_token_pays_once(desk: Desk) -> None:
    await enter(desk.store, invoice())
    first = await desk.refund(order(4800))
    assert await desk.refund(order(4800)) == first
    assert await desk.refunds_of() == [first]


async def test_a_token_with_a_changed_amount_is_a_conflict(desk: Desk) -> None:
    await enter(desk.store, invoice())
    await desk.refund(order(100))
    for changed in (order(101), order(100, reason="another"), order(9999)):
        with pytest.raises(TokenConflictError) as refused:
            await desk.refund(changed)
        assert refused.value.field == "idempotency_token"
    assert (await desk.invoice()).refunded_minor == 100


async def test_a_refund_repeated_twenty_times_at_once_pays_once(desks: Sequence[Desk]) -> None:
    await enter(desks[0].store, invoice())
    repeats = [desks[n % len(desks)].refund(order(4800)) for n in range(20)]
    answers = await asyncio.wait_for(asyncio.gather(*repeats), 20)
    assert all(answer == answers[0] for answer in answers)
    assert await desks[0].refunds_of() == [answers[0]]
    assert (await desks[0].invoice()).refunded_minor == 4800


async def test_two_refunds_at_once_never_exceed_what_was_captured(desks: Sequence[Desk]) -> None:
    for round in range(10):
        one = f"inv_{round}"
        await enter(desks[0].store, invoice(one))
        asked = order(3000, invoice_id=one, payment_id=f"pay_{round}a")
        answers = await asyncio.gather(*(desks[n].try_refund(asked, f"{one}-{n}") for n in range(2)))
        made = [answer for answer in answers if isinstance(answer, Refund)]
        refused = [answer for answer in answers if isinstance(answer, StructuredError)]
        assert [len(made), len(refused)] == [1, 1]
        assert refused[0].field == "amount_minor"
        assert (await desks[0].invoice(one)).refunded_minor == 3000


async def test_twenty_refunds_at_once_never_exceed_what_was_captured(desks: Sequence[Desk]) -> None:
    await enter(desks[0].store, invoice(paid=(4800, 4800)))
    asked = [order(700, payment_id=f"pay_1{'ab'[n % 2]}") for n in range(20)]
    answers = await asyncio.wait_for(
        asyncio.gather(*(desks[n % 4].try_refund(each, f"tok-{n}") for n, each in enumerate(asked))), 30
    )
    made = [answer for answer in answers if isinstance(answer, Refund)]
    after = await desks[0].invoice()
    assert [payment.refunded_minor for payment in after.payments] == [4200, 4200]
    assert sum(refund.amount_minor for refund in made) == after.refunded_minor
    assert sorted(refund.refund_id for refund in made) == sorted(
        refund.refund_id for refund in await desks[0].refunds_of()
    )
    assert all(isinstance(answer, Refund | ConflictError) for answer in answers)


async def test_an_invoice_that_everybody_writes_at_once_is_given_up_on_with_a_retry(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(desk.store, invoice())
    tries = 0

    async def always_lost(*_: object, **__: object) -> Committed | Replayed:
        nonlocal tries
        tries += 1
        raise VersionConflictError("invoices", "inv_1", 1, 2)

    monkeypatch.setattr(desk.store, "commit", always_lost)
    with pytest.raises(ContentionError) as refused:
        await desk.refund(order(100))
    assert refused.value.retryable
    assert tries == 5


async def test_another_customer_s_invoice_and_refund_look_like_none(desk: Desk) -> None:
    await enter(desk.store, invoice())
    with pytest.raises(NotFoundError):
        await desk.refund(order(100), customer_id="cus_2")
    made = await desk.refund(order(100), customer_id="cus_1")
    assert await desk.refunds.get(Call("get_refund", customer_id="cus_1"), made.refund_id) == made
    for call, refund_id in ((Call("get_refund", customer_id="cus_2"), made.refund_id), (Call("g"), "ref_0")):
        with pytest.raises(NotFoundError):
            await desk.refunds.get(call, refund_id)


async def test_a_sum_above_the_limit_cannot_be_taken_out_in_parts(desk: Desk) -> None:
    await enter(desk.store, invoice(paid=(30_000, 30_000), total=30_000))
    await desk.refund(order(15_000), "a")
    await desk.refund(order(5_000, payment_id="pay_1b"), "b")
    for days in (0, 2, 400):
        desk.clock.turn(days=days)
        with pytest.raises(ApprovalRequiredError):
            await desk.refund(order(1, payment_id="pay_1b"), f"c{days}")
    assert (await desk.invoice()).refunded_minor == 20_000


async def test_many_small_refunds_at_once_cannot_pass_the_limit_together(desks: Sequence[Desk]) -> None:
    await enter(desks[0].store, invoice(paid=(90_000,), total=90_000))
    answers = await asyncio.gather(
        *(desks[n % 4].try_refund(order(6_000, reason=f"part {n}"), f"tok-{n}") for n in range(12))
    )
    assert sum(isinstance(answer, Refund) for answer in answers) == 3
    assert (await desks[0].invoice()).refunded_minor == 18_000


class RefundMachine(RuleBasedStateMachine):
    """Any sequence of refunds against a ledger that is two numbers per payment."""

    runner: asyncio.Runner
    desk: Desk
    limit = 20_000

    @initialize(captured=st.lists(st.integers(1, 30_000), min_size=1, max_size=4), jpy=st.booleans())
    def begin(self, captured: list[int], jpy: bool) -> None:
        self.invoice_id = new_id("inv")
        self.currency = "JPY" if jpy else "EUR"
        made = invoice(self.invoice_id, paid=captured, total=sum(captured), currency=self.currency)
        self.left = {payment.payment_id: payment.amount_minor for payment in made.payments}
        self.captured = dict(self.left)
        self.unapproved = 0
        self.known: dict[str, tuple[RefundOrder, Refund]] = {}
        self.runner.run(enter(self.desk.store, made))

    @rule(
        place=st.integers(0, 4),
        amount=st.one_of(st.integers(-2, 40_000), st.just(0)),
        share=st.sampled_from([None, 1, 2, 3]),
        currency=st.sampled_from([None, None, None, "USD"]),
        token=st.integers(0, 12),
    )
    def refund(self, place: int, amount: int, share: int | None, currency: str | None, token: int) -> None:
        payment_id = [*self.left, "pay_of_nobody"][min(place, len(self.left))]
        if share is not None:
            amount = self.left.get(payment_id, 10) // share
        asked = order(
            amount,
            invoice_id=self.invoice_id,
            payment_id=payment_id,
            currency=currency or self.currency,
            reason="as the machine wants",
        )
        key = f"{self.invoice_id}-{token}"
        answer = self.runner.run(self.desk.try_refund(asked, key))
        expected = self._expected(asked, key)
        if isinstance(answer, StructuredError):
            assert (answer.code, answer.field) == expected
            return
        assert expected == ("repeat" if key in self.known else "made", None)
        if key in self.known:
            assert answer == self.known[key][1]
            return
        assert answer.currency == self.currency
        self.left[payment_id] -= amount
        self.unapproved += amount
        self.known[key] = (asked, answer)
        assert answer.refundable_minor_left == self.left[payment_id]

    def _expected(self, asked: RefundOrder, key: str) -> tuple[str, str | None]:
        if asked.amount_minor <= 0:
            return "invalid_argument", "amount_minor"
        if key in self.known:
            same = self.known[key][0] == asked
            return ("repeat", None) if same else ("token_conflict", "idempotency_token")
        if asked.currency != self.currency:
            return "invalid_argument", "currency"
        if asked.payment_id not in self.left:
            return "invalid_argument", "payment_id"
        if asked.amount_minor > self.left[asked.payment_id]:
            return "conflict", "amount_minor"
        if self.unapproved + asked.amount_minor > self.limit:
            if self._waiting_is_full(asked):
                return "conflict", "invoice_id"
            return "approval_required", None
        return "made", None

    def _waiting_is_full(self, asked: RefundOrder) -> bool:
        waiting = self.runner.run(self.desk.refunds.approvals.waiting_for("cus_1"))
        mine = [each.terms for each in waiting if each.terms.invoice_id == self.invoice_id]
        return len(mine) >= 5 and not any(
            (terms.payment_id, terms.amount_minor) == (asked.payment_id, asked.amount_minor) for terms in mine
        )

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "left"):
            return
        after = self.runner.run(self.desk.invoice(self.invoice_id))
        assert {each.payment_id: each.refundable_minor for each in after.payments} == self.left
        assert all(0 <= left <= self.captured[payment_id] for payment_id, left in self.left.items())
        refunds = self.runner.run(self.desk.refunds_of(self.invoice_id))
        assert sum(refund.amount_minor for refund in refunds) == after.refunded_minor
        assert after.unapproved_minor == self.unapproved <= self.limit


@pytest.fixture
def machine() -> Iterator[type[RefundMachine]]:
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(Path(folder) / "store.db", owner="test"))

        class Bound(RefundMachine):
            pass

        Bound.runner, Bound.desk = runner, Desk(store, Clock())
        yield Bound
        runner.run(store.close())


def test_no_sequence_of_refunds_takes_out_more_than_was_captured(machine: type[RefundMachine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )
