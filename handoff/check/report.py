"""What an examination found, as lines for a person and as JSON for a program."""

from __future__ import annotations

from handoff.check.examine import Examined
from handoff.check.promises import PROMISES
from handoff.check.verdicts import Finding
from handoff.errors import JsonObject

MARKS = {"pass": "pass", "fail": "FAIL", "skip": "skip"}
WIDTH = max(len(promise.id) for promise in PROMISES)


def line(finding: Finding) -> str:
    """One promise: its verdict, its id, its sentence, and what was seen."""
    why = f" - {finding.reason}" if finding.reason else ""
    return f"{MARKS[finding.verdict]}  {finding.promise.id:<{WIDTH}}  {finding.promise.sentence}{why}"


def summary(label: str, examined: Examined) -> str:
    """The last line: how many of each, and of which server."""
    counts = [f"{count(examined, verdict)} {word}" for verdict, word in _WORDS]
    where = f"{examined.server}, protocol {examined.protocol}, {label}"
    return f"{', '.join(counts)} in {examined.seconds:.1f} s: {where}"


def as_json(label: str, examined: Examined) -> JsonObject:
    return {
        "target": label,
        "server": examined.server,
        "protocol": examined.protocol,
        "status": "failed" if count(examined, "fail") else "passed",
        "duration_seconds": round(examined.seconds, 3),
        "promises": [
            {
                "id": finding.promise.id,
                "sentence": finding.promise.sentence,
                "verdict": finding.verdict,
                "reason": finding.reason,
                "seconds": round(finding.seconds, 3),
            }
            for finding in examined.findings
        ],
    }


def uncheckable_json(label: str, reason: str) -> JsonObject:
    return {"target": label, "status": "unchecked", "reason": reason, "promises": []}


def count(examined: Examined, verdict: str) -> int:
    return sum(finding.verdict == verdict for finding in examined.findings)


_WORDS = (("pass", "passed"), ("fail", "failed"), ("skip", "skipped"))
