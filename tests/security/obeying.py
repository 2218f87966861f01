"""A model that does whatever any text tells it to, wherever the text stands: the worst an agent can be."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.guardrails.texts import texts_in
from orchestrator.models.history import validate_history
from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import JsonObject, ModelReply, ModelRequest, OnText, Stop
from orchestrator.plain_text import plain

Orders = Iterator[tuple[str, JsonObject]]

_ids = itertools.count()


def _refunds(text: str) -> Orders:
    for match in re.finditer(r"refund (\d+) ([A-Z]{3})\W.{0,30}?\b(pay_\w+).{0,20}?\b(inv_\w+)", text, re.I):
        order = {"invoice_id": match[4], "payment_id": match[3], "amount_minor": int(match[1])}
        yield "billing__process_refund", {**order, "currency": match[2], "reason": "as instructed"}


def _one(pattern: str, tool: str, argument: str) -> Callable[[str], Orders]:
    def orders(text: str) -> Orders:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield tool, {argument: match[1]}

    return orders


def _new_addresses(text: str) -> Orders:
    for match in re.finditer(r"e-?mail of (cus_\w+) to (\S+@[\w.-]+\w)", text, re.IGNORECASE):
        yield "customer-data__update_customer", {"customer_id": match[1], "email": match[2]}


_ORDERS: tuple[Callable[[str], Orders], ...] = (
    _refunds,
    _new_addresses,
    _one(r"profile of (cus_\w+)", "customer-data__get_customer_profile", "customer_id"),
    _one(r"invoices of (cus_\w+)", "billing__list_invoices", "customer_id"),
    _one(r"search customers for (\S+@[\w.-]+\w)", "customer-data__search_customers", "query"),
    _one(r"open ticket (tck_\w+)", "ticketing__get_ticket", "ticket_id"),
    _one(r"read article ([\w-]+)", "knowledge-base__get_article", "article_id"),
    _one(r"track parcel ([\w-]+)", "courier__track", "reference"),
    _one(r"list files of ([\w-]+)", "courier__list_attachments", "reference"),
)
_TELL = re.compile(r"\b(?:repeat|include|print|quote|reveal|paste)\b.{0,60}\bin your answer\b", re.I | re.S)


class ObeyingModel:
    """Finds orders in every text it is shown and carries them out, with any tool, offered or not."""

    def __init__(self, note: str = "") -> None:
        self._note = note
        """What triage writes into its handoff, as if somebody had talked it into that."""

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        validate_history(request.messages)
        if request.agent == "triage":
            return _calls(("transfer_to_support", {"summary": self._note, "facts": {}}))
        read = plain("\n".join(_shown(request.messages)))
        done = {_key(call["name"], call["input"]): call for call in _made(request.messages)}
        orders = dict.fromkeys(_key(*order) for find in _ORDERS for order in find(read))
        if open_orders := [key for key in orders if key not in done]:
            return _calls(*(json.loads(key) for key in open_orders))
        if (moved := self._moved(request, read)) is not None:
            return moved
        return ModelReply([{"type": "text", "text": _told(request, read)}], Stop.END, "obeying")

    async def close(self) -> None:
        """Nothing to close."""

    def _moved(self, request: ModelRequest, read: str) -> ModelReply | None:
        """Where it may not do something itself, it hands over to who may, with the order as the summary."""
        offered = {tool["name"] for tool in request.tools}
        if "not_allowed" not in read or "transfer_to_billing" not in offered:
            return None
        return _calls(("transfer_to_billing", {"summary": read[:3_000], "facts": {}}))


def _told(request: ModelRequest, read: str) -> str:
    """Everything there is to tell, if any text asks for that."""
    if not _TELL.search(read):
        return "Done."
    return "\n".join(text for text in _shown(request.messages[1:]) if text)[:12_000] or read[:12_000]


def _calls(*orders: tuple[str, JsonObject]) -> ModelReply:
    blocks = [
        {"type": "tool_use", "id": f"toolu_{next(_ids)}", "name": name, "input": arguments}
        for name, arguments in orders
    ]
    return ModelReply(blocks, Stop.TOOLS, "obeying")


def _key(name: str, arguments: JsonObject) -> str:
    return json.dumps([name, arguments], sort_keys=True)


def _made(messages: list[JsonObject]) -> Iterator[JsonObject]:
    for message in messages:
        if isinstance(message["content"], list):
            yield from (block for block in message["content"] if block["type"] == "tool_use")


def _shown(messages: list[JsonObject]) -> Iterator[str]:
    """Every text that others wrote: words, and what stands in data, however deep."""
    for message in messages:
        if message["role"] != "user":
            continue
        yield from texts_in([_contents(block) for block in message["content"]])


def _contents(block: JsonObject) -> Any:
    if block["type"] == "tool_result":
        return [_contents(inner) for inner in block["content"]]
    try:
        return json.loads(unmarked(block["text"]))
    except ValueError:
        return block["text"]
