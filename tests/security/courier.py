"""A server of somebody else's whose errors and file names say what a file tells them to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel

READS = ToolAnnotations(read_only_hint=True)


class Files(BaseModel):
    files: list[str]


def build_server(texts: Path) -> MCPServer:
    """`texts` holds an object of texts by reference; it is read at each call."""
    mcp = MCPServer("courier", version="0", log_level="ERROR")

    def text_of(reference: str) -> str:
        return str(json.loads(texts.read_text("utf-8")).get(reference, ""))

    @mcp.tool(annotations=READS, structured_output=False)
    async def track(reference: str) -> CallToolResult:
        """Track a parcel; it always fails."""
        error = {"code": "lost", "message": text_of(reference), "retryable": False}
        text = TextContent(type="text", text=json.dumps(error))
        return CallToolResult(content=[text], structured_content=error, is_error=True)

    @mcp.tool(annotations=READS)
    async def list_attachments(reference: str) -> Files:
        """List the files that came with a parcel."""
        return Files(files=[f"{text_of(reference)}.pdf"])

    return mcp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    build_server(options.texts).run("streamable-http", host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
