"""Queries that try to be more than words: for the search of whatever server has one."""

from __future__ import annotations

HOSTILE = [
    '"',
    "''",
    "') OR 1=1--",
    "ada OR 1=1",
    "NEAR(ada, 5)",
    "NEAR(",
    "ada*",
    "title:ada",
    "^ada",
    "-ada",
    "ada AND",
    "(((",
    "{ada}",
    "cus_*",
    "../../etc/passwd",
    "%2e%2e%2f",
    "cus_1\x00",
    "\x00",
    "cus:1\r\nDEL",
    "\u202eada",
    "\N{GRINNING FACE}",
    "x" * 100_000,
    "ada " * 25_000,
    "@" * 1_000,
    "1" * 1_000,
]
