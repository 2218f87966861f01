"""Loading rows from a person's own file: the good ones go in, the bad ones are told by line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from handoff.errors import StoreUnavailableError, StructuredError
from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Put, Write
from servers._definition import LoadReport
from servers._loading.files import IN_FLIGHT, load_rows
from servers._loading.rows import MAX_LINE_BYTES
from servers._results import InvalidError
from servers._text import RecordId

SECRET = "hunter2"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: str
    zip: str | None = None


class Plant(BaseModel):
    model_config = ConfigDict(extra="forbid")

    plant_id: RecordId
    height: int = Field(ge=0)
    planted: date | None = None
    place: Place | None = None
    tags: list[str] = []


def put(plant: Plant) -> Put:
    return Put("plants", plant.plant_id, plant.model_dump(mode="json"), ABSENT)


async def load(store: SqliteStore, path: Path, content: str | bytes) -> LoadReport:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return await load_rows(path, Plant, put, store, taken={"plants": "plant_id"})


def told(report: LoadReport) -> list[tuple[int, str]]:
    return [(bad.line, bad.message) for bad in report.bad]


async def stored(store: SqliteStore, plant_id: str) -> Plant:
    record = await store.get("plants", plant_id)
    assert record is not None
    return Plant.model_validate(record.data)


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tmp_path / "plants.csv"


@pytest.fixture
def jsonl_file(tmp_path: Path) -> Path:
    return tmp_path / "plants.jsonl"


async def test_good_rows_of_a_csv_file_are_loaded(store: SqliteStore, csv_file: Path) -> None:
    report = await load(
        store,
        csv_file,
        'plant_id,height,planted,place.city,place.zip\n"oak",12,2024-05-01,"Kiel, Nord",\nivy,3,,,\n',
    )

    assert report == LoadReport(loaded=2, bad=[])
    assert await stored(store, "oak") == Plant(
        plant_id="oak", height=12, planted=date(2024, 5, 1), place=Place(city="Kiel, Nord")
    )
    assert (await stored(store, "ivy")).place is None


async def test_good_rows_of_a_jsonl_file_are_loaded(store: SqliteStore, jsonl_file: Path) -> None:
    report = await load(
        store,
        jsonl_file,
        '{"plant_id": "oak", "height": 12, "tags": ["big", "old"]}\n\n{"plant_id": "ivy", "height": 3}',
    )

    assert report == LoadReport(loaded=2, bad=[])
    assert (await stored(store, "oak")).tags == ["big", "old"]


async def test_a_bad_row_is_told_by_line_field_and_reason_and_the_others_are_loaded(
    store: SqliteStore, csv_file: Path
) -> None:
    content = f"plant_id,height\noak,12\nivy,{SECRET}\n\n{SECRET} ../,-4\nelm,7,8\nfir,9\n"
    report = await load(store, csv_file, content)

    assert report.loaded == 2
    assert [line for line, _ in told(report)] == [3, 5, 6]
    messages = [message for _, message in told(report)]
    assert messages[0].startswith("height: Input should be a valid integer")
    assert "plant_id: " in messages[1]
    assert "height: " in messages[1]
    assert messages[2] == "the row has 3 values, the header has 2"
    assert SECRET not in str(report)


async def test_bad_json_lines_are_told_without_their_content(store: SqliteStore, jsonl_file: Path) -> None:
    lines = [
        '{"plant_id": "oak", "height": 1}',
        f'{{"plant_id": "{SECRET}", "height": ',
        f'["{SECRET}"]',
        f'{{"plant_id": "elm", "height": 1, "{SECRET} is a secret": 1}}',
        "[" * 100_000,
        '{"plant_id": "fir", "height": 1e999}',
        '{"plant_id": "yew", "height": 5}',
    ]
    report = await load(store, jsonl_file, "\n".join(lines))

    assert report.loaded == 2
    assert [line for line, _ in told(report)] == [2, 3, 4, 5, 6]
    assert SECRET not in str(report)


async def test_the_line_of_a_row_is_where_it_begins_even_after_values_of_several_lines(
    store: SqliteStore, csv_file: Path
) -> None:
    content = 'plant_id,height,place.city\noak,1,"a\nb\nc"\nivy,x,Kiel\n"e\nlm",1,Kiel\nfir,2,Kiel\n'
    report = await load(store, csv_file, content)

    assert report.loaded == 2
    assert [line for line, _ in told(report)] == [5, 6]


async def test_an_id_twice_in_a_file_is_loaded_once_and_told_with_the_first_line(
    store: SqliteStore, jsonl_file: Path
) -> None:
    rows = [
        {"plant_id": "oak", "height": 1},
        {"plant_id": "ivy", "height": 1},
        {"plant_id": "oak", "height": 2},
    ]
    report = await load(store, jsonl_file, "\n".join(map(json.dumps, rows)))

    assert told(report) == [(3, "plant_id: is already used on line 1")]
    assert (await stored(store, "oak")).height == 1


async def test_a_file_loaded_again_adds_nothing_and_says_so(store: SqliteStore, csv_file: Path) -> None:
    await load(store, csv_file, "plant_id,height\noak,1\n")
    report = await load(store, csv_file, "plant_id,height\noak,2\nivy,3\n")

    assert report.loaded == 1
    assert told(report) == [(2, "plant_id: exists already in the store")]
    assert (await stored(store, "oak")).height == 1


async def test_semicolons_tabs_a_byte_order_mark_and_capitals_are_no_obstacle(
    store: SqliteStore, csv_file: Path
) -> None:
    semicolons = await load(store, csv_file, b"\xef\xbb\xbfPlant_ID;Height\r\noak;1\r\n")
    tabs = await load(store, csv_file, "plant id\theight\nivy\t2\n")

    assert (semicolons.loaded, semicolons.bad) == (1, [])
    assert (tabs.loaded, tabs.bad) == (1, [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{SECRET},height\noak,1\n", "column 1 not known; missing plant_id"),
        ("plant_id\noak\n", "missing height"),
        ("plant_id,height,height\noak,1,2\n", "a column named twice"),
        ("plant_id,height,place.zip,tags\noak,1,2,3\n", "column 4 not known"),
        ('"plant_id,height\noak,1\n', "missing plant_id, height"),
        ("", "no header"),
        ("\n", "no header"),
        ("plant_id,height\n", "no rows"),
    ],
)
async def test_a_file_without_the_expected_header_is_refused_with_the_reason(
    store: SqliteStore, csv_file: Path, content: str, reason: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        await load(store, csv_file, content)

    assert reason in refused.value.message
    assert SECRET not in str(refused.value.to_json())
    assert refused.value.suggestion


async def test_an_empty_jsonl_file_is_refused(store: SqliteStore, jsonl_file: Path) -> None:
    with pytest.raises(InvalidError, match="no rows"):
        await load(store, jsonl_file, "\n\n")


@pytest.mark.parametrize("name", ["plants.xlsx", "plants", "plants.json"])
async def test_a_file_of_another_kind_is_refused(store: SqliteStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match="csv or .jsonl"):
        await load(store, tmp_path / name, "plant_id,height\n")


async def test_a_missing_file_and_a_folder_are_refused_in_one_sentence(
    store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("missing.csv", "folder.csv"):
        with pytest.raises(InvalidError, match="cannot be read"):
            await load_rows(tmp_path / name, Plant, put, store)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
async def test_a_file_in_another_unicode_encoding_is_refused(
    store: SqliteStore, tmp_path: Path, suffix: str
) -> None:
    with pytest.raises(InvalidError, match="not UTF-8"):
        await load(store, tmp_path / f"plants{suffix}", "plant_id,height\noak,1\n".encode("utf-16"))


async def test_rows_that_are_not_utf_8_are_told_and_the_others_are_loaded(
    store: SqliteStore, csv_file: Path, jsonl_file: Path
) -> None:
    csv_report = await load(store, csv_file, b"plant_id,height,place.city\noak,1,K\xf6ln\nivy,2,Kiel\n")
    jsonl_report = await load(
        store, jsonl_file, b'{"plant_id": "f\xefr", "height": 1}\n{"plant_id": "elm", "height": 1}\n'
    )

    assert told(csv_report) == [(2, "the row is not UTF-8 text")]
    assert told(jsonl_report) == [(1, "the row is not UTF-8 text")]
    assert csv_report.loaded == jsonl_report.loaded == 1


async def test_a_line_over_the_limit_is_told_and_the_others_are_loaded(
    store: SqliteStore, jsonl_file: Path
) -> None:
    long = json.dumps({"plant_id": "oak", "height": 1, "tags": ["x" * MAX_LINE_BYTES]})
    report = await load(store, jsonl_file, f'{long}\n{{"plant_id": "ivy", "height": 1}}\n')

    assert report.loaded == 1
    assert told(report) == [(1, f"a line of the row is longer than {MAX_LINE_BYTES:,} bytes")]


async def test_a_quote_that_is_never_closed_costs_its_row_only_up_to_a_limit(
    store: SqliteStore, csv_file: Path
) -> None:
    lost = 'oak,1,"never closed\n'
    swallowed = "".join(f"ivy{number},1,{'x' * 100}\n" for number in range(2_000))
    report = await load(store, csv_file, f"plant_id,height,place.city\n{lost}{swallowed}")

    assert [line for line, _ in told(report)][0] == 2
    assert 0 < report.loaded < 2_000


async def test_a_row_refused_by_the_domain_is_bad_with_the_domain_s_reason(
    store: SqliteStore, csv_file: Path
) -> None:
    def only_small(plant: Plant) -> Sequence[Write]:
        if plant.height > 10:
            raise InvalidError("is too tall", field="height")
        return [put(plant)]

    csv_file.write_text("plant_id,height\noak,12\nivy,3\n", "utf-8")
    report = await load_rows(csv_file, Plant, only_small, store)

    assert (report.loaded, told(report)) == (1, [(2, "height: is too tall")])


async def test_more_rows_than_are_in_flight_are_all_loaded(store: SqliteStore, csv_file: Path) -> None:
    count = 3 * IN_FLIGHT + 7
    rows = "".join(f"plant{number},{number}\n" for number in range(count))
    report = await load(store, csv_file, f"plant_id,height\n{rows}")

    assert report == LoadReport(loaded=count, bad=[])


async def test_a_store_that_fails_ends_the_load_and_says_how_far_it_came(
    store: SqliteStore, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = store.commit

    async def full(writes: Sequence[Write], **options: object) -> object:
        if any(isinstance(write, Put) and write.id == "ivy" for write in writes):
            raise StoreUnavailableError("the disk is full")
        return await commit(writes)

    monkeypatch.setattr(store, "commit", full)
    with pytest.raises(StoreUnavailableError) as failed:
        await load(store, csv_file, "plant_id,height\noak,1\nivy,2\nelm,3\n")

    assert failed.value.suggestion == "2 rows are loaded; put that right and load again"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".jsonl"]))
async def test_whatever_a_file_holds_there_is_a_report_or_one_clear_refusal(
    store: SqliteStore, tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(b"plant_id,height\n" + content if suffix == ".csv" else content)
    try:
        report = await load_rows(path, Plant, put, store, taken={"plants": "plant_id"})
    except StructuredError as error:
        assert error.field == "file"
        return
    lines = content.count(b"\n") + content.count(b"\r") + 2
    assert all(1 <= bad.line <= lines and bad.message for bad in report.bad)
