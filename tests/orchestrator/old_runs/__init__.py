"""Runs as earlier versions wrote them, one step per line. They are only ever added to."""
