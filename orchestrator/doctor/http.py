"""Examining servers that are reached by URL: those that run, and those a command makes listen."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, Process

from orchestrator.doctor.checks import Patient
from orchestrator.doctor.findings import Finding, last_words, problem, shown, told_and_cure
from orchestrator.doctor.host import END_SECONDS, end, host_environment, start_as_host
from orchestrator.links.target import UrlTarget
from orchestrator.probe.command import Watched, probe

_LISTENING = re.compile(r"listening on (https?://\S+)")


async def examine_url(watched: Watched, *, timeout: float) -> list[Finding]:
    """One line: whether the server at a URL works for who calls it from here."""
    result = await probe(watched, timeout=timeout)
    if result.error is None:
        calls = f"answers a call of {result.called}" if result.called else "has no tool to call blindly"
        told = f"{watched.address} speaks protocol {result.protocol}, lists {result.tools} tools, {calls}"
        return [Finding(watched.name, "all", True, told)]
    told = shown(str(result.error["message"]))
    cure = shown(str(result.error.get("suggestion") or "look into the server's own log"))
    where = "" if watched.address in told else f"{watched.address}: "
    return [problem(watched.name, "address", f"{where}{told}", cure)]


async def examine_listener(patient: Patient, *, timeout: float) -> list[Finding]:
    """One line: whether a command with `--http` listens, and serves where it says it does."""
    try:
        process = await start_as_host(patient.command, host_environment(patient.environment), stdin=DEVNULL)
    except OSError as error:
        told = f"cannot start {shown(patient.command[0])} ({error.strerror or type(error).__name__})"
        return [problem(patient.server, "command", told, patient.repair)]
    try:
        return await _once_listening(patient, process, timeout)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait({asyncio.create_task(process.wait())}, timeout=END_SECONDS)
        await end(process)


async def _once_listening(patient: Patient, process: Process, timeout: float) -> list[Finding]:
    assert process.stderr is not None
    written = b""
    try:
        async with asyncio.timeout(timeout):
            while line := await process.stderr.readline():
                written += line
                if found := _LISTENING.search(line.decode("utf-8", "replace")):
                    target = UrlTarget(patient.server, found[1])
                    watched = Watched(patient.server, found[1], target, patient.by_hand, patient.pin)
                    return await examine_url(watched, timeout=timeout)
            status = await process.wait()
    except TimeoutError:
        told = f"it did not say within {timeout:g} s that it listens"
        return [problem(patient.server, "start", told, patient.by_hand)]
    words, cure = told_and_cure(last_words(written), patient.by_hand)
    told = f"it ended before it listened (exit status {status})"
    return [problem(patient.server, "start", f"{told}: {words}" if words else told, cure)]
