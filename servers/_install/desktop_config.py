"""The file in which Claude Desktop keeps the servers it starts: where it is, reading it, replacing it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from handoff.errors import StructuredError

CONFIG_VARIABLE = "SWITCHBOARD_CLAUDE_CONFIG"
"""Names the file where Claude Desktop keeps it somewhere unusual."""
_FILE = "claude_desktop_config.json"


class DesktopConfigError(StructuredError):
    """Claude Desktop's configuration cannot be read or changed; nothing was written."""

    code = "desktop_config"


def config_path(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The file that Claude Desktop reads at its start; it need not exist.

    Raises: DesktopConfigError when there are several candidates.
    """
    if named := environment.get(CONFIG_VARIABLE):
        return Path(named).absolute()
    home = Path(environment.get("USERPROFILE" if platform == "win32" else "HOME") or Path.home())
    if platform == "darwin":
        return home / "Library" / "Application Support" / "Claude" / _FILE
    if platform == "win32":
        return _on_windows(environment, home) / _FILE
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "Claude" / _FILE


def _on_windows(environment: Mapping[str, str], home: Path) -> Path:
    """The folder: inside the app's package if it was installed as one, which sees no other.

    Windows shows a packaged app (MSIX, how Claude Desktop is installed since 2026) a copy of the roaming
    folder; what others write to the real one never reaches it.
    """
    local = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    packages = sorted(each for each in (local / "Packages").glob("Claude_*") if each.is_dir())
    folders = [package / "LocalCache" / "Roaming" / "Claude" for package in packages]
    if len(folders) > 1:
        folders = [folder for folder in folders if (folder / _FILE).exists()] or folders
    if len(folders) > 1:
        raise DesktopConfigError(
            f"Claude Desktop is installed {len(folders)} times",
            suggestion=f"name the file of the right one in {CONFIG_VARIABLE}",
        )
    roaming = Path(environment.get("APPDATA") or home / "AppData" / "Roaming") / "Claude"
    return folders[0] if folders else roaming


def read_config(path: Path) -> str:
    """The file's text; empty if there is none. Raises: DesktopConfigError."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise DesktopConfigError(f"{path} is not UTF-8 text", suggestion="save it as UTF-8") from error
    except OSError as error:
        raise _refused("read", path, error) from error


def replace_config(path: Path, before: str, after: str, *, force: bool) -> Path | None:
    """Put `after` where `before` is, at once or not at all; returns the backup of what was there.

    `force` makes the folder too, where Claude Desktop never was. Raises: DesktopConfigError.
    """
    path = path.resolve()  # a link, say into a folder of dotfiles, stays one
    _see_folder(path.parent, force=force)
    if read_config(path) != before:
        raise DesktopConfigError(
            f"{path} was changed by another program meanwhile", suggestion="quit Claude, then repeat this"
        )
    try:
        backup = _back_up(path) if path.exists() else None
        _write(path, after)
    except OSError as error:
        raise _refused("write", path, error) from error
    return backup


def _see_folder(folder: Path, *, force: bool) -> None:
    if folder.is_dir():
        return
    if not force:
        raise DesktopConfigError(
            f"Claude Desktop does not seem to be installed: there is no folder {folder}",
            suggestion="install it and start it once, or repeat this with --force",
        )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise _refused("create", folder, error) from error


def _back_up(path: Path) -> Path:
    """A copy beside the file, under a name that no file has; only as open to others as the file is."""
    mode = path.stat().st_mode & 0o777
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.{stamp}{f'-{number}' if number > 1 else ''}.bak")
        try:
            descriptor = os.open(backup, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(path.read_bytes())
        return backup


def _write(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    written = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        written.chmod(mode)
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def _refused(verb: str, path: Path, error: OSError) -> DesktopConfigError:
    return DesktopConfigError(
        f"cannot {verb} {path}: {error.strerror or type(error).__name__}",
        suggestion="check who may write there; nothing was changed",
    )
