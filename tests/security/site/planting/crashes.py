"""At the end of a process of the product: threads and finalizers that crash over secrets."""

from __future__ import annotations

import atexit
import sys
import threading
from pathlib import Path

from planting.logs import plant_records
from planting.recording import recording
from planting.streams import unseen

WAIT_SECONDS = 10.0
SECRETS = 10


def plant_crashes() -> None:
    atexit.register(_crash)


def _crash() -> None:
    if not _is_product():
        return
    secrets = recording().turn(SECRETS)
    recording().plant("crash", *(each.number for each in secrets))
    plant_records(secrets)
    thread = threading.Thread(target=_crash_over, args=("\n".join(each.text for each in secrets),))
    thread.start()
    thread.join(WAIT_SECONDS)


def _is_product() -> bool:
    """Whether this process is a command of the product: then its crash output is to be private."""
    started = sys.orig_argv[1:5]
    if threading.excepthook.__module__ == "handoff.private_logs":
        return True
    return any(
        Path(word).name.startswith("switchboard") or word.partition(".")[0] in ("servers", "orchestrator")
        for word in started
    )


def _crash_over(text: str) -> None:
    """What Python does about an exception that ends a thread, or a finalizer, or the process."""
    with unseen():
        crashing = _Crashing(text)
        del crashing
        try:
            raise RuntimeError(f"lost {text}")
        except RuntimeError as error:
            threading.excepthook(
                threading.ExceptHookArgs(
                    (RuntimeError, error, error.__traceback__, threading.current_thread())
                )
            )
            # typer puts a hook of its own there, and the commands catch what would reach it.
            if sys.excepthook.__module__ == "handoff.private_logs":
                sys.excepthook(RuntimeError, error, error.__traceback__)


class _Crashing:
    def __init__(self, text: str) -> None:
        self._text = text

    def __del__(self) -> None:
        raise RuntimeError(f"cannot close {self._text}")
