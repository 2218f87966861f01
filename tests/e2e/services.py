"""The services of compose.yaml as processes of this machine: their commands, environments, health checks."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compose import ROOT
from tests.redis_server import redis_executable

HEALTHY_SECONDS = 60.0
END_SECONDS = 20.0
POLL_SECONDS = 0.3
MOST_STARTS = 5


class Service:
    """A running service; one that ends by itself is started again, if the file says so."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self._command = command
        self._environment = environment
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self, *, again: bool) -> None:
        await self._start()
        if again:
            self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> int:
        """End it as `docker compose stop` does; its exit status."""
        self._let_go()
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), END_SECONDS)

    async def kill(self) -> None:
        """End it whatever it does."""
        self._let_go()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _let_go(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()

    async def _start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as file:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self.log.parent,
                stdin=DEVNULL,
                stdout=file,
                stderr=file,
            )

    async def _keep(self) -> None:
        while self.starts < MOST_STARTS:
            assert self._process is not None
            await self._process.wait()
            await self._start()


@dataclass(frozen=True)
class Host:
    """Where containers would run: a place for programs, and what a container finds around it."""

    directory: Path

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """Nothing but what the file says, and where programs are."""
        programs = self.directory / "programs"
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.defpath])
        return {"PATH": path, "HOME": str(self.directory), **service.get("environment", {})}

    def place(self, read: Mapping[str, Any], service: Mapping[str, Any]) -> None:
        """Put secrets, configuration and volumes where the file wants them."""
        for secret in service.get("secrets", []):
            target = Path(secret["target"])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(read["secrets"][secret["source"]]["file"], target)
        for config in service.get("configs", []):
            target = Path(config["target"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(read["configs"][config["source"]]["content"], encoding="utf-8")
        for volume in service.get("volumes", []):
            Path(volume.partition(":")[2]).mkdir(parents=True, exist_ok=True)

    def install_redis(self) -> None:
        """Make the names of Redis's programs known, wherever they lie."""
        found = redis_executable()
        assert found is not None
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        for name in ("redis-server", "redis-cli"):
            (programs / name).symlink_to(Path(found).with_name(name))

    @asynccontextmanager
    async def running(self, read: Mapping[str, Any], name: str, label: str = "") -> AsyncIterator[Service]:
        """Start a service of the file; it is killed at the end unless it was stopped."""
        service = read["services"][name]
        self.place(read, service)
        log = self.directory / f"{name}{label}.log"
        started = Service(name, service["command"], self.environment(service), log)
        await started.start(again=service["restart"] == "unless-stopped")
        try:
            yield started
        finally:
            await started.kill()

    async def healthy(self, read: Mapping[str, Any], running: Service) -> None:
        """Run the service's own health check until it passes."""
        service = read["services"][running.name]
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        environment = self.environment(service)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program is not None, command[0]
        async with asyncio.timeout(HEALTHY_SECONDS):
            while await self._check([program, *command[1:]], environment):
                assert running.starts < MOST_STARTS, running.log.read_text("utf-8")
                await asyncio.sleep(POLL_SECONDS)

    async def _check(self, command: list[str], environment: dict[str, str]) -> int:
        check = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=ROOT / "docs", stdout=DEVNULL, stderr=DEVNULL
        )
        return await asyncio.wait_for(check.wait(), HEALTHY_SECONDS)


def free_variables(directory: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Values for hosts, ports and paths, and for nothing else."""
    servers = ("CUSTOMER_DATA", "TICKETING", "BILLING", "KNOWLEDGE_BASE")
    return {
        "LISTEN_ON": "127.0.0.1",
        **{f"{server}_HOST": "127.0.0.1" for server in servers},
        "PUBLISH_ON": "127.0.0.1",
        "DATA_IN": str(directory / "data"),
        "REDIS_DATA_IN": str(directory / "redis"),
        "SECRETS": str(directory / "secrets"),
        "SECRETS_IN": str(directory / "run" / "secrets"),
        "CONFIG_IN": str(directory / "etc"),
        "TMP_IN": str(directory / "tmp"),
        **{name: str(port) for name, port in ports.items()},
    }
