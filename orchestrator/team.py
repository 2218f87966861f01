"""The team file: which servers and agents there are, and what each agent may do.

Least privilege is written here and enforced in code: an agent is offered, and may call, only the tools
its entry names, and may hand over only to the agents it names.
"""

from __future__ import annotations

import os
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from handoff.errors import JsonObject
from orchestrator.guardrails.answers import VERDICT_SCHEMA
from orchestrator.guardrails.checks import check_guardrails
from orchestrator.names import Name, ToolName
from orchestrator.patterns.coordinator import Pattern
from orchestrator.patterns.entry import Entry

MAX_INSTRUCTION_WORDS = 200
SERVERS_VARIABLE = "SWITCHBOARD_SERVERS"


class TeamError(Exception):
    """The team file cannot be used; the message is one line that says where and what to change."""


class ServerEntry(Entry):
    """How to reach one server: a command to start here, or URLs in order of preference."""

    command: tuple[str, ...] | None = None
    urls: tuple[Annotated[str, StringConstraints(pattern=r"^https?://")], ...] = ()
    credential_env: str | None = None
    """Name of the environment variable that holds the bearer token for the URLs."""
    credential_file: Path | None = None
    """File that holds it instead; read again when a server refuses the token, so that it can be rotated."""
    tools_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the tool definitions that were approved (`switchboard probe --pins`); others are refused."""
    max_running: Annotated[int, Field(ge=1)] = 8
    """Calls in flight when the server itself advertises no `max_in_flight`."""
    max_queued: Annotated[int, Field(ge=0)] = 64
    """Calls that may wait for their turn; one more is refused as busy."""
    calls_per_second: Annotated[float, Field(gt=0)] | None = None
    circuit_failures: Annotated[int, Field(ge=1)] = 5
    """Calls in a row that may fail on their way before the server is left alone."""
    circuit_open_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long, at first, until one call is let through to see."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.command is not None and self.urls:
            raise ValueError("give either command or urls, not both")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        if self.credential_env is not None and self.credential_file is not None:
            raise ValueError("give either credential_env or credential_file, not both")
        if (self.credential_env or self.credential_file) and not self.urls:
            raise ValueError("a credential is for urls; a command that is started here needs none")
        return self


class Limits(Entry):
    """Bounds of one run. Durations in seconds."""

    turns: Annotated[int, Field(ge=1)] = 25
    """Most model calls of a run, its child runs included."""
    hops: Annotated[int, Field(ge=0)] = 10
    """Most handoffs of a run; a coordinator's tasks do not count."""
    depth: Annotated[int, Field(ge=1)] = 5
    """Most agents in a row of which each waits for the next."""
    run_seconds: Annotated[float, Field(gt=0)] = 120.0
    model_call_seconds: Annotated[float, Field(gt=0)] = 30.0
    tool_call_seconds: Annotated[float, Field(gt=0)] = 25.0
    tool_attempts: Annotated[int, Field(ge=1, le=3)] = 3
    parallel_calls: Annotated[int, Field(ge=1)] = 16
    """Most calls of one turn in flight; the others wait, so that no list of tasks floods a server."""
    max_tokens: Annotated[int, Field(ge=64)] = 2048
    """Most output tokens of one model call."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of a run, its child runs included; no call is made that might go beyond."""
    cost_usd: Annotated[float, Field(gt=0)] | None = None
    """Most money of a run, in the same way; a model without a known price is then not asked."""
    compact_tokens: Annotated[int, Field(ge=500)] | None = 60_000
    """An agent's message list beyond so many tokens is begun afresh, with a summary of what it held."""
    result_tokens: Annotated[int, Field(ge=50)] | None = 4_000
    """How much of one tool result an agent is shown at once; the rest is there for the asking."""
    handoff_tokens: Annotated[int, Field(ge=100, le=12_000)] = 4_000
    """How much of tool results travels with one handoff, all of them together."""
    cache_reads: bool = True
    """Whether a look-up that a run has made is answered from its record, until the run writes there."""


