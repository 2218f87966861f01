"""What model calls cost, from a dated table; an unknown price is an unknown cost, never zero."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.models.protocol import Usage


class Rates(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float
    output: float
    cache_write: float
    cache_read: float


class Price(Rates):
    """One row of the table: what `model` costs from the day `begins` on."""

    model: str
    begins: date = Field(alias="from")
    over_prompt_tokens: int | None = None
    over: Rates | None = None


@cache
def price_table() -> tuple[Price, ...]:
    text = files("orchestrator").joinpath("prices.toml").read_text("utf-8")
    return tuple(Price.model_validate(row) for row in tomllib.loads(text)["models"])


def cost_usd(model: str, usage: Usage, on: date) -> float | None:
    """What one reply cost on that day, in USD; None when the table has no price for it."""
    if usage == Usage():
        return 0.0
    rows = [row for row in price_table() if row.model == _listed(model) and row.begins <= on]
    if not rows:
        return None
    price = max(rows, key=lambda row: row.begins)
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    long = price.over_prompt_tokens is not None and prompt > price.over_prompt_tokens
    rates = price.over if long and price.over is not None else price
    return (
        usage.input_tokens * rates.input
        + usage.output_tokens * rates.output
        + usage.cache_write_tokens * rates.cache_write
        + usage.cache_read_tokens * rates.cache_read
    ) / 1_000_000


def _listed(model: str) -> str:
    """The name in the table: without the date of a dated id, and without what follows a colon."""
    return re.sub(r"-20\d{6}$", "", model.partition(":")[0])
