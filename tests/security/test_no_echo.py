"""What a planted run found once: places that repeated what a caller had sent."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from handoff.redaction import redacted
from tests.orchestrator.serving import service
from tests.servers.processes import INITIALIZE, running, sample_command

SECRET = "hunter2-forever"


@pytest.mark.parametrize("text", ["Lindenstraße 12", "Lindenstrasse 12", "M\u00fchlenstraße 7b"])
@pytest.mark.parametrize("spelt", [str, json.dumps, lambda text: json.dumps(json.dumps(text))])
def test_a_street_is_redacted_in_every_spelling_of_its_letters(text: str, spelt: type[str]) -> None:
    assert redacted(spelt(f"Adresse: {text}, 10969 Berlin")).strip('"\\').endswith("[address]")


async def test_a_method_or_prompt_that_is_not_there_is_refused_without_its_name(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path)) as server:
        await server.ask(0, "initialize", INITIALIZE)
        await server.send({"method": "notifications/initialized"})
        answer = await server.ask(1, f"get-{SECRET}")
        prompt = await server.ask(2, "prompts/get", {"name": SECRET})
        server.hang_up()
        await server.ended()
        said = await server.complaint()
    assert answer["error"] == {"code": -32601, "message": "Method not found"}
    assert prompt["error"]["message"] == "this server has no such prompt"
    assert SECRET not in json.dumps(prompt)
    assert said == ""


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        (f"get-{SECRET}", {}, "Method not found"),
        ("prompts/get", {"name": SECRET}, "no such prompt"),
        ("tools/call", {"name": SECRET, "arguments": {}}, "no tool of that name"),
        ("resources/read", {"uri": f"note://{SECRET}"}, "no such resource"),
    ],
)
async def test_the_desk_does_not_repeat_names_either(
    tmp_path: Path, method: str, params: dict[str, str], told: str
) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    async with service(tmp_path) as desk:
        answer = await desk.http.post("/mcp", json=message, headers=headers)
    assert told in answer.text
    assert SECRET not in answer.text


async def test_a_host_name_that_is_refused_is_not_logged(tmp_path: Path) -> None:
    command = sample_command(tmp_path, "--http", "--port", "0")
    async with running(command) as server:
        url = (await server.complaint_line()).split()[-1]
        async with httpx2.AsyncClient() as http:
            for header in ({"host": SECRET}, {"origin": f"http://{SECRET}"}):
                answer = await http.post(url, json={}, headers=header)
                assert answer.status_code in (403, 421)
        server.process.terminate()
        await server.ended()
        said = await server.complaint()
    assert said.count("Invalid") == 2
    assert SECRET not in said
