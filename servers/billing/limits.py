"""How much may be refunded without a person's approval, per currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servers._results import InvalidError
from servers.billing.money import decimals

ENVIRONMENT = "SWITCHBOARD_REFUND_LIMIT_MINOR"
"""One number of minor units for every currency (`20000`), or pairs (`EUR=20000,JPY=30000`)."""

_UNITS = 200
_SHIPPED = {"JPY": 30_000}


@dataclass(frozen=True, slots=True)
class RefundLimits:
    """The most that may leave one invoice without a person's approval, in minor units.

    It bounds the *sum* of an invoice's refunds that nobody approved, over the invoice's whole life.
    A limit on the single refund could be walked around by paying out in small parts, and one per day by
    waiting. What a person approved does not count against it.
    """

    by_currency: Mapping[str, int] = field(default_factory=lambda: _SHIPPED)
    everywhere: int | None = None
    """For currencies not named above; None means 200 units of them."""

    def of(self, currency: str) -> int:
        if currency in self.by_currency:
            return self.by_currency[currency]
        if self.everywhere is not None:
            return self.everywhere
        return _UNITS * int(10 ** decimals(currency))


def limits_from(environment: Mapping[str, str]) -> RefundLimits:
    """The limits an operator set in `SWITCHBOARD_REFUND_LIMIT_MINOR`, or the shipped ones.

    Raises: InvalidError for a setting that cannot be read; guessing would be guessing about money.
    """
    setting = environment.get(ENVIRONMENT, "").strip()
    if not setting:
        return RefundLimits()
    if setting.isascii() and setting.isdigit():
        return RefundLimits(by_currency={}, everywhere=int(setting))
    pairs = [part.strip().partition("=") for part in setting.split(",")]
    if not all(_is_pair(currency, amount) for currency, _, amount in pairs):
        raise InvalidError(
            "must be a whole number of minor units, or one per currency",
            field=ENVIRONMENT,
            suggestion="set it like 20000, or like EUR=20000,JPY=30000",
        )
    return RefundLimits(by_currency=_SHIPPED | {currency: int(amount) for currency, _, amount in pairs})


def _is_pair(currency: str, amount: str) -> bool:
    code = len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()
    return code and amount.isascii() and amount.isdigit()
