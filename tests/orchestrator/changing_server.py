"""An MCP server whose one tool is described by a file: `changing_server.py DESCRIPTION_FILE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import ToolAnnotations


def main(file: Path) -> None:
    server = MCPServer("changing", version="0", log_level="ERROR")

    @server.tool(description=file.read_text("utf-8"), annotations=ToolAnnotations(read_only_hint=True))
    async def get_pid() -> int:
        return os.getpid()

    server.run("stdio")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
