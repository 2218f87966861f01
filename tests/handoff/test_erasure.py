"""What every store can do for the erasure of a person."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from handoff.copies import Copies, SharedCopies
from handoff.envelope import HandoffEnvelope, parse_envelope
from handoff.erasure import (
    LEASE_SECONDS,
    ErasureError,
    Person,
    erase_person,
    eraser_of,
    not_erased,
    tombstone_id,
)
from handoff.errors import VersionConflictError
from handoff.proof import prove
from handoff.remains import search_files
from handoff.retention import TokenExpiredError
from handoff.shared_contexts import SharedContexts
from handoff.store import ABSENT, Append, Delete, Index, Put, Store, Token
from tests.conftest import MakeStore

ADA = "cus_ada7"
NAME = "Åsa Öqvist-Planted"


def person(**values: str) -> Person:
    found = Person(ADA)
    found.identify(**values)
    return found


def unique_name() -> str:
    """A name that stands in no file yet: tests share a Redis server."""
    return f"Åsa Öqvist-{uuid.uuid4().hex}"


async def all_tokens(store: Store) -> list[str]:
    return sorted([key async for batch in eraser_of(store).tokens() for key, _ in batch])


async def test_a_token_of_the_person_answers_expired_and_never_runs_again(make_store: MakeStore) -> None:
    store = await make_store()
    hers = Token("hers", "f", {"customer_id": ADA, "note": "x"})
    other = Token("other", "f", {"customer_id": "cus_ada77", "note": "about cus_ada71"})
    for token in (hers, other):
        await store.commit([Append("s", token.key, {})], token=token)
    assert await all_tokens(store) == ["hers", "other"]
    await erase_person(store, person(), [Copies(store)])
    assert await all_tokens(store) == ["other"]
    with pytest.raises(TokenExpiredError):
        await store.commit([Append("s", "again", {})], token=hers)
    assert await store.entries("s", "again") == []
    assert await store.token("other") is not None


async def test_a_token_that_names_another_customer_is_not_the_persons(make_store: MakeStore) -> None:
    store = await make_store()
    result = {"customer_id": "cus_other", "text": f"{NAME} said hello"}
    await store.commit([Append("s", "k", {})], token=Token("other", "f", result))
    await store.commit([Append("s", "k", {})], token=Token("nobodys", "f", {"text": f"{NAME} said hello"}))
    await erase_person(store, person(name=NAME), [Copies(store)])
    assert await all_tokens(store) == ["other"]


async def test_the_log_keeps_what_was_done_under_a_tombstone_id(make_store: MakeStore) -> None:
    store = await make_store()
    await store.commit([Put("c", ADA, {})], actor=f"local@{ADA}")
    await store.commit([Put("c", f"{ADA}0", {})], actor=f"local@{ADA}0")
    await store.commit([Delete("c", ADA)], actor="local")
    before = await store.log("c")
    await erase_person(store, person(), [])
    after = await store.log("c")
    gone = tombstone_id(ADA)
    assert [entry.id for entry in after] == [gone, f"{ADA}0", gone]
    assert [entry.actor for entry in after] == [f"local@{gone}", f"local@{ADA}0", "local"]
    assert [(e.position, e.version, e.at) for e in after] == [(e.position, e.version, e.at) for e in before]
    await store.commit([Put("c", "next", {})])
    assert (await store.log("c"))[-1].position > before[-1].position


async def test_a_log_of_many_entries_is_kept_whole(make_store: MakeStore) -> None:
    store = await make_store()
    for place in range(12):
        puts = [Put("c", f"id{place}-{each}", {}) for each in range(100)]
        await store.commit([*puts, Put("c", ADA, {})])
    await store.commit([Delete("c", ADA)])
    await erase_person(store, person(), [])
    kept = await store.log("c", limit=5_000)
    assert len(kept) == 12 * 101 + 1
    assert sum(entry.id == tombstone_id(ADA) for entry in kept) == 13


async def test_a_process_that_searched_before_finds_the_person_no_more(make_store: MakeStore) -> None:
    store, running = await make_store(), await make_store()
    text = {"title": NAME, "body": "writes long letters"}
    await store.commit([Put("c", ADA, {}, ABSENT, [Index("all", "")], text)])
    await store.commit([Put("c", "cus_other", {}, text={"title": "Bo", "body": "writes letters"})])
    assert len(await running.search("c", "letters")) == 2
    await store.commit([Delete("c", ADA)])
    await erase_person(store, person(), [])
    assert [hit.id for hit in await running.search("c", "letters")] == ["cus_other"]
    assert await running.search("c", "planted") == []


async def test_nothing_new_is_kept_about_a_person_who_was_erased(make_store: MakeStore) -> None:
    store = await make_store()
    await store.commit([Put("c", "1", {}), not_erased(ADA)])
    await erase_person(store, person(), [])
    with pytest.raises(VersionConflictError):
        await store.commit([Put("c", "2", {}), not_erased(ADA)])
    await store.commit([Put("c", "3", {}), not_erased(f"{ADA}0")])


async def test_two_erasures_are_not_at_work_at_once(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await make_store()
    monkeypatch.setattr("handoff.erasure.PATIENCE_SECONDS", 0.1)
    assert await store.acquire("erasure", "another", LEASE_SECONDS) is not None
    with pytest.raises(ErasureError, match="another erasure"):
        await erase_person(store, person(), [])


async def test_the_proof_finds_what_the_files_still_hold_until_they_are_compacted(
    make_store: MakeStore,
) -> None:
    store, name = await make_store(), unique_name()
    texts = {"title": name, "body": "nothing else"}
    told = json.dumps({"name": name})
    for place in range(50):
        await store.commit([Put("c", f"{place}", {"name": name, "told": told}, text=texts)])
    for place in range(50):
        await store.commit([Delete("c", f"{place}")])
    before = await prove(store, person(name=name), {})
    assert [(left.what, left.places) for left in before.left] == [("name", [])]
    await eraser_of(store).compact()
    after = await prove(store, person(name=name), {"--prove 1": name.split()[1]})
    assert after.left == []
    assert after.files


async def test_the_proof_says_where_others_hold_a_value_and_not_what_it_is(make_store: MakeStore) -> None:
    store, name = await make_store(), unique_name()
    await store.commit([Put("tickets", "tck_7", {"customer_id": "cus_b", "text": f"ask {name.upper()}"})])
    proof = await prove(store, person(name=name), {})
    assert [(left.what, left.places) for left in proof.left] == [("name", ["tickets tck_7"])]
    assert name.split()[1].lower() not in str(proof.to_json()).lower()


@pytest.mark.parametrize("holder", ["tck_hers", "tck_others", "token"])
async def test_a_text_that_is_left_is_told_from_one_that_others_wrote_too(
    make_store: MakeStore, holder: str
) -> None:
    store, text = await make_store(), f"I was charged twice, {unique_name()}"
    whose = person()
    whose.ids.add("tck_hers")
    whose.wrote(text)
    if holder == "token":
        await store.commit([Append("s", "k", {})], token=Token("a-token-of-hers", "f", {"text": text}))
    else:
        await store.commit([Append("ticket_comments", holder, {"text": text})])
    proof = await prove(store, whose, {})
    expected = {"tck_hers": ["ticket_comments tck_hers"], "token": ["token a-token-of-h"]}
    assert [left.places for left in proof.left] == ([expected[holder]] if holder in expected else [])
    assert proof.shared == (holder == "tck_others")


async def test_an_id_is_not_found_within_a_longer_one(make_store: MakeStore) -> None:
    store = await make_store()
    await store.commit([Put("tickets", "tck_8", {"customer_id": f"{ADA}0"})])
    assert (await prove(store, person(), {})).left == []


def test_bytes_are_searched_in_every_spelling_and_across_pieces(tmp_path: Path) -> None:
    once = tmp_path / "once"
    once.write_bytes(b"x" * (4 * 1024 * 1024 - 5) + NAME.upper().encode())
    escaped = tmp_path / "escaped"
    escaped.write_bytes(b'{"name": "{\\"n\\": \\"\\\\u00c5sa \\\\u00d6qvist-Planted\\"}"}')
    assert search_files([once], [NAME]) == {NAME: 1}
    assert search_files([escaped], [NAME]) == {NAME: 1}
    assert search_files([once, escaped, tmp_path / "gone"], ["Bo Nobody"]) == {}


async def test_a_shared_context_goes_with_the_handoff_that_names_it(make_store: MakeStore) -> None:
    store = await make_store()
    shared = SharedContexts(store)
    hers = await shared.put({"customer_id": ADA, "facts": "many"}, envelope("hers"))
    other = await shared.put({"customer_id": "cus_b", "facts": "many"}, envelope("other"))
    unnamed = await shared.put({"facts": "told without a name"}, envelope("unnamed"))
    whose = person()
    whose.ids.add(unnamed)
    await erase_person(store, whose, [SharedCopies(store)])
    found = await store.get_many("shared_contexts", [hers, other, unnamed])
    assert [record.id for record in found] == [other]


def envelope(token: str) -> HandoffEnvelope:
    return parse_envelope(
        {
            "session_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "handoff_id": "3f333df6-90a4-4fda-8dd3-9485d27cee36",
            "idempotency_token": token,
            "source_server": "ticketing",
            "target_server": "billing",
            "next_tool_hint": None,
            "accumulated_context": {},
            "continuation_token": None,
            "created_at": "2026-01-01T00:00:00+00:00",
            "ttl_seconds": 300,
        }
    )
