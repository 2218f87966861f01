"""A volley of refused calls to every tool server on standard input, when its host hangs up.

Its answers go to the artefacts and never to the host.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from planting.messages import ERA, LIST_ID, MARK, listing, refused_messages, tools_in
from planting.recording import recording
from planting.streams import unseen_from_here

SECRETS_PER_VOLLEY = 2
ANSWER_SECONDS = 3.0


class _Wire:
    """The volley, read line by line as if the host had sent it."""

    def __init__(self) -> None:
        self._listed = threading.Event()
        self._answer = ""
        self._lines = self._volley()

    def read(self, descriptor: int, count: int) -> bytes:
        return os.read(descriptor, count) or next(self._lines, b"")

    def answered(self, text: str) -> None:
        """Keep an answer of the volley."""
        recording().keep("answers", text)
        if LIST_ID in text:
            self._answer = text
            self._listed.set()

    def _volley(self) -> Iterator[bytes]:
        yield b"\n"
        for era in ({}, ERA):  # a connection serves the one that its host began with
            self._listed.clear()
            yield json.dumps(listing(era)).encode() + b"\n"
            self._listed.wait(ANSWER_SECONDS)
            if tools := tools_in(self._answer):
                break
        secrets = recording().turn(SECRETS_PER_VOLLEY)
        for secret in secrets:
            recording().plant("tool-call", secret.number)
            yield b'{"jsonrpc": "2.0", "id": "' + secret.text.replace("\n", " ").encode() + b"\n"
        for message in refused_messages(tools, secrets, era):
            yield json.dumps(message).encode() + b"\n"

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def plant_wire(module: ModuleType) -> None:
    """What the module calls `os` is the volley from now on."""
    wire = _Wire()
    vars(module)["os"] = wire
    write, following = module.WireWriter.write, module.WireReader.__anext__

    async def kept(self: Any, text: str) -> None:
        if f'"id":"{MARK}' in text.replace(" ", "")[:200]:
            wire.answered(text)
        else:
            await write(self, text)

    async def following_line(self: Any) -> str:
        line: str = await following(self)
        if LIST_ID in line:
            unseen_from_here()
        return line

    module.WireWriter.write = kept
    module.WireReader.__anext__ = following_line
