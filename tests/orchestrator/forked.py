"""Processes of the command line without their start: forked from one that has imported everything.

A process that is killed two hundred times would else spend most of its lives on importing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PRELOADED = [
    "pytest",
    "anthropic",
    "mcp.client",
    "orchestrator.cli",
    "orchestrator.service.serving",
    "orchestrator.worker.working",
    "orchestrator.dispatch.on_redis",
    "handoff.redis.store",
    "handoff.sqlite.store",
    __name__,
]


def fork(words: list[str], env: dict[str, str], log: Path) -> ForkServerProcess:
    """Run `switchboard` with these words in a process of its own; `log` gets what it writes."""
    process = _context().Process(target=_run, args=(words, env, str(log)), daemon=True)
    process.start()
    return process


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run(words: list[str], env: dict[str, str], log: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["switchboard", *words]
    from orchestrator.cli import main

    main()
