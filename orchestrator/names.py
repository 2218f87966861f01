"""How agents, servers and tools are named in a team file."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}\.[A-Za-z0-9_-]{1,64}$")]
"""A tool of a server: `server.tool`."""