class ModelLimits(Entry):
    """Bounds shared by all model calls: those of this process, or of all workers on one Redis."""

    max_running: Annotated[int, Field(ge=1)] = 8
    max_queued: Annotated[int, Field(ge=0)] = 64
    calls_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Input that was not cached, and output."""


class Escalation(Entry):
    """Where a person is asked to take over."""

    tool: ToolName = "ticketing.create_ticket"
    approval_seconds: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """How long a person may take to approve an action; silence means no."""
    answer_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    """How long a person may take to answer a request that was given to them."""


class Agent(Entry):
    """Instructions, a model, the tools it may call and the agents it may hand over to; no state.

    A coordinator has a `pattern` in place of the first two: its turns are code.
    """

    name: Name
    model: str = ""
    instructions: str = ""
    pattern: Pattern | None = None
    tools: tuple[ToolName, ...] = ()
    transfers: tuple[Name, ...] = ()
    """Agents control may move to, by `transfer_to_<agent>`."""
    asks: tuple[Name, ...] = ()
    """Agents that may be asked for a result, by `ask_<agent>`; the asking agent keeps control."""
    notebook: bool = False
    """Whether it shares the notebook of the request, and keeps a memory of its own in the conversation."""
    fallback_models: tuple[str, ...] = ()
    """Models to go on with when `model` gives no reply, in order."""
    stronger_model: str | None = None
    """The model for turns that none of those could manage."""
    least_confidence: Annotated[float, Field(gt=0, le=1)] | None = None
    """Answers whose `confidence` is below go to the stronger model, and then to a person."""
    defer_tools: bool | Literal["native", "local"] = False
    """Whether tools are loaded when searched for: by the provider where it can (true), or always here."""
    loaded_tools: tuple[ToolName, ...] = ()
    """Of deferred tools, those that are loaded from the start."""
    defer_handoffs: bool = False
    """Whether handing over to others and asking them is searched for as well."""
    fallback_agent: Name | None = None
    """The agent that takes over when no model of this one could go on."""
    home: Name | None = None
    """The server that receives handoffs to this agent; without one the orchestrator keeps them."""
    guardrails: tuple[str, ...] = ()
    """Checks of this agent, after those of the whole team."""
    answer_schema: dict[str, Any] | None = None
    """JSON Schema that its answers have to fit."""
    validator: Name | None = None
    """The agent that checks its answers before they go out."""

    @model_validator(mode="after")
    def _model_or_pattern(self) -> Self:
        if self.pattern is None and not (self.model and self.instructions):
            raise ValueError("give model and instructions, or a pattern")
        if self.pattern is not None and (self.model or self.instructions or self.transfers or self.asks):
            raise ValueError("a pattern replaces model, instructions, transfers and asks")
        return self

    @model_validator(mode="after")
    def _short_instructions(self) -> Self:
        words = len(self.instructions.split())
        if words >= MAX_INSTRUCTION_WORDS:
            raise ValueError(f"instructions have {words} words; keep them under {MAX_INSTRUCTION_WORDS}")
        return self

    @model_validator(mode="after")
    def _economy(self) -> Self:
        if unknown := [tool for tool in self.loaded_tools if tool not in self.tools]:
            raise ValueError(f"loaded_tools names {unknown[0]}, which is not among its tools")
        if self.loaded_tools and not self.defer_tools:
            raise ValueError("loaded_tools is for an agent with defer_tools")
        if self.defer_handoffs and not self.defer_tools:
            raise ValueError("defer_handoffs is for an agent with defer_tools")
        properties = (self.answer_schema or {}).get("properties", {})
        if self.least_confidence is not None and "confidence" not in properties:
            raise ValueError("least_confidence needs an answer_schema with a property confidence")
        return self

    def may_call(self, server: str, tool: str) -> bool:
        return f"{server}.{tool}" in self.tools

    def servers(self) -> tuple[str, ...]:
        """The servers this agent has tools on, each once, in the order of its tools."""
        return tuple(dict.fromkeys(tool.split(".", 1)[0] for tool in self.tools))


class Team(Entry):
    """A validated team file."""

    entry: Name
    agents: dict[Name, Agent]
    servers: dict[Name, ServerEntry] = {}
    """Every server in use; one that the file does not describe is started by its own command."""
    limits: Limits = Limits()
    models: ModelLimits = ModelLimits()
    escalation: Escalation = Escalation()
    guardrails: tuple[str, ...] = ()
    """Checks of every agent, in order; each is a kind of guardrail, or a name in `checks`."""
    checks: dict[Name, dict[str, Any]] = {}
    """Guardrails with options, by the name that `guardrails` uses; `kind` says what one is."""

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
    def _patterns_connect(self) -> Self:
        """A coordinator has what its pattern names; peers may hand over to each other."""
        for name, agent in list(self.agents.items()):
            if (pattern := agent.pattern) is None:
                continue
            tools = tuple(dict.fromkeys((*agent.tools, *pattern.calls())))
            self.agents[name] = agent.model_copy(update={"asks": pattern.members(), "tools": tools})
            for peer in pattern.peers():
                if (member := self.agents.get(peer)) is not None and member.pattern is None:
                    others = (other for other in pattern.peers() if other != peer)
                    transfers = tuple(dict.fromkeys((*member.transfers, *others)))
                    shared = {"transfers": transfers, "notebook": True}
                    self.agents[peer] = member.model_copy(update=shared)
        return self

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
            if agent.fallback_agent is not None:
                if agent.fallback_agent not in self.agents:
                    raise ValueError(
                        f"agents.{agent.name} falls back on {agent.fallback_agent!r}, which is not defined"
                    )
                if agent.fallback_agent == agent.name:
                    raise ValueError(f"agents.{agent.name} falls back on itself")
        return self

    @model_validator(mode="after")
    def _checks_exist(self) -> Self:
        for agent in list(self.agents.values()):
            if agent.validator is not None:
                self.agents[agent.validator] = _as_validator(self, agent)
        check_guardrails(self)
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


def _as_validator(team: Team, agent: Agent) -> Agent:
    """The validator of `agent`, its answers in the shape of a verdict. Raises: ValueError."""
    validator = team.agents.get(agent.validator or "")
    if validator is None or validator.pattern is not None or validator.name == agent.name:
        raise ValueError(f"agents.{agent.name}: the validator must be another agent with a model")
    if validator.validator is not None:
        raise ValueError(f"agents.{validator.name} is a validator, so it cannot have one")
    if validator.answer_schema not in (None, VERDICT_SCHEMA):
        raise ValueError(f"agents.{validator.name} is a validator, so its answers have a schema already")
    return validator.model_copy(update={"answer_schema": VERDICT_SCHEMA})


def default_command(server: str) -> tuple[str, ...]:
    """The command that starts one of this distribution's servers over stdio.

    `-P` keeps a folder called `servers` in the working directory from being run by mistake.
    """
    return (sys.executable, "-P", "-m", f"servers.{server.replace('-', '_')}")


def load_team(path: Path | None = None) -> Team:
    """Read a team file; None reads the shipped team. `$SWITCHBOARD_SERVERS` may name another file with
    `[servers.<name>]` tables of this installation, which win over the team's.

    Raises: TeamError.
    """
    name = str(path) if path else "the shipped team.toml"
    team = _parsed(_text_of(path, f"the team file {name}"), name=name)
    here = os.environ.get(SERVERS_VARIABLE)
    if here:
        name = f"{name} with {here}"
        team = _with_servers(
            team, _parsed(_text_of(Path(here), f"the file of servers {here}"), name=here), here
        )
    return _validated(team, name)


def parse_team(text: str, *, name: str = "team.toml") -> Team:
    """Validate a team file's text. Raises: TeamError naming the entry."""
    return _validated(_parsed(text, name=name), name)


