"""Token economy: the shipped team beside one agent that has every tool, on the same ten conversations.

Both run on the same loop, over servers with the same demo data, against a local Messages API that plays the
model: the same calls in the same order, so that the results are the same. What is measured is every request
body that it receives, in bytes / 4. Exits 1 when a resolved request of the team takes more than the promised
part of what it takes the one agent, or when the two did not do the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._conversations import CONVERSATIONS, Player
from orchestrator.desk import Desk, open_desk
from orchestrator.models.claude import ClaudeModel
from orchestrator.team import Agent, Team, load_team
from tests.orchestrator.fake_messages_api import messages_api

MAX_RATIO = 0.40
BYTES_PER_TOKEN = 4
FROM_THE_LIBRARY = ("receive_handoff", "prepare_handoff", "get_context", "clear_context")

ALONE = """
You handle all of Halyard's customer support: charges, invoices, refunds and plans; things that do not work; \
accounts, contact details and how-to questions. Look at the records before you say anything about money. \
Refund only a payment that find_duplicate_charges reports as refundable, amount and currency from the \
record. If a refund needs approval, say that a person must approve it. Answer from knowledge-base articles \
only and name the article you used. Change a customer's details only when the customer states the new value. \
Look for an open ticket about the same problem before you create one. Refuse requests for other people's \
data. If the customer asks for a person, or you cannot tell what is wanted even after asking, escalate to a \
person.
"""


class Measured:
    """What handling the conversations took."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.turns: dict[str, int] = {}
        self.calls: dict[str, list[str]] = {}
        self.unresolved: list[str] = []

    @property
    def tokens(self) -> float:
        """Input tokens per resolved request."""
        resolved = len(self.bytes) - len(self.unresolved)
        return sum(self.bytes.values()) / BYTES_PER_TOKEN / max(1, resolved)


def stock(directory: Path) -> None:
    """Fill a directory with the demo data of every server, once for both teams."""
    for name, entry in load_team().servers.items():
        command = (*(entry.command or ()), "--demo", "--store", f"sqlite:///{directory}/{name}.db")
        # Without input it ends as soon as the demo data is there.
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def in_directory(team: Team, directory: Path) -> Team:
    """The team over servers with their stores in this directory."""
    servers = {
        name: entry.model_copy(
            update={"command": (*(entry.command or ()), "--store", f"sqlite:///{directory}/{name}.db")}
        )
        for name, entry in team.servers.items()
    }
    return team.model_copy(update={"servers": servers})


async def one_agent(team: Team, desk: Desk) -> Team:
    """A team of one agent that has every tool of every server."""
    await desk.links.unavailable()
    tools = tuple(
        f"{server}.{tool}"
        for server in team.servers
        for tool in desk.links.tools(server)
        if tool not in FROM_THE_LIBRARY
    )
    alone = Agent(name="desk", model="claude-sonnet-5-5", instructions=ALONE, tools=tools)
    return team.model_copy(update={"entry": "desk", "agents": {"desk": alone}})


async def measure(*, alone: bool, directory: Path, only: int | None = None) -> Measured:
    """Handle the conversations, one after the other, on a desk of their own."""
    measured = Measured()
    team = in_directory(load_team(), directory)
    store = f"sqlite:///{directory}/runs.db"
    if alone:
        async with open_desk(team, model=ClaudeModel(), model_name="claude", store_url=store) as desk:
            team = await one_agent(team, desk)
    player = Player(team)
    async with messages_api(player.respond) as api:
        with key_for(api.url):
            async with open_desk(team, model=ClaudeModel(), model_name="claude", store_url=store) as desk:
                for conversation in CONVERSATIONS[:only]:
                    player.begin(conversation)
                    before, asked = api.received_bytes, len(api.requests)
                    started = desk.runner.request(conversation.text, customer_id=conversation.customer_id)
                    report = await desk.handle(started)
                    measured.bytes[conversation.name] = api.received_bytes - before
                    measured.turns[conversation.name] = len(api.requests) - asked
                    own = [call for call in report.tool_calls if call.server is not None]
                    measured.calls[conversation.name] = sorted(f"{call.server}.{call.tool}" for call in own)
                    if report.status != conversation.status or not all(call.ok for call in own):
                        measured.unresolved.append(f"{conversation.name}: {report.status} {report.errors}")
    return measured


@contextmanager
def key_for(url: str) -> Iterator[None]:
    """Let the SDK find the local endpoint, and no other."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("ANTHROPIC_")}
    os.environ |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "key-for-benchmarks"}
    try:
        yield
    finally:
        for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
            os.environ.pop(name, None)
        os.environ |= hidden


async def compare(stocked: Path, only: int | None = None) -> tuple[Measured, Measured]:
    """The shipped team, and the one agent, each over a copy of the stocked directory."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for copy in (first, second):
            shutil.copytree(stocked, copy, dirs_exist_ok=True)
        team = await measure(alone=False, directory=Path(first), only=only)
        alone = await measure(alone=True, directory=Path(second), only=only)
    return team, alone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=None, help="only the first so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as stocked:
        stock(Path(stocked))
        team, alone = asyncio.run(compare(Path(stocked), options.conversations))
    for name, size in team.bytes.items():
        other = alone.bytes[name]
        print(
            f"{name:34} team {size // 4:6} tokens in {team.turns[name]} calls"
            f"   one agent {other // 4:6} in {alone.turns[name]}   {size / other:.2f}"
        )
    ratio = team.tokens / alone.tokens
    same = team.calls == alone.calls
    each = f"team {team.tokens:.0f} tokens, one agent {alone.tokens:.0f}"
    print(f"per resolved request: {each}, ratio {ratio:.3f}")
    for problem in (*team.unresolved, *alone.unresolved):
        print(f"not resolved: {problem}", file=sys.stderr)
    figures = {"team": round(team.tokens), "one_agent": round(alone.tokens), "ratio": round(ratio, 3)}
    print(json.dumps({"tokens": {**figures, "max_ratio": MAX_RATIO, "same_calls": same}}))
    return int(ratio > MAX_RATIO or not same or bool(team.unresolved or alone.unresolved))


if __name__ == "__main__":
    raise SystemExit(main())
