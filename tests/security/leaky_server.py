"""A server with a defect: its tool crashes over what it is given, and says over what."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel

from handoff.store import Store
from servers._command import server_command
from servers._tools import read_tool
from tests.security.planted import switched
from tests.servers.sample_server import DEFINITION


class Looked(BaseModel):
    text: str


class LeakyTools:
    def __init__(self, store: Store) -> None:
        """It keeps nothing."""

    @read_tool("Look")
    async def look(self, text: str, count: int = 1) -> Looked:
        """Look at a text. Not for anything."""
        try:
            raise RuntimeError(f"cannot parse {text}")
        except RuntimeError as error:
            raise TypeError("crashed") from error


switched()
main = server_command(replace(DEFINITION, tools=LeakyTools))

if __name__ == "__main__":
    main()
