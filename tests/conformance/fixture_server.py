"""A server as it is shipped, with the suite's fixtures mounted on it; takes the URL of its store."""

from __future__ import annotations

import asyncio
import sys

from servers._hosting.http import serve_http
from servers._hosting.opening import open_server_store
from servers._hosting.server import build_server
from servers._hosting.serving import say
from servers.knowledge_base.server import DEFINITION
from tests.conformance.fixtures import install


async def main(store_url: str) -> None:
    store = await open_server_store(DEFINITION.name, store_url)
    try:
        server = build_server(DEFINITION, store, transport="http")
        install(server)
        await serve_http(
            server,
            host="127.0.0.1",
            port=0,
            listening=lambda url: say(DEFINITION.name, f"listening on {url}"),
        )
        await server.close()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
