"""Refunds that wait for a person, who decides about them in a terminal."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from handoff.errors import JsonObject
from handoff.sqlite.store import SqliteStore
from servers._hosting.opening import file_url
from servers.billing.server import DEFINITION
from tests.servers.billing_caller import BillingCaller, billing
from tests.servers.billing_desk import enter, invoice

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "billing.db"


@asynccontextmanager
async def chiyo(file: Path) -> AsyncIterator[tuple[BillingCaller, JsonObject]]:
    """The server with a customer who was charged 36,000 JPY twice, and the refund she asks for."""
    store = await SqliteStore.open(file, owner="billing")
    try:
        made = invoice(customer_id="cus_1003", paid=(36_000, 36_000), total=36_000, currency="JPY")
        if await store.get("invoices", "inv_1") is None:
            await enter(store, made)
        async with billing(store, "cus_1003") as call:
            yield call, await call.refund(36_000, currency="JPY")
    finally:
        await store.close()


def approvals(file: Path, *arguments: str) -> Result:
    """`switchboard-billing approvals ...`, in a thread: it runs an event loop of its own."""
    app = typer.Typer()
    assert DEFINITION.commands is not None
    DEFINITION.commands(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["approvals", *arguments, "--store", file_url(file)])


async def test_a_person_approves_in_the_terminal_and_the_same_call_pays(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        assert asked["code"] == "approval_required"
        approval_id = asked["approval_id"]
        listed = await asyncio.to_thread(approvals, file, "list")
        assert listed.exit_code == 0
        for fact in (approval_id, "36,000 JPY", "cus_1003", "inv_1", "pay_1b", "charged twice", "pending"):
            assert fact in listed.stdout
        approved = await asyncio.to_thread(approvals, file, "approve", approval_id, "--reason", "seen it")
        assert approved.exit_code == 0
        assert "36,000 JPY" in approved.stdout
        assert getpass.getuser() in approved.stdout
        made = await call.refund(36_000, currency="JPY")
        assert made["approval_id"] == approval_id
        again = await asyncio.to_thread(approvals, file, "approve", approval_id)
        assert again.exit_code == 1
        assert again.stdout == ""
        assert again.stderr.count("\n") == 1
        assert "used" in again.stderr
        shown = await asyncio.to_thread(approvals, file, "show", approval_id, "--json")
        history = json.loads(shown.stdout)["history"]
        assert [entry["event"] for entry in history] == ["requested", "approved", "used", "decision_refused"]
        assert history[1]["reason"] == "seen it"
        assert "made as" in (await asyncio.to_thread(approvals, file, "show", approval_id)).stdout


async def test_a_rejection_in_the_terminal_stands(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        rejected = await asyncio.to_thread(
            approvals, file, "reject", asked["approval_id"], "--reason", "no", "--json"
        )
        assert json.loads(rejected.stdout)["status"] == "rejected"
        assert json.loads(rejected.stdout)["decided_by"] == getpass.getuser()
        assert (await call.refund(36_000, currency="JPY"))["code"] == "approval_rejected"
        assert (await asyncio.to_thread(approvals, file, "list")).stdout.startswith("No refund waits")
        everything = json.loads((await asyncio.to_thread(approvals, file, "list", "--all", "--json")).stdout)
        assert [each["amount"] for each in everything["items"]] == ["36,000 JPY"]


def test_the_terminal_says_when_it_looks_at_a_store_without_invoices(file: Path) -> None:
    listed = approvals(file, "list")
    assert listed.exit_code == 0
    assert "--store" in listed.stdout


def test_an_unknown_approval_is_one_line_or_json_and_status_1(file: Path) -> None:
    plain = approvals(file, "approve", "apr_nothing")
    assert (plain.exit_code, plain.stdout, plain.stderr.count("\n")) == (1, "", 1)
    as_json = approvals(file, "reject", "apr_nothing", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["code"]) == (1, "not_found")


async def test_a_person_approves_from_another_process(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        command = [sys.executable, "-P", "-m", "servers.billing", "--store", file_url(file), "approvals"]

        async def run(*arguments: str) -> tuple[int | None, str, str]:
            process = await asyncio.create_subprocess_exec(
                *command,
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=file.parent,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(file.parent)},
            )
            stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode, stdout.decode(), stderr.decode()

        status, stdout, _ = await run("list", "--json")
        assert status == 0
        [waiting] = json.loads(stdout)["items"]
        assert waiting["approval_id"] == asked["approval_id"]
        assert (await run("approve", waiting["approval_id"]))[0] == 0
        assert (await call.refund(36_000, currency="JPY"))["amount_minor"] == 36_000
        status, stdout, stderr = await run("approve", waiting["approval_id"])
        assert (status, stdout, stderr.count("\n")) == (1, "", 1)
        assert "Traceback" not in stderr
