"""Log lines and crash output without credentials and personal data, for the processes of both sides."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from handoff.redaction import redacted


class PrivateFormatter(logging.Formatter):
    """Redacts what another formatter makes of a record: the message, its arguments, the exception's text."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._inner.format(record))


def redact_crashes() -> None:
    """Redact what this process writes when an exception ends it, or one of its threads.

    An exception's text often quotes the data it stumbled over.
    """
    sys.excepthook = _told
    threading.excepthook = _told_of_thread
    sys.unraisablehook = _told_of_unraisable


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    print_to_stderr("".join(traceback.format_exception(kind, error, trace)))


def _told_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _told(args.exc_type, args.exc_value, args.exc_traceback)


def _told_of_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _told(args.exc_type, args.exc_value, args.exc_traceback)


def print_to_stderr(text: str) -> None:
    """Write a text to standard error, if there is one, without what is private in it."""
    if sys.stderr is not None:
        sys.stderr.write(redacted(text))
        sys.stderr.flush()
