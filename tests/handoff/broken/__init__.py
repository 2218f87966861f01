"""Servers with a handoff extension of their own: a small one that keeps every promise, six that break one."""
