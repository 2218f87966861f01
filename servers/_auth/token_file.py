"""Writing the token file: a token added or taken away, and everything else left as it stands."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from handoff.errors import StructuredError
from servers._auth.tokens import Entry, TokenFileError, entries

_TABLE = re.compile(r"^(?=\[\[tokens\]\])", re.MULTILINE)
SHOWN = 12
"""How many letters of a hash name a token to people."""


def add_entry(path: Path, entry: Entry) -> None:
    """Append a token to the file, which is made if it is not there. Raises: TokenFileError."""
    before = ""
    if path.exists():
        entries(path)  # a file that is wrong already is not written over
        before = path.read_text("utf-8").rstrip("\n") + "\n\n"
    _replace(path, before + _table(entry))


def remove_entry(path: Path, shown: str) -> Entry:
    """Take the token away whose hash begins with `shown`. Raises: StructuredError when none or several do."""
    found = [entry for entry in entries(path) if shown and entry.sha256.startswith(shown.lower())]
    if len(found) != 1:
        raise StructuredError(
            "no token has an id that begins so" if not found else "several tokens have an id that begins so",
            code="not_found",
            field="ID",
            suggestion="see: tokens list",
        )
    parts = _TABLE.split(path.read_text("utf-8"))
    kept = [part for part in parts if not _names(part, found[0])]
    if len(kept) != len(parts) - 1:
        raise TokenFileError(
            f"cannot find the token's table in {path}", suggestion="remove it from the file by hand"
        )
    _replace(path, "".join(kept))
    return found[0]


def _names(part: str, entry: Entry) -> bool:
    return re.search(rf'^\s*sha256\s*=\s*["\']{entry.sha256}["\']', part, re.MULTILINE | re.I) is not None


def _table(entry: Entry) -> str:
    scopes = ", ".join(f'"{scope}"' for scope in entry.scopes)
    lines = [
        "[[tokens]]",
        f'principal = "{entry.principal}"',
        f'sha256 = "{entry.sha256}"',
        f"scopes = [{scopes}]",
    ]
    if entry.customer_id is not None:
        lines.append(f'customer_id = "{entry.customer_id}"')
    if entry.expires_at is not None:
        lines.append(f"expires_at = {_moment(entry.expires_at)}")
    if entry.person:
        lines.append("person = true")
    return "\n".join(lines) + "\n"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _replace(path: Path, text: str) -> None:
    """Write the file in one step, for its owner's eyes only; who reads it sees the old one or the new one."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(name).chmod(path.stat().st_mode & 0o777)
        Path(name).replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TokenFileError(f"cannot write the token file {path}: {reason}") from error
