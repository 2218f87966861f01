"""Runs the ticketing server."""

from __future__ import annotations

from servers._command import server_command

main = server_command("servers.ticketing.server:DEFINITION")

if __name__ == "__main__":
    main()
