"""What every Store promises of commits: records, versions, tokens, neighbours, closing.

Lists and leases have their own files beside this one.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from handoff.errors import (
    ContentionError,
    StoreUnavailableError,
    StructuredError,
    VersionConflictError,
)
from handoff.store import (
    ABSENT,
    Append,
    Check,
    Committed,
    Delete,
    Index,
    Put,
    Record,
    Replayed,
    Store,
    Token,
    Trim,
    Write,
)
from handoff.update import update
from tests.conftest import MakeStore


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    return await make_store()


def counted(record: Record | None) -> Put:
    return Put("counters", "c", {"n": record.data["n"] + 1 if record else 1})


async def version_of(store: Store, collection: str, id: str) -> int:
    record = await store.get(collection, id)
    return record.version if record else ABSENT


async def test_a_record_is_read_back_with_version_one(store: Store) -> None:
    data = {"text": "ünïcode 😀 \x00 \ud800", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    done = await store.commit([Put("things", "a", data, ABSENT)])
    assert done == Committed(versions=(1,))
    assert await store.get("things", "a") == Record("a", 1, data)


async def test_an_unknown_record_is_none(store: Store) -> None:
    assert await store.get("things", "a") is None


async def test_each_write_adds_one_to_the_version(store: Store) -> None:
    for version in (1, 2, 3):
        assert await store.commit([Put("things", "a", {"v": version})]) == Committed((version,))
    assert await store.get("things", "a") == Record("a", 3, {"v": 3})


async def test_equal_ids_in_two_collections_are_two_records(store: Store) -> None:
    await store.commit([Put("left", "a", {"side": "left"}), Put("right", "a", {"side": "right"})])
    left, right = await store.get("left", "a"), await store.get("right", "a")
    assert left and right and (left.data["side"], right.data["side"]) == ("left", "right")


async def test_many_records_come_in_the_order_asked_without_the_absent(store: Store) -> None:
    await store.commit([Put("things", id, {"id": id}) for id in ("a", "b", "c")])
    found = await store.get_many("things", ["c", "missing", "a", "c"])
    assert [record.id for record in found] == ["c", "a", "c"]
    assert await store.get_many("things", []) == []


@pytest.mark.parametrize(
    "write", [Put("things", "a", {}, 2), Delete("things", "a", 2), Check("things", "a", 2)]
)
async def test_a_write_that_expects_another_version_is_refused(store: Store, write: Write) -> None:
    await store.commit([Put("things", "a", {"v": 1})])
    with pytest.raises(VersionConflictError) as refused:
        await store.commit([write])
    assert (refused.value.expected, refused.value.actual) == (2, 1)
    assert await store.get("things", "a") == Record("a", 1, {"v": 1})


async def test_absent_means_the_record_must_not_exist(store: Store) -> None:
    await store.commit([Put("things", "a", {}, ABSENT)])
    for write in (Put("things", "a", {}, ABSENT), Check("things", "a", ABSENT)):
        with pytest.raises(VersionConflictError):
            await store.commit([write])


async def test_a_check_lets_the_commit_through_while_it_holds(store: Store) -> None:
    await store.commit([Put("things", "a", {})])
    writes: list[Write] = [Check("things", "a", 1), Check("things", "b", ABSENT), Put("things", "c", {})]
    assert await store.commit(writes) == Committed((1,))
    assert await version_of(store, "things", "a") == 1


async def test_a_conflict_in_the_last_write_undoes_all(store: Store) -> None:
    await store.commit(
        [Put("things", "old", {"v": 1}, indexes=[Index("all", "", "1")], text={"title": "old"})]
    )
    writes: list[Write] = [
        Put("things", "new", {}, indexes=[Index("all", "", "2")], text={"title": "fresh"}),
        Put("things", "old", {"v": 2}, indexes=[Index("all", "", "3")], text={"title": "fresh"}),
        Append("notes", "a", {"n": 1}),
        Check("things", "absent", 7),
    ]
    with pytest.raises(VersionConflictError):
        await store.commit(writes, token=Token("t", "f", {}))
    assert await store.get("things", "new") is None
    assert await store.get("things", "old") == Record("old", 1, {"v": 1})
    page = await store.find("things", "all", "")
    assert [record.id for record in page.records] == ["old"]
    assert await store.search("things", "fresh") == []
    assert await store.entries("notes", "a") == []
    assert await store.token("t") is None
    assert len(await store.log("things")) == 1


async def test_a_taken_entry_number_undoes_what_was_written_before_it(store: Store) -> None:
    await store.commit([Append("notes", "a", {"n": 1}, seq=1)])
    writes: list[Write] = [
        Put("things", "new", {}, text={"title": "fresh"}),
        Append("notes", "a", {"n": 2}, seq=1),
    ]
    with pytest.raises(VersionConflictError):
        await store.commit(writes)
    assert await store.get("things", "new") is None
    assert await store.search("things", "fresh") == []
    assert [entry.data for entry in await store.entries("notes", "a")] == [{"n": 1}]


async def test_a_deleted_record_is_gone_from_everywhere(store: Store) -> None:
    put = Put("things", "a", {}, indexes=[Index("all", "", "1")], text={"title": "fresh"})
    await store.commit([put])
    assert await store.commit([Delete("things", "a", 1)]) == Committed()
    assert await store.get("things", "a") is None
    assert await store.get_many("things", ["a"]) == []
    assert await store.count("things", "all", "") == 0
    assert await store.search("things", "fresh") == []


async def test_deleting_an_absent_record_is_fine_and_leaves_no_trace(store: Store) -> None:
    await store.commit([Delete("things", "a"), Delete("things", "a", ABSENT)])
    assert await store.log("things") == []


async def test_a_version_is_never_used_twice_even_after_a_delete(store: Store) -> None:
    await store.commit([Put("things", "a", {"life": 1})])
    await store.commit([Delete("things", "a")])
    done = await store.commit([Put("things", "a", {"life": 2}, ABSENT)])
    assert isinstance(done, Committed) and done.versions[0] > 1
    with pytest.raises(VersionConflictError):
        await store.commit([Put("things", "a", {"life": 1, "late": True}, 1)])


async def test_a_record_written_twice_in_one_commit_gets_two_versions(store: Store) -> None:
    assert await store.commit([Put("things", "a", {"v": 1}), Put("things", "a", {"v": 2})]) == Committed(
        (1, 2)
    )
    assert await store.get("things", "a") == Record("a", 2, {"v": 2})


async def test_fifty_concurrent_increments_end_at_exactly_fifty(store: Store) -> None:
    versions = await asyncio.gather(*(update(store, "counters", "c", counted) for _ in range(50)))
    assert sorted(versions) == list(range(1, 51))
    assert await store.get("counters", "c") == Record("c", 50, {"n": 50})


async def test_increments_through_two_handles_lose_none(make_store: MakeStore) -> None:
    handles = [await make_store(), await make_store()]

    async def increment(store: Store) -> None:
        while True:
            try:
                await update(store, "counters", "c", counted)
            except ContentionError:
                continue  # it asked to repeat the call
            return

    await asyncio.gather(*(increment(handles[n % 2]) for n in range(30)))
    assert (await handles[0].get("counters", "c")) == Record("c", 30, {"n": 30})


async def test_an_update_that_always_loses_ends_in_a_retryable_error(make_store: MakeStore) -> None:
    store, rival = await make_store(), await make_store()

    class Raced:
        """The store, with a rival that writes between every read and write."""

        locks = store.locks
        commit = staticmethod(store.commit)

        async def get(self, collection: str, id: str) -> Record | None:
            record = await store.get(collection, id)
            await rival.commit([Put(collection, id, {"n": 0})])
            return record

    with pytest.raises(ContentionError) as lost:
        await update(Raced(), "counters", "c", counted, attempts=2)  # type: ignore[arg-type]  # get and commit suffice
    assert lost.value.retryable


async def test_a_known_token_answers_the_stored_outcome_byte_for_byte(store: Store) -> None:
    result = {"zeta": 1, "alpha": [1.0, "é", None], "nested": {"b": 2, "a": 1}}
    assert await store.commit([Put("things", "a", {})], token=Token("t", "f", result)) == Committed((1,))
    again = await store.commit([Put("things", "b", {})], token=Token("t", "f", {"other": True}))
    assert isinstance(again, Replayed)
    assert again.fingerprint == "f"
    assert json.dumps(again.result) == json.dumps(result)
    assert json.dumps(again.result) == json.dumps((await store.token("t") or again).result)
    assert await store.get("things", "b") is None


async def test_a_token_is_looked_at_before_versions_and_fence(store: Store) -> None:
    lease = await store.acquire("work", "first", 60)
    assert lease
    await store.commit([Put("things", "a", {}, ABSENT)], token=Token("t", "f", {}), fence=lease.fence)
    await store.release(lease)
    await store.acquire("work", "second", 60)
    done = await store.commit(
        [Put("things", "a", {}, ABSENT)], token=Token("t", "other", {}), fence=lease.fence
    )
    assert done == Replayed("f", {})


async def test_of_two_concurrent_commits_of_one_token_one_is_replayed(store: Store) -> None:
    async def commit(n: int) -> Committed | Replayed:
        return await store.commit([Append("effects", "e", {"n": n})], token=Token("t", "f", {"n": n}))

    outcomes = await asyncio.gather(*(commit(n) for n in range(20)))
    assert [type(outcome) for outcome in outcomes].count(Committed) == 1
    effects = await store.entries("effects", "e")
    assert [entry.data for entry in effects] == [(await commit(99)).result]  # type: ignore[union-attr]  # known by now


async def test_a_refused_commit_leaves_its_token_free(store: Store) -> None:
    token = Token("t", "f", {"ok": True})
    with pytest.raises(VersionConflictError):
        await store.commit([Check("things", "a", 1)], token=token)
    assert await store.commit([Put("things", "a", {})], token=token) == Committed((1,))


async def test_an_unknown_token_is_none(store: Store) -> None:
    assert await store.token("never") is None


async def test_a_commit_may_consist_of_a_token_alone(store: Store) -> None:
    assert await store.commit([], token=Token("t", "f", {"r": 1})) == Committed()
    assert await store.token("t") == Replayed("f", {"r": 1})


async def test_a_failing_commit_does_not_hurt_those_beside_it(store: Store) -> None:
    async def commit(n: int) -> Committed | Replayed:
        text = {"title": f"word{n}"}
        last: list[Write] = [Append("notes", "taken", {}, seq=1)] if n % 3 == 0 else []
        return await store.commit([Put("things", f"t{n}", {"n": n}, text=text), *last])

    await store.commit([Append("notes", "taken", {}, seq=1)])
    outcomes = await asyncio.gather(*(commit(n) for n in range(60)), return_exceptions=True)
    for n, outcome in enumerate(outcomes):
        failed = n % 3 == 0
        assert isinstance(outcome, VersionConflictError if failed else Committed)
        assert await version_of(store, "things", f"t{n}") == (0 if failed else 1)
        assert len(await store.search("things", f"word{n}")) == (0 if failed else 1)


async def test_a_cancelled_caller_does_not_disturb_the_others(store: Store) -> None:
    async def commit(n: int) -> Committed | Replayed:
        return await store.commit([Put("things", f"t{n}", {})])

    for turns in range(4):
        tasks = [asyncio.create_task(commit(n)) for n in range(30)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, Committed) for outcome in outcomes[1::2])
    assert await store.commit([Put("things", "after", {})]) == Committed((1,))


@pytest.mark.parametrize("data", [{"n": float("nan")}, {"n": float("inf")}, {"n": object()}])
async def test_data_that_json_cannot_carry_is_refused(store: Store, data: dict[str, object]) -> None:
    with pytest.raises(StructuredError) as refused:
        await store.commit([Put("things", "a", data)])
    assert refused.value.code == "invalid_value"


async def test_an_id_that_is_not_unicode_is_refused_without_hurting_those_beside_it(store: Store) -> None:
    bad, good = await asyncio.gather(
        store.commit([Put("things", "\ud800", {})]),
        store.commit([Put("things", "a", {})]),
        return_exceptions=True,
    )
    assert isinstance(bad, StructuredError) and bad.code == "invalid_value" and "ud800" not in bad.message
    assert good == Committed((1,))


async def test_closing_commits_what_waits_and_refuses_what_comes_later(make_store: MakeStore) -> None:
    store = await make_store()
    tasks = [asyncio.create_task(store.commit([Append("notes", "a", {"n": n})])) for n in range(1100)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    for late in (store.commit([Trim("notes", "a")]), store.get("things", "a"), store.acquire("l", "o", 1)):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await late
    await closing
    assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*tasks))
    assert len(await (await make_store()).entries("notes", "a", limit=2000)) == 1100


async def test_closing_twice_is_fine(store: Store) -> None:
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_two_handles_see_each_others_commits(make_store: MakeStore) -> None:
    store, other = await make_store(), await make_store()
    for version in (1, 2, 3):
        await store.commit([Put("things", "a", {"v": version})])
        assert await other.get("things", "a") == Record("a", version, {"v": version})
