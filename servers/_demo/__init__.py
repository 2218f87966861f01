"""The demo company: who its customers are, the same on every server."""
