"""Plugging a server into a host: its configuration, its bundle, its registry entry."""
