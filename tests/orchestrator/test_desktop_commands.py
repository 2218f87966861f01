"""`switchboard desktop ...` and `switchboard bundle`: they reach every server by its own command."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import desktop
from orchestrator.cli import app
from orchestrator.desktop import installed_servers

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("SWITCHBOARD_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "Claude" / "config.json"
    path.parent.mkdir()
    monkeypatch.setenv("SWITCHBOARD_CLAUDE_CONFIG", str(path))
    return path


@pytest.fixture
def run(config: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `switchboard`, the output of its children included."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def entries(config: Path) -> set[str]:
    return set(json.loads(config.read_text("utf-8"))["mcpServers"])


def test_all_servers_go_in_and_out_with_one_command(run: Run, config: Path) -> None:
    status, out, err = run("desktop", "install", "--demo")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == len(installed_servers()) >= 4
    assert entries(config) == {f"switchboard-{name}" for name in installed_servers()}

    status, out, err = run("desktop", "uninstall")
    assert (status, err) == (0, "")
    assert entries(config) == set()


def test_one_server_goes_alone_with_its_store(run: Run, config: Path, tmp_path: Path) -> None:
    assert run("desktop", "install", "--server", "billing", "--store", f"sqlite:///{tmp_path}/")[0] == 0
    (entry,) = json.loads(config.read_text("utf-8"))["mcpServers"].values()

    assert entry["args"][-1] == "servers.billing"
    assert entry["env"] == {"SWITCHBOARD_STORE": f"sqlite:///{tmp_path}/"}


def test_a_dry_run_writes_nothing(run: Run, config: Path) -> None:
    status, out, _ = run("desktop", "install", "--server", "billing", "--dry-run")

    assert status == 0
    assert '+    "switchboard-billing": {' in out
    assert not config.exists()


def test_what_a_server_refuses_is_the_exit_status(run: Run, config: Path) -> None:
    config.write_text("{", "utf-8")
    status, out, err = run("desktop", "install", "--server", "billing")

    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_without_claude_desktop_only_force_goes_on(run: Run, config: Path) -> None:
    config.parent.rmdir()
    assert run("desktop", "install", "--server", "billing")[0] == 1
    assert run("desktop", "install", "--server", "billing", "--force")[0] == 0
    assert entries(config) == {"switchboard-billing"}


@pytest.mark.parametrize("command", [("desktop", "install", "--server", "archive"), ("bundle", "archive")])
def test_a_server_that_is_not_installed_is_one_line(run: Run, command: tuple[str, ...]) -> None:
    status, out, err = run(*command)

    assert (status, out) == (1, "")
    assert err.startswith("switchboard: there is no server of that name; installed are: billing, ")


def test_a_bundle_is_written_by_the_server(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("bundle", "billing", "-o", str(tmp_path / "out"))

    assert status == 0
    assert zipfile.is_zipfile(out.strip())


def test_the_servers_are_those_whose_scripts_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"billing", "customer-data", "knowledge-base", "ticketing"} <= set(installed_servers())
    monkeypatch.setattr(desktop, "DISTRIBUTION", "switchboard-nowhere")
    assert installed_servers() == ()
