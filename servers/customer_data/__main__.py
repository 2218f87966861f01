"""`python -m servers.customer_data`, also installed as `switchboard-customer-data`."""

from __future__ import annotations

from servers._command import server_command
from servers.customer_data.server import DEFINITION

main = server_command(DEFINITION)

if __name__ == "__main__":
    main()
