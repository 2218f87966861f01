"""The orchestrator's log: one JSON object per line on standard error, ids and codes, never contents."""

from __future__ import annotations

import logging
import sys

import structlog

from handoff.private_logs import PrivateFormatter
from handoff.redaction import redacted_members

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configure_logging(level: str) -> None:
    """Send this process's log records, the libraries' included, to standard error as JSON lines.

    Credentials and personal data are taken out last, of the finished line, so that nothing gets around it:
    members by their names, then whatever looks like one, in exceptions too.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    lines = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _without_private_members,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler.setFormatter(PrivateFormatter(lines))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx2", "httpcore2", "mcp", "asyncio", "aiosqlite"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # It logs bodies it cannot parse, which may hold personal data; the links report such failures themselves.
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL)


def _without_private_members(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return redacted_members(event)
