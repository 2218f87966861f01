"""What the SQLite store promises beyond the contract: one file, many processes, faults, whose file it is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from handoff.errors import StoreMismatchError, StoreUnavailableError
from handoff.sqlite import schema as sqlite_schema
from handoff.sqlite import writer as sqlite_writer
from handoff.sqlite.connection import driver
from handoff.sqlite.store import SqliteStore
from handoff.store import Append, Committed, Put, Record

INCREMENT = """
import asyncio, sys
from handoff.errors import ContentionError
from handoff.sqlite.store import SqliteStore
from handoff.store import Put
from handoff.update import update

def counted(record):
    return Put("counters", "c", {"n": record.data["n"] + 1 if record else 1})

async def main(path, times):
    async with await SqliteStore.open(path, owner="test") as store:
        for _ in range(times):
            while True:
                try:
                    await update(store, "counters", "c", counted)
                    break
                except ContentionError:
                    pass

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

WRITE_UNTIL_KILLED = """
import asyncio, sys
from handoff.sqlite.store import SqliteStore
from handoff.store import Append

async def write(store, worker):
    for n in range(100_000):
        await store.commit([Append("acks", str(worker), {"n": n})])
        print(worker, n, flush=True)

async def main(path):
    async with await SqliteStore.open(path, owner="test") as store:
        await asyncio.gather(*(write(store, worker) for worker in range(8)))

asyncio.run(main(sys.argv[1]))
"""

WRITE_ON_A_FAILING_DISK = """
import asyncio, resource, sys
from handoff.errors import StoreUnavailableError
from handoff.sqlite.store import SqliteStore
from handoff.store import Append, Committed

async def fill(store):
    for n in range(1000):
        try:
            await store.commit([Append("fill", "a", {"text": "x" * 4000})])
        except StoreUnavailableError as error:
            return n, error
    raise AssertionError("the disk never failed")

async def main(path):
    async with await SqliteStore.open(path, owner="test") as store:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, unlimited[1]))
        written, error = await fill(store)
        assert error.retryable and error.code == "store_unavailable", error
        assert len(await store.entries("fill", "a")) == written > 0
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert isinstance(await store.commit([Append("fill", "a", {})]), Committed)
        assert len(await store.entries("fill", "a")) == written + 1
        assert "integrity ok" in await store.check()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


async def opened(path: Path) -> SqliteStore:
    return await SqliteStore.open(path, owner="test")


async def start(program: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-c", program, *map(str, arguments)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_increments_from_several_processes_lose_none(path: Path) -> None:
    processes = [await start(INCREMENT, path, 40) for _ in range(3)]
    await asyncio.gather(*(finish(process) for process in processes))
    async with await opened(path) as store:
        assert await store.get("counters", "c") == Record("c", 120, {"n": 120})


async def test_every_acknowledged_commit_survives_kill_9(path: Path) -> None:
    process = await start(WRITE_UNTIL_KILLED, path)
    assert process.stdout
    acknowledged = []
    async with asyncio.timeout(60):
        for _ in range(300):
            acknowledged.append(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged += (await process.stdout.read()).splitlines()
        await process.communicate()
    async with await opened(path) as store:
        kept = {
            f"{worker} {entry.data['n']}"
            for worker in range(8)
            for entry in await store.entries("acks", str(worker), limit=100_000)
        }
        assert {line.decode().strip() for line in acknowledged} <= kept
        assert "integrity ok" in await store.check()


async def test_a_failing_disk_costs_no_restart_and_reads_stay_alive(path: Path) -> None:
    await finish(await start(WRITE_ON_A_FAILING_DISK, path))


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let the file grow to so many pages, as a disk of that size would."""
    await store._connections[-1].run(
        lambda writer: writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    )


