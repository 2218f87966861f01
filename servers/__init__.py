"""Four standalone MCP servers, a folder each, and what they share in underscore modules.

A server is used through its command (`python -P -m servers.billing`), not by importing it.
"""

__all__: list[str] = []
