"""A server's log: lines on standard error, without credentials and personal data."""

from __future__ import annotations

import logging
import sys

from handoff.private_logs import PrivateFormatter


def private_logging(level: int) -> None:
    """Send this process's log records, the libraries' included, to standard error, redacted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        PrivateFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    )
    logging.basicConfig(level=level, handlers=[handler])
    # It quotes what a stranger wrote into a header, which may be a secret that looks like any host's name.
    logging.getLogger("mcp.server.transport_security").addFilter(_without_the_header)


def _without_the_header(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition(": ")[0], None
    return True
