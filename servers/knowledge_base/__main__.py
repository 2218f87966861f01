"""`python -m servers.knowledge_base`, also installed as `switchboard-knowledge-base`."""

from __future__ import annotations

from servers._command import server_command
from servers.knowledge_base.server import DEFINITION

main = server_command(DEFINITION)

if __name__ == "__main__":
    main()
