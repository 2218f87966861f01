"""`switchboard handoff-check`: check servers, print what was found, and say it in the exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from handoff.check.examination import Patience
from handoff.check.examine import Wish, examine
from handoff.check.report import as_json, count, line, summary, uncheckable_json
from handoff.check.target import Era, Target, parse_targets
from handoff.check.verdicts import UncheckableError
from handoff.errors import JsonObject
from handoff.signing_keys import KeysError, keys_from_environment

PASSED, BROKEN, UNCHECKED = 0, 1, 2
"""Exit statuses: all promises kept, one broken, a server that could not be checked."""
INTERRUPTED = 130

LEAST_TAKEOVER_SECONDS = 10.0
"""A lease lasts 5 seconds, and a server may ask for a little patience after it."""

Tell = Callable[[str], None]


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
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Check each URL, or the one command, in `targets`; returns the exit status.

    `timeout` is for one answer, for a start, and for the work of a killed server to be taken over. `token`
    is sent to URLs as a bearer token. `hint` names a tool that handoffs may ask for, with `arguments` as a
    JSON object. `legacy` speaks the protocol of before 2026.
    """
    tell, complain = _teller(out or sys.stdout), _teller(err or sys.stderr)
    era: Era = "legacy" if legacy else "auto"
    patience = Patience(start=timeout, call=timeout, takeover=max(timeout, LEAST_TAKEOVER_SECONDS))
    try:
        wish = Wish(server, hint, _object(arguments), keys_from_environment(os.environ))
        parsed = parse_targets(targets, token=token, era=era)
        work = _check_all(parsed, wish, patience, (lambda _: None) if json_output else tell, complain)
        status, reports = asyncio.run(work)
    except (UncheckableError, KeysError) as error:
        complain(f"handoff-check: {error}")
        return UNCHECKED
    except KeyboardInterrupt:
        return INTERRUPTED
    if json_output:
        tell(json.dumps({"exit_status": status, "reports": reports}, indent=2, ensure_ascii=False))
    return status


async def _check_all(
    targets: Sequence[Target], wish: Wish, patience: Patience, tell: Tell, complain: Tell
) -> tuple[int, list[JsonObject]]:
    """The exit status and a report for each target."""
    statuses: set[int] = set()
    reports: list[JsonObject] = []
    for target in targets:
        try:
            examined = await examine(
                target, wish=wish, patience=patience, tell=lambda finding: tell(line(finding))
            )
        except UncheckableError as error:
            complain(f"handoff-check: {target.label} cannot be checked: {error}")
            statuses.add(UNCHECKED)
            reports.append(uncheckable_json(target.label, str(error)))
        else:
            tell(summary(target.label, examined))
            statuses.add(BROKEN if count(examined, "fail") else PASSED)
            reports.append(as_json(target.label, examined))
    return BROKEN if BROKEN in statuses else max(statuses), reports


def _teller(stream: TextIO) -> Tell:
    def tell(text: str) -> None:
        stream.write(f"{text}\n")
        stream.flush()

    return tell


def _object(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UncheckableError("--arguments takes a JSON object")
    return value