async def test_a_full_disk_refuses_whole_batches_and_recovers_by_itself(path: Path) -> None:
    async def commit(n: int) -> object:
        return await store.commit([Append("fill", "a", {"n": n, "text": "x" * 4000})])

    async with await opened(path) as store:
        await limit_pages(store, 60)
        outcomes: list[object] = []
        while not any(isinstance(outcome, Exception) for outcome in outcomes):
            outcomes += await asyncio.gather(*(commit(n) for n in range(10)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailableError)]
        assert len(refused) == 10 and len(set(map(id, refused))) == 10
        assert all(error.retryable and error.message == "the disk is full" for error in refused)
        assert len(await store.entries("fill", "a")) == len(outcomes) - 10
        await limit_pages(store, 1_000_000)
        assert isinstance(await commit(0), Committed)
        assert await store.entries("fill", "a", after=len(outcomes) - 10)


async def test_a_foreign_lock_is_waited_for(path: Path) -> None:
    async with await opened(path) as store:
        foreign = driver.connect(path, isolation_level=None)
        try:
            foreign.execute("BEGIN IMMEDIATE")
            waiting = [asyncio.create_task(store.commit([Append("notes", "a", {})])) for _ in range(5)]
            assert await store.get("things", "a") is None
            done, _ = await asyncio.wait(waiting, timeout=0.4)
            assert not done
            foreign.execute("ROLLBACK")
            async with asyncio.timeout(5):
                outcomes = await asyncio.gather(*waiting)
            assert sorted(outcome.seqs for outcome in outcomes if isinstance(outcome, Committed)) == [
                (n,) for n in range(1, 6)
            ]
        finally:
            foreign.close()


async def test_a_lasting_foreign_lock_ends_in_a_retryable_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await opened(path) as store:
        monkeypatch.setattr(sqlite_writer, "LOCK_WAIT_SECONDS", 0.3)
        foreign = driver.connect(path, isolation_level=None)
        try:
            foreign.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked") as refused:
                async with asyncio.timeout(5):
                    await store.commit([Put("things", "a", {})])
            assert refused.value.retryable
            foreign.execute("ROLLBACK")
            assert await store.commit([Put("things", "a", {})]) == Committed((1,))
        finally:
            foreign.close()


async def test_a_fault_within_a_batch_leaves_the_file_unlocked(path: Path) -> None:
    times = [0.0]  # for the opening; after it, the batch's own look at the time fails
    async with await SqliteStore.open(path, owner="test", clock=times.pop) as store:
        with pytest.raises(IndexError):
            await store.commit([Put("things", "a", {})])
        assert change(path, "BEGIN IMMEDIATE") == []
        times.append(1.0)
        assert await store.commit([Put("things", "a", {})]) == Committed((1,))


async def test_commits_in_flight_share_a_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    commit_together = sqlite_writer.commit_together

    def counted(
        connection: driver.Connection, units: list[sqlite_writer.Unit[object]], clock: object
    ) -> object:
        sizes.append(len(units))
        return commit_together(connection, units, lambda: 0.0)

    async with await opened(path) as store:
        monkeypatch.setattr(sqlite_writer, "commit_together", counted)
        await asyncio.gather(*(store.commit([Append("notes", "a", {})]) for _ in range(1200)))
    assert sum(sizes) == 1200 and max(sizes) == 512 and len(sizes) <= 4


async def test_the_file_and_its_directory_are_private(path: Path) -> None:
    async with await opened(path) as store:
        await store.commit([Put("things", "a", {})])
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm"], 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_check_names_the_settings_and_what_is_wrong(path: Path) -> None:
    async with await opened(path) as store:
        await store.ping()
        lines = await store.check()
        assert lines[0].startswith("SQLite 3.")
        assert lines[1:] == ["schema version 3", "journal mode wal", "synchronous full", "integrity ok"]
        path.chmod(0o644)
        assert "permissions" in (await store.check())[-1]


async def test_a_check_says_that_a_file_is_damaged_also_where_sqlite_stumbles_over_it(path: Path) -> None:
    async with await opened(path) as store:
        await store.commit([Put("things", str(number), {"v": "x" * 500}) for number in range(30)])
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xa5" * 4096)
    async with await opened(path) as store:
        assert [line for line in await store.check() if ": " in line] == [
            "integrity: the file is damaged; stop the server and restore it from a backup"
        ]


