"""Circuits of models: one that gives no replies is passed over for a while, where another can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from orchestrator.alerts.alerts import AlertKind, Alerts
from orchestrator.links.breaker import Breaker, Circuit
from orchestrator.models.protocol import RETRYABLE, ModelError


class ModelCircuits:
    """How each model does, as this process knows. It is advice: a run with no other asks all the same."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._breakers: dict[str, Breaker] = {}
        self._open: set[str] = set()

    def is_open(self, model: str) -> bool:
        """Whether the model failed so often that others should be asked instead, for now."""
        return self._of(model).waits() is not None

    @contextmanager
    def judging(self, model: str) -> Iterator[None]:
        """Let a call tell how the model does."""
        breaker = self._of(model)
        passage = None if self.is_open(model) else breaker.enter()
        failed: bool | None = None
        try:
            yield
            failed = False
        except ModelError as error:
            failed = error.fault in RETRYABLE
            raise
        finally:
            if passage is not None:
                breaker.leave(passage, failed=failed)

    def _of(self, model: str) -> Breaker:
        if model not in self._breakers:
            changed = partial(self._changed, model)
            self._breakers[model] = Breaker(f"model {model}", on_change=changed)
        return self._breakers[model]

    def _changed(self, model: str, state: Circuit) -> None:
        if state is Circuit.OPEN and model not in self._open:
            self._open.add(model)
            message = f"{model} gives no replies; runs that have another model go on with that"
            self._alerts.tell(AlertKind.CIRCUIT_OPEN, message, subject=model, model=model)
        elif state is Circuit.CLOSED and model in self._open:
            self._open.discard(model)
            self._alerts.tell(AlertKind.CIRCUIT_CLOSED, f"{model} replies again", subject=model, model=model)
