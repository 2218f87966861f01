"""Plugging a server into Claude Desktop: what becomes of the file that is a person's own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servers._command import server_command
from servers._definition import ServerDefinition
from servers._install.desktop import add_desktop_commands
from servers._install.desktop_config import DesktopConfigError, replace_config
from servers.billing.server import DEFINITION as BILLING
from servers.ticketing.server import DEFINITION as TICKETING
from tests.servers.processes import INITIALIZE, running

Run = Callable[..., tuple[int, str, str]]
OTHERS = """{
    "globalShortcut": "Ctrl+Space",
    "mcpServers": {
        "files": {"command": "/usr/bin/npx", "args": ["-y", "files"],   "env": {"KEY": "caf\\u00e9"}},
        "numbers": {
            "command": "/usr/bin/numbers",
            "limit": 1.10
        }
    },
    "scale": 1e2
}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Claude Desktop keeps its file; the folder is there, the file is not."""
    for name in [name for name in os.environ if name.startswith("SWITCHBOARD_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "Claude" / "claude_desktop_config.json"
    path.parent.mkdir()
    monkeypatch.setenv("SWITCHBOARD_CLAUDE_CONFIG", str(path))
    return path


@pytest.fixture
def run(config: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a server's command in this process: exit status, stdout, stderr."""

    def run(*arguments: str, definition: ServerDefinition = BILLING) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            server_command(plugged(definition))(list(arguments))
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def plugged(definition: ServerDefinition) -> ServerDefinition:
    return replace(definition, commands=lambda app: add_desktop_commands(app, definition))


def servers(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(config.read_text("utf-8"))["mcpServers"]
    return found


def files(config: Path) -> list[str]:
    return sorted(path.name for path in config.parent.iterdir())


async def test_the_entry_starts_the_server_without_anything_of_the_shell(
    run: Run, config: Path, tmp_path: Path
) -> None:
    assert run("desktop", "install", "--store", f"sqlite:///{tmp_path}/")[0] == 0
    entry = servers(config)["switchboard-billing"]

    assert Path(entry["command"]).is_absolute()
    assert "-P" in entry["args"]
    async with running([entry["command"], *entry["args"]], PATH="", PYTHONPATH="", **entry["env"]) as server:
        answer = await server.ask(1, "initialize", INITIALIZE)
    assert answer["result"]["serverInfo"]["name"] == "billing"
    assert (tmp_path / "billing.db").exists()


def test_installing_says_where_it_wrote_and_that_claude_must_be_restarted(run: Run, config: Path) -> None:
    status, out, err = run("desktop", "install")

    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert f"added switchboard-billing to {config}; quit Claude completely and start it again" in out


def test_all_that_others_wrote_stays_to_the_letter(run: Run, config: Path) -> None:
    config.write_text(OTHERS, "utf-8")
    run("desktop", "install")
    text = config.read_text("utf-8")

    assert servers(config).keys() == {"files", "numbers", "switchboard-billing"}
    before, after = OTHERS.split('"limit": 1.10\n        }')
    assert text.startswith(before)
    assert text.endswith(after)
    assert '\n        "switchboard-billing": {\n            "command": ' in text


def test_uninstalling_restores_the_file_to_the_letter(run: Run, config: Path) -> None:
    config.write_text(OTHERS, "utf-8")
    run("desktop", "install")
    status, out, _ = run("desktop", "uninstall")

    assert status == 0
    assert "took switchboard-billing out" in out
    assert config.read_text("utf-8") == OTHERS


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + OTHERS,
        OTHERS.replace("\n", "\r\n"),
        OTHERS.replace("    ", "\t"),
        '{"mcpServers": {"files": {"command": "x"}}, "a": 1}',
        '{"mcpServers":{"files":{"command":"x"}}}',
    ],
    ids=["byte order mark", "windows lines", "tabs", "one line", "no blanks"],
)
def test_every_way_to_write_a_file_is_kept(run: Run, config: Path, text: str) -> None:
    config.write_bytes(text.encode())
    run("desktop", "install")
    installed = config.read_bytes().decode()

    assert "switchboard-billing" in json.loads(installed.removeprefix("\ufeff"))["mcpServers"]
    assert installed.count("\n") - installed.count("\r\n") in (0, installed.count("\n"))
    assert ("\n" in installed) == ("\n" in text)
    run("desktop", "uninstall")
    assert config.read_bytes().decode() == text


