"""Alerts: counted and logged at once, signed, retried, kept over a restart, and never in the way."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from handoff.store import Store
from orchestrator.alerts import outbox as outboxes
from orchestrator.alerts.alerts import AlertKind, Alerts
from orchestrator.alerts.circuits import CircuitAlerts
from orchestrator.alerts.outbox import Outbox, delivering
from orchestrator.alerts.webhook import (
    NotDeliveredError,
    Webhook,
    WebhookSettingsError,
    signature,
    webhook_from,
)
from orchestrator.links.breaker import Circuit
from orchestrator.probe.alert import Alert as ProbeAlert
from orchestrator.probe.command import ProbeResult
from tests.conftest import MakeStore
from tests.orchestrator.alert_receiver import SECRET, receiving
from tests.orchestrator.fake_servers import free_port


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    """On SQLite, and on Redis."""
    return await make_store()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "FIRST_DELAY_SECONDS", 0.05)


def hook(url: str, secret: str = SECRET) -> Webhook:
    return Webhook(url, secret.encode())


def stop(alerts: Alerts, number: int = 1) -> None:
    for place in range(number):
        alerts.tell(AlertKind.BUDGET_STOP, "the run's budget is used up", run_id=f"run_{place}")


async def test_an_alert_reaches_the_receiver_signed_although_it_fails_at_first(store: Store) -> None:
    alerts = Alerts()
    async with receiving([500, 503]) as receiver, delivering(alerts, store, hook(receiver.url)):
        stop(alerts)
        [taken] = await receiver.until_taken()
    assert await store.count("alerts", "waiting", "") == 0
    assert (taken["kind"], taken["run_id"]) == ("budget_stop", "run_0")
    assert len(receiver.deliveries) == 3
    assert len(set(receiver.deliveries)) == 1
    assert receiver.deliveries[0] == taken["id"]
    assert receiver.forged == 0
    assert alerts.counts == {"budget_stop": 1}


async def test_an_alert_that_was_not_taken_is_delivered_by_the_next_process(store: Store) -> None:
    alerts = Alerts()
    nobody = f"http://127.0.0.1:{free_port()}/alerts"
    async with delivering(alerts, store, hook(nobody)):
        stop(alerts, 3)
    async with receiving() as receiver, delivering(Alerts(), store, hook(receiver.url)):
        taken = await receiver.until_taken(3)
    assert {alert["run_id"] for alert in taken} == {"run_0", "run_1", "run_2"}
    assert await store.count("alerts", "waiting", "") == 0


async def test_an_alert_that_a_process_died_over_is_taken_up_when_its_claim_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "LAST_SECONDS", 0.1)
    tried = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.set()
        try:
            await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        alerts = Alerts()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with delivering(alerts, store, hook(url)):
            stop(alerts)
            await asyncio.wait_for(tried.wait(), 10)
    async with receiving() as receiver:
        early = Outbox(store, hook(receiver.url), Alerts())
        early.start()
        await early.close()
        assert receiver.taken == []  # for all it knows the other one is still at it
        later = Outbox(store, hook(receiver.url), Alerts(), clock=lambda: time.time() + 20)
        later.start()
        await receiver.until_taken()
        await later.close()


async def test_two_processes_deliver_an_alert_once(store: Store) -> None:
    one, two = Alerts(), Alerts()
    async with (
        receiving() as receiver,
        delivering(one, store, hook(receiver.url)),
        delivering(two, store, hook(receiver.url)),
    ):
        stop(one, 20)
        stop(two, 20)
        await receiver.until_taken(40)
    assert len(set(receiver.deliveries)) == 40
    assert len(receiver.deliveries) == 40


async def test_more_alerts_than_are_kept_are_counted_and_dropped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "MOST_WAITING", 5)
    alerts = Alerts()
    outbox = Outbox(store, hook(f"http://127.0.0.1:{free_port()}"), alerts)
    alerts.on_alert = outbox.put
    stop(alerts, 4)
    await outbox.close()
    stop(alerts, 4)
    await outbox.close()
    assert await outbox.waiting() == 5
    assert alerts.counts == {"budget_stop": 8, "dropped": 3}


async def test_telling_does_not_wait_for_a_receiver_that_hangs(store: Store) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    alerts = Alerts()
    async with delivering(alerts, store, hook(url)):
        began = time.monotonic()
        stop(alerts, 100)
        assert time.monotonic() - began < 2
        await asyncio.sleep(0)
    server.close()
    assert await store.count("alerts", "waiting", "") == 100


async def test_an_alert_about_one_subject_is_sent_once_a_minute_and_counted_each_time() -> None:
    now = 1_000.0
    alerts = Alerts(clock=lambda: now)
    sent: list[str] = []
    alerts.on_alert = lambda alert: sent.append(alert.message)
    for second in (0, 30, 59, 200):
        now = 1_000.0 + second
        alerts.tell(AlertKind.MODEL_REFUSED, f"at {second}", subject="credentials")
    assert sent == ["at 0", "at 200"]
    assert alerts.counts["model_refused"] == 4
    assert [alert.message for alert in alerts.recent] == ["at 0", "at 30", "at 59", "at 200"]


def test_an_outage_is_told_at_its_beginning_and_at_its_end() -> None:
    alerts = Alerts()
    circuits = CircuitAlerts(alerts)
    half = [Circuit.OPEN, Circuit.HALF_OPEN]
    for state in (*half, *half, Circuit.CLOSED):
        circuits.on_circuit("billing", "http://one/mcp", state)
    assert alerts.counts == {"circuit_open": 1, "circuit_closed": 1}


def test_the_signature_is_what_the_documentation_says() -> None:
    # printf '1796000000.{}' | openssl dgst -sha256 -hmac key
    assert signature(b"key", "1796000000", b"{}") == (
        "be3030cc046098539614b2d7d21d07b1a0ed0e21b158fd1f25969485b8f6f747"
    )


async def test_a_changed_body_or_another_secret_does_not_pass() -> None:
    async with receiving() as receiver:
        with pytest.raises(NotDeliveredError, match="401"):
            await hook(receiver.url, "another-secret-0123456789").post(b"{}", delivery="alr_1")
    assert (receiver.forged, receiver.taken) == (1, [])


def test_a_url_without_a_secret_is_refused_and_says_what_to_set(tmp_path: Path) -> None:
    url = {"SWITCHBOARD_ALERT_URL": "https://example.com/hook"}
    assert webhook_from({}) is None
    with pytest.raises(WebhookSettingsError, match="no secret"):
        webhook_from(url)
    with pytest.raises(WebhookSettingsError, match="shorter than 16"):
        webhook_from({**url, "SWITCHBOARD_ALERT_SECRET": "short"})
    with pytest.raises(WebhookSettingsError, match="not an http"):
        webhook_from({"SWITCHBOARD_ALERT_URL": "example.com", "SWITCHBOARD_ALERT_SECRET": SECRET})
    missing = {**url, "SWITCHBOARD_ALERT_SECRET_FILE": str(tmp_path / "none")}
    with pytest.raises(WebhookSettingsError, match="cannot be read"):
        webhook_from(missing)
    (tmp_path / "secret").write_text(SECRET + "\n", "utf-8")
    found = webhook_from({**url, "SWITCHBOARD_ALERT_SECRET_FILE": str(tmp_path / "secret")})
    assert found == Webhook("https://example.com/hook", SECRET.encode())
    assert SECRET not in repr(found)


async def test_the_probe_signs_its_alerts_in_the_same_way() -> None:
    async with receiving([500]) as receiver:
        complaints: list[str] = []
        alert = ProbeAlert(receiver.url, complaints.append, secret=SECRET.encode())
        down = ProbeResult("billing", receiver.url, "now", error={"code": "timeout", "message": "slow"})
        await alert.tell([down])
        assert complaints == ["the alert about billing failed: the URL answered with HTTP status 500"]
        await alert.tell([down])
        [taken] = await receiver.until_taken()
    assert (taken["server"], taken["ok"], taken["was_ok"]) == ("billing", False, True)
    assert json.dumps(taken)