async def test_data_outlives_the_store_that_wrote_it(path: Path) -> None:
    async with await opened(path) as store:
        await store.commit([Put("things", "a", {"v": 1})])
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]
    async with await opened(path) as store:
        assert await store.get("things", "a") == Record("a", 1, {"v": 1})


async def test_a_new_file_may_be_opened_by_many_at_once(path: Path) -> None:
    stores = await asyncio.gather(*(opened(path) for _ in range(6)))
    await asyncio.gather(*(store.commit([Append("notes", "a", {})]) for store in stores))
    assert len(await stores[0].entries("notes", "a")) == 6
    await asyncio.gather(*(store.close() for store in stores))


async def test_of_two_owners_at_a_new_file_one_gets_it(path: Path) -> None:
    for n in range(10):
        file = path.with_name(f"{n}.db")
        outcomes = await asyncio.gather(
            *(SqliteStore.open(file, owner=owner) for owner in ("billing", "ticketing")),
            return_exceptions=True,
        )
        stores = [outcome for outcome in outcomes if isinstance(outcome, SqliteStore)]
        assert len(stores) == 1 and any(isinstance(outcome, StoreMismatchError) for outcome in outcomes)
        await stores[0].close()


async def test_a_closed_store_leaves_no_thread(path: Path) -> None:
    before = threading.active_count()
    async with await opened(path):
        assert threading.active_count() == before + 3
    assert threading.active_count() == before


async def test_a_cancelled_opening_leaves_nothing_open(path: Path) -> None:
    before = threading.active_count()
    for turns in range(12):
        opening = asyncio.create_task(opened(path))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        outcome = (await asyncio.gather(opening, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError)
    assert threading.active_count() == before


async def refusal(path: Path, owner: str = "test") -> StoreMismatchError:
    with pytest.raises(StoreMismatchError) as refused:
        await SqliteStore.open(path, owner=owner)
    assert not refused.value.retryable and "\n" not in refused.value.message
    return refused.value


async def test_another_owners_file_is_refused(path: Path) -> None:
    async with await opened(path):
        pass
    error = await refusal(path, owner="billing")
    assert "'test'" in error.message and "'billing'" in error.message


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with await opened(path):
        pass
    change(path, "UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    assert "99" in (await refusal(path)).message


async def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    change(path, "CREATE TABLE theirs(a)")
    before = path.read_bytes()
    assert "another program" in (await refusal(path)).message
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"name,email\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000, b"x"])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    await refusal(path)
    assert path.read_bytes() == content


async def test_a_log_without_its_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("store.db-wal").write_bytes(b"frames")
    assert "write-ahead log" in (await refusal(path)).message
    assert not path.exists()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError) as refused:
        await opened(tmp_path / "file" / "store.db")
    assert str(tmp_path) in refused.value.message
    with pytest.raises(StoreUnavailableError):
        await opened(tmp_path)


async def test_a_schema_step_is_applied_whole_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await opened(path) as store:
        await store.commit([Put("things", "a", {})])
    broken = sqlite_schema.Step(4, "fourth", ("CREATE TABLE fourth(a)", "CREATE TABLE fourth(a)"))
    monkeypatch.setattr(sqlite_schema, "STEPS", (*sqlite_schema.STEPS, broken))
    with pytest.raises(StoreUnavailableError):
        await opened(path)
    mended = sqlite_schema.Step(4, "fourth", ("CREATE TABLE fourth(a)",))
    monkeypatch.setattr(sqlite_schema, "STEPS", (*sqlite_schema.STEPS[:-1], mended))
    monkeypatch.setattr(sqlite_schema, "SCHEMA_VERSION", 4)
    for _ in range(2):
        async with await opened(path) as store:
            assert await store.get("things", "a") == Record("a", 1, {})
    rows = change(path, "SELECT number, name FROM migrations ORDER BY number")
    assert rows == [(1, "first tables"), (2, "find what is over"), (3, "texts by collection"), (4, "fourth")]


def change(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Run one statement on the file, as another program would."""
    connection = driver.connect(path, isolation_level=None)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
