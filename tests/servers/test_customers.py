"""The directory of customers: creating and changing them, whoever else does, and who may see whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from handoff.errors import ContentionError, TokenConflictError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._records import ReplayedCall
from servers._results import ConflictError, ForbiddenError, InvalidError
from servers.customer_data import history
from servers.customer_data.customers import NOTES_KEPT, CustomerChange, CustomerProfile, NewCustomer
from servers.customer_data.directory import Directory
from tests.servers.customer_directory import STAFF, create, found, history_of


async def test_a_restricted_search_sees_its_own_customer_only(directory: Directory) -> None:
    ada = await create(directory, phone="+46 8 465 004 90")
    ben = await create(directory, "Ben Lindqvist", phone="+46 8 465 004 91")
    call = replace(STAFF, customer_id=ada.customer_id)

    for query in ("", "lindqvist", "ada"):
        assert await found(directory, query, call) == ["Ada Lindqvist"], query
    for foreign in ("ben", ben.email, ben.phone, ben.customer_id):
        assert foreign is not None
        assert await found(directory, foreign, call) == []


async def test_a_restricted_call_cannot_tell_a_foreign_customer_from_a_missing_one(
    directory: Directory,
) -> None:
    ada = await create(directory)
    ben = await create(directory, "Ben Okafor")
    call = replace(STAFF, customer_id=ada.customer_id)
    answers = set()
    for customer_id in (ben.customer_id, "cus_missing"):
        for attempt in (
            directory.get(call, customer_id, include_history=True),
            directory.add_note(call, customer_id, "hello"),
            directory.change(call, customer_id, CustomerChange(name="Eve"), expected_version=7),
        ):
            with pytest.raises(ForbiddenError) as refused:
                await attempt
            answers.add(str(refused.value.to_json()))

    assert len(answers) == 1
    assert (await directory.get(STAFF, ben.customer_id, include_history=False)).version == 1


async def test_a_restricted_call_creates_nobody(directory: Directory) -> None:
    call = replace(STAFF, customer_id="cus_1")
    with pytest.raises(ForbiddenError):
        await directory.create(call, NewCustomer(name="Eve", email="eve@example.com"))

    assert await found(directory, "") == []


async def test_of_two_customers_created_at_once_with_one_address_one_wins(directory: Directory) -> None:
    outcomes = await asyncio.gather(
        create(directory, "Ada One", email="ada@example.com"),
        create(directory, "Ada Two", email="ADA@Example.com"),
        return_exceptions=True,
    )

    created = [outcome for outcome in outcomes if isinstance(outcome, CustomerProfile)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert len(created) == len(refused) == 1
    assert refused[0].field == "email"
    assert refused[0].details == {"customer_id": created[0].customer_id}
    assert len(await found(directory, "")) == 1


async def test_an_address_taken_by_a_change_is_refused_and_not_given_away(directory: Directory) -> None:
    ada = await create(directory)
    ben = await create(directory, "Ben Okafor")
    own = replace(STAFF, customer_id=ben.customer_id)
    with pytest.raises(ConflictError) as refused:
        await directory.change(
            own, ben.customer_id, CustomerChange(email="ada.LINDQVIST@example.com"), expected_version=None
        )

    assert refused.value.field == "email"
    assert ada.customer_id not in str(refused.value.to_json())
    assert await found(directory, "ben.okafor@example.com") == ["Ben Okafor"]


async def test_an_address_given_up_is_free_for_somebody_else(directory: Directory) -> None:
    ada = await create(directory)
    change = CustomerChange(email="ada@lindqvist.example")
    await directory.change(STAFF, ada.customer_id, change, expected_version=None)
    await create(directory, "Ada Second", email="ada.lindqvist@example.com")

    assert await found(directory, "ada.lindqvist@example.com") == ["Ada Second"]
    assert await found(directory, "ada@lindqvist.example") == ["Ada Lindqvist"]


async def test_an_address_may_change_its_case(directory: Directory) -> None:
    ada = await create(directory)
    change = CustomerChange(email="Ada.Lindqvist@example.com")
    changed = await directory.change(STAFF, ada.customer_id, change, expected_version=None)

    assert changed.email == "Ada.Lindqvist@example.com"


async def test_a_change_is_in_the_profile_in_the_search_and_in_the_history(directory: Directory) -> None:
    ada = await create(directory, company="Old Name")
    changed = await directory.change(
        replace(STAFF, principal="idris"),
        ada.customer_id,
        CustomerChange(company="New Name", phone="+46 8 465 004 90"),
        expected_version=1,
    )

    assert (changed.company, changed.version) == ("New Name", 2)
    assert await found(directory, "old") == []
    assert await found(directory, "new name") == ["Ada Lindqvist"]
    known = await directory.get(STAFF, ada.customer_id, include_history=True)
    assert known.history is not None
    assert known.history[0].text == (
        "company changed from Old Name to New Name; phone changed from none to +46 8 465 004 90"
    )
    assert (known.history[0].by, known.history[1].by) == ("idris", "marta")


async def test_a_change_to_what_is_there_already_writes_nothing(directory: Directory) -> None:
    ada = await create(directory)
    same = await directory.change(
        STAFF, ada.customer_id, CustomerChange(name="Ada Lindqvist"), expected_version=None
    )

    assert same.version == 1
    assert len(await history_of(directory, ada.customer_id)) == 1


async def test_a_change_of_nothing_is_refused(directory: Directory) -> None:
    with pytest.raises(InvalidError, match="nothing to change"):
        await directory.change(STAFF, "cus_1", CustomerChange(), expected_version=None)


async def test_a_change_of_an_older_version_is_refused_with_the_current_one(directory: Directory) -> None:
    ada = await create(directory)
    await directory.add_note(STAFF, ada.customer_id, "hello")
    with pytest.raises(VersionConflictError) as refused:
        await directory.change(STAFF, ada.customer_id, CustomerChange(name="Eve"), expected_version=1)

    assert refused.value.to_json()["current_version"] == 2
    assert (await directory.get(STAFF, ada.customer_id, include_history=False)).name == "Ada Lindqvist"


async def test_changes_of_many_writers_at_once_all_arrive(directory: Directory) -> None:
    ada = await create(directory)
    await asyncio.gather(
        *(directory.add_note(STAFF, ada.customer_id, f"note {number}") for number in range(20)),
        directory.change(STAFF, ada.customer_id, CustomerChange(name="Ada L."), expected_version=None),
    )

    known = await directory.get(STAFF, ada.customer_id, include_history=True)
    assert known.name == "Ada L."
    assert known.version == 22
    assert len(known.notes) + known.earlier_notes == 20


async def test_a_change_that_loses_to_writers_of_other_processes_is_decided_again(
    store: SqliteStore,
) -> None:
    """Each writer opens the file for itself, so that no lock of this process lines them up."""
    ada = await create(Directory(store))
    async with await SqliteStore.open(store.path, owner="test") as other:
        await asyncio.gather(
            *(
                Directory(each).add_note(STAFF, ada.customer_id, f"note {number}")
                for number, each in enumerate([store, other] * 5)
            )
        )

    known = await Directory(store).get(STAFF, ada.customer_id, include_history=True)
    assert len(known.notes) + known.earlier_notes == 10
    assert known.history is not None
    assert len({event.text for event in known.history}) == 11


async def test_a_change_that_always_loses_ends_with_a_retryable_error(
    directory: Directory, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await create(directory)

    async def always_late(*_: object, **__: object) -> None:
        raise VersionConflictError("customers", ada.customer_id, 1, 2)

    monkeypatch.setattr(store, "commit", always_late)
    with pytest.raises(ContentionError) as gave_up:
        await asyncio.wait_for(directory.add_note(STAFF, ada.customer_id, "hello"), 10)

    assert gave_up.value.retryable


async def test_notes_beyond_those_kept_are_counted_and_stay_in_the_history(directory: Directory) -> None:
    ada = await create(directory)
    for number in range(NOTES_KEPT + 3):
        receipt = await directory.add_note(STAFF, ada.customer_id, f"note {number}")

    known = await directory.get(STAFF, ada.customer_id, include_history=True)
    assert receipt.notes == NOTES_KEPT + 3
    assert [note.text for note in known.notes] == [f"note {number}" for number in range(10, 2, -1)]
    assert known.earlier_notes == 3
    assert "note 0" in [event.text for event in known.history or []]


async def test_a_profile_stays_small_whatever_its_notes_hold(directory: Directory) -> None:
    ada = await create(directory)
    for _ in range(30):
        await directory.add_note(STAFF, ada.customer_id, "\N{GRINNING FACE}" * 1_000)

    known = await directory.get(STAFF, ada.customer_id, include_history=True)
    assert len(known.model_dump_json().encode()) < 20_000
    assert known.notes
    assert known.history
    assert len(known.notes) + known.earlier_notes == 30
    assert len(known.history) + known.earlier_events == 31


async def test_the_history_shows_the_newest_events_and_counts_the_earlier_ones(
    directory: Directory,
) -> None:
    ada = await create(directory)
    for number in range(history.SHOWN + 5):
        await directory.add_note(STAFF, ada.customer_id, f"note {number}")

    known = await directory.get(STAFF, ada.customer_id, include_history=True)
    assert known.history is not None
    assert known.history[0].text == f"note {history.SHOWN + 4}"
    assert (len(known.history), known.earlier_events) == (history.SHOWN, 6)


async def test_one_token_does_its_write_once_even_when_sent_twice_at_once(directory: Directory) -> None:
    ada = await create(directory)
    call = replace(STAFF, token="t1", fingerprint="f1")
    outcomes = await asyncio.gather(
        *(directory.add_note(call, ada.customer_id, "hello") for _ in range(5)), return_exceptions=True
    )

    done = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    replays = [outcome for outcome in outcomes if isinstance(outcome, ReplayedCall)]
    assert (len(done), len(replays)) == (1, 4)
    assert all(replay.result == done[0].model_dump(mode="json") for replay in replays)
    assert len(await history_of(directory, ada.customer_id)) == 2


async def test_a_call_whose_twin_was_faster_is_a_replay_and_no_version_conflict(
    directory: Directory,
) -> None:
    ada = await create(directory)
    call = replace(STAFF, token="t1", fingerprint="f1")
    change = CustomerChange(name="Ada L.")
    await directory.change(call, ada.customer_id, change, expected_version=1)
    with pytest.raises(ReplayedCall):
        await directory.change(call, ada.customer_id, change, expected_version=1)
    with pytest.raises(TokenConflictError):
        await directory.change(replace(call, fingerprint="f2"), ada.customer_id, change, expected_version=1)
