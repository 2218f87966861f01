"""No tool definition changes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.tool_snapshots import FOLDERS, SNAPSHOTS, as_text, snapshot_file, told_by


@pytest.mark.parametrize("folder", FOLDERS)
async def test_definitions_are_as_they_were_seen(folder: str, tmp_path: Path) -> None:
    """Read the difference; if it is meant, `make snapshots` keeps it, and who pinned the tools is told."""
    assert as_text(await told_by(folder, tmp_path)) == snapshot_file(folder).read_text("utf-8")


def test_every_snapshot_is_of_a_server_that_is_there() -> None:
    assert {file.name for file in SNAPSHOTS.iterdir()} == {snapshot_file(folder).name for folder in FOLDERS}
