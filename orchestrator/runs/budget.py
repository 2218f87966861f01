"""What a run may use up: checked before each model call, and shared out among the runs it asks for.

Tokens of every kind count. Money is counted only at known prices: a run with a budget of money makes no call
whose price nobody knows.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TypedDict

from orchestrator.models.protocol import ModelRequest, Usage
from orchestrator.prices import cost_usd
from orchestrator.runs.state import RunState, is_ask
from orchestrator.runs.steps import CallFinished, Resumed

BYTES_PER_TOKEN = 3
"""Few: an estimate that is too high stops a run a little early, one that is too low lets it overspend."""


class Budget(TypedDict):
    """What a run may still use up; None sets no bound."""

    tokens: int | None
    cost_usd: float | None


def refusal(state: RunState, request: ModelRequest) -> str | None:
    """Why this call would not be covered by the run's budget; None when it is."""
    budget = state.started
    if budget.tokens is None and budget.cost_usd is None:
        return None
    call = estimate(state, request)
    if budget.tokens is not None:
        used = state.usage().total
        if used + call.total > budget.tokens:
            left = f"{used:,} of {budget.tokens:,} are used"
            return f"the next model call may take {call.total:,} tokens, and {left}"
    return None if budget.cost_usd is None else _money(state, request.model, call, budget.cost_usd)


def estimate(state: RunState, request: ModelRequest) -> Usage:
    """The most that the call is expected to use: its whole prompt, and an answer as long as it may be."""
    said = json.dumps([request.system, request.messages, request.tools], ensure_ascii=False)
    prompt = -(-len(said.encode()) // BYTES_PER_TOKEN)
    if state.replies and any(each["content"] == state.replies[-1].content for each in request.messages[-2:]):
        # The last reply and all that led to it are in the list, and were counted then.
        prompt = max(prompt, Usage(**state.replies[-1].usage).total)
    # Writing to the provider's cache is the dearest that can happen to a prompt.
    return Usage(cache_write_tokens=prompt, output_tokens=request.max_tokens)


def cost_of(state: RunState) -> float | None:
    """What the run has cost in USD, the runs it asked for included; None when a price is unknown."""
    parts: list[CallFinished | Resumed] = [*state.calls, *state.resumed.values()]
    return _total(own_cost(state), *(part.cost_usd if any(part.usage.values()) else 0.0 for part in parts))


def own_cost(state: RunState) -> float | None:
    """What the run's own model calls and the checks of its answers have cost; None as above."""
    day = _day(state)
    paid = [cost_usd(reply.model, Usage(**reply.usage), day) for reply in state.replies]
    lost = [cost_usd(step.model, Usage(**step.usage), day) for step in state.trying.failures]
    checks = [step.cost_usd if any(step.usage.values()) else 0.0 for step in state.guarded]
    return _total(*paid, *lost, *checks)


def share(state: RunState) -> Budget:
    """What one of the runs that this turn asks for may use: an equal part of what is left.

    They run at the same time; parts add up to no more than the whole, whichever begins first.
    """
    parts = max(1, sum(is_ask(call["name"]) for call in state.open_calls()))
    tokens, money = state.started.tokens, state.started.cost_usd
    spent = cost_of(state) if money is not None else None
    return Budget(
        tokens=None if tokens is None else max(0, tokens - state.usage().total) // parts,
        # An unknown cost leaves nothing: the child then refuses its first call and says why.
        cost_usd=None if money is None else (0.0 if spent is None else max(0.0, money - spent) / parts),
    )


def _money(state: RunState, model: str, call: Usage, most: float) -> str | None:
    price = cost_usd(model, call, _day(state))
    if price is None:
        return f"the price of {model} is unknown, and the run may cost no more than ${most:.4f}"
    spent = cost_of(state)
    if spent is None:
        return f"what the run has cost is unknown, and it may cost no more than ${most:.4f}"
    if spent + price > most:
        return f"the next model call may cost ${price:.4f}, and ${spent:.4f} of ${most:.4f} is spent"
    return None


def _day(state: RunState) -> date:
    return datetime.fromtimestamp(state.started.created_at, UTC).date()


def _total(*costs: float | None) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
