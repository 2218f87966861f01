"""Examining a server that hosts start: as they start it, in both protocol eras."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Literal, TextIO

from orchestrator.desktop import SCRIPT
from orchestrator.doctor.findings import Finding, last_words, problem, shown, told_and_cure
from orchestrator.doctor.host import Host, HostError, host_environment, hosting, run_as_host
from orchestrator.links.target import ChildTarget
from orchestrator.models.protocol import JsonObject
from orchestrator.probe.command import LOOKED, TOOLS_CHANGED, Offered, Watched, harmless_call, probe

Source = Literal["Claude Desktop", "team file", "default"]

PLAIN_ERA, MODERN_ERA = "2025-11-25", "2026-07-28"

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


@dataclass(frozen=True, slots=True)
class Patient:
    """A server that is started by a command."""

    server: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """What its entry says; hosts add next to nothing."""
    source: Source
    pin: str | None = None
    """Hash of the tool definitions that the team file approves."""

    @property
    def repair(self) -> str:
        """How to mend the command itself."""
        if self.source == "team file":
            return f"correct servers.{self.server}.command in the team file"
        if self.source == "Claude Desktop":
            return f"run `switchboard desktop install --server {self.server}`, then restart Claude"
        return "install switchboard-mcp again"

    @property
    def by_hand(self) -> str:
        return f"run it by hand to see more: {shlex.join(self.command)}"


class Trouble(Exception):
    """A check found what makes the next ones pointless."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__()
        self.findings = findings


async def examine(patient: Patient, *, timeout: float) -> list[Finding]:
    """One line if all is well, else one for each thing that is not. `timeout` bounds each single answer."""
    try:
        patient = _with_program(patient)
        await _check_store(patient, timeout)
        tools, seconds = await _probe_then_initialize(patient, timeout)
        await _initialize(patient, timeout)
        newest = await _discover(patient, timeout)
    except Trouble as trouble:
        return list(trouble.findings)
    eras = "both protocol eras" if newest == MODERN_ERA else f"hosts of protocol {newest}"
    told = (
        f"starts as hosts start it ({patient.source} command), serves {eras}, {tools} tools, "
        f"first answer after {seconds:.1f} s"
    )
    return [Finding(patient.server, "all", True, told)]


def _with_program(patient: Patient) -> Patient:
    """The patient with a program that is there. Raises: Trouble."""
    program, *arguments = patient.command
    if patient.source == "team file":
        program = shutil.which(program) or program
    elif not (Path(program).is_absolute() or PureWindowsPath(program).is_absolute()):
        told = f"its command {shown(program)} is no absolute path, and hosts search hardly anywhere for it"
        raise Trouble(problem(patient.server, "command", told, patient.repair))
    if "--http" in arguments and patient.source == "Claude Desktop":
        told = "its entry says --http, but Claude Desktop speaks over stdin and stdout only"
        raise Trouble(problem(patient.server, "command", told, "take --http out of its args"))
    return replace(patient, command=(program, *arguments))


async def _check_store(patient: Patient, timeout: float) -> None:
    """What the server's own look at its store finds, if it is one of ours. Raises: Trouble."""
    if not _is_ours(patient):
        return
    environment = host_environment(patient.environment)
    with _started(patient, "store"):
        status, stdout, stderr = await run_as_host((*patient.command, "--check"), environment, timeout)
    if status == 0:
        return
    lines = [line for line in stdout.decode("utf-8", "replace").splitlines() if not line.startswith("ok: ")]
    if not lines:
        told, cure = told_and_cure(last_words(stderr) or f"its check ends with {status}", patient.by_hand)
        raise Trouble(problem(patient.server, "start", told, cure))
    told_and_cures = [told_and_cure(shown(line), patient.by_hand) for line in lines]
    raise Trouble(*(problem(patient.server, "store", told, cure) for told, cure in told_and_cures))


async def _probe_then_initialize(patient: Patient, timeout: float) -> tuple[int, float]:
    """The hosts that probe, do not wait, and go on as older ones do; returns tools and seconds.

    Every line on stdout is looked at, also during a call and at the end. Raises: Trouble.
    """
    begun = time.perf_counter()
    with _started(patient, "start"):
        async with hosting(patient.command, host_environment(patient.environment), timeout) as host:
            await host.send({"id": "probe", "method": "server/discover", "params": _MODERN})
            await _introduced(patient, host, "a host that probes before it initializes")
            seconds = time.perf_counter() - begun
            tools = await _listed(patient, host)
            await _called(patient, host, tools)
            ended = await host.hang_up()
            noise = list(host.noise)
    if noise:
        told = f"it writes to stdout what is no protocol message: {noise[0]!r}"
        cure = "print to stderr instead, also while importing; hosts drop a server over this"
        raise Trouble(problem(patient.server, "stdout", told, cure))
    if not ended:
        told = "it goes on running after its host hung up"
        raise Trouble(problem(patient.server, "end", told, "a server must end when its stdin does"))
    return len(tools), seconds


