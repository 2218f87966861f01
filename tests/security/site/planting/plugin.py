"""Planting in the processes of pytest itself: their environment, the tests' own logging, what is captured."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from planting.children import environment_with_secrets, show_variables
from planting.logs import PRODUCT, Formatters, format_with, plant_records
from planting.recording import recording

PER_TEST = 2


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(environment_with_secrets())
    show_variables()
    format_with(_formatters())


def _formatters() -> Formatters:
    """The formatter of each side, for records of tests that run in this process."""
    found: dict[str, logging.Formatter] = {}

    def formatter_of(record: logging.LogRecord) -> logging.Formatter:
        if not found:
            found.update(servers=_of_servers(), orchestrator=_of_orchestrator())
        structured = isinstance(record.msg, dict)
        return found["orchestrator" if structured or record.name.startswith(PRODUCT[2]) else "servers"]

    return formatter_of


def _of_servers() -> logging.Formatter:
    return _of_root("servers._hosting.redaction", "private_logging", logging.DEBUG)


def _of_orchestrator() -> logging.Formatter:
    import structlog

    before = structlog.get_config() if structlog.is_configured() else None
    try:
        return _of_root("orchestrator.log", "configure_logging", "DEBUG")
    finally:
        structlog.reset_defaults()
        if before is not None:
            structlog.configure(**before)


def _of_root(module: str, name: str, level: object) -> logging.Formatter:
    """What a set-up of the product formats with; the set-up itself is undone."""
    from importlib import import_module

    root = logging.getLogger()
    levels = {each: logging.getLogger(each).level for each in ("httpx2", "httpcore2", "mcp", "asyncio")}
    levels |= {each: logging.getLogger(each).level for each in ("aiosqlite", "mcp.client")}
    handlers, root_level, root.handlers[:] = list(root.handlers), root.level, []
    try:
        getattr(import_module(module), name)(level)
        formatter = root.handlers[0].formatter
        assert formatter is not None
        return formatter
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
        for each, before in levels.items():
            logging.getLogger(each).setLevel(before)


def pytest_sessionstart(session: pytest.Session) -> None:
    plant_records(list(recording().canaries))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Around every test there are planted records; what the test itself logs has its own among them."""
    plant_records(recording().turn(PER_TEST))
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    recording().keep("reports", f"{report.nodeid}\n{report.longreprtext}\n")
    for _, text in report.sections:
        recording().keep("reports", text + "\n")
