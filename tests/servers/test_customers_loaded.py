"""Customers that were not typed in: those of the demo company, and those of a file."""

from __future__ import annotations

from pathlib import Path

from handoff.sqlite.store import SqliteStore
from servers.customer_data.demo import load_demo
from servers.customer_data.directory import Directory
from servers.customer_data.loading import load_file
from tests.servers.customer_directory import STAFF, found


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
