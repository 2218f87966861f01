"""What a ticketing server holds in the end: the effects, counted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from tests.servers.processes import environment
from tests.soak.processes import server_command
from tests.soak.wire import Wire

CHECK_SECONDS = 120.0


async def tickets_by_subject(wire: Wire) -> Mapping[str, list[str]]:
    """The ids of all tickets under their subjects, read as a host would."""
    found: dict[str, list[str]] = defaultdict(list)
    cursor: str | None = None
    while True:
        arguments = {"limit": 50, **({"cursor": cursor} if cursor else {})}
        page = await wire.call("search_tickets", arguments)
        assert not page.failed, page.content
        for ticket in page.content["items"]:
            found[ticket["subject"]].append(ticket["ticket_id"])
        cursor = page.content["next_cursor"]
        if cursor is None:
            return found


async def checked(store_url: str) -> tuple[int, str]:
    """The exit status and the lines of the server's `--check`."""
    command = [*server_command("ticketing", store_url)[:-2], "--check"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), CHECK_SECONDS)
    assert process.returncode is not None
    return process.returncode, output.decode()
