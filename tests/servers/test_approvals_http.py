"""Approvals over HTTP: a person's credential decides, an agent's never does, and money moves once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from servers._auth.settings import AccessSettings
from servers._command import server_command
from servers._hosting.opening import open_server_store
from servers.billing.refunds import Refund
from servers.billing.server import DEFINITION
from tests.servers.billing_desk import Clock, Desk, enter, invoice
from tests.servers.guarded import Guarded, guarded, write_tokens

BIG = 36_000
AGENT = ["billing:read", "billing:refund", "handoff", "staff"]
ORDER = {
    "invoice_id": "inv_1",
    "payment_id": "pay_1a",
    "amount_minor": BIG,
    "currency": "EUR",
    "reason": "charged twice",
    "idempotency_token": "tok-1",
}


@asynccontextmanager
async def billing(store: Store, tmp_path: Path) -> AsyncIterator[Guarded]:
    await enter(store, invoice(paid=(BIG, BIG), total=BIG))
    tokens = write_tokens(
        tmp_path / "tokens.toml",
        agent=AGENT,
        mia=["billing:approve"],
        noor=["billing:approve"],
        portal={"scopes": ["billing:approve"], "customer_id": "cus_1"},
        boss={"scopes": [*AGENT, "billing:approve"], "person": True},
    )
    async with guarded(DEFINITION, store, AccessSettings(tokens=tokens)) as found:
        yield found


async def refund(desk: Guarded, token: str = "tok-agent", **changed: Any) -> dict[str, Any]:
    answer = await desk.call(token, "process_refund", {**ORDER, **changed})
    content: dict[str, Any] = answer.result["structuredContent"]
    return content


async def asked_for(desk: Guarded, token: str = "tok-agent") -> str:
    told = await refund(desk, token)
    assert told["code"] == "approval_required", told
    return str(told["approval_id"])


async def refunds(store: Store) -> list[Refund]:
    return await Desk(store, Clock()).refunds_of()


def resolve(approval_id: str) -> str:
    return f"/approvals/{approval_id}/resolve"


async def test_a_person_sees_what_waits_and_decides_and_the_refund_is_made_once(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        waiting = (await desk.get("/approvals", "tok-mia")).body
        note = {"decision": "approve", "note": "seen in the books"}
        decided = await desk.post(resolve(approval_id), "tok-mia", note)
        made = await refund(desk)
        again = await refund(desk)
        after = (await desk.get("/approvals?all=true", "tok-mia")).body

    assert [each["approval_id"] for each in waiting["items"]] == [approval_id]
    assert waiting["items"][0]["terms"]["amount_minor"] == BIG
    assert (decided.status, decided.body["status"], decided.body["decided_by"]) == (200, "approved", "mia")
    assert made == again
    assert made["approval_id"] == approval_id
    assert [each.refund_id for each in await refunds(store)] == [made["refund_id"]]
    history = after["items"][0]["history"]
    assert [(each["event"], each["by"]) for each in history] == [
        ("requested", "agent"),
        ("approved", "mia"),
        ("used", "agent"),
    ]
    assert (history[1]["source"], history[1]["reason"]) == ("HTTP from 10.0.0.7", "seen in the books")
    assert history[1]["at"]


async def test_the_audit_records_are_shown_by_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/billing.db"
    store = await open_server_store("billing", url)
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        await desk.post(resolve(approval_id), "tok-mia", {"decision": "reject", "note": "no"})
    await store.close()

    def listed() -> dict[str, Any]:
        with pytest.raises(SystemExit):
            server_command(DEFINITION)(["approvals", "list", "--all", "--json", "--store", url])
        found: dict[str, Any] = json.loads(capfd.readouterr().out)
        return found

    [shown] = (await asyncio.to_thread(listed))["items"]
    decision = shown["history"][1]
    assert (shown["approval_id"], decision["event"], decision["by"]) == (approval_id, "rejected", "mia")
    assert (decision["source"], decision["reason"]) == ("HTTP from 10.0.0.7", "no")


@pytest.mark.parametrize("token", ["tok-agent", "tok-portal", "tok-nobody", None])
async def test_who_may_not_approve_changes_nothing(
    store: SqliteStore, tmp_path: Path, token: str | None
) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        shown = await desk.get("/approvals", token)
        refused = await desk.post(resolve(approval_id), token, {"decision": "approve"})
        told = await refund(desk)

    assert shown.status == refused.status == (403 if token in ("tok-agent", "tok-portal") else 401)
    assert told["code"] == "approval_required"
    assert await refunds(store) == []


async def test_who_asked_cannot_approve_it_over_http_even_with_the_scope(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk, "tok-boss")
        own = await desk.post(resolve(approval_id), "tok-boss", {"decision": "approve"})
        history = (await desk.get("/approvals", "tok-mia")).body["items"][0]["history"]

    assert (own.status, own.body["code"]) == (403, "forbidden")
    assert [each["event"] for each in history] == ["requested", "decision_refused"]
    assert await refunds(store) == []


async def test_in_local_mode_nobody_is_known_to_be_a_person(store: SqliteStore) -> None:
    async with guarded(DEFINITION, store, AccessSettings()) as desk:
        shown = await desk.get("/approvals")
        decided = await desk.post(resolve("apr_1"), None, {"decision": "approve"})

    assert (shown.status, decided.status) == (403, 403)


async def test_a_hundred_people_at_once_give_one_decision_and_a_hundred_calls_one_refund(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        clicks = await asyncio.gather(
            *(
                desk.post(resolve(approval_id), f"tok-{('mia', 'noor')[n % 2]}", {"decision": "approve"})
                for n in range(100)
            )
        )
        # Another token is another request of the same refund: the one approval must not serve both.
        tokens = [{"idempotency_token": f"tok-{n % 4}"} for n in range(100)]
        answers = await asyncio.gather(*(refund(desk, **each) for each in tokens))
        history = (await desk.get("/approvals?all=1", "tok-mia")).body["items"][-1]["history"]

    statuses = [answer.status for answer in clicks]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 503}
    made = {answer["refund_id"] for answer in answers if "refund_id" in answer}
    assert [each.refund_id for each in await refunds(store)] == list(made)
    events = [each["event"] for each in history]
    assert (events.count("approved"), events.count("used")) == (1, 1)


async def test_the_yes_is_for_exactly_these_parameters(store: SqliteStore, tmp_path: Path) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        await desk.post(resolve(approval_id), "tok-mia", {"decision": "approve"})
        changes: list[dict[str, Any]] = [
            {"amount_minor": BIG - 1},
            {"payment_id": "pay_1b"},
            {"reason": "charged three times"},
        ]
        others = [
            await refund(desk, **changed, idempotency_token=f"tok-{n}") for n, changed in enumerate(changes)
        ]

    assert [each["code"] for each in others] == ["approval_required"] * 3
    assert await refunds(store) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"decision": "maybe"}, 422),
        ({}, 422),
        ({"decision": "approve", "amount_minor": 1}, 422),
        ({"decision": "approve", "note": "x" * 501}, 422),
        ([], 422),
        ({"decision": "approve", "note": "x" * 70_000}, 413),
    ],
    ids=["other", "nothing", "more", "long", "list", "huge"],
)
async def test_a_decision_that_cannot_be_read_decides_nothing(
    store: SqliteStore, tmp_path: Path, body: object, status: int
) -> None:
    async with billing(store, tmp_path) as desk:
        approval_id = await asked_for(desk)
        refused = await desk.post(resolve(approval_id), "tok-mia", body)
        missing = await desk.post(resolve("apr_nothing"), "tok-mia", {"decision": "approve"})
        waiting = (await desk.get("/approvals", "tok-mia")).body["items"]

    assert refused.status == status
    assert "xxxx" not in json.dumps(refused.body)
    assert missing.status == 404
    assert [each["status"] for each in waiting] == ["pending"]
