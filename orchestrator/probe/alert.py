"""Telling somebody when a server goes down or comes back: a command of theirs, or a URL."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict

from handoff.store import new_id
from orchestrator.alerts.webhook import DELIVERY_SECONDS, NotDeliveredError, Webhook
from orchestrator.probe.command import ProbeResult


class AlertError(Exception):
    """The alert was not taken; the message is half a sentence that says why."""


class Alert:
    """Tells each change of a server's state once; what was not taken is told again at the next look.

    A command gets the JSON on its standard input, a URL as a POST, signed if there is a secret. Servers are
    taken to be well until the first look at them.
    """

    def __init__(self, hook: str, complain: Callable[[str], None], *, secret: bytes | None = None) -> None:
        """Raises: AlertError if the hook can be neither. `complain` gets what goes wrong later."""
        self._webhook = Webhook(hook, secret) if re.match(r"https?://", hook) else None
        try:
            self._command = shlex.split(hook)
        except ValueError as error:
            raise AlertError(f"is no command ({error})") from error
        if not self._command:
            raise AlertError("is empty")
        self._complain = complain
        self._told: dict[tuple[str, str], bool] = {}

    async def tell(self, results: Sequence[ProbeResult]) -> None:
        """Tell what changed; failures are complained about and raise nothing."""
        await asyncio.gather(*(self._tell(result) for result in results))

    async def _tell(self, result: ProbeResult) -> None:
        key = (result.server, result.address)
        was_ok = self._told.get(key, True)
        if was_ok != result.ok:
            message = json.dumps({"ok": result.ok, "was_ok": was_ok, **asdict(result)}).encode()
            try:
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await self._deliver(message)
            except (AlertError, NotDeliveredError, OSError) as error:  # a TimeoutError is an OSError too
                reason = str(error) or f"it was not taken within {DELIVERY_SECONDS:g} s"
                self._complain(f"the alert about {result.server} failed: {reason}")
                return
        self._told[key] = result.ok

    async def _deliver(self, message: bytes) -> None:
        if self._webhook is not None:
            await self._webhook.post(message, delivery=new_id("alr"))
            return
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            await process.communicate(message)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise AlertError(f"the command ended with status {process.returncode}")
