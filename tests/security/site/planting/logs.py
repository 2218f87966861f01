"""Log records of the product from DEBUG up, formatted as the product formats them, and secrets among them.

Levels are left as they are: what is below them goes to the artefacts alone, as do the planted records.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable

from planting.canaries import Canary
from planting.recording import recording
from planting.streams import quiet

PRODUCT = ("handoff", "servers", "orchestrator")
PLANTED = "planting.somebody"
MOST_PLANTED = 400
"""How many records of one process bring a planted one with them."""

Formatters = Callable[[logging.LogRecord], logging.Formatter | None]


def _installed(record: logging.LogRecord) -> logging.Formatter | None:
    """What this process formats its records with, if the product set its logging up."""
    for handler in logging.getLogger().handlers:
        if type(handler.formatter).__name__ == "PrivateFormatter":
            return handler.formatter
    return None


_formatter_of: Formatters = _installed
_planted = 0


def format_with(formatters: Formatters) -> None:
    """For a process whose logging is not the product's: what its records would look like."""
    global _formatter_of
    _formatter_of = formatters


def record_logs() -> None:
    enabled, call = logging.Logger.isEnabledFor, logging.Logger.callHandlers

    def is_enabled_for(self: logging.Logger, level: int) -> bool:
        return enabled(self, level) or self.name == PLANTED or self.name.partition(".")[0] in PRODUCT

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        global _planted
        _keep(record)
        if self.name == PLANTED:
            return
        if self.name.partition(".")[0] in PRODUCT and _planted < MOST_PLANTED:
            _planted += 1
            plant_records(recording().turn())
        if enabled(self, record.levelno) and not quiet():
            call(self, record)

    logging.Logger.isEnabledFor = is_enabled_for  # type: ignore[method-assign]  # all loggers
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]  # all loggers


def _keep(record: logging.LogRecord) -> None:
    formatter = _formatter_of(record)
    if formatter is not None:
        recording().keep("logs", formatter.format(record) + "\n")


def plant_records(secrets: list[Canary]) -> None:
    """Log what nobody should, in each of the ways in which it happens."""
    logger = logging.getLogger(PLANTED)
    if _formatter_of(_SAMPLE) is None:
        return
    for secret in secrets:
        logger.debug("got %s", secret.text)
        logger.warning("got %s", json.dumps({"note": secret.text, "lines": [secret.text]}))
        logger.error("lost %r", {"note": secret.text}, exc_info=_error(secret.text))
        if "structlog" in sys.modules and _structured():
            log = sys.modules["structlog"].get_logger(PLANTED)
            log.warning("login", note=secret.text, password=secret.value, of={"email": secret.value})
        recording().plant("log", secret.number)


def _structured() -> bool:
    """Whether structlog goes on to `logging`, as the product has it, and does not print by itself."""
    factory = sys.modules["structlog"].get_config()["logger_factory"]
    return type(factory).__module__ == "structlog.stdlib"


def _error(text: str) -> BaseException:
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise RuntimeError(f"cannot parse {text}") from error
    except RuntimeError as error:
        return error


_SAMPLE = logging.LogRecord(PLANTED, logging.DEBUG, "", 0, "", (), None)