def test_installing_twice_changes_nothing_the_second_time(run: Run, config: Path) -> None:
    run("desktop", "install")
    first = config.read_bytes()
    status, out, _ = run("desktop", "install")

    assert status == 0
    assert out.startswith("unchanged: ")
    assert config.read_bytes() == first
    assert files(config) == [config.name]


def test_every_change_leaves_a_backup_and_none_is_ever_overwritten(run: Run, config: Path) -> None:
    config.write_text(OTHERS, "utf-8")
    texts = []
    for command in ("install", "uninstall", "install", "uninstall"):
        texts.append(config.read_text("utf-8"))
        run("desktop", command)
    backups = sorted(config.parent.glob("*.bak"))

    assert len(backups) == 4
    assert sorted(path.read_text("utf-8") for path in backups) == sorted(texts)


def test_a_backup_and_the_new_file_are_no_more_open_than_the_old_one(run: Run, config: Path) -> None:
    config.write_text(OTHERS, "utf-8")
    config.chmod(0o600)
    run("desktop", "install")

    assert {path.stat().st_mode & 0o777 for path in config.parent.iterdir()} == {0o600}


def test_two_servers_stand_side_by_side_and_leave_one_by_one(run: Run, config: Path) -> None:
    run("desktop", "install")
    run("desktop", "install", definition=TICKETING)
    assert set(servers(config)) == {"switchboard-billing", "switchboard-ticketing"}

    run("desktop", "uninstall")
    assert set(servers(config)) == {"switchboard-ticketing"}


def test_what_was_added_by_hand_to_our_entry_survives_an_update(run: Run, config: Path) -> None:
    """Above all `--read-only`: an update must never widen what a server may do."""
    entry = {
        "command": "/old/venv/bin/python",
        "args": ["-P", "-m", "servers.billing", "--read-only"],
        "env": {"SWITCHBOARD_REFUND_LIMIT_MINOR": "100", "HTTPS_PROXY": "proxy"},
        "disabled": True,
    }
    config.write_text(json.dumps({"mcpServers": {"switchboard-billing": entry}}), "utf-8")
    status, out, _ = run("desktop", "install")
    updated = servers(config)["switchboard-billing"]

    assert status == 0
    assert "updated switchboard-billing" in out
    assert updated == {**entry, "command": str(Path(sys.executable).absolute())}


def test_an_entry_that_starts_the_installed_script_is_ours_too(run: Run, config: Path) -> None:
    entry = {"command": "C:\\Tools\\switchboard-billing.exe", "args": ["--read-only"]}
    config.write_text(json.dumps({"mcpServers": {"switchboard-billing": entry}}), "utf-8")
    run("desktop", "install")

    assert servers(config)["switchboard-billing"]["args"][-2:] == ["servers.billing", "--read-only"]


FOREIGN = '{"mcpServers": {"switchboard-billing": {"command": "/usr/bin/other", "args": []}}}'


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (FOREIGN.encode(), "starts something else"),
        (b'{"mcpServers": {"switchboard-billing": "text"}}', "starts something else"),
        (b'{"mcpServers": {"a": 1,}}', "is not valid JSON (line 1)"),
        (b'// settings\n{"mcpServers": {}}', "is not valid JSON"),
        (b'{"scale": NaN}', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "holds no JSON object"),
        (b'{"mcpServers": []}', "holds no object as mcpServers"),
        (b'{"name": "caf\xe9"}', "is not UTF-8"),
    ],
    ids=["foreign", "text", "comma", "comment", "NaN", "depth", "list", "servers", "encoding"],
)
def test_what_is_not_ours_or_not_readable_is_left_alone_with_one_line(
    run: Run, config: Path, content: bytes, told: str, command: str
) -> None:
    config.write_bytes(content)
    status, out, err = run("desktop", command)

    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert told in err
    assert str(config) in err
    assert config.read_bytes() == content
    assert files(config) == [config.name]


def test_a_name_that_is_there_twice_is_not_guessed_about(run: Run, config: Path) -> None:
    text = '{"mcpServers": {"a": {}}, "mcpServers": {"b": {}}}'
    config.write_text(text, "utf-8")
    status, _, err = run("desktop", "install")

    assert status == 1
    assert "has a name twice" in err
    assert config.read_text("utf-8") == text


