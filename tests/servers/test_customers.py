"""The directory of customers: finding, creating and changing them, whoever else does the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from handoff.errors import ContentionError, StructuredError, TokenConflictError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._records import ReplayedCall
from servers._results import ConflictError, ForbiddenError, InvalidError, NotFoundError
from servers.customer_data import history
from servers.customer_data.contacts import Country, Currency, Email, Phone
from servers.customer_data.customers import NOTES_KEPT, CustomerChange, CustomerProfile, NewCustomer
from servers.customer_data.demo import load_demo
from servers.customer_data.directory import Directory
from servers.customer_data.loading import load_file

STAFF = Call("a_tool", principal="marta")


@pytest.fixture
def directory(store: SqliteStore) -> Directory:
    return Directory(store)


async def create(directory: Directory, name: str = "Ada Lindqvist", **fields: Any) -> CustomerProfile:
    email = fields.pop("email", f"{name.lower().replace(' ', '.')}@example.com")
    return await directory.create(STAFF, NewCustomer(name=name, email=email, **fields))


async def found(directory: Directory, query: str, call: Call = STAFF) -> list[str]:
    page = await directory.find(call, query, limit=50, cursor=None)
    return [customer.name for customer in page.items]


async def history_of(directory: Directory, customer_id: str) -> list[str]:
    known = await directory.get(STAFF, customer_id, include_history=True)
    assert known.history is not None
    return [event.text for event in known.history]


async def test_a_customer_is_found_by_name_company_email_phone_and_id(directory: Directory) -> None:
    ada = await create(directory, company="Lindqvist & Partners", phone="+46 8 465 004 90")
    await create(directory, "Ben Okafor")

    for query in ("ada", "Lindqvist", "partners", ada.email, ada.phone, ada.customer_id, "lindq"):
        assert query is not None
        assert await found(directory, query) == ["Ada Lindqvist"], query


@pytest.mark.parametrize(
    "query",
    [
        "ADA.LINDQVIST@EXAMPLE.COM",
        "<ada.lindqvist@example.com>",
        "the customer with ada.lindqvist@example.com, please",
        "+46846500490",
        "0046 8 465 004 90",
        "08-465 004 90",
        "(08) 465.004.90",
        "she called from +46 8 465 004 90 just now",
    ],
)
async def test_an_address_or_number_finds_its_customer_however_it_is_written(
    directory: Directory, query: str
) -> None:
    await create(directory, phone="+46 8 465 004 90")
    await create(directory, "Adam Lindqvist", phone="+46 8 465 004 91")

    assert await found(directory, query) == ["Ada Lindqvist"]


async def test_numbers_that_only_end_alike_are_different_numbers(directory: Directory) -> None:
    await create(directory, phone="+46 8 465 0490")
    await create(directory, "Jonas Brandt", phone="+49 30 465 0490")

    assert await found(directory, "+49 30 4650490") == ["Jonas Brandt"]
    assert await found(directory, "08-465 04 90") == ["Ada Lindqvist"]
    assert sorted(await found(directory, "465 0490")) == ["Ada Lindqvist", "Jonas Brandt"]
    assert await found(directory, "+44 20 465 0490") == []


@pytest.mark.parametrize(
    "query",
    [
        "ada.lindqvist@example.org",
        "+46 8 465 004 99",
        "call from 0846500499",
        "cus_0000",
        "nobody at all",
        "@",
        "***",
    ],
)
async def test_what_is_merely_similar_to_an_exact_query_is_not_found(
    directory: Directory, query: str
) -> None:
    await create(directory, phone="+46 8 465 004 90")

    try:
        assert await found(directory, query) == []
    except InvalidError as error:
        assert error.field == "query"


async def test_an_email_that_nobody_has_still_lets_the_other_words_count(directory: Directory) -> None:
    await create(directory)

    assert await found(directory, "Ada Lindqvist old@address.example") == ["Ada Lindqvist"]


async def test_a_blank_query_lists_all_customers_page_by_page(store: SqliteStore) -> None:
    await load_demo(store)
    directory = Directory(store)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await directory.find(STAFF, "  ", limit=50, cursor=cursor)
        seen += [customer.customer_id for customer in page.items]
        assert page.more == 240 - len(seen)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor

    assert len(seen) == len(set(seen)) == 240


async def test_a_long_search_goes_on_where_its_page_ended(directory: Directory) -> None:
    for number in range(15):
        await create(directory, f"Robin {number}", company="Copper Kettle")
    first = await directory.find(STAFF, "copper kettle", limit=10, cursor=None)
    second = await directory.find(STAFF, "copper kettle", limit=10, cursor=first.next_cursor)

    assert (len(first.items), first.more) == (10, 5)
    assert (len(second.items), second.more, second.next_cursor) == (5, 0, None)
    assert not {item.name for item in first.items} & {item.name for item in second.items}


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


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "a.b+tag@sub.example.co", "o'neil@example.com", "jörg@müller.example", "1@2.de"],
)
def test_a_believable_address_is_accepted(address: str) -> None:
    assert TypeAdapter(Email).validate_python(f" {address} ") == address


@pytest.mark.parametrize(
    "address",
    [
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@@example.com",
        "ada @example.com",
        "ada@exa mple.com",
        "ada@-example.com",
        "ada@example..com",
        "a..b@example.com",
        "ada@example.com, ben@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\nBcc: all@example.com",
        "ada\x00@example.com",
        "\u202eada@example.com",
        "a" * 65 + "@example.com",
        "ada@" + "e" * 250 + ".com",
        "",
    ],
)
def test_what_cannot_be_an_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Email).validate_python(address)


@pytest.mark.parametrize("number", ["12345", "call me", "+46 8 465 004 90 ext 5", "1" * 16, "٠١٢٣٤٥٦٧٨"])
def test_what_cannot_be_a_phone_number_is_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Phone).validate_python(number)


def test_country_and_currency_codes_are_checked_and_written_in_capitals() -> None:
    assert TypeAdapter(Country).validate_python("se") == "SE"
    assert TypeAdapter(Currency).validate_python("eur") == "EUR"
    for code in ("UK", "Sweden", "S", "", "AD AE", "D "):
        with pytest.raises(ValidationError):
            TypeAdapter(Country).validate_python(code)
    for code in ("EU", "€", "EURO", "12A"):
        with pytest.raises(ValidationError):
            TypeAdapter(Currency).validate_python(code)


HOSTILE = [
    '"',
    "''",
    "') OR 1=1--",
    "ada OR 1=1",
    "NEAR(ada, 5)",
    "NEAR(",
    "ada*",
    "title:ada",
    "^ada",
    "-ada",
    "ada AND",
    "(((",
    "{ada}",
    "cus_*",
    "../../etc/passwd",
    "%2e%2e%2f",
    "cus_1\x00",
    "\x00",
    "cus:1\r\nDEL",
    "\u202eada",
    "\N{GRINNING FACE}",
    "x" * 100_000,
    "ada " * 25_000,
    "@" * 1_000,
    "1" * 1_000,
]


async def check_query(directory: Directory, own: Call, query: str) -> None:
    """A query finds people by its words or is refused; another customer's call finds only its own."""
    try:
        await found(directory, query)
    except StructuredError as error:
        assert error.code in ("invalid_argument", "invalid_cursor")
        assert query not in str(error.to_json()) or len(query) < 4
    try:
        assert set(await found(directory, query, own)) <= {"Ben Okafor"}
    except StructuredError as error:
        assert error.code == "invalid_argument"


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_queries_are_words_like_any_others(directory: Directory, query: str) -> None:
    await create(directory)
    ben = await create(directory, "Ben Okafor")

    await check_query(directory, replace(STAFF, customer_id=ben.customer_id), query)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