async def _initialize(patient: Patient, timeout: float) -> None:
    """The hosts that initialize at once. Raises: Trouble."""
    with _started(patient, "start"):
        async with hosting(patient.command, host_environment(patient.environment), timeout) as host:
            await _introduced(patient, host, f"a host of protocol {PLAIN_ERA}")
            await _listed(patient, host)


async def _discover(patient: Patient, timeout: float) -> str | None:
    """The hosts of today, by a client that reads every answer against its schema.

    Returns the protocol they agreed on. Raises: Trouble.
    """
    environment = {**host_environment(patient.environment), "PATH": ""}
    with _silence() as silence:
        target = ChildTarget(patient.server, patient.command, environment, silence)
        result = await probe(Watched(patient.server, "", target, pin=patient.pin), timeout=timeout)
    if result.error is not None and result.error["code"] == TOOLS_CHANGED:
        told, cure = str(result.error["message"]), str(result.error["suggestion"])
        raise Trouble(problem(patient.server, "tools", told, cure))
    if result.error is not None:
        check = {"handshake": "handshake", "list": "tools"}.get(result.failed_in or "", "call")
        told = f"a host of protocol {MODERN_ERA} is not served: {shown(str(result.error['message']))}"
        cure = str(result.error.get("suggestion") or patient.by_hand)
        raise Trouble(problem(patient.server, check, told, cure))
    return result.protocol


def _silence() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


async def _introduced(patient: Patient, host: Host, whom: str) -> None:
    answer = await host.ask("initialize", _INITIALIZE)
    if "error" in answer:
        told = f"{whom} is refused (code {_code(answer)})"
        raise Trouble(problem(patient.server, "handshake", told, patient.by_hand))
    await host.send({"method": "notifications/initialized"})


async def _listed(patient: Patient, host: Host) -> list[Offered]:
    answer = await host.ask("tools/list")
    tools = answer.get("result", {}).get("tools")
    if not tools:
        told = f"it lists no tools (code {_code(answer)})" if "error" in answer else "it lists no tools"
        raise Trouble(problem(patient.server, "tools", told, patient.by_hand))
    return [
        Offered(
            tool["name"],
            tool.get("annotations", {}).get("readOnlyHint") is True,
            tool.get("inputSchema", {}),
        )
        for tool in tools
    ]


async def _called(patient: Patient, host: Host, tools: list[Offered]) -> None:
    call = harmless_call(tools)
    if call is None:
        return
    name, arguments = call
    answer = await host.ask("tools/call", {"name": name, "arguments": arguments})
    result = answer.get("result", {})
    error = result.get("structuredContent") or {} if result.get("isError") else {}
    if "error" in answer or (result.get("isError") and error.get("code") not in LOOKED):
        code = _code(answer) if "error" in answer else error.get("code", "without a code")
        told = f"its tool {shown(name)} fails ({shown(str(code))})"
        cure = shown(str(error.get("suggestion") or patient.by_hand))
        raise Trouble(problem(patient.server, "call", told, cure))


@contextmanager
def _started(patient: Patient, check: str) -> Iterator[None]:
    """Makes findings of what keeps a process from answering. Raises: Trouble."""
    try:
        yield
    except HostError as error:
        words, cure = told_and_cure(error.words, patient.by_hand)
        told = f"{error}: {words}" if words else str(error)
        raise Trouble(problem(patient.server, "start", told, cure)) from error
    except TimeoutError as error:
        told = "its check of the store does not end" if check == "store" else "it takes no input"
        raise Trouble(problem(patient.server, check, told, patient.by_hand)) from error
    except OSError as error:
        told = f"cannot start {shown(patient.command[0])} ({error.strerror or type(error).__name__})"
        raise Trouble(problem(patient.server, "command", told, patient.repair)) from error


def _is_ours(patient: Patient) -> bool:
    """Whether the command takes `--check`."""
    program, *arguments = patient.command
    return PureWindowsPath(program).stem.startswith(SCRIPT) or any(
        option == "-m" and module.startswith("servers.")
        for option, module in zip(arguments, arguments[1:], strict=False)
    )


def _code(answer: JsonObject) -> str:
    error = answer.get("error")
    return str(error.get("code")) if isinstance(error, dict) else "none"
