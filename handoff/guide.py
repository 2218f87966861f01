"""The prompt that leads a model, and the person beside it, through a handoff with no orchestrator between.

    server.add_prompt(hand_over_prompt("billing"))

An extension cannot bring prompts of its own, so a server adds this one itself.
"""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver.prompts import Prompt
from pydantic import Field

PREPARE_HANDOFF = "prepare_handoff"
"""The tool that the prompt leads to first: who may not call it has no use for the prompt."""
HAND_OVER = "hand_over"
TITLE = "Hand work over to another server"
DESCRIPTION = "Pass what is left to do to another server, so that it is done once, whatever breaks."

TargetArgument = Annotated[
    str, Field(max_length=128, description="The server that takes over, by its name, such as ticketing.")
]
TaskArgument = Annotated[str, Field(max_length=2_000, description="What is left to do there.")]

STEPS = """\
Hand this over from the server {source} to the server {target}: {task}

1. Look up at {source} what {target} needs: ids and facts, no transcripts.
2. Call prepare_handoff of {source} with
   - target_server: {target}
   - idempotency_token: a text that you make up once for this handoff
   - accumulated_context: customer_id, what is asked for, and what you found
   - next_tool_hint: the tool of {target}, if one call does it; what it is called with goes under
     "arguments" in accumulated_context. Otherwise leave the hint out.
3. Call receive_handoff of {target} with the envelope that came back, unchanged. If no answer comes, call it
   with the same envelope again: the work is done once.
4. Go by the status of the receipt:
   - completed: it is done; "result" says what came of it.
   - accepted: it is stored and waits for you. Call the tools in "next_tools" at {target}, or those that the
     task needs; "missing_arguments" names what was not in the context.
   - processing: wait for "retry_after_seconds", then call receive_handoff with the same envelope again.
   - failed: do what "suggestion" in "error" says; ask the user where that needs a person.
   - parked: tell the user that a person has to look at it.
5. Tell the user what was done, with the ids from the receipt.
"""


def hand_over_prompt(source: str) -> Prompt:
    """The prompt `hand_over` of the server named `source`; its arguments are `target_server` and `task`."""

    def hand_over(target_server: TargetArgument, task: TaskArgument) -> str:
        return STEPS.format(source=source, target=target_server, task=task)

    return Prompt.from_function(hand_over, name=HAND_OVER, title=TITLE, description=DESCRIPTION)
