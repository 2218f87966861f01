"""The kinds of request the offline model knows."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a task is about. The order is the order in which tasks are done."""

    DUPLICATE_CHARGE = "duplicate_charge"
    DUPLICATE_CHECK = "duplicate_check"
    REFUND_REQUEST = "refund_request"
    ACCOUNT_CHANGE = "account_change"
    INVOICE_QUESTION = "invoice_question"
    FAULT = "fault"
    HOW_TO = "how_to"
    CANCELLATION = "cancellation"
    PLAN_CHANGE = "plan_change"
    TICKET_STATUS = "ticket_status"
    FEEDBACK = "feedback"
    PERSON = "person"
    REFUSE = "refuse"
    IDENTITY = "identity"
    THANKS = "thanks"
    GREETING = "greeting"
    UNCLEAR = "unclear"
