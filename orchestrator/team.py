"""The team file: which servers and agents there are, and what each agent may do.

Least privilege is written here and enforced in code: an agent is offered, and may call, only the tools
its entry names, and may hand over only to the agents it names.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

MAX_INSTRUCTION_WORDS = 200

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}\.[A-Za-z0-9_-]{1,64}$")]


class TeamError(Exception):
    """The team file cannot be used; the message is one line that says where and what to change."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerEntry(_Entry):
    """How to reach one server: a command to start here, or URLs in order of preference."""

    command: tuple[str, ...] | None = None
    urls: tuple[Annotated[str, StringConstraints(pattern=r"^https?://")], ...] = ()
    credential_env: str | None = None
    """Name of the environment variable that holds the bearer token for the URLs."""
    max_running: Annotated[int, Field(ge=1)] = 8
    """Calls in flight when the server itself advertises no `max_in_flight`."""
    max_queued: Annotated[int, Field(ge=0)] = 64
    """Calls that may wait for their turn; one more is refused as busy."""
    calls_per_second: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.command is not None and self.urls:
            raise ValueError("give either command or urls, not both")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        return self


class Limits(_Entry):
    """Bounds of one run. Durations in seconds."""

    turns: Annotated[int, Field(ge=1)] = 25
    """Most model calls of a run, its child runs included."""
    hops: Annotated[int, Field(ge=0)] = 10
    """Most handoffs of a run."""
    run_seconds: Annotated[float, Field(gt=0)] = 120.0
    model_call_seconds: Annotated[float, Field(gt=0)] = 30.0
    tool_call_seconds: Annotated[float, Field(gt=0)] = 25.0
    tool_attempts: Annotated[int, Field(ge=1, le=3)] = 3
    max_tokens: Annotated[int, Field(ge=64)] = 2048
    """Most output tokens of one model call."""


class ModelLimits(_Entry):
    """Bounds shared by all model calls of this process."""

    max_running: Annotated[int, Field(ge=1)] = 8
    max_queued: Annotated[int, Field(ge=0)] = 64
    calls_per_minute: Annotated[float, Field(gt=0)] | None = None


class Escalation(_Entry):
    """Where a person is asked to take over."""

    tool: ToolName = "ticketing.create_ticket"


class Agent(_Entry):
    """Instructions, a model, the tools it may call and the agents it may hand over to; no state."""

    name: Name
    model: str
    instructions: str
    tools: tuple[ToolName, ...] = ()
    transfers: tuple[Name, ...] = ()
    """Agents control may move to, by `transfer_to_<agent>`."""
    asks: tuple[Name, ...] = ()
    """Agents that may be asked for a result, by `ask_<agent>`; the asking agent keeps control."""
    home: Name | None = None
    """The server that receives handoffs to this agent; without one the orchestrator keeps them."""

    @model_validator(mode="after")
    def _short_instructions(self) -> Self:
        words = len(self.instructions.split())
        if words >= MAX_INSTRUCTION_WORDS:
            raise ValueError(f"instructions have {words} words; keep them under {MAX_INSTRUCTION_WORDS}")
        return self

    def may_call(self, server: str, tool: str) -> bool:
        return f"{server}.{tool}" in self.tools

    def servers(self) -> tuple[str, ...]:
        """The servers this agent has tools on, each once, in the order of its tools."""
        return tuple(dict.fromkeys(tool.split(".", 1)[0] for tool in self.tools))


class Team(_Entry):
    """A validated team file."""

    entry: Name
    agents: dict[Name, Agent]
    servers: dict[Name, ServerEntry] = {}
    """Every server in use; one that the file does not describe is started by its own command."""
    limits: Limits = Limits()
    models: ModelLimits = ModelLimits()
    escalation: Escalation = Escalation()

    @model_validator(mode="before")
    @classmethod
    def _name_the_agents(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("agents"), dict):
            named = {
                name: {**entry, "name": name} if isinstance(entry, dict) else entry
                for name, entry in data["agents"].items()
            }
            return {**data, "agents": named}
        return data

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.entry not in self.agents:
            raise ValueError(f"entry names the agent {self.entry!r}, which the file does not define")
        for agent in self.agents.values():
            for target in (*agent.transfers, *agent.asks):
                if target not in self.agents:
                    raise ValueError(f"agents.{agent.name} hands over to {target!r}, which is not defined")
                if target == agent.name:
                    raise ValueError(f"agents.{agent.name} hands over to itself")
        return self

    @model_validator(mode="after")
    def _servers_in_use(self) -> Self:
        named = [server for agent in self.agents.values() for server in agent.servers()]
        named += [agent.home for agent in self.agents.values() if agent.home]
        named.append(self.escalation.tool.split(".", 1)[0])
        for server in named:
            self.servers.setdefault(server, ServerEntry(command=default_command(server)))
        for server, entry in self.servers.items():
            if entry.command is None and not entry.urls:
                self.servers[server] = entry.model_copy(update={"command": default_command(server)})
        return self


def default_command(server: str) -> tuple[str, ...]:
    """The command that starts one of this distribution's servers over stdio.

    `-P` keeps a folder called `servers` in the working directory from being run by mistake.
    """
    return (sys.executable, "-P", "-m", f"servers.{server.replace('-', '_')}")


def load_team(path: Path | None = None) -> Team:
    """Read a team file; None reads the shipped team.

    Raises: TeamError.
    """
    name = str(path) if path else "the shipped team.toml"
    try:
        text = (
            path.read_text("utf-8")
            if path
            else files("orchestrator").joinpath("team.toml").read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TeamError(f"cannot read the team file {name}: {reason}") from error
    return parse_team(text, name=name)


def parse_team(text: str, *, name: str = "team.toml") -> Team:
    """Validate a team file's text. Raises: TeamError naming the entry."""
    try:
        return Team.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TeamError(f"{name} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise TeamError(f"{name}: {where + ': ' if where else ''}{reason}") from error
