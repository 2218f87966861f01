"""Money: integer minor units and a currency, and how people write it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from servers._results import InvalidError

MAX_MINOR = 10**15
"""Far above any invoice, far below the integers that JSON readers agree on."""

Minor = Annotated[int, Field(strict=True, ge=0, le=MAX_MINOR)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]

# ISO 4217; every other currency has two decimals.
_WITHOUT_DECIMALS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV")
    + ("XAF", "XOF", "XPF")
)
_THREE_DECIMALS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
_WRITTEN = re.compile(r"[0-9]{1,16}(\.[0-9]{1,4})?")


def decimals(currency: str) -> int:
    """How many decimals a currency is written with: 2 for EUR, 0 for JPY, 3 for KWD."""
    if currency in _WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def format_money(amount_minor: int, currency: str) -> str:
    """The amount as people write it: `48.00 EUR`, `36,000 JPY`, `-0.05 USD`."""
    places = decimals(currency)
    amount = Decimal(amount_minor).scaleb(-places)
    return f"{amount:,.{places}f} {currency}"


def parse_money(text: str, currency: str) -> int:
    """Minor units of an amount written plainly, such as `48`, `48.00` or, for JPY, `36000`.

    Nothing is rounded and no thousands separator is guessed at.

    Raises: InvalidError.
    """
    places = decimals(currency)
    written = text.strip()
    minor = Decimal(written).scaleb(places) if _WRITTEN.fullmatch(written) else None
    if minor is None or minor != minor.to_integral_value() or minor > MAX_MINOR:
        raise InvalidError(
            f"the amount must be a plain number with at most {places} decimals",
            field="amount",
            suggestion="write it like 1234.50, without a currency sign or thousands separators",
        )
    return int(minor)
