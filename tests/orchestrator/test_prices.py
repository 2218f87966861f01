"""What a reply costs: by the table's dated rows, and unknown when the table does not know."""

from __future__ import annotations

from datetime import date

import pytest

from orchestrator.models.protocol import Usage
from orchestrator.prices import cost_usd, price_table

DAY = date(2026, 11, 20)


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(input_tokens=11_960, output_tokens=104, cache_read_tokens=78_000, cache_write_tokens=40)
    expected = (11_960 * 0.10 + 104 * 0.50 + 78_000 * 0.01 + 40 * 0.125) / 1_000_000
    assert cost_usd("claude-haiku-5-5", usage, DAY) == pytest.approx(expected)


def test_a_long_prompt_costs_more_for_the_whole_call() -> None:
    usage = Usage(input_tokens=150_000, output_tokens=1_300)
    assert cost_usd("claude-haiku-5-5", usage, DAY) == pytest.approx(0.07825)


def test_the_newest_price_that_has_begun_counts() -> None:
    usage = Usage(cache_read_tokens=1_000_000)
    assert cost_usd("claude-sonnet-5-5", usage, date(2026, 10, 6)) == pytest.approx(0.20)
    assert cost_usd("claude-sonnet-5-5", usage, date(2026, 10, 7)) == pytest.approx(0.10)


def test_an_unknown_price_is_unknown_and_never_zero() -> None:
    assert cost_usd("claude-of-tomorrow", Usage(input_tokens=1), DAY) is None
    assert cost_usd("claude-haiku-5-5", Usage(input_tokens=1), date(2020, 1, 1)) is None


def test_the_local_models_cost_nothing() -> None:
    for model in ("offline", "scripted"):
        assert cost_usd(model, Usage(input_tokens=1_000), DAY) == 0


def test_no_model_has_two_prices_for_one_day() -> None:
    rows = [(price.model, price.begins) for price in price_table()]
    assert len(set(rows)) == len(rows)
