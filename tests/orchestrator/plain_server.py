"""A stdio server in bare protocol lines that starts at once and has, on demand, one planted fault.

    python plain_server.py FAULT [FILE]

Without a fault (`none`) it serves the handshake era. FILE is where some faults leave a trace or look.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FAULT = sys.argv[1]
FILE = Path(sys.argv[2]) if len(sys.argv) > 2 else None
WRITES = {"name": "delete_everything", "inputSchema": {"type": "object", "properties": {}}}
READS = {
    "name": "search_things",
    "description": "Search.",
    "inputSchema": {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
    },
    "annotations": {"readOnlyHint": True},
}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(request: dict[str, Any]) -> dict[str, Any]:
    method = request["method"]
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        info = {"name": "plain", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": {"no_tools": [], "no_reader": [WRITES]}.get(FAULT, [WRITES, READS])}
    assert method == "tools/call"
    assert request["params"]["name"] == "search_things", "only what says it reads may be called"
    if FAULT == "noise_in_call":
        sys.stdout.write("found 3 things\n")
    if FAULT == "failing_tool" or (FAULT == "failing_while" and FILE is not None and FILE.exists()):
        error = {
            "code": "store_unavailable",
            "message": "the disk is full",
            "suggestion": "free some disk space",
        }
        return {"content": [], "structuredContent": error, "isError": True}
    return {"content": [{"type": "text", "text": "nothing found"}]}


def surroundings() -> dict[str, Any]:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
        terminal = True
    except OSError:
        terminal = False
    return {
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "terminal": terminal or os.getsid(0) != os.getpid(),
    }


def begin() -> None:
    if FILE is not None and FAULT in ("hang", "deaf"):
        FILE.write_text(str(os.getpid()), "utf-8")
    if FAULT == "dump" and FILE is not None:
        FILE.write_text(json.dumps(surroundings()), "utf-8")
    if FAULT == "noise":
        sys.stdout.write("Welcome to the plain server!\n")
    if FAULT == "die":
        sys.stderr.write("reading the configuration\nthe licence file is missing\n")
        sys.exit(3)


def main() -> None:
    begin()
    probed = False
    for line in sys.stdin:
        request = json.loads(line)
        if FAULT == "hang" or "id" not in request:
            continue
        if request["method"] == "server/discover":
            probed = True
            send({"id": request["id"], "error": {"code": -32601, "message": "Method not found"}})
        elif FAULT == "locked" and probed:
            send({"id": request["id"], "error": {"code": -32022, "message": "Unsupported protocol version"}})
        else:
            send({"id": request["id"], "result": result(request)})
    while FAULT == "deaf":
        time.sleep(1)


main()
