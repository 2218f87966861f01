"""The changes of a server's records as MCP resources: followed from anywhere, and by staff only."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents

from handoff.meta import CUSTOMER_META
from handoff.sqlite.store import SqliteStore
from handoff.store import Delete, Put, Store
from servers._feed import PAGE, PAGE_CHARS
from servers._hosting.guard import GuardedServer, Limits
from servers._hosting.server import build_server
from servers.ticketing.server import DEFINITION
from tests.servers.caller import Caller
from tests.servers.processes import MODERN, ROOT, running

CHANGES = "switchboard://ticketing/changes"
TICKETS = f"{CHANGES}/tickets"
FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))


@pytest.fixture
async def server(store: SqliteStore) -> AsyncIterator[GuardedServer]:
    hosted = build_server(DEFINITION, store)
    yield hosted
    await hosted.close()


async def read(server: GuardedServer, uri: str, **meta: Any) -> dict[str, Any]:
    sent: Any = meta or None
    async with Client(server) as client:
        [content] = (await client.read_resource(uri, meta=sent)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    found: dict[str, Any] = json.loads(content.text)
    return found


async def refusal(server: GuardedServer, uri: str, **meta: Any) -> dict[str, Any]:
    sent: Any = meta or None
    async with Client(server) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri, meta=sent)
    assert isinstance(refused.value.error.data, dict)
    assert refused.value.error.message == refused.value.error.data["message"]
    return refused.value.error.data


async def opened(server: GuardedServer, subject: str) -> str:
    state = await Caller(server).ok(
        "create_ticket", subject=subject, description="x", idempotency_token=subject
    )
    return str(state["ticket_id"])


async def test_a_collection_is_followed_from_what_there_is_through_every_change(
    server: GuardedServer,
) -> None:
    first, second = await opened(server, "one"), await opened(server, "two")
    page = await read(server, TICKETS)
    assert {change["id"]: change["record"]["subject"] for change in page["changes"]} == {
        first: "one",
        second: "two",
    }
    assert "actor" not in page["changes"][0]

    await Caller(server).ok("update_ticket", ticket_id=first, priority="high")
    later = await read(server, f"{TICKETS}?after={page['next_after']}")
    [change] = later["changes"]
    assert (change["id"], change["version"], change["actor"]) == (first, 2, "local")
    assert change["record"]["priority"] == "high"
    assert change["at"].endswith("Z")
    assert later["next_after"] == str(change["position"])
    idle = await read(server, f"{TICKETS}?after={later['next_after']}")
    assert (idle["changes"], idle["next_after"], idle["more"]) == ([], later["next_after"], False)


async def test_a_deleted_record_is_told_without_its_content(
    server: GuardedServer, store: SqliteStore
) -> None:
    ticket_id = await opened(server, "one")
    await store.commit([Delete("tickets", ticket_id)], actor="eve")
    page = await read(server, f"{TICKETS}?after=0")

    assert [(change["version"], change["deleted"], change.get("record")) for change in page["changes"]] == [
        (1, True, None),
        (2, True, None),
    ]
    assert len(page["changes"][0]["token"]) == 64
    assert "token" not in page["changes"][1]


async def test_pages_are_bounded_and_join_to_the_whole_collection(
    server: GuardedServer, store: SqliteStore
) -> None:
    await store.commit([Put("tickets", f"t{n:03}", {"n": n}) for n in range(PAGE * 2 + 7)])
    await store.commit([Put("tickets", f"u{n}", {"long": "x" * (PAGE_CHARS // 2)}) for n in range(5)])
    await store.commit([Put("tickets", "v", {"long": "x" * PAGE_CHARS})])
    for start in ("", "?after=0"):
        ids: list[str] = []
        page = await read(server, TICKETS + start)
        while True:
            ids += [change["id"] for change in page["changes"]]
            assert 1 <= len(page["changes"]) <= PAGE or not page["more"]
            assert len(json.dumps(page)) < PAGE_CHARS * 1.5
            if not page["more"]:
                break
            page = await read(server, f"{TICKETS}?after={page['next_after']}")
        expected = [*(f"t{n:03}" for n in range(PAGE * 2 + 7)), *(f"u{n}" for n in range(5)), "v"]
        assert ids == expected, start


async def test_a_conversation_with_a_customer_reads_no_changes(server: GuardedServer) -> None:
    await opened(server, "one")
    for uri in (CHANGES, TICKETS, f"{TICKETS}?after=0", f"{CHANGES}/unknown"):
        refused = await refusal(server, uri, **{CUSTOMER_META: "cus_1"})
        assert refused["code"] == "forbidden"
    for bad in ("", 7, "no such id!"):
        refused = await refusal(server, TICKETS, **{CUSTOMER_META: bad})
        assert refused["code"] == "invalid_argument"


async def test_only_the_server_s_own_collections_are_there(server: GuardedServer, store: SqliteStore) -> None:
    await store.commit([Put("handoffs", "h", {"secret": True}), Put("closed_tickets", "t", {})])
    known = await read(server, CHANGES)

    assert [each["collection"] for each in known["collections"]] == ["tickets"]
    assert known["collections"][0]["uri"] == TICKETS
    for name in ("handoffs", "closed_tickets", "ticket_comments", "..%2Ftickets", "%00", "TICKETS"):
        refused = await refusal(server, f"{CHANGES}/{name}")
        assert refused["code"] == "not_found"
        assert "secret" not in str(refused)
        assert name not in str(refused)


async def test_the_list_of_collections_tells_whether_something_changed(server: GuardedServer) -> None:
    before = (await read(server, CHANGES))["collections"][0]["newest_position"]
    await opened(server, "one")
    assert (await read(server, CHANGES))["collections"][0]["newest_position"] > before == 0


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "%00", "../1", "9" * 30])
async def test_a_cursor_that_is_none_is_refused_by_name(server: GuardedServer, after: str) -> None:
    refused = await refusal(server, f"{TICKETS}?after={after}")
    assert (refused["code"], refused["field"]) == ("invalid_cursor", "after")


async def test_a_cursor_beyond_the_log_says_to_begin_anew(server: GuardedServer) -> None:
    refused = await refusal(server, f"{TICKETS}?after=99")
    assert refused["code"] == "invalid_cursor"
    assert "begin anew" in refused["suggestion"]


async def test_a_store_that_cannot_answer_is_a_retryable_error(
    server: GuardedServer, store: SqliteStore
) -> None:
    await store.close()
    for uri in (CHANGES, TICKETS):
        refused = await refusal(server, uri)
        assert refused["code"] == "store_unavailable"


async def test_what_takes_too_long_is_stopped_and_told(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    server = build_server(DEFINITION, store, limits=Limits(deadline_seconds=0.05))
    monkeypatch.setattr(store, "scan", never)
    refused = await refusal(server, TICKETS)
    assert (refused["code"], refused["retryable"]) == ("deadline_exceeded", True)
    await server.close()


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_server_lists_its_changes_and_gives_each_page(folder: str, store: Store) -> None:
    definition = import_module(f"servers.{folder}.server").DEFINITION
    server = build_server(definition, store)
    await definition.load_demo(store)
    async with Client(server) as client:
        assert [str(each.uri) for each in (await client.list_resources()).resources] == [
            f"switchboard://{definition.name}/changes"
        ]
        [template] = (await client.list_resource_templates()).resource_templates
    assert template.uri_template == f"switchboard://{definition.name}/changes/{{collection}}{{?after}}"
    known = (await read(server, f"switchboard://{definition.name}/changes"))["collections"]
    told = (ROOT / "docs" / "changes.md").read_text("utf-8")
    names = ", ".join(f"`{each['collection']}`" for each in known)
    assert f"| {definition.name} | {names} |" in told
    for each in known:
        if each["newest_position"]:
            assert (await read(server, each["uri"]))["changes"], each
    await server.close()


async def test_changes_are_read_over_stdio_by_hosts_of_either_era(tmp_path: Any) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "servers.ticketing",
        "--store",
        f"sqlite:///{tmp_path}/t.db",
        "--demo",
    ]
    async with running(command) as process:
        params = {"uri": TICKETS, **MODERN}
        answer = await process.ask(1, "resources/read", params)
        page = json.loads(answer["result"]["contents"][0]["text"])
        assert len(page["changes"]) == PAGE
        restricted = {**MODERN["_meta"], CUSTOMER_META: "cus_1001"}
        refused = await process.ask(2, "resources/read", {"uri": TICKETS, "_meta": restricted})
        assert refused["error"]["data"]["code"] == "forbidden"