async def test_whatever_is_searched_or_asked_for_no_foreign_record_comes_back(
    directory: Directory, text: str
) -> None:
    if not await found(directory, ""):
        await create(directory)
        await create(directory, "Ben Okafor")
    [ben] = (await directory.find(STAFF, "ben.okafor@example.com", limit=1, cursor=None)).items

    await check_query(directory, replace(STAFF, customer_id=ben.customer_id), text)
    with pytest.raises(NotFoundError):
        await directory.get(STAFF, text, include_history=True)


async def test_the_demo_customers_have_years_of_history(store: SqliteStore) -> None:
    assert await load_demo(store) == 240
    directory = Directory(store)
    noted = 0
    for number in range(1001, 1241):
        known = await directory.get(STAFF, f"cus_{number}", include_history=True)
        assert known.history is not None
        assert 2 <= len(known.history) + known.earlier_events <= 8
        assert sorted(event.at for event in known.history) == [event.at for event in reversed(known.history)]
        assert known.history[-1].kind == "created"
        noted += bool(known.notes)
    assert noted > 60


async def test_the_demo_customers_are_the_same_each_time(tmp_path: Path) -> None:
    profiles = []
    for name in ("one", "two"):
        async with await SqliteStore.open(tmp_path / f"{name}.db", owner="test") as store:
            await load_demo(store)
            known = await Directory(store).get(STAFF, "cus_1003", include_history=True)
            profiles.append(known.model_dump_json())

    assert profiles[0] == profiles[1]


async def test_customers_of_a_file_are_loaded_and_bad_rows_told(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(
        "customer_id,name,email,phone,address.line1,address.city,address.country,note\n"
        "k-1,Ada Lindqvist,ada@example.com,+46 8 465 004 90,Storgatan 1,Uppsala,se,Knows us well\n"
        "k-2,Ben Okafor,ben at example.com,,,,,\n"
        "k-3,Cleo Marsh,ADA@example.com,,,,,\n"
        "k-1,Dan Reed,dan@example.com,,,,,\n"
        "k-5,Eve Stone,eve@example.com,,Main St 1,Leeds,UK,\n"
        "k-6,Finn Moe,finn@example.com,,,,,\n",
        "utf-8",
    )
    report = await load_file(store, path)

    assert report.loaded == 2
    assert [(bad.line, bad.message) for bad in report.bad] == [
        (3, "email: must be an e-mail address such as name@company.com"),
        (4, "email: is already used on line 2"),
        (5, "customer_id: is already used on line 2"),
        (6, "address.country: must be a two-letter ISO 3166-1 code such as SE, GB or US"),
    ]
    ada = await Directory(store).get(STAFF, "k-1", include_history=True)
    assert ada.address is not None
    assert (ada.address.country, ada.notes[0].text) == ("SE", "Knows us well")
    assert [event.text for event in ada.history or []] == ["Knows us well", "Loaded from a file"]


async def test_customers_who_are_there_already_are_told_and_left_alone(
    store: SqliteStore, tmp_path: Path
) -> None:
    await load_demo(store)
    path = tmp_path / "customers.jsonl"
    path.write_text(
        '{"customer_id": "cus_1001", "name": "Eve", "email": "eve@example.com"}\n'
        '{"customer_id": "new-1", "name": "Eve", "email": "ada.lindqvist@example.com"}\n',
        "utf-8",
    )
    report = await load_file(store, path)

    assert report.loaded == 0
    assert [(bad.line, bad.message) for bad in report.bad] == [
        (1, "customer_id: exists already in the store"),
        (2, "email: exists already in the store"),
    ]
    assert await found(Directory(store), "eve@example.com") == []
