"""Signed envelopes: what verifies, what is refused, and keys that rotate while servers run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import canonical_json, parse_envelope
from handoff.errors import EnvelopeError, JsonObject, StructuredError
from handoff.signing import Signatures, sign
from handoff.signing_keys import KeyFile, Keys, KeysError, keys_from_environment
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import Clock, envelope, open_desk, receipt, refusal

OLD, NEW = b"o" * 32, b"n" * 32
KEYS = Keys({"2026-10": OLD, "2026-11": NEW}, "2026-11")


def base64_of(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def signed(value: JsonObject, keys: Keys = KEYS) -> JsonObject:
    return {**value, "signature": sign(parse_envelope(value), keys).signature}


def hint(clock: Clock, **changes: Any) -> JsonObject:
    return envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3}, **changes)


def test_a_signature_is_the_documented_one(clock: Clock) -> None:
    parsed = parse_envelope(envelope(clock, accumulated_context={"b": 1.0, "a": "é"}))
    signature = sign(parsed, KEYS).signature
    assert signature is not None
    version, key_id, encoded = signature.split(":")
    content = canonical_json(parsed.model_dump(mode="json", exclude={"signature"}))
    digest = hmac.new(NEW, content, hashlib.sha256).digest()
    assert (version, key_id) == ("v1", "2026-11")
    assert base64.urlsafe_b64decode(encoded + "=") == digest


def test_signing_changes_neither_fingerprint_nor_fields(clock: Clock) -> None:
    parsed = parse_envelope(envelope(clock))
    done = sign(parsed, KEYS)
    assert done.fingerprint() == parsed.fingerprint()
    assert done.model_dump(exclude={"signature"}) == parsed.model_dump(exclude={"signature"})
    assert sign(parsed, Keys({"a": OLD})).signature is None


async def test_a_signed_envelope_is_accepted_however_it_is_spelt(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = signed(hint(clock))
    spelt = {**dict(reversed(sent.items())), "created_at": "2026-11-20T11:00:00+02:00", "hops": []}
    async with (
        open_desk(clocked_store, clock, keys=KEYS, require_signature=True) as desk,
        Client(desk.server) as client,
    ):
        assert (await receipt(client, sent))["status"] == "completed"
        assert (await receipt(client, spelt))["replayed"] is True


CHANGES: list[JsonObject] = [
    {"accumulated_context": {"amount": 4}},
    {"next_tool_hint": "note"},
    {"ttl_seconds": 301},
    {"created_at": "2026-11-20T09:00:01Z"},
    {"idempotency_token": "another"},
    {"source_server": "ticketing"},
    {"summary_before_window": "all is paid"},
    {"hops": ["triage"]},
    {"context_ref": "ctx_" + "0" * 64},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
async def test_a_changed_field_breaks_the_signature_and_nothing_is_stored(
    change: JsonObject, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock, keys=KEYS) as desk, Client(desk.server) as client:
        error = await refusal(client, {**signed(hint(clock)), **change})
        assert (error["code"], error["field"], error["server"]) == ("bad_signature", "signature", "billing")
        assert (desk.runs, await clocked_store.log("handoffs")) == ([], [])


FORGERIES: list[tuple[str, str]] = [
    ("", "bad_signature"),
    ("v1:2026-11:", "bad_signature"),
    ("v1:2026-11:" + "A" * 43, "bad_signature"),
    ("v1:2026-11:" + "A" * 44, "bad_signature"),
    ("v2:2026-11:" + "A" * 43, "bad_signature"),
    ("v1:../../etc:" + "A" * 43, "bad_signature"),
    ("v1:2026-11:" + "A" * 43 + "\n", "bad_signature"),
    ("v1:2026-11:" + "é" * 43, "bad_signature"),
    ("v1:2026-12:" + "A" * 43, "unknown_key"),
]


@pytest.mark.parametrize(("signature", "code"), FORGERIES)
@pytest.mark.parametrize("required", [True, False])
async def test_a_forged_signature_is_refused_required_or_not(
    signature: str, code: str, required: bool, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, keys=KEYS, require_signature=required) as desk,
        Client(desk.server) as client,
    ):
        error = await refusal(client, hint(clock, signature=signature))
        assert (error["code"], error["field"]) == (code, "signature")
        assert "A" * 43 not in json.dumps(error)
        assert (desk.runs, await clocked_store.log("handoffs")) == ([], [])


def test_a_signature_by_another_secret_under_the_same_id_is_refused(clock: Clock) -> None:
    forged = sign(parse_envelope(envelope(clock)), Keys({"2026-11": b"x" * 32}, "2026-11"))
    with pytest.raises(EnvelopeError) as refused:
        Signatures(KEYS).check(forged)
    assert refused.value.code == "bad_signature"


async def test_an_unsigned_envelope_is_refused_only_where_signatures_are_required(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, keys=KEYS, require_signature=True) as desk,
        Client(desk.server) as client,
    ):
        error = await refusal(client, hint(clock))
        assert (error["code"], error["field"], desk.runs) == ("unsigned", "signature", [])
        assert await clocked_store.log("handoffs") == []
    async with open_desk(clocked_store, clock, keys=KEYS) as desk, Client(desk.server) as client:
        assert (await receipt(client, hint(clock)))["status"] == "completed"
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, signed(hint(clock))))["status"] == "completed"


async def test_a_replay_needs_a_good_signature_too(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = hint(clock)
    async with (
        open_desk(clocked_store, clock, keys=KEYS, require_signature=True) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, signed(sent))
        assert (await refusal(client, sent))["code"] == "unsigned"
        assert (await receipt(client, signed(sent, Keys({"2026-10": OLD}, "2026-10"))))["replayed"]


async def test_an_old_signed_envelope_is_refused_by_its_time_to_live_and_then_by_its_token(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    kept, never_delivered = signed(hint(clock)), signed(hint(clock))
    async with open_desk(clocked_store, clock, keys=KEYS) as desk, Client(desk.server) as client:
        await receipt(client, kept)
        clock.advance(3600)
        assert (await refusal(client, never_delivered))["field"] == "ttl_seconds"
        assert (await receipt(client, kept))["replayed"] is True
        assert desk.runs == ["pay"]


async def test_a_prepared_envelope_is_signed_and_its_receiver_verifies_it(
    tmp_path: Path, clock: Clock
) -> None:
    options: dict[str, Any] = {"keys": KEYS, "require_signature": True}
    async with (
        await SqliteStore.open(tmp_path / "a.db", owner="a", clock=clock.seconds) as first_store,
        await SqliteStore.open(tmp_path / "b.db", owner="b", clock=clock.seconds) as second_store,
        open_desk(first_store, clock, name="customer-data", **options) as sender,
        open_desk(second_store, clock, **options) as receiver,
        Client(sender.server) as sending,
        Client(receiver.server) as receiving,
    ):
        asked = {"target_server": "billing", "accumulated_context": {"amount": 3}, "next_tool_hint": "pay"}
        prepared = await sending.call_tool("prepare_handoff", asked)
        sent = prepared.structured_content["envelope"]
        assert sent["signature"].startswith("v1:2026-11:")
        assert (await receipt(receiving, sent))["status"] == "completed"
        assert (await refusal(receiving, {**sent, "ttl_seconds": 9}))["code"] == "bad_signature"


def write(path: Path, sign: str | None, **secrets: bytes) -> None:
    """Replace the key file in one step, as an operator should."""
    content = {"sign": sign, "keys": {name: base64_of(secret) for name, secret in secrets.items()}}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)


async def test_keys_rotate_without_a_restart(
    tmp_path: Path, clocked_store: SqliteStore, clock: Clock
) -> None:
    path = tmp_path / "keys.json"
    write(path, "october", october=OLD)
    sender, keys = KeyFile(path), KeyFile(path)
    async with (
        open_desk(clocked_store, clock, keys=keys, require_signature=True) as desk,
        Client(desk.server) as client,
    ):

        def sent() -> JsonObject:
            value = envelope(clock)
            return {**value, "signature": sign(parse_envelope(value), sender).signature}

        before = sent()
        write(path, "october", october=OLD, november=NEW)
        write(path, "november", october=OLD, november=NEW)
        after = sent()
        assert [each["signature"].split(":")[1] for each in (before, after)] == ["october", "november"]
        for each in (before, after):
            assert (await receipt(client, each))["status"] == "accepted"
        late = before | {"idempotency_token": "late"}
        write(path, "november", november=NEW)
        assert (await refusal(client, late))["code"] == "unknown_key"
        assert (await receipt(client, sent()))["status"] == "accepted"


@pytest.mark.parametrize("content", [b"", b"{", b'{"sign": "a", "keys": {}}', b"\xff\xfe", None])
def test_a_change_that_cannot_be_read_leaves_the_keys_before_it_in_use(
    content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    write(path, "october", october=OLD)
    keys = KeyFile(path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert keys.current().signs == keys.current().signs == "october"
    assert len(caplog.records) == 1
    write(path, "november", november=NEW)
    assert keys.current().signs == "november"


def test_keys_are_read_from_toml_and_in_either_alphabet_of_base64(tmp_path: Path) -> None:
    secret = bytes(range(224, 256)) + b"\xff\xfe\xfd"
    plain, url = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode().rstrip("=")
    path = tmp_path / "keys.toml"
    path.write_text(f'sign = "a"\n[keys]\na = "{plain}"\nb = "{url}"\n')
    keys = KeyFile(path).current()
    assert (keys.signs, keys.secrets["a"], keys.secrets["b"]) == ("a", secret, secret)
    assert "secrets" not in repr(keys)


BAD: list[Any] = [
    [],
    {},
    {"keys": {}},
    {"keys": []},
    {"keys": {"a": "c2hvcnQ="}},
    {"keys": {"a": "no base64 at all, but a long sentence instead"}},
    {"keys": {"a:b": base64_of(OLD)}},
    {"keys": {"a": base64_of(OLD)}, "sign": "b"},
    {"keys": {"a": base64_of(OLD)}, "sign": 7},
    {"keys": {"a": base64_of(OLD)}, "signs": "a"},
]


@pytest.mark.parametrize("content", BAD)
def test_keys_that_cannot_be_used_are_refused_at_the_start(content: Any) -> None:
    with pytest.raises(KeysError) as refused:
        Keys.parse(json.dumps(content))
    assert base64_of(OLD) not in str(refused.value.to_json())


def test_keys_come_from_a_file_or_from_the_variable_and_not_from_both(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, "october", october=OLD)
    file = {"SWITCHBOARD_HANDOFF_KEYS_FILE": str(path)}
    text = {"SWITCHBOARD_HANDOFF_KEYS": path.read_text()}
    assert keys_from_environment({}) is None
    for environment in (file, text):
        found = keys_from_environment(environment)
        assert found is not None and found.current().signs == "october"
    with pytest.raises(KeysError):
        keys_from_environment({**file, **text})
    with pytest.raises(KeysError):
        keys_from_environment({"SWITCHBOARD_HANDOFF_KEYS_FILE": str(tmp_path / "absent.json")})


def test_signatures_cannot_be_required_without_keys() -> None:
    with pytest.raises(StructuredError, match="no keys"):
        Signatures(None, required=True)


def test_verifying_costs_the_same_wherever_the_signature_differs(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bool] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def noted(right: bytes, given: bytes) -> bool:
        compared.append(len(right) == len(given))
        return compare(right, given)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    parsed = sign(parse_envelope(envelope(clock)), KEYS)
    assert parsed.signature is not None
    for place in (11, -1):
        letters = list(parsed.signature)
        letters[place] = "A" if letters[place] != "A" else "B"
        with pytest.raises(EnvelopeError):
            Signatures(KEYS).check(parsed.model_copy(update={"signature": "".join(letters)}))
    assert compared == [True, True]


def test_a_key_file_that_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    write(path, "october", october=OLD)
    keys = KeyFile(path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was read"))
    assert keys.current().signs == "october"
