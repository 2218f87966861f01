"""Adds the runs of a store to the corpus: `python -m tests.orchestrator.old_runs.record FILE.db PREFIX`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from handoff.sqlite.store import SqliteStore

HERE = Path(__file__).parent


async def record(path: Path, prefix: str) -> None:
    """Write every run of the store into a file of its own."""
    async with await SqliteStore.open(path, owner="orchestrator") as store:
        scan = await store.scan("runs")
        ordered = sorted(scan.records, key=lambda record: record.data["created_at"])
        for number, head in enumerate(ordered, start=1):
            entries = await store.entries("run-steps", head.id)
            lines = [json.dumps(entry.data, ensure_ascii=False, sort_keys=True) for entry in entries]
            name = f"{prefix}-{number:02d}-{head.data['status']}.jsonl"
            (HERE / name).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2]))
