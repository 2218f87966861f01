"""Connections to servers that are opened again when they are lost."""
