"""The HTTP service: runs are created, watched, cancelled and resumed over HTTP, and over MCP at `/mcp`."""
