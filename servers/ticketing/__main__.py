"""`python -m servers.ticketing`, also installed as `switchboard-ticketing`."""

from __future__ import annotations

from servers._command import server_command
from servers.ticketing.server import DEFINITION

main = server_command(DEFINITION)

if __name__ == "__main__":
    main()
