"""Alerts about servers: one when a server is left alone, one when it is well again."""

from __future__ import annotations

from orchestrator.alerts.alerts import AlertKind, Alerts
from orchestrator.links.breaker import Circuit


class CircuitAlerts:
    """Tells of an outage at its beginning and its end; probes that fail in between say nothing new."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._open: set[tuple[str, str]] = set()

    def on_circuit(self, server: str, address: str, state: Circuit) -> None:
        key = (server, address)
        if state is Circuit.OPEN and key not in self._open:
            self._open.add(key)
            self._alerts.tell(
                AlertKind.CIRCUIT_OPEN,
                f"calls to {server} fail; it is left alone, and tried again with one call at a time",
                subject=f"{server} {address}",
                server=server,
                address=address,
            )
        elif state is Circuit.CLOSED and key in self._open:
            self._open.discard(key)
            self._alerts.tell(
                AlertKind.CIRCUIT_CLOSED,
                f"calls to {server} go through again",
                subject=f"{server} {address}",
                server=server,
                address=address,
            )
