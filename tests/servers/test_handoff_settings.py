"""What an operator sets about handoffs: keys, retention and the shared store reach the running server."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import retention
from handoff.errors import StructuredError
from handoff.retention import Retention, TokenExpiredError, sweep_all
from handoff.shared_contexts import NAMESPACE
from handoff.signing_keys import KeysError
from handoff.sqlite.connection import driver
from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Token, new_id
from handoff.stores import open_store
from servers._access import current_call
from servers._handoffs import HandoffSettings, handoff_settings
from servers._hosting.server import hosted
from servers._hosting.serving import Settings, serve
from servers._records import commit
from servers._results import IdempotencyToken
from servers._tools import write_tool
from tests.servers.processes import INITIALIZE, WAIT_SECONDS, running, sample_command
from tests.servers.sample_server import DEFINITION, SampleNote, SampleTools

DAY = 24 * 3600
KEYS = json.dumps({"sign": "2026-11", "keys": {"2026-11": base64.b64encode(b"n" * 32).decode()}})


class PayingTools(SampleTools):
    """The sample tools, and one that moves money."""

    @write_tool("Pay", destructive=True)
    async def pay(self, idempotency_token: IdempotencyToken = None) -> SampleNote:
        """Pay. Not for users."""
        note = SampleNote(note_id=new_id("note"), customer_id="cus_1", title="paid")
        put = self.notes.put(note.note_id, note, expected=ABSENT)
        return await commit(self.notes.store, current_call(), [put], note)


class Days:
    """A clock that moves by days."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return 1_800_000_000 + self.passed * DAY


@pytest.fixture
def days() -> Days:
    return Days()


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_an_ordinary_token_expires_before_one_that_moved_money(tmp_path: Path, days: Days) -> None:
    definition = replace(DEFINITION, tools=PayingTools)
    settings = HandoffSettings(retention=Retention(days=1))
    note: dict[str, Any] = {"customer_id": "cus_1", "title": "t", "idempotency_token": "a"}
    async with await SqliteStore.open(tmp_path / "s.db", owner="sample", clock=days) as store:
        host = hosted(definition, store, handoffs=settings)
        async with Client(host.server) as client:
            written = await call(client, "write_note", **note)
            paid = await call(client, "pay", idempotency_token="b")
            days.passed = 0.9
            assert await call(client, "write_note", **note) == written
            days.passed = 1
            assert await sweep_all([store]) == 1
            error = await call(client, "write_note", **note)
            assert (error["code"], error["field"]) == ("expired", "idempotency_token")
            days.passed = 29.9
            assert await call(client, "pay", idempotency_token="b") == paid
            days.passed = 30
            assert await sweep_all(host.swept) == 1
            for _ in range(2):
                assert (await call(client, "pay", idempotency_token="b"))["code"] == "expired"
            assert await store.count("notes", "all", "") == 2
        await host.server.close()


async def test_a_token_committed_after_its_time_is_refused_inside_the_commit_too(
    tmp_path: Path, days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await SqliteStore.open(tmp_path / "s.db", owner="sample", clock=days) as store:
        host = hosted(DEFINITION, store, handoffs=HandoffSettings(retention=Retention(days=1)))
        async with Client(host.server) as client:
            note = {"customer_id": "cus_1", "title": "t", "idempotency_token": "a"}
            await call(client, "write_note", **note)
            days.passed = 1

            async def unknown(key: str) -> None:
                return None

            monkeypatch.setattr(store, "token", unknown)
            assert (await call(client, "write_note", **note))["code"] == TokenExpiredError.code
            assert await store.count("notes", "all", "") == 1
        await host.server.close()


async def test_a_server_keeps_its_handoffs_as_long_as_it_is_told(store: SqliteStore) -> None:
    host = hosted(DEFINITION, store, handoffs=HandoffSettings(retention=Retention(days=2)))
    async with Client(host.server) as client:
        asked = {"target_server": "sample", "accumulated_context": {}}
        prepared = await call(client, "prepare_handoff", **asked)
        assert (await call(client, "receive_handoff", **prepared))["status"] == "accepted"
    await host.server.close()
    for collection in ("handoffs", "prepared_handoffs"):
        [entry] = await store.log(collection)
        record = await store.get(collection, entry.id)
        assert record is not None
        assert abs(record.data["keep_until"] - entry.at - 2 * DAY) < 60


async def test_without_any_setting_nothing_is_signed_and_tokens_are_kept_thirty_days() -> None:
    async with handoff_settings({}) as settings:
        assert settings == HandoffSettings()
        assert settings.findings() == ["outcomes of tokens are kept 30 days"]


async def test_the_environment_sets_keys_retention_and_the_shared_store(tmp_path: Path) -> None:
    environment = {
        "SWITCHBOARD_HANDOFF_KEYS": KEYS,
        "SWITCHBOARD_REQUIRE_SIGNATURE": "1",
        "SWITCHBOARD_TOKEN_DAYS": "2",
        "SWITCHBOARD_CONTEXT_STORE": f"sqlite:///{tmp_path}/",
    }
    async with handoff_settings(environment) as settings:
        assert settings.findings() == [
            "outcomes of tokens are kept 2 days",
            "envelopes are signed with key 2026-11",
            "unsigned envelopes are refused",
            "long contexts go through the shared store",
        ]
    assert "n" * 32 not in repr(settings)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"SWITCHBOARD_REQUIRE_SIGNATURE": "1"}, "no keys"),
    ({"SWITCHBOARD_REQUIRE_SIGNATURE": "perhaps"}, "neither yes nor no"),
    ({"SWITCHBOARD_HANDOFF_KEYS": "{"}, "not the JSON"),
    ({"SWITCHBOARD_TOKEN_DAYS": "0.5"}, "at least 1"),
    ({"SWITCHBOARD_MONEY_TOKEN_DAYS": "7"}, "at least 30"),
    ({"SWITCHBOARD_CONTEXT_STORE": "ftp://host"}, "not supported"),
]


