"""The command of a server, as a person or a host starts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from handoff.sqlite.store import SqliteStore
from handoff.store import Put, Store
from servers._command import server_command
from servers._definition import ServerDefinition
from servers._hosting.opening import fill_with_demo, open_server_store
from tests.servers.processes import INITIALIZE, running, sample_command
from tests.servers.sample_server import DEFINITION, load_demo

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the sample server's command in this process: exit status, stdout, stderr."""
    monkeypatch.setenv("SWITCHBOARD_STORE", f"sqlite:///{tmp_path}/sample.db")
    monkeypatch.delenv("SWITCHBOARD_DEMO", raising=False)

    def run(*arguments: str, definition: ServerDefinition | str = DEFINITION) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            server_command(definition)(list(arguments))
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_check_prints_one_line_per_finding(run: Run) -> None:
    status, out, err = run("--check")

    assert status == 0
    assert err == ""
    assert all(line.startswith("ok: ") for line in out.splitlines())
    assert "ok: 11 tools" in out


def test_check_of_a_store_that_belongs_to_another_server_fails_with_the_reason(
    run: Run, tmp_path: Path
) -> None:
    asyncio.run(_touch(tmp_path / "sample.db", owner="billing"))
    status, out, _ = run("--check")

    assert status == 1
    assert out.startswith("failed: ")
    assert len(out.splitlines()) == 1


def test_check_of_a_file_that_others_can_read_reports_the_problem(run: Run, tmp_path: Path) -> None:
    asyncio.run(_touch(tmp_path / "sample.db", owner="sample"))
    (tmp_path / "sample.db").chmod(0o644)
    status, out, _ = run("--check")

    assert status == 1
    assert "problem: permissions" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--store", "postgres://somewhere/db"], "sqlite:///"),
        (["--store", "sqlite:////proc/nowhere/x.db"], "/proc/nowhere/x.db"),
        (["--http", "--host", "0.0.0.0"], "127.0.0.1"),
        (["--port", "99999"], "--port"),
        (["--colour"], "--colour"),
        (["fetch"], "fetch"),
        (["load", "/nowhere/rows.csv"], "/nowhere/rows.csv"),
        (["load"], "file"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_status_1(
    run: Run, arguments: list[str], told: str
) -> None:
    status, out, err = run(*arguments)

    assert status == 1
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("switchboard-sample: ")
    assert told.lower() in err.lower()
    assert "Traceback" not in err


def test_a_crash_before_serving_is_one_line_too(run: Run) -> None:
    def broken(store: Store) -> object:
        raise RuntimeError("the detail stays inside")

    status, _, err = run("--check", definition=replace(DEFINITION, tools=broken))

    assert status == 1
    assert err.splitlines() == ["switchboard-sample: stopped: RuntimeError"]


def test_load_reports_each_bad_row_with_its_line_and_loads_the_others(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("cus_1,first\nonly one column\ncus_2,second\n,,,,\n", encoding="utf-8")
    status, out, _ = run("load", str(file))

    assert status == 1
    assert out.splitlines() == [
        "line 2: a row has two columns",
        "line 4: a row has two columns",
        "loaded 2, bad 2",
    ]


def test_load_of_good_rows_only_succeeds_and_takes_the_store_before_or_after(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("cus_1,first\n", encoding="utf-8")
    other = f"sqlite:///{tmp_path}/other.db"

    assert run("--store", other, "load", str(file))[:2] == (0, "loaded 1, bad 0\n")
    assert run("load", str(file), "--store", other)[0] == 0
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "sample.db").exists()


def test_a_definition_adds_its_own_commands_and_their_output_is_on_stdout(run: Run) -> None:
    def commands(app: typer.Typer) -> None:
        @app.command("greet")
        def greet() -> None:
            typer.echo("hello")

    assert run("greet", definition=replace(DEFINITION, commands=commands)) == (0, "hello\n", "")


def test_version_and_help_are_on_stdout(run: Run) -> None:
    status, out, err = run("--version")
    assert (status, err) == (0, "")
    assert out.strip()

    status, out, err = run("--help")
    assert (status, err) == (0, "")
    assert "--read-only" in out
    assert "SWITCHBOARD_STORE" in out


def test_a_definition_can_be_given_by_its_place(run: Run) -> None:
    status, out, _ = run("--check", definition="tests.servers.sample_server:DEFINITION")

    assert status == 0
    assert "ok: 11 tools" in out


async def test_demo_fills_an_empty_store_once_and_says_so(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        async with running(sample_command(tmp_path, "--demo")) as server:
            await server.ask(1, "initialize", INITIALIZE)
            server.hang_up()
            await server.ended()
            said.append(await server.complaint())

    assert said == [
        "switchboard-sample: loaded 2 demo records\n",
        "switchboard-sample: the demo data is there already\n",
    ]


async def test_demo_data_is_never_mixed_with_a_persons_own(store: SqliteStore) -> None:
    await store.commit([Put("notes", "mine", {"note_id": "mine", "customer_id": "c", "title": "t"})])
    said = await fill_with_demo(DEFINITION, store)

    assert "not loaded" in said
    assert await store.get("notes", "note_1") is None


async def test_a_demo_load_that_broke_off_is_noticed_and_not_repeated(store: SqliteStore) -> None:
    async def breaks_off(opened: Store) -> int:
        await load_demo(opened)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        await fill_with_demo(replace(DEFINITION, load_demo=breaks_off), store)
    with pytest.raises(Exception, match="broke off"):
        await fill_with_demo(DEFINITION, store)


async def test_two_servers_that_fill_one_store_at_once_fill_it_once(store: SqliteStore) -> None:
    said = await asyncio.gather(*(fill_with_demo(DEFINITION, store) for _ in range(2)))

    assert sorted(each.startswith("loaded 2") for each in said) == [False, True]


async def test_without_a_url_the_store_is_a_file_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWITCHBOARD_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    opened = await open_server_store("sample", None)
    await opened.close()

    assert (tmp_path / "switchboard" / "sample.db").exists()


async def _touch(path: Path, *, owner: str) -> None:
    async with await SqliteStore.open(path, owner=owner):
        pass
