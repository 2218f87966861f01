"""The envelope: the wire contract's fields, its canonical form, its fingerprint and its refusals."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from handoff import (
    EnvelopeError,
    HandoffEnvelope,
    check_fresh,
    check_target,
    parse_envelope,
)
from handoff.canonical import canonical_json
from handoff.envelope import MAX_BYTES, MAX_DEPTH
from handoff.errors import JsonObject
from handoff.schema import envelope_schema

DOCS = Path(__file__).parents[2] / "docs"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

REPEATABLE = settings(max_examples=150, derandomize=True, deadline=None)


def fields(**changes: Any) -> JsonObject:
    """A valid envelope as a sender writes it, with some fields changed."""
    return {
        "session_id": "6f1d3c2a-0d5e-4b0e-9d0e-3f6a1c2b4d5e",
        "handoff_id": "0b8f7a54-53a1-4c39-8a6e-2f0c9be1d7aa",
        "idempotency_token": "run_7:turn_2",
        "source_server": "customer-data",
        "target_server": "billing",
        "created_at": "2026-11-20T12:00:00Z",
        **changes,
    }


def refused(value: Any, **options: Any) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        parse_envelope(value, **options)
    return caught.value


def test_defaults_are_filled_in() -> None:
    envelope = parse_envelope(fields())
    assert envelope.ttl_seconds == 300
    assert envelope.schema_version == 1
    assert envelope.accumulated_context == {}
    assert envelope.hops == ()
    assert (envelope.next_tool_hint, envelope.continuation_token, envelope.signature) == (None, None, None)
    assert envelope.expires_at() == NOON + timedelta(seconds=300)


def test_the_canonical_form_is_sorted_compact_and_unsigned() -> None:
    canonical = parse_envelope(
        fields(signature="key-1:abc", accumulated_context={"é": 1.0, "a": 2})
    ).canonical()
    assert (
        canonical
        == (
            '{"accumulated_context":{"a":2,"é":1},"context_ref":null,"continuation_token":null,'
            '"created_at":"2026-11-20T12:00:00Z","handoff_id":"0b8f7a54-53a1-4c39-8a6e-2f0c9be1d7aa",'
            '"hops":[],"idempotency_token":"run_7:turn_2","next_tool_hint":null,"schema_version":1,'
            '"session_id":"6f1d3c2a-0d5e-4b0e-9d0e-3f6a1c2b4d5e","source_server":"customer-data",'
            '"summary_before_window":null,"target_server":"billing","ttl_seconds":300}'
        ).encode()
    )


def test_the_fingerprint_is_the_canonical_forms_hash_and_does_not_see_the_signature() -> None:
    envelope = parse_envelope(fields())
    assert envelope.fingerprint() == hashlib.sha256(envelope.canonical()).hexdigest()
    assert parse_envelope(fields(signature="key-1:abc")).fingerprint() == envelope.fingerprint()


@pytest.mark.parametrize(
    "same",
    [
        {"ttl_seconds": 300},
        {"created_at": "2026-11-20T13:00:00+01:00"},
        {"created_at": "2026-11-20T12:00:00.000000Z"},
        {"session_id": "6F1D3C2A-0D5E-4B0E-9D0E-3F6A1C2B4D5E"},
        {"hops": [], "next_tool_hint": None, "schema_version": 1},
    ],
)
def test_another_spelling_has_the_same_fingerprint(same: JsonObject) -> None:
    assert parse_envelope(fields(**same)).fingerprint() == parse_envelope(fields()).fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        {"session_id": str(uuid.UUID(int=1))},
        {"handoff_id": str(uuid.UUID(int=1))},
        {"idempotency_token": "run_7:turn_3"},
        {"source_server": "ticketing"},
        {"target_server": "ticketing"},
        {"next_tool_hint": "get_invoice"},
        {"accumulated_context": {"a": 1}},
        {"accumulated_context": {"a": "1"}},
        {"accumulated_context": {"a": None}},
        {"accumulated_context": {"é": 1}},
        {"accumulated_context": {"e\u0301": 1}},
        {"continuation_token": ""},
        {"created_at": "2026-11-20T12:00:00.000001Z"},
        {"ttl_seconds": 301},
        {"summary_before_window": ""},
        {"context_ref": "abc"},
        {"hops": ["triage"]},
    ],
)
def test_another_meaning_has_another_fingerprint(other: JsonObject) -> None:
    assert parse_envelope(fields(**other)).fingerprint() != parse_envelope(fields()).fingerprint()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": 1}, "priority"),
        ({"Session_id": "x"}, "Session_id"),
        ({"session_id": "no uuid"}, "session_id"),
        ({"handoff_id": None}, "handoff_id"),
        ({"idempotency_token": ""}, "idempotency_token"),
        ({"idempotency_token": "x" * 256}, "idempotency_token"),
        ({"idempotency_token": 7}, "idempotency_token"),
        ({"source_server": ""}, "source_server"),
        ({"target_server": None}, "target_server"),
        ({"next_tool_hint": 3}, "next_tool_hint"),
        ({"accumulated_context": None}, "accumulated_context"),
        ({"accumulated_context": "text"}, "accumulated_context"),
        ({"accumulated_context": {"arguments": [1]}}, "accumulated_context"),
        ({"continuation_token": 3}, "continuation_token"),
        ({"created_at": "2026-11-20T12:00:00"}, "created_at"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": -5}, "ttl_seconds"),
        ({"ttl_seconds": 2.5}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"schema_version": 2}, "schema_version"),
        ({"context_ref": "https://example.com/x"}, "context_ref"),
        ({"hops": "triage"}, "hops"),
        ({"hops": [1]}, "hops.0"),
    ],
)
def test_a_wrong_field_is_refused_by_name(change: JsonObject, field: str) -> None:
    error = refused(fields(**change))
    assert (error.code, error.field) == ("malformed", field)
    assert error.message.startswith(f"{field}: ")
    assert error.retryable is False
    assert error.suggestion


@pytest.mark.parametrize(
    "name",
    ["session_id", "handoff_id", "idempotency_token", "source_server", "target_server", "created_at"],
)
def test_a_missing_field_is_refused_by_name(name: str) -> None:
    value = fields()
    del value[name]
    assert refused(value).field == name


@pytest.mark.parametrize("value", [None, [], "text", 7, True])
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert refused(value).code == "malformed"


@pytest.mark.parametrize("token", ["x", "x" * 255, "é" * 255, "with spaces and / * { } \n"])
def test_a_token_may_be_any_text_of_up_to_255_characters(token: str) -> None:
    assert parse_envelope(fields(idempotency_token=token)).idempotency_token == token


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_integers_that_not_every_json_reader_holds_are_refused(number: int) -> None:
    error = refused(fields(accumulated_context={"deep": [{"id": number}]}))
    assert (error.code, error.field) == ("not_canonical", "accumulated_context")
    assert str(number) not in error.message


def test_the_largest_exact_integer_is_accepted() -> None:
    assert parse_envelope(fields(accumulated_context={"id": 2**53 - 1})).canonical()


@pytest.mark.parametrize("value", ["\ud800", b"\xff", object()])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    assert refused(fields(accumulated_context={"value": value})).code in ("not_canonical", "malformed")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_contexts_that_nest_too_deeply_are_refused_however_deep() -> None:
    assert parse_envelope(fields(accumulated_context={"a": nested(MAX_DEPTH - 4)}))
    for depth in (MAX_DEPTH, 500, 100_000):
        assert refused(fields(accumulated_context={"a": nested(depth)})).code == "malformed"


@pytest.mark.parametrize("filler", ["x", "é", "漢", "🧾", '"', "\u2028"])
def test_size_is_counted_in_bytes_of_the_canonical_form(filler: str) -> None:
    empty = len(parse_envelope(fields(accumulated_context={"notes": ""})).canonical())
    width = len(canonical_json(filler)) - 2
    room = MAX_BYTES - empty
    notes = filler * (room // width) + "x" * (room % width)
    fits = fields(accumulated_context={"notes": notes})
    assert len(parse_envelope(fits).canonical()) == MAX_BYTES
    error = refused(fields(accumulated_context={"notes": notes + "x"}))
    assert (error.code, error.field) == ("oversize", "accumulated_context")
    assert "65,537" in error.message


@pytest.mark.parametrize(
    "name", ["customer-data", "billing ", " billing", "Billing", "b", "", "bіlling", "billing\n", "billing\0"]
)
def test_only_the_target_to_the_letter_may_take_an_envelope(name: str) -> None:
    envelope = parse_envelope(fields())
    check_target(envelope, "billing")
    with pytest.raises(EnvelopeError) as caught:
        check_target(envelope, name)
    assert (caught.value.code, caught.value.field) == ("wrong_target", "target_server")


@pytest.mark.parametrize("late_by", [-60, 0, 299, 300, 360])
def test_an_envelope_is_live_from_its_creation_to_its_end_give_or_take_a_minute(late_by: int) -> None:
    check_fresh(parse_envelope(fields()), NOON + timedelta(seconds=late_by))


@pytest.mark.parametrize(
    ("late_by", "code"),
    [(-61, "from_the_future"), (-86_400, "from_the_future"), (361, "expired"), (86_400, "expired")],
)
def test_an_envelope_outside_its_time_is_refused(late_by: int, code: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        check_fresh(parse_envelope(fields()), NOON + timedelta(seconds=late_by))
    assert caught.value.code == code


# Everything a JSON context can hold that canonical JSON can carry.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LARGEST = 2**53 - 1
numbers = st.integers(-LARGEST, LARGEST) | st.floats(-LARGEST, LARGEST)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
contexts = st.dictionaries(texts.filter(lambda key: key != "arguments"), values, max_size=5)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.integers(946_684_800_000, 4_102_444_800_000).flatmap(
    lambda at: zones.map(lambda zone: datetime.fromtimestamp(at / 1000, zone))
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)

envelopes = st.fixed_dictionaries(
    {
        "session_id": st.uuids().map(str),
        "handoff_id": st.uuids().map(str),
        "idempotency_token": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255),
        "source_server": names,
        "target_server": names,
        "created_at": moments.map(datetime.isoformat),
    },
    optional={
        "next_tool_hint": st.none() | names,
        "accumulated_context": contexts,
        "continuation_token": st.none() | texts,
        "ttl_seconds": st.integers(1, 31_536_000),
        "schema_version": st.just(1),
        "summary_before_window": st.none() | texts,
        "context_ref": st.none() | st.from_regex(r"\A[A-Za-z0-9_-]{1,128}\Z"),
        "hops": st.lists(names, max_size=4),
        "signature": st.none() | st.text(max_size=64, alphabet="abcdef:-"),
    },
)


@REPEATABLE
@given(envelopes)
def test_every_valid_envelope_is_accepted_and_survives_its_own_canonical_form(value: JsonObject) -> None:
    envelope = parse_envelope(value)
    canonical = envelope.canonical()
    again = parse_envelope(json.loads(canonical))
    assert again.canonical() == canonical
    assert parse_envelope(envelope.model_dump(mode="json")).fingerprint() == envelope.fingerprint()


@REPEATABLE
@given(envelopes, st.randoms(use_true_random=False))
def test_key_order_and_whitespace_never_change_the_fingerprint(value: JsonObject, random: Any) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            items = [(key, shuffled(child)) for key, child in node.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(child) for child in node] if isinstance(node, list) else node

    spelt = json.loads(json.dumps(shuffled(value), indent=3, ensure_ascii=random.random() < 0.5))
    assert parse_envelope(spelt).fingerprint() == parse_envelope(value).fingerprint()


@REPEATABLE
@given(envelopes)
def test_every_valid_envelope_satisfies_the_published_schema(value: JsonObject) -> None:
    Draft202012Validator(envelope_schema()).validate(value)


@REPEATABLE
@given(envelopes, st.sampled_from(sorted(HandoffEnvelope.model_fields)), values)
def test_any_json_in_any_field_is_accepted_whole_or_refused_by_the_fields_name(
    value: JsonObject, name: str, junk: Any
) -> None:
    try:
        envelope = parse_envelope({**value, name: junk})
    except EnvelopeError as error:
        assert (error.field or "").split(".")[0] == name
    else:
        assert envelope.canonical()


@REPEATABLE
@given(envelopes, texts.filter(lambda name: name not in HandoffEnvelope.model_fields), values)
def test_any_unknown_field_is_refused_by_its_name(value: JsonObject, name: str, junk: Any) -> None:
    error = refused({**value, name: junk})
    assert (error.code, error.field) == ("malformed", name or "envelope")


@REPEATABLE
@given(values)
def test_any_json_at_all_is_refused_as_an_envelope_error(value: Any) -> None:
    refused(value)


def test_the_documented_examples_are_valid() -> None:
    page = (DOCS / "envelope.md").read_text("utf-8")
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    envelopes = [example for example in examples if "handoff_id" in example and "status" not in example]
    assert envelopes
    assert {parse_envelope(example).schema_version for example in envelopes} == {1}


def test_the_documented_table_names_every_field() -> None:
    page = (DOCS / "envelope.md").read_text("utf-8")
    assert [name for name in HandoffEnvelope.model_fields if f"| `{name}` |" not in page] == []
