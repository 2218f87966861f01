"""What the shipped team saves in input, beside one agent with every tool, on the same conversations."""

from __future__ import annotations

from pathlib import Path

from benchmarks._conversations import CONVERSATIONS
from benchmarks.tokens import MAX_RATIO, compare


async def test_the_team_takes_two_fifths_of_the_input_of_one_agent_that_has_every_tool(stocked: Path) -> None:
    team, alone = await compare(stocked)
    assert not team.unresolved and not alone.unresolved
    assert len(team.bytes) == len(CONVERSATIONS) == 10
    assert team.calls == alone.calls
    assert team.tokens <= MAX_RATIO * alone.tokens
