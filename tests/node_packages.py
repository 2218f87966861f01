"""Programs from npm that tests run: a Node that is new enough, and the packages that a folder names."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".node"
"""Where packages are installed; git ignores it."""
NEEDED_NODE = 22
NODE_PACKAGE = "node@22.23.3"
"""Brings a Node program where the machine's own is too old."""
INSTALL_SECONDS = 300.0


class CannotInstallError(Exception):
    """npm is not there, or the packages cannot be had from its registry."""


def node_packages(folder: Path) -> tuple[Path, Path]:
    """The Node program, and where what `folder` names is installed; skips the test without."""
    try:
        return node_program(), _installed(folder)
    except CannotInstallError as error:
        pytest.skip(str(error))


def node_program() -> Path:
    """A Node of the needed version. Raises: CannotInstallError."""
    found = shutil.which("node")
    if found is not None and _version(found) >= NEEDED_NODE:
        return Path(found)
    runtime = PLACE / "runtime"
    program = runtime / "node_modules" / ".bin" / "node"
    if not program.exists():
        runtime.mkdir(parents=True, exist_ok=True)
        _npm("install", "--prefix", str(runtime), NODE_PACKAGE)
    if not program.exists() or _version(str(program)) < NEEDED_NODE:
        raise CannotInstallError(f"Node {NEEDED_NODE} or newer is needed, and npm cannot install it")
    return program


def _installed(folder: Path) -> Path:
    """A copy of the folder's package file with everything installed; made again when that changes."""
    named = (folder / "package.json").read_bytes()
    place = PLACE / f"{folder.name}-{hashlib.sha256(named).hexdigest()[:12]}"
    done = place / ".installed"
    if not done.exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_bytes(named)
        # No lock file: it would carry the addresses of a registry. What is tested is named with its version.
        _npm("install", "--no-package-lock", "--prefix", str(place))
        done.touch()
    return place


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstallError("npm is not on the PATH")
    quiet = ("--no-audit", "--no-fund", "--loglevel", "error")
    try:
        done = subprocess.run(
            [npm, *arguments, *quiet], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"npm {arguments[0]} took longer than {INSTALL_SECONDS:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CannotInstallError(f"npm {arguments[0]} failed: {last}")


def _version(program: str) -> int:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.match(r"v(\d+)\.", told.stdout)
    return int(found[1]) if found else 0