def test_a_dry_run_shows_the_difference_and_writes_nothing(run: Run, config: Path) -> None:
    config.write_text(OTHERS, "utf-8")
    status, out, _ = run("desktop", "install", "--dry-run")
    lines = out.splitlines()

    assert status == 0
    assert lines[0].startswith("--- ")
    assert lines[1].startswith("+++ ")
    assert any(line.startswith("+") and "switchboard-billing" in line for line in lines)
    assert not any(line.startswith("-") for line in lines[1:])
    assert lines[-1] == "Nothing was written."
    assert config.read_text("utf-8") == OTHERS
    assert files(config) == [config.name]


def test_without_claude_desktop_nothing_is_made_unless_told(run: Run, config: Path) -> None:
    config.parent.rmdir()
    status, _, err = run("desktop", "install")

    assert status == 1
    assert "does not seem to be installed" in err
    assert "--force" in err
    assert not config.parent.exists()
    assert run("desktop", "install", "--force")[0] == 0
    assert "switchboard-billing" in servers(config)


def test_uninstalling_what_is_not_there_is_no_failure(run: Run, config: Path) -> None:
    config.parent.rmdir()
    status, out, _ = run("desktop", "uninstall")

    assert (status, out) == (0, f"unchanged: switchboard-billing is not in {config}\n")


def test_a_relative_store_is_written_so_that_any_working_directory_does(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWITCHBOARD_STORE", "sqlite:///data/")
    run("desktop", "install")

    assert servers(config)["switchboard-billing"]["env"] == {
        "SWITCHBOARD_STORE": f"sqlite:///{tmp_path.as_posix()}/data/"
    }


def test_a_store_that_is_no_file_is_written_as_it_is(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_STORE", "redis://127.0.0.1:6379/0")
    run("desktop", "install")

    assert servers(config)["switchboard-billing"]["env"] == {"SWITCHBOARD_STORE": "redis://127.0.0.1:6379/0"}


def test_a_servers_own_settings_and_the_demo_go_along_if_they_are_set(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_REFUND_LIMIT_MINOR", "500")
    run("desktop", "install", "--demo")
    run("desktop", "install", definition=TICKETING)
    found = servers(config)

    assert found["switchboard-billing"]["env"] == {
        "SWITCHBOARD_DEMO": "1",
        "SWITCHBOARD_REFUND_LIMIT_MINOR": "500",
    }
    assert "env" not in found["switchboard-ticketing"]


def test_a_secret_stays_out_of_the_file_and_the_file_that_holds_it_goes_along(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWITCHBOARD_HANDOFF_KEYS", "planted secret")
    monkeypatch.setenv("SWITCHBOARD_HANDOFF_KEYS_FILE", "keys.json")
    _, out, _ = run("desktop", "install")

    assert "SWITCHBOARD_HANDOFF_KEYS left out: it is secret" in out
    assert "planted secret" not in out + config.read_text("utf-8")
    assert servers(config)["switchboard-billing"]["env"] == {
        "SWITCHBOARD_HANDOFF_KEYS_FILE": str(tmp_path / "keys.json")
    }


def test_a_linked_file_stays_a_link(run: Run, config: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text(OTHERS, "utf-8")
    config.symlink_to(real)
    run("desktop", "install")

    assert config.is_symlink()
    assert "switchboard-billing" in json.loads(real.read_text("utf-8"))["mcpServers"]


def test_a_file_that_changed_meanwhile_is_not_overwritten(config: Path) -> None:
    config.write_text("{}", "utf-8")
    with pytest.raises(DesktopConfigError, match="changed by another program"):
        replace_config(config, "what was read", "what is to be written", force=False)

    assert config.read_text("utf-8") == "{}"


def test_a_write_that_fails_leaves_the_file_and_no_litter(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(OTHERS, "utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run("desktop", "install")

    assert status == 1
    assert "No space left on device" in err
    assert config.read_text("utf-8") == OTHERS
    assert [name for name in files(config) if not name.endswith(".bak")] == [config.name]


def test_show_tells_the_file_and_the_entry_as_json(run: Run, config: Path) -> None:
    assert json.loads(run("desktop", "show")[1]) == {"config": str(config), "entry": None}
    run("desktop", "install")
    shown = json.loads(run("desktop", "show")[1])

    assert shown["entry"] == servers(config)["switchboard-billing"]
