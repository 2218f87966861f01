"""The conformance kit: does a server keep the promises of the handoff extension?

It talks to any MCP server as a client does, so it sees what a client sees and nothing else.
`docs/handoff-check.md` lists the promises and says what cannot be seen from outside.
"""
