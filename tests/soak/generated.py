"""Envelopes by chance: ones that keep every rule, and ones that break exactly one, whose field is known."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from handoff.envelope import MAX_BYTES, MAX_DEPTH
from handoff.errors import JsonObject

TARGET = "ticketing"
LETTERS = "abcXYZ019 _-./:{}*\"'\\\n\téßжあ中🙂\u200d\u202e\u0000"
HINTS = ("search_tickets", "get_ticket", "no_such_tool", "receive_handoff", "検索")


def text(rng: Random, least: int, most: int) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(least, most)))


def json_value(rng: Random, depth: int = 4) -> Any:
    """Any JSON value that canonical JSON can hold."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 6:
        return [json_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {text(rng, 0, 12): json_value(rng, depth - 1) for _ in range(rng.randrange(4))}
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-(2**53) + 1, 2**53 - 1),
        lambda: rng.uniform(-1e15, 1e15) / 3,
        lambda: text(rng, 0, 60),
        lambda: rng.choice(["", "null", "{}", "1", "2026-11-20", "../../etc/passwd", "' OR 1=1 --"]),
    ]
    return simple[kind]()


def valid(rng: Random) -> JsonObject:
    """An envelope that keeps every rule, in one of the many ways there are."""
    optional: JsonObject = {
        "next_tool_hint": rng.choice([None, *HINTS]),
        "accumulated_context": {text(rng, 1, 12): json_value(rng) for _ in range(rng.randrange(6))},
        "continuation_token": rng.choice([None, text(rng, 0, 2048)]),
        "ttl_seconds": rng.choice([1, 60, 300, 31_536_000]),
        "schema_version": 1,
        "summary_before_window": rng.choice([None, text(rng, 0, 2000)]),
        "context_ref": None,
        "hops": [text(rng, 1, 128) for _ in range(rng.randrange(5))],
        "signature": None,
    }
    kept = {name: value for name, value in optional.items() if rng.random() < 0.7}
    return {
        "session_id": rng.choice([str.lower, str.upper])(str(uuid.uuid4())),
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": f"{uuid.uuid4()}{text(rng, 0, 200)}",
        "source_server": text(rng, 1, 128),
        "target_server": TARGET,
        "created_at": moment(rng),
        **kept,
    }


def moment(rng: Random) -> str:
    """Just now, by one of the world's clocks."""
    zone = timezone(timedelta(minutes=rng.choice([0, 60, 330, -480, 840, -720])))
    spelt = datetime.now(UTC).astimezone(zone).isoformat(timespec=rng.choice(["seconds", "microseconds"]))
    return spelt.replace("+00:00", "Z")


@dataclass(frozen=True)
class Broken:
    """An envelope that breaks one rule."""

    envelope: JsonObject
    field: str
    """The path that the refusal has to name."""


WRONG: dict[str, tuple[Any, ...]] = {
    "session_id": (None, 5, "", "x", [], {}, "6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a1z"),
    "handoff_id": (None, True, "1", ["6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a11"]),
    "idempotency_token": (None, 7, "", "x" * 256, ["a"], {}),
    "source_server": (None, 1, "", "x" * 129, []),
    "target_server": (None, 1, "", "x" * 129, {}),
    "next_tool_hint": (1, "", "x" * 129, {}, []),
    "accumulated_context": (None, "facts", 5, [], True, {"arguments": "x"}, {"arguments": None}),
    "continuation_token": (1, "x" * 2049, {}),
    "created_at": (None, "", "yesterday", "2026-11-20T09:00:00", 5.5, "2026-13-45T99:00:00Z", []),
    "ttl_seconds": (None, 0, -1, 1.5, "300", True, 31_536_001, 2**60),
    "schema_version": (0, 2, "1", None),
    "summary_before_window": (1, [], {}),
    "context_ref": ("", "a/b", "http://127.0.0.1/", "x" * 129, 4, "a\n"),
    "hops": ("triage", 1, {}),
    "hops.0": ([""], [1], [None], ["x" * 129]),
    "signature": (1, "x" * 513, []),
}
"""Values that a field must not have."""

REQUIRED = ("session_id", "handoff_id", "idempotency_token", "source_server", "target_server", "created_at")


def broken(rng: Random) -> Broken:
    """A valid envelope with one thing made wrong."""
    sent = valid(rng)
    kind = rng.randrange(8)
    if kind == 0:
        missing = rng.choice(REQUIRED)
        del sent[missing]
        return Broken(sent, missing)
    if kind == 1:
        unknown = rng.choice(["extra", "Session_id", "idempotencyToken", "x", "__class__"])
        return Broken({**sent, unknown: json_value(rng)}, unknown)
    if kind == 2:
        return Broken({**sent, "target_server": rng.choice(OTHER_TARGETS)}, "target_server")
    if kind == 3:
        return Broken(*_beyond_json(sent, rng))
    field = rng.choice(sorted(WRONG))
    value = rng.choice(WRONG[field])
    return Broken({**sent, field.partition(".")[0]: value}, field)


OTHER_TARGETS = ("billing", "Ticketing", "ticketing ", " ticketing", "tiсketing", "ticketing\u0000", "*")
"""Names that are not this server's, look-alikes among them."""


def _beyond_json(sent: JsonObject, rng: Random) -> tuple[JsonObject, str]:
    """What no canonical JSON holds, or more of it than is allowed."""
    deep: Any = 1
    for _ in range(MAX_DEPTH + rng.randint(2, 300)):
        deep = [deep]
    facts: Any = rng.choice([2**53, -(2**60), 1e300, deep, "x" * MAX_BYTES, "\ud800"])
    # Half a character makes no text at all, so that nobody can say in which field it stands.
    field = "envelope" if facts == "\ud800" else "accumulated_context"
    return {**sent, "accumulated_context": {"fact": facts}}, field
