"""Alerts on their way to the webhook: kept in the store until they were taken, whoever restarts meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from handoff.errors import StoreError, VersionConflictError
from handoff.store import Delete, Index, Put, Record, Store
from orchestrator.alerts.alerts import Alert, Alerts
from orchestrator.alerts.webhook import DELIVERY_SECONDS, NotDeliveredError, Webhook

ALERTS = "alerts"
WAITING = "waiting"

MOST_WAITING = 1_000
"""Alerts kept for a webhook that takes none; further ones are logged and counted only."""
GIVE_UP_SECONDS = 3 * 24 * 3600.0
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 300.0
CLAIM_SECONDS = DELIVERY_SECONDS + 5.0
"""How long an attempt keeps other processes from the alert, should this one die meanwhile."""
LOOK_SECONDS = 30.0
"""How often the store is asked for alerts that a dead process left."""
STORE_AGAIN_SECONDS = 5.0
LAST_SECONDS = 2.0
"""How long closing may take."""
_AT_ONCE = 10

log = structlog.get_logger(__name__)


class Outbox:
    """Delivers each alert at least once; any number of processes may share the store."""

    def __init__(
        self,
        store: Store,
        webhook: Webhook,
        alerts: Alerts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._alerts = alerts
        self._clock = clock
        self._new: deque[Alert] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def put(self, alert: Alert) -> None:
        """Take an alert; it is in the store a moment later."""
        if len(self._new) >= MOST_WAITING:
            self._dropped(alert.id, "too many are waiting")
            return
        self._new.append(alert)
        self._wake.set()

    async def waiting(self) -> int:
        """How many have not been taken by the webhook yet."""
        return len(self._new) + await self._store.count(ALERTS, WAITING, "")

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._deliver(), name="alerts")

    async def close(self) -> None:
        """Deliver what is due if that takes no time, and keep the rest for the next process."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=LAST_SECONDS)
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._keep_new()
        except (StoreError, TimeoutError) as error:
            log.error("alerts_not_kept", reason=type(error).__name__, alerts=len(self._new))

    async def _deliver(self) -> None:
        done = False
        while not done:
            done = self._closing
            self._wake.clear()
            try:
                await self._keep_new()
                pause = await self._deliver_due()
            except StoreError as error:
                log.error("alerts_not_kept", code=error.code)
                pause = STORE_AGAIN_SECONDS
            except Exception:  # one alert that cannot be sent must not end the sending of all
                log.exception("alerts_interrupted")
                pause = STORE_AGAIN_SECONDS
            if not done:
                await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _keep_new(self) -> None:
        while self._new:
            room = MOST_WAITING - await self._store.count(ALERTS, WAITING, "")
            batch = [self._new[place] for place in range(min(len(self._new), 100))]
            now = self._clock()
            kept, over = batch[: max(0, room)], batch[max(0, room) :]
            if kept:
                writes = [_put(alert.id, _waiting(alert), now, None) for alert in kept]
                await self._store.commit(writes, actor="alerts")
            for alert in over:
                self._dropped(alert.id, "too many are waiting")
            for _ in batch:
                self._new.popleft()

    async def _deliver_due(self) -> float:
        """Deliver what is due, the longest waiting first; returns how long to wait then."""
        while True:
            page = await self._store.find(ALERTS, WAITING, "", limit=_AT_ONCE)
            if not page.records:
                return LOOK_SECONDS
            for record in page.records:
                left = record.data["next_at"] - self._clock()
                if left > 0:
                    return float(min(left, LOOK_SECONDS))
                if (delay := await self._attempt(record)) is not None:
                    return delay

    async def _attempt(self, record: Record) -> float | None:
        """One attempt; None when it was taken, or is not ours to deliver, else the time until the next."""
        now, data = self._clock(), {**record.data, "attempts": record.data["attempts"] + 1}
        claim = _put(record.id, data, now + CLAIM_SECONDS, record.version)
        try:
            await self._store.commit([claim], actor="alerts")
        except VersionConflictError:
            return None  # another process has it
        body = json.dumps(data["alert"], ensure_ascii=False).encode()
        try:
            await self._webhook.post(body, delivery=record.id)
        except NotDeliveredError as error:
            log.warning("alert_not_taken", id=record.id, attempts=data["attempts"], reason=str(error))
        else:
            await self._store.commit([Delete(ALERTS, record.id)], actor="alerts")
            return None
        if now - data["alert"]["at"] > GIVE_UP_SECONDS:
            await self._store.commit([Delete(ALERTS, record.id)], actor="alerts")
            self._dropped(record.id, "nobody took it for three days")
            return None
        delay = self._delay(data["attempts"])
        again = _put(record.id, data, self._clock() + delay, record.version + 1)
        await self._store.commit([again], actor="alerts")
        return delay

    def _delay(self, attempts: int) -> float:
        longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(attempts - 1, 16))
        return random.uniform(longest / 2, longest)

    def _dropped(self, alert_id: str, reason: str) -> None:
        self._alerts.counts["dropped"] += 1
        log.error("alert_dropped", id=alert_id, reason=reason)


@asynccontextmanager
async def delivering(alerts: Alerts, store: Store, webhook: Webhook | None) -> AsyncIterator[Outbox | None]:
    """Send what `alerts` is told to the webhook, if there is one, and what an earlier process left."""
    if webhook is None:
        yield None
        return
    outbox = Outbox(store, webhook, alerts)
    alerts.on_alert = outbox.put
    outbox.start()
    try:
        yield outbox
    finally:
        alerts.on_alert = None
        await outbox.close()


def _waiting(alert: Alert) -> dict[str, object]:
    return {"alert": alert.to_json(), "attempts": 0}


def _put(alert_id: str, data: dict[str, object], next_at: float, expected: int | None) -> Put:
    index = Index(WAITING, "", f"{next_at:017.3f}")
    return Put(ALERTS, alert_id, {**data, "next_at": next_at}, expected, [index])