@pytest.mark.parametrize(("environment", "reason"), WRONG)
async def test_a_setting_that_cannot_be_used_is_refused_before_anything_is_served(
    environment: dict[str, str], reason: str
) -> None:
    with pytest.raises((StructuredError, KeysError), match=reason):
        async with handoff_settings(environment):
            pass


async def test_a_running_server_signs_verifies_and_shares_long_contexts(tmp_path: Path) -> None:
    environment = {
        "SWITCHBOARD_HANDOFF_KEYS": KEYS,
        "SWITCHBOARD_REQUIRE_SIGNATURE": "1",
        "SWITCHBOARD_CONTEXT_STORE": f"sqlite:///{tmp_path}/",
    }
    async with running(sample_command(tmp_path), **environment) as server:
        await server.ask(1, "initialize", INITIALIZE)
        await server.send({"method": "notifications/initialized"})
        asked = {"target_server": "sample", "accumulated_context": {"notes": "x" * 5000}}
        answer = await server.ask(2, "tools/call", {"name": "prepare_handoff", "arguments": asked})
        sent = answer["result"]["structuredContent"]["envelope"]
        assert sent["signature"].startswith("v1:2026-11:")
        assert sent["accumulated_context"] == {}
        for number, (envelope, expected) in enumerate(
            [(sent, "accepted"), ({**sent, "ttl_seconds": 9}, None)]
        ):
            call = {"name": "receive_handoff", "arguments": {"envelope": envelope}}
            content = (await server.ask(3 + number, "tools/call", call))["result"]["structuredContent"]
            assert content.get("status") == expected
        assert content["code"] == "bad_signature"
        server.hang_up()
        assert await server.ended() == 0
    shared = await open_store(f"sqlite:///{tmp_path}/", namespace=NAMESPACE)
    assert await shared.count("shared_contexts", "pinned", "") == 1
    await shared.close()


async def test_a_server_with_a_bad_setting_ends_at_once_with_one_line_that_names_it(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path), SWITCHBOARD_REQUIRE_SIGNATURE="1") as server:
        assert await server.ended() == 1
        complaint = await server.complaint()
    assert len(complaint.splitlines()) == 1 and "SWITCHBOARD_HANDOFF_KEYS_FILE" in complaint


async def test_check_names_the_settings_and_fails_for_bad_ones(tmp_path: Path) -> None:
    command = [*sample_command(tmp_path), "--check"]
    async with running(command, SWITCHBOARD_HANDOFF_KEYS=KEYS) as server:
        lines = []
        while line := await server.line():
            lines.append(line.rstrip())
        assert await server.ended() == 0
    assert "ok: envelopes are signed with key 2026-11" in lines
    async with running(command, SWITCHBOARD_TOKEN_DAYS="0") as server:
        assert "failed: SWITCHBOARD_TOKEN_DAYS" in await server.line()
        assert await server.ended() == 1


async def test_a_serving_process_sweeps_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with await SqliteStore.open(tmp_path / "s.db", owner="sample", clock=lambda: 0.0) as store:
        await store.commit([], token=Token("t", "f", {"card": "4111"}))
    monkeypatch.setattr(retention, "sweeping", partial(retention.sweeping, first_after=0))
    serving = asyncio.create_task(serve(DEFINITION, Settings(store=url, http=True, port=0), stdout=1))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while tokens(tmp_path / "s.db") != [("t", "", "")]:  # noqa: ASYNC110 - another connection writes it
                await asyncio.sleep(0.01)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def tokens(path: Path) -> list[tuple[object, ...]]:
    """All tokens of the file, as another program would read them."""
    connection = driver.connect(path, isolation_level=None)
    try:
        rows: list[tuple[object, ...]] = connection.execute(
            "SELECT key, fingerprint, result FROM tokens"
        ).fetchall()
        return rows
    finally:
        connection.close()
