"""Files that are damaged: refused in one line or opened with what is there, never begun anew over data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from handoff import open_store
from handoff.errors import StoreMismatchError, StoreUnavailableError
from handoff.sqlite import schema as sqlite_schema
from handoff.sqlite.store import SqliteStore
from handoff.store import Index, Put, Replayed, Token
from tests.soak.damage import DAMAGES, Damage, copy, wal_of
from tests.soak.envelopes import ticket_envelope, token_of
from tests.soak.processes import server_command, serving
from tests.soak.tickets import checked, tickets_by_subject
from tests.soak.wire import Wire, connections

TICKETS = 40
ROUNDS = 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, frozenset[str]]:
    """A store that a killed server left: data in the file, newer data in its log; and its tickets."""
    directory = tmp_path_factory.mktemp("written")
    return asyncio.run(_write(directory))


async def _write(directory: Path) -> tuple[Path, frozenset[str]]:
    file = directory / "ticketing.db"
    sent = [ticket_envelope() for _ in range(TICKETS)]
    for part in range(ROUNDS):
        async with serving(server_command("ticketing", f"sqlite:///{file}"), directory) as service:
            async with connections(8) as http:
                wire = Wire(service.url, http)
                answers = await asyncio.gather(*map(wire.deliver, sent[part::ROUNDS]))
            assert {answer.status for answer in answers} == {"completed"}
            if part < ROUNDS - 1:
                await service.terminate()
    assert wal_of(file).stat().st_size
    return file, frozenset(map(token_of, sent))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name.replace(" ", "-"))
async def test_a_damaged_store_is_refused_or_opened_with_what_is_there(
    damage: Damage, written: tuple[Path, frozenset[str]], tmp_path: Path
) -> None:
    source, tokens = written
    file = copy(tmp_path, "damaged", source)
    damage.do(file)
    if damage.ending == "refused":
        await see_refused(file)
        return
    found = await subjects(file)
    if damage.ending == "all":
        assert found == tokens
    elif damage.ending == "part":
        assert found is not None and len(found) >= TICKETS // ROUNDS and found <= tokens
    else:
        assert found is None or await complaints(file)


async def see_refused(file: Path) -> None:
    """It is not opened, the reason fits in one line, and no byte of it is touched."""
    before = contents(file)
    with pytest.raises((StoreMismatchError, StoreUnavailableError)) as refused:
        await open_store(f"sqlite:///{file}", namespace="ticketing")
    assert not refused.value.retryable
    assert "\n" not in refused.value.message
    assert contents(file) == before


def contents(file: Path) -> Mapping[str, bytes]:
    """The file and its log, to the byte; the log's index is rebuilt at each opening."""
    return {each.name: each.read_bytes() for each in (file, wal_of(file)) if each.exists()}


async def subjects(file: Path) -> frozenset[str] | None:
    """The subjects of the tickets that can be read; None when the damage shows."""
    async with await SqliteStore.open(file, owner="ticketing") as store:
        found: set[str] = set()
        cursor: str | None = None
        while True:
            try:
                page = await store.find("tickets", "all", "", limit=50, cursor=cursor)
            except StoreUnavailableError as error:
                assert not error.retryable
                return None
            found |= {record.data["subject"] for record in page.records}
            cursor = page.cursor
            if cursor is None:
                return frozenset(found)


async def complaints(file: Path) -> list[str]:
    """What a check of the store finds to be wrong."""
    async with await SqliteStore.open(file, owner="ticketing") as store:
        return [line for line in await store.check() if ": " in line]


async def test_a_server_does_not_start_on_a_damaged_store_and_says_why_in_one_line(
    written: tuple[Path, frozenset[str]], tmp_path: Path
) -> None:
    by_name = {damage.name: damage for damage in DAMAGES}
    for number, name in enumerate(["the log's header is garbage", "it has a newer schema"]):
        file = copy(tmp_path, str(number), written[0])
        by_name[name].do(file)
        status, said = await checked(f"sqlite:///{file}")
        assert status == 1
        assert said.startswith("failed: ") and said.count("\n") == 1
        assert str(file) in said


async def test_a_file_of_an_older_schema_is_brought_up_to_date_with_all_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ticketing.db"
    newest = sqlite_schema.SCHEMA_VERSION
    token = Token("tok-1", "fingerprint", {"ticket_id": "tck_1"})
    with monkeypatch.context() as older:
        older.setattr(sqlite_schema, "STEPS", sqlite_schema.STEPS[:1])
        older.setattr(sqlite_schema, "SCHEMA_VERSION", 1)
        async with await SqliteStore.open(file, owner="ticketing") as store:
            await store.commit([Put("things", "a", {"v": 1}, indexes=[Index("all", "")])], token=token)
    status, said = await checked(f"sqlite:///{file}")
    assert status == 0, said
    assert f"schema version {newest}" in said
    async with await SqliteStore.open(file, owner="ticketing") as store:
        assert [record.data for record in (await store.find("things", "all", "")).records] == [{"v": 1}]
        assert await store.token("tok-1") == Replayed(token.fingerprint, token.result)


async def test_a_server_goes_on_where_a_killed_one_left_its_store(
    written: tuple[Path, frozenset[str]], tmp_path: Path
) -> None:
    file = copy(tmp_path, "intact", written[0])
    command = server_command("ticketing", f"sqlite:///{file}")
    async with serving(command, tmp_path) as service, connections(1) as http:
        found = await tickets_by_subject(Wire(service.url, http))
    assert found.keys() == written[1]
