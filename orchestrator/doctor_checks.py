"""Examining a server that hosts start: as they start it, in both protocol eras, with one line per finding."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from orchestrator.doctor_findings import Finding, last_words, problem, told_and_cure
from orchestrator.doctor_host import Host, HostError, host_environment, hosting, run_as_host
from orchestrator.models.protocol import JsonObject
from orchestrator.probing import Offered, Watched, harmless_call, probe
from orchestrator.target import ChildTarget

Source = Literal["Claude Desktop", "team file", "default"]

PLAIN_ERA = "2025-11-25"
MODERN_ERA = "2026-07-28"

_INITIALIZE: JsonObject = {
    "protocolVersion": PLAIN_ERA,
    "capabilities": {},
    "clientInfo": {"name": "switchboard-doctor", "version": "1"},
}
_MODERN: JsonObject = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN_ERA,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
