"""`python -m servers.billing`, also installed as `switchboard-billing`."""

from __future__ import annotations

from servers._command import server_command
from servers.billing.server import DEFINITION

main = server_command(DEFINITION)

if __name__ == "__main__":
    main()
