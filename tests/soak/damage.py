"""Ways a store's file can be damaged, and what a server must make of each."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PAGE = 4096
WAL_HEADER = 32
FRAME = 24 + PAGE

Ending = Literal["refused", "all", "found", "part"]
"""refused: the file is not opened and stays as it is. all: everything is there.

found: it opens, and a check or a use of the damaged part says so. part: it opens with what was synced before
the missing end of the log, which SQLite cannot tell from a log that was never longer.
"""


@dataclass(frozen=True)
class Damage:
    """One thing that happened to the files of a store."""

    name: str
    do: Callable[[Path], None]
    ending: Ending


def wal_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def shm_of(file: Path) -> Path:
    return file.with_name(file.name + "-shm")


def write_at(file: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes; a negative offset counts from the end."""
    with file.open("r+b") as opened:
        opened.seek(offset, 0 if offset >= 0 else 2)
        opened.write(data)


def cut(file: Path, size: int) -> None:
    """Shorten to `size` bytes, or by as many when it is negative."""
    with file.open("r+b") as opened:
        opened.truncate(size if size >= 0 else file.stat().st_size + size)


def copy(directory: Path, name: str, source: Path) -> Path:
    """A store's files in a directory of their own."""
    target = directory / name / source.name
    target.parent.mkdir()
    for file in (source, wal_of(source), shm_of(source)):
        if file.exists():
            shutil.copyfile(file, target.with_name(file.name))
            target.with_name(file.name).chmod(0o600)
    return target


def _execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def _folded(then: Callable[[Path], object]) -> Callable[[Path], None]:
    """Damage the file itself, with nothing left in the log that could hide it."""

    def do(file: Path) -> None:
        _execute(file, "SELECT count(*) FROM sqlite_master")  # the last to close folds the log
        assert not wal_of(file).exists()
        then(file)

    return do


def _scramble_rows(file: Path) -> None:
    """Overwrite the last page, which holds rows."""
    write_at(file, -PAGE, b"\xa5" * PAGE)


DAMAGES = (
    Damage("the log is cut inside its last frame", lambda file: cut(wal_of(file), -FRAME // 2), "part"),
    Damage("the log is cut in its middle", lambda file: cut(wal_of(file), FRAME * 5 + WAL_HEADER), "part"),
    Damage("the log's header is garbage", lambda file: write_at(wal_of(file), 0, b"\xff" * 32), "refused"),
    Damage("the log was never synced", lambda file: write_at(wal_of(file), 0, bytes(32)), "part"),
    Damage("the log is cut inside its header", lambda file: cut(wal_of(file), 20), "refused"),
    Damage("the log's index is garbage", lambda file: write_at(shm_of(file), 0, b"\xff" * 4096), "all"),
    Damage("the log's index is gone", lambda file: shm_of(file).unlink(), "all"),
    Damage("the file is gone and its log is not", lambda file: file.unlink(), "refused"),
    Damage("the file is empty and its log is not", lambda file: cut(file, 0), "refused"),
    Damage("the header is garbage", _folded(lambda file: write_at(file, 0, b"\xff" * 100)), "refused"),
    Damage("the first page is zero", _folded(lambda file: write_at(file, 0, bytes(PAGE))), "refused"),
    Damage("the file is half as long", _folded(lambda file: cut(file, file.stat().st_size // 2)), "refused"),
    Damage("the file is cut inside a page", _folded(lambda file: cut(file, PAGE + 100)), "refused"),
    Damage("the last page is garbage", _folded(_scramble_rows), "found"),
    Damage(
        "the list of tables is garbage", _folded(lambda file: write_at(file, 100, b"\xa5" * 3000)), "refused"
    ),
    Damage("it is text", _folded(lambda file: file.write_text("name,email\n" * 900)), "refused"),
    Damage("it is another owner's", _folded(lambda file: _own(file, "billing")), "refused"),
    Damage("it has a newer schema", _folded(lambda file: _age(file, 99)), "refused"),
)


def _own(file: Path, owner: str) -> None:
    _execute(file, f"UPDATE meta SET value = '{owner}' WHERE name = 'owner'")


def _age(file: Path, version: int) -> None:
    _execute(file, f"UPDATE meta SET value = '{version}' WHERE name = 'schema_version'")
