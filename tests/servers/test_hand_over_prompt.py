"""The prompt that leads through a handoff: for those who may hand over, and exact about its arguments."""

from __future__ import annotations

import re

import pytest
from mcp import Client, MCPError
from mcp.types import GetPromptResult, TextContent

from handoff.guide import HAND_OVER, STEPS
from handoff.receipts import Receipt
from servers.testing import server_for_tests

SECRET = "hunter2-forever"
SERVERS = ("billing", "customer-data", "knowledge-base", "ticketing")
TASK = {"target_server": "ticketing", "task": "Open a ticket about {the} lost parcel."}


def text_of(prompt: GetPromptResult) -> str:
    [message] = prompt.messages
    assert message.role == "user" and isinstance(message.content, TextContent)
    return message.content.text


@pytest.mark.parametrize("name", SERVERS)
async def test_every_server_offers_the_way_to_another_one(name: str) -> None:
    async with server_for_tests(name, demo=False) as server, Client(server) as client:
        [listed] = (await client.list_prompts()).prompts
        text = text_of(await client.get_prompt(HAND_OVER, TASK))
        tools = {tool.name for tool in (await client.list_tools()).tools}
    assert (listed.name, bool(listed.title), bool(listed.description)) == (HAND_OVER, True, True)
    assert [(each.name, each.required) for each in listed.arguments or []] == [
        ("target_server", True),
        ("task", True),
    ]
    assert text.startswith(f"Hand this over from the server {name} to the server ticketing: {TASK['task']}\n")
    assert "{" not in text.replace(TASK["task"], "")
    assert set(re.findall(r"\b(?:prepare|receive)_handoff\b", text)) <= tools


def test_the_way_names_every_status_and_every_member_of_a_receipt_that_it_sends_the_model_to() -> None:
    statuses = re.findall(r"^   - (\w+):", STEPS.partition("4. ")[2], flags=re.MULTILINE)
    schema = Receipt.model_json_schema()["properties"]
    assert statuses and set(statuses) == set(schema["status"]["enum"])
    named = set(re.findall(r'"(\w+)"', STEPS.partition("4. ")[2])) - {"suggestion"}
    assert named <= set(schema)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"task": "x"}, "target_server"),
        ({"target_server": "ticketing"}, "task"),
        ({**TASK, "task": SECRET * 200}, "arguments"),
    ],
)
async def test_wrong_arguments_are_refused_without_their_values(
    arguments: dict[str, str], field: str
) -> None:
    async with server_for_tests("billing", demo=False) as server, Client(server) as client:
        with pytest.raises(MCPError) as refused:
            await client.get_prompt(HAND_OVER, arguments)
    assert refused.value.data["field"] == field
    assert refused.value.data["code"] == "invalid_argument"
    assert SECRET not in f"{refused.value} {refused.value.data}"


async def test_who_may_not_hand_over_is_not_offered_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_SCOPES", "billing:read staff")
    async with server_for_tests("billing", demo=False) as server, Client(server) as client:
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError) as refused:
            await client.get_prompt(HAND_OVER, TASK)
    assert refused.value.data["code"] == "forbidden"
