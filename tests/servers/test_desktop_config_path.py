"""Where Claude Desktop keeps its file, on each platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers._install.desktop_config import DesktopConfigError, config_path


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/Claude"),
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.config/Claude"),
        ("linux", {"HOME": "/home/ada", "XDG_CONFIG_HOME": "/etc/ada"}, "/etc/ada/Claude"),
        ("win32", {"USERPROFILE": "/c/ada"}, "/c/ada/AppData/Roaming/Claude"),
        ("win32", {"USERPROFILE": "/c/ada", "APPDATA": "/d/roaming"}, "/d/roaming/Claude"),
    ],
)
def test_the_file_is_where_claude_desktop_keeps_it(
    platform: str, environment: dict[str, str], expected: str
) -> None:
    assert config_path(environment, platform) == Path(expected, "claude_desktop_config.json")


def test_on_windows_a_packaged_app_reads_the_file_inside_its_package(tmp_path: Path) -> None:
    environment = {"USERPROFILE": str(tmp_path), "LOCALAPPDATA": str(tmp_path / "Local")}
    package = tmp_path / "Local" / "Packages" / "Claude_pzs8sxrjxfjjc"
    package.mkdir(parents=True)
    folder = package / "LocalCache" / "Roaming" / "Claude"
    assert config_path(environment, "win32").parent == folder

    other = package.with_name("Claude_other")
    other.mkdir()
    with pytest.raises(DesktopConfigError, match="2 times"):
        config_path(environment, "win32")

    folder.mkdir(parents=True)
    (folder / "claude_desktop_config.json").touch()
    assert config_path(environment, "win32").parent == folder
