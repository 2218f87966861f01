"""A bare SDK server over HTTP with one tool that does nothing: `bare_server.py PORT`."""

from __future__ import annotations

import sys

from mcp.server import MCPServer

server = MCPServer("bare", log_level="WARNING")


@server.tool()
async def echo(text: str) -> str:
    """Answer the text."""
    return text


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]), stateless_http=True)