def _parsed(text: str, *, name: str) -> JsonObject:
    """Raises: TeamError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TeamError(f"{name} is not valid TOML: {error}") from error


def _text_of(path: Path | None, what: str) -> str:
    try:
        return (
            path.read_text("utf-8")
            if path
            else files("orchestrator").joinpath("team.toml").read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TeamError(f"cannot read {what}: {reason}") from error


def _with_servers(team: JsonObject, here: JsonObject, name: str) -> JsonObject:
    """Who does what is the team's; where its servers are is the installation's."""
    servers = {**team.get("servers", {})}
    if set(here) != {"servers"} or not isinstance(here["servers"], dict):
        raise TeamError(f"{name}: it holds [servers.<name>] tables, and nothing else")
    for server, entry in here["servers"].items():
        known = servers.get(server)
        if isinstance(known, dict) and isinstance(entry, dict):
            elsewhere = {"command", "urls"} if {"command", "urls"} & set(entry) else set()
            entry = {**{key: value for key, value in known.items() if key not in elsewhere}, **entry}
        servers[server] = entry
    return {**team, "servers": servers}


def _validated(team: JsonObject, name: str) -> Team:
    try:
        return Team.model_validate(team)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise TeamError(f"{name}: {where + ': ' if where else ''}{reason}") from error
