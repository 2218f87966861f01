"""What every column does, and the check that it did it."""

from __future__ import annotations

import asyncio

CUSTOMER_ID = "cus_1001"
INVOICE_ID = "inv_2001"
REQUEST = f"I was charged twice on invoice {INVOICE_ID}. Please look into it."
TRIAGE = "You are triage. Hand questions about charges to billing."
BILLING = "You are billing. Look up the customer and the invoice, then answer."

PROFILE = {"customer_id": CUSTOMER_ID, "name": "Ada Lindqvist", "plan": "team", "seats": 4}
INVOICE = {
    "invoice_id": INVOICE_ID,
    "customer_id": CUSTOMER_ID,
    "currency": "EUR",
    "total_minor": 4800,
    "lines": [{"item": "team-monthly", "quantity": 4}],
    "charges": 2,
}
ANSWER = f"Invoice {INVOICE_ID} was charged twice; one charge will be refunded to Ada Lindqvist."

PROFILE_TOOL, INVOICE_TOOL = "get_customer_profile", "get_invoice"
ARGUMENTS = {PROFILE_TOOL: {"customer_id": CUSTOMER_ID}, INVOICE_TOOL: {"invoice_id": INVOICE_ID}}

MODEL_CALLS = 3

calls = 0
"""Model calls made in this process."""


class LostResultError(Exception):
    """A tool result did not reach the model: the column dropped work."""


async def model_called() -> None:
    """Count a model call, and let others run, as waiting for a real one would."""
    global calls
    calls += 1
    await asyncio.sleep(0)


def check_results(text: str) -> None:
    """Both results must be in what the model is shown. Raises: LostResultError."""
    if "Ada Lindqvist" not in text or "team-monthly" not in text:
        raise LostResultError("a tool result is missing from what the model was shown")
