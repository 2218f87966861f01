"""Approvals where the host can ask its person: asked there, and only there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.types import ElicitRequestParams, ElicitResult

from handoff.errors import JsonObject
from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from orchestrator.links.links import ServerLinks
from orchestrator.team import ServerEntry
from servers._access import Identity
from servers._auth.settings import AccessSettings
from servers._hosting.guard import GuardedServer
from servers._hosting.opening import open_server_store
from servers._hosting.server import build_server
from servers.billing.decisions import Decisions
from servers.billing.server import DEFINITION
from tests.servers.billing_desk import enter, invoice
from tests.servers.guarded import guarded, write_tokens
from tests.servers.processes import ROOT
from tests.servers.test_approvals_http import AGENT, BIG, ORDER, refunds

Era = Literal["auto", "legacy"]


@pytest.fixture
async def billing(store: SqliteStore) -> GuardedServer:
    await enter(store, invoice(paid=(BIG, BIG), total=BIG))
    return build_server(DEFINITION, store)


class Person:
    """Somebody at a host, who answers what they are asked."""

    def __init__(self, action: str, **content: str) -> None:
        self.asked: list[str] = []
        self._answer = ElicitResult.model_validate({"action": action, "content": content or None})

    async def __call__(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return self._answer


async def refund(server: GuardedServer, person: Person | None, era: Era, **changed: Any) -> JsonObject:
    async with Client(server, mode=era, elicitation_callback=person) as client:
        result = await client.call_tool("process_refund", {**ORDER, **changed})
    content = result.structured_content
    assert isinstance(content, dict)
    return content


async def history(store: Store) -> list[JsonObject]:
    decisions = Decisions(store)
    [approval] = (await decisions.everything()).items
    return await decisions.history(approval.approval_id)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_person_at_the_host_is_asked_and_the_refund_is_made_in_the_same_call(
    billing: GuardedServer, store: SqliteStore, era: Era
) -> None:
    mia = Person("accept", decision="approve")
    made = await refund(billing, mia, era)
    again = await refund(billing, mia, era)

    assert again == made
    assert [each.refund_id for each in await refunds(store)] == [made["refund_id"]]
    [question] = mia.asked
    for part in ("360.00 EUR", "cus_1", "inv_1", "pay_1a", '"charged twice"'):
        assert part in question
    requested, approved, used = await history(store)
    assert (requested["by"], used["by"]) == ("local", "local")
    assert (approved["event"], approved["by"]) == ("approved", "the person at local's host")
    assert approved["source"] == "a question in the host"


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize(
    "person", [Person("decline"), Person("accept", decision="reject")], ids=["declined", "rejected"]
)
async def test_a_no_of_the_person_is_final_for_this_refund(
    billing: GuardedServer, store: SqliteStore, era: Era, person: Person
) -> None:
    told = await refund(billing, person, era)
    repeated = await refund(billing, Person("accept", decision="approve"), era, idempotency_token="tok-2")

    assert told["code"] == repeated["code"] == "approval_rejected"
    assert await refunds(store) == []


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize(
    "person", [Person("cancel"), Person("accept", decision="yes, all of them")], ids=["closed", "nonsense"]
)
async def test_a_form_that_was_closed_or_filled_in_with_something_else_decides_nothing(
    billing: GuardedServer, store: SqliteStore, era: Era, person: Person
) -> None:
    told = await refund(billing, person, era)
    assert told["code"] == "approval_required"
    assert [each["event"] for each in await history(store)] == ["requested"]
    made = await refund(billing, Person("accept", decision="approve"), era)
    assert made["approval_id"] == told["approval_id"]


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_host_that_cannot_ask_is_told_what_a_person_must_do(
    billing: GuardedServer, store: SqliteStore, era: Era
) -> None:
    told = await refund(billing, None, era)

    assert told["code"] == "approval_required"
    assert told["how"].startswith("a person runs: switchboard-billing approvals approve apr_")
    assert await refunds(store) == []


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_host_that_is_no_persons_is_never_asked(
    billing: GuardedServer, store: SqliteStore, era: Era
) -> None:
    billing.callers.local = Identity("agent", frozenset(AGENT))
    eager = Person("accept", decision="approve")
    told = await refund(billing, eager, era)

    assert told["code"] == "approval_required"
    assert eager.asked == []
    assert await refunds(store) == []


async def test_an_answer_that_was_not_asked_for_by_a_person_s_host_is_not_heard(
    store: SqliteStore, tmp_path: Path
) -> None:
    """An agent's program may write any message: that it has the answer already, or that it could ask."""
    await enter(store, invoice(paid=(BIG, BIG), total=BIG))
    tokens = write_tokens(
        tmp_path / "tokens.toml",
        agent=AGENT,
        boss={"scopes": [*AGENT, "billing:approve"], "person": True},
    )
    async with guarded(DEFINITION, store, AccessSettings(tokens=tokens)) as desk:
        able: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
        call = {"name": "process_refund", "arguments": ORDER, "_meta": able}
        first = (await desk.rpc("tok-agent", "tools/call", call)).result
        approval_id = first["structuredContent"]["approval_id"]
        yes = {"action": "accept", "content": {"decision": "approve"}}
        pretended = await desk.rpc("tok-agent", "tools/call", {**call, "inputResponses": {approval_id: yes}})
        asked = (await desk.rpc("tok-boss", "tools/call", call)).result
        [own_id] = asked["inputRequests"]
        answered = await desk.rpc("tok-boss", "tools/call", {**call, "inputResponses": {own_id: yes}})
        replayed = await desk.rpc("tok-boss", "tools/call", {**call, "inputResponses": {own_id: yes}})

    assert pretended.error["code"] == "approval_required"
    assert asked["resultType"] == "input_required"
    assert own_id != approval_id
    assert answered.result["structuredContent"]["approval_id"] == own_id
    assert replayed.result == answered.result
    assert len(await refunds(store)) == 1


async def test_the_orchestrators_links_never_offer_to_ask_anybody(tmp_path: Path) -> None:
    """It runs agents, over stdio as the local user too: its client declares nothing it could be asked by."""
    url = f"sqlite:///{tmp_path}/billing.db"
    store = await open_server_store("billing", url)
    await enter(store, invoice(paid=(BIG, BIG), total=BIG))
    await store.close()
    entry = ServerEntry(command=(sys.executable, "-P", "-m", "servers.billing", "--store", url))
    async with ServerLinks({"billing": entry}, env={"PYTHONPATH": str(ROOT)}) as links:
        outcome = await links.call("billing", "process_refund", ORDER, meta={}, timeout=20)
    store = await open_server_store("billing", url)
    made = await refunds(store)
    await store.close()

    assert outcome.code == "approval_required"
    assert made == []
