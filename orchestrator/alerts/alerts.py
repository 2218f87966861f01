"""Alerts: what an operator has to know, said once, without slowing or failing the run it is about."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import structlog

from handoff.store import new_id

RECENT = 50
"""How many of the last alerts are kept in memory for who looks."""
AGAIN_SECONDS = 60.0
"""An alert about the same subject is sent again after this; in between it is counted only."""
MOST_SUBJECTS = 1_000

log = structlog.get_logger(__name__)


class AlertKind(StrEnum):
    CIRCUIT_OPEN = "circuit_open"
    """Calls to a server fail on their way, and it is left alone for now."""
    CIRCUIT_CLOSED = "circuit_closed"
    """Calls to it go through again."""
    HANDOFF_REFUSED = "handoff_refused"
    """A handoff broke a rule, or its receiver did not take it."""
    BUDGET_STOP = "budget_stop"
    """A run was stopped before a model call that its budget does not cover."""
    RUN_PARKED = "run_parked"
    """A run ended its worker's work too often, and is left alone until a person looks."""
    MODEL_REFUSED = "model_refused"
    """The model's provider refuses the credentials, or their spending limit is reached."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that an operator has to know; no customer's words and no secrets."""

    id: str
    kind: AlertKind
    message: str
    at: float
    run_id: str | None = None
    details: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


OnAlert = Callable[[Alert], None]


class Alerts:
    """Logs and counts each alert, and passes it on if somebody takes it. Never waits, never raises."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.counts: Counter[str] = Counter()
        """By kind, since this process began."""
        self.recent: deque[Alert] = deque(maxlen=RECENT)
        self.on_alert: OnAlert | None = None
        """Takes what is to be sent; it must not wait and not raise."""
        self._clock = clock
        self._told: dict[tuple[AlertKind, str], float] = {}

    def tell(
        self,
        kind: AlertKind,
        message: str,
        *,
        run_id: str | None = None,
        subject: str | None = None,
        **details: str,
    ) -> None:
        """Say that something happened. Alerts of a kind about one `subject` are sent once a minute."""
        alert = Alert(new_id("alr"), kind, message, self._clock(), run_id, details)
        self.counts[kind.value] += 1
        self.recent.append(alert)
        level = logging.INFO if kind is AlertKind.CIRCUIT_CLOSED else logging.ERROR
        log.log(level, "alert", kind=kind.value, message=message, run_id=run_id, **details)
        if self.on_alert is not None and not self._is_known(kind, subject, alert.at):
            self.on_alert(alert)

    def _is_known(self, kind: AlertKind, subject: str | None, now: float) -> bool:
        if subject is None:
            return False
        key = (kind, subject)
        if now - self._told.pop(key, -AGAIN_SECONDS) < AGAIN_SECONDS:
            self._told[key] = now
            return True
        self._told[key] = now
        while len(self._told) > MOST_SUBJECTS:
            del self._told[next(iter(self._told))]
        return False
