"""Thirty secrets go in wherever something can go in; none comes out where it does not belong.

Artefacts are what operators, log collectors and callers who did something wrong get to see: standard error
of every process, with the crash output, and the bodies of error answers. The store and the customer's own
answer are where data belongs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.security.planted import OFF, TEXTS, found_in
from tests.servers.processes import INITIALIZE, ROOT, environment, running

WAIT_SECONDS = 60


async def server_session(directory: Path, *options: str) -> str:
    """Tools that crash, and arguments that are refused; what was answered, and standard error."""
    command = [sys.executable, "-m", "tests.security.leaky_server", *options]
    store = f"sqlite:///{directory.as_posix()}/sample.db"
    answers = []
    async with running([*command, "--store", store]) as server:
        await server.ask(0, "initialize", INITIALIZE)
        await server.send({"method": "notifications/initialized"})
        for number, text in enumerate(TEXTS):
            for place, given in enumerate(({"text": text}, {"text": "x", "count": text}, {text: 1})):
                call = {"name": "look", "arguments": given}
                answer = await server.ask(1 + 3 * number + place, "tools/call", call)
                assert answer["result"]["isError"], answer
                answers.append(json.dumps(answer))
        server.hang_up()
        await server.ended()
        return "\n".join(answers) + await server.complaint()


def service_session(directory: Path, *options: str) -> str:
    command = [sys.executable, "-m", "tests.security.leaky_service", str(directory), *options]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert done.returncode == 1, done.stderr[-2_000:]
    return done.stdout + done.stderr


def command_session(*options: str) -> str:
    """Crashes with the request in them, and options that are refused."""
    broken = [sys.executable, "-m", "tests.security.leaky_cli", *options]
    sound = [sys.executable, "-P", "-c", "from orchestrator.cli import main; main()"]
    artefacts = []
    for command in (
        [*broken, "ask", "\n".join(TEXTS), "--store", "redis://:p4ssw0rd-redis@127.0.0.1:1/0"],
        [*sound, "ask", "Hello", "--store", "redis://:p4ssw0rd-redis@127.0.0.1:1/0", "--model", "offline"],
        [*sound, "ask", "Hello", "--session", TEXTS[21], "--model", "offline"],
        [sys.executable, "-P", "-m", "servers.billing", "--check", "--store", TEXTS[12]],
        [sys.executable, "-P", "-m", "servers.billing", "--store", TEXTS[13]],
    ):
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=WAIT_SECONDS, cwd=ROOT
        )
        assert done.returncode != 0
        artefacts.append(done.stdout + done.stderr)
    return "\n".join(artefacts)


async def sessions(directory: Path, *options: str) -> dict[str, str]:
    """What each session left behind."""
    return {
        "server": await server_session(directory, *options),
        "service": service_session(directory, *options),
        "command": command_session(*options),
    }


async def test_no_secret_stands_in_any_artefact(tmp_path: Path) -> None:
    left = await sessions(tmp_path)
    assert {name: found_in(artefacts) for name, artefacts in left.items()} == dict.fromkeys(left, [])


async def test_with_the_redaction_switched_off_every_session_leaks(tmp_path: Path) -> None:
    """So that the test before is known to bite."""
    left = await sessions(tmp_path, OFF)
    assert [name for name, artefacts in left.items() if len(found_in(artefacts)) < 27] == []
