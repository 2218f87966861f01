"""The official MCP conformance suite, run against every server; `make conformance` runs it."""
