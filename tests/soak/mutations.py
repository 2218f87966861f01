"""JSON-RPC messages as a broken or hostile host sends them: real ones, changed in structure and in bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from handoff.errors import JsonObject
from tests.servers.processes import INITIALIZE
from tests.soak.envelopes import ticket_envelope
from tests.soak.wire import META

MOST_CHANGES = 3
RAW_SHARE = 0.25
"""Share of the messages whose bytes are changed too."""
ARGUMENTS_SHARE = 0.6
"""Share of the changes that hit a tool's arguments; most others are refused before any tool is reached."""


def _call(tool: str, **arguments: Any) -> JsonObject:
    return {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}


MESSAGES: tuple[JsonObject, ...] = (
    {"method": "server/discover"},
    {"method": "initialize", "params": INITIALIZE},
    {"method": "notifications/initialized"},
    {"method": "notifications/cancelled", "params": {"requestId": 7, "reason": "late"}},
    {"method": "ping"},
    {"method": "tools/list", "params": {"cursor": "x"}},
    {"method": "resources/list"},
    {"method": "resources/read", "params": {"uri": "file:///etc/passwd"}},
    {"method": "prompts/list"},
    {"method": "completion/complete", "params": {"ref": {"type": "ref/prompt", "name": "x"}}},
    {"method": "logging/setLevel", "params": {"level": "debug"}},
    {"method": "no/such/method", "params": [1, 2]},
    _call("search_tickets", query="sync", limit=5, customer_id="cus_1001", status="open"),
    _call("get_ticket", ticket_id="tck_1"),
    _call("create_ticket", subject="s", description="d", priority="low", idempotency_token="t"),
    _call("update_ticket", ticket_id="tck_1", status="pending", expected_version=1),
    _call("add_ticket_comment", ticket_id="tck_1", text="x", public=True),
    _call("escalate_ticket", ticket_id="tck_1", reason="because"),
    _call("get_context", session_id="6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a11"),
    _call("clear_context", session_id="6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a11"),
    _call("prepare_handoff", target_server="billing", accumulated_context={"a": 1}, ttl_seconds=60),
    _call("no_such_tool", x=1),
)

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, "", " ", "\u0000"),
    *("\ud800", "x" * 20_000, "🙂" * 50, "../../etc/passwd", "' OR 1=1 --", "${jndi:x}", "null", "[]"),
    *([], {}, [[]], [None] * 200, {"": ""}, {"__proto__": {}}, {"a": {"a": {"a": {}}}}),
)


def message(rng: Random, number: int) -> bytes:
    """A message with some things wrong with it; now and then none."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randint(0, 300))
    made = _intact(rng, number)
    for _ in range(rng.randint(0, MOST_CHANGES)):
        _change(made, rng)
    text = json.dumps([made] if rng.random() < 0.02 else made, ensure_ascii=rng.random() < 0.7)
    body = text.encode("utf-8", errors="surrogatepass")
    return _bruised(body, rng) if rng.random() < RAW_SHARE else body


def _intact(rng: Random, number: int) -> JsonObject:
    if rng.random() < 0.25:
        inner = _call("receive_handoff", envelope=ticket_envelope())
    else:
        inner = copy.deepcopy(rng.choice(MESSAGES))
    made: JsonObject = {"jsonrpc": "2.0", "id": number, **inner}
    if made["method"].startswith("notifications/"):
        del made["id"]
    if rng.random() < 0.8 and isinstance(made.setdefault("params", {}), dict):
        made["params"]["_meta"] = dict(META)
    return made


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a message with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found


def _change(made: JsonObject, rng: Random) -> None:
    params = made.get("params")
    inner = params.get("arguments") if isinstance(params, dict) else None
    places = _places(inner if inner and rng.random() < ARGUMENTS_SHARE else made)
    if not places:
        return
    holder, key = rng.choice(places)
    changes: list[Callable[[], Any]] = [
        lambda: holder.__setitem__(key, copy.deepcopy(rng.choice(JUNK))),
        lambda: holder.__setitem__(key, _nested(rng)),
        lambda: holder.__setitem__(key, [holder[key]]),
        lambda: holder.__setitem__(key, str(holder[key])),
        lambda: holder.__delitem__(key),
        lambda: isinstance(holder, dict) and holder.update({f"{key}_": holder[key]}),
        lambda: isinstance(holder, dict) and holder.update({key.upper(): holder.pop(key)}),
    ]
    rng.choice(changes)()


def _nested(rng: Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice([10, 100, 250])):
        value = {"a": value} if rng.random() < 0.5 else [value]
    return value


def _bruised(body: bytes, rng: Random) -> bytes:
    """The message with some of its bytes gone, doubled, or others."""
    made = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) + 1)
        length = rng.choice([1, 1, 2, 8, 64])
        change = rng.randrange(5)
        if change == 0:
            made[at : at + length] = rng.randbytes(length)
        elif change == 1:
            del made[at : at + length]
        elif change == 2:
            made[at:at] = made[at : at + length]
        elif change == 3:
            made[at:at] = rng.choice([b"\x00", b"\xff\xfe", b'"', b"{", b"]", b"\\u", b"1e999", b"NaN"])
        else:
            del made[at:]
    return bytes(made)
