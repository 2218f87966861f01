"""The write-ahead log beside the file, of which SQLite says nothing when it cannot read it."""

from __future__ import annotations

import struct
import time
from pathlib import Path

from handoff.errors import StoreMismatchError

HEADER_BYTES = 32
SUMMED_BYTES = 24
MAGIC = 0x377F0682
"""First word of every log; its lowest bit tells the byte order of the sums."""

LOOKS = 3
LOOK_AGAIN_SECONDS = 0.01


def verify_log(log: Path) -> None:
    """See that SQLite will read the log: one with a damaged header it would write over, without a word.

    Raises: StoreMismatchError; OSError.
    """
    for _ in range(LOOKS):
        header = _header(log)
        # Zeros were never synced, so no acknowledged commit stands behind them.
        if not any(header) or _is_intact(header):
            return
        time.sleep(LOOK_AGAIN_SECONDS)  # another process may have been writing it at this moment
    raise StoreMismatchError(
        "the write-ahead log beside the file is damaged, and with it the newest commits",
        suggestion="restore the file and its -wal file from a backup; both belong together",
    )


def _header(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(HEADER_BYTES)
    except FileNotFoundError:
        return b""


def _is_intact(header: bytes) -> bool:
    if len(header) < HEADER_BYTES:
        return False
    magic, *_, first, second = struct.unpack(">8I", header)
    if magic & ~1 != MAGIC:
        return False
    order = ">" if magic & 1 else "<"
    return _sums(struct.unpack(f"{order}6I", header[:SUMMED_BYTES])) == (first, second)


def _sums(words: tuple[int, ...]) -> tuple[int, int]:
    """SQLite's check sum of a log."""
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
