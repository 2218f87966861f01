"""The same patterns from Python: a team built in code, run on the demo servers.

    python examples/patterns/in_python.py sqlite:///data/

Any model will do; this one is a script, so that no key is needed.
"""

from __future__ import annotations

import asyncio
import json
import sys

from orchestrator import Agent, FanOut, RunReport, Team, open_desk
from orchestrator.models.script import Script
from orchestrator.models.scripted import ScriptedModel

LOOKUP = Agent(
    name="lookup",
    pattern=FanOut(
        call="customer-data.get_customer_profile",
        arguments={"customer_id": "{item}"},
        merge="writer",
    ),
)
WRITER = Agent(name="writer", model="claude-haiku-5-5", instructions="List the names of those found.")

ANSWERS = Script.model_validate(
    {
        "replies": [
            {"agent": "writer", "text": "First found: ${context.handoff.facts.successful.0.result.name}."}
        ]
    }
)


async def look_up(store_url: str, customers: list[str]) -> RunReport:
    team = Team(entry="lookup", agents={"lookup": LOOKUP, "writer": WRITER})
    model = ScriptedModel(ANSWERS)
    async with open_desk(team, model=model, model_name="scripted", store_url=store_url) as desk:
        return await desk.handle(desk.runner.request(json.dumps(customers)))


def main() -> None:
    store_url = sys.argv[1] if len(sys.argv) > 1 else "sqlite:///data/"
    report = asyncio.run(look_up(store_url, ["cus_1001", "cus_1002", "cus_none"]))
    assert report.output is not None
    found, failed = report.output["successful"], report.output["failed"]
    sys.stdout.write(f"{report.result} {len(found)} found, {len(failed)} not.\n")


if __name__ == "__main__":
    main()
