"""`switchboard handoff-check`: check servers, print what was found, and say it in the exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence

from handoff.check.examination import Patience
from handoff.check.examine import Wish, examine
from handoff.check.report import as_json, count, line, summary, uncheckable_json
from handoff.check.target import Era, Target, parse_targets
from handoff.check.verdicts import UncheckableError
from handoff.errors import JsonObject
from handoff.signing_keys import KeysError, keys_from_environment

PASSED, BROKEN, UNCHECKED = 0, 1, 2
"""Exit statuses: all promises kept, one broken, a server that could not be checked."""

LEAST_TAKEOVER_SECONDS = 10.0
"""A lease lasts 5 seconds, and a server may ask for a little patience after it."""

Write = Callable[[str], object]


def handoff_check(
    targets: Sequence[str],
    *,
    json_output: bool = False,
    timeout: float = 30.0,
    token: str | None = None,
    server: str | None = None,
    hint: str | None = None,
    arguments: str = "{}",
    legacy: bool = False,
    out: Write = sys.stdout.write,
    err: Write = sys.stderr.write,
) -> int:
    """Check each URL, or the one command, in `targets`; returns the exit status.

    `timeout` is for one answer, and for the work of a killed server to be taken over. `token` is sent to
    URLs as a bearer token. `hint` names a tool that handoffs may ask for, with `arguments` as a JSON object.
    `legacy` speaks the protocol of before 2026.
    """
    era: Era = "legacy" if legacy else "auto"
    try:
        wish = Wish(server, hint, _object(arguments), keys_from_environment(os.environ))
        parsed = parse_targets(targets, token=token, era=era)
    except (UncheckableError, KeysError) as error:
        err(f"handoff-check: {error}\n")
        return UNCHECKED
    reports: list[JsonObject] = []
    patience = Patience(call=timeout, takeover=max(timeout, LEAST_TAKEOVER_SECONDS))
    tell = None if json_output else out
    statuses = {asyncio.run(_check(target, wish, patience, reports, tell, err)) for target in parsed}
    status = BROKEN if BROKEN in statuses else max(statuses)
    if json_output:
        out(json.dumps({"exit_status": status, "reports": reports}, indent=2, ensure_ascii=False) + "\n")
    return status


async def _check(
    target: Target,
    wish: Wish,
    patience: Patience,
    reports: list[JsonObject],
    out: Write | None,
    err: Write,
) -> int:
    def tell(text: str) -> None:
        if out is not None:
            out(text + "\n")

    try:
        examined = await examine(
            target, wish=wish, patience=patience, tell=lambda finding: tell(line(finding))
        )
    except UncheckableError as error:
        err(f"handoff-check: {target.label} cannot be checked: {error}\n")
        reports.append(uncheckable_json(target.label, str(error)))
        return UNCHECKED
    tell(summary(target.label, examined))
    reports.append(as_json(target.label, examined))
    return BROKEN if count(examined, "fail") else PASSED


def _object(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UncheckableError("--arguments takes a JSON object")
    return value
