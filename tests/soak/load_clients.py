"""Clients of every kind: those who wait, watch, come back, walk away, change their mind, or take nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import httpx2

from tests.soak.load_case import a_request

END_SECONDS = 120.0
"""Far above a run's deadline: one that has not ended by then is stuck."""
ENDS = ("completed", "escalated", "failed", "cancelled", "waiting_approval")
WAIT_SECONDS = 20
LAZY_SECONDS = 14.0
"""How long a reader takes nothing: beyond the service's patience."""
LOST = (httpx2.HTTPError, ConnectionError)


@dataclass
class Clients:
    """Any number of clients, and what they were told."""

    http: httpx2.AsyncClient
    rng: Random
    accepted: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    refused: int = 0
    """Requests that found the queue full."""
    cut: int = 0
    """Requests whose connection was lost before there was an answer."""
    closing: bool = False
    """Whether the service is being ended: then it may answer no more."""

    async def keep_busy(self, stop: asyncio.Event) -> None:
        """Hand in one request after the other, in one way or another, until told to stop."""
        ways: tuple[tuple[Callable[[str], Awaitable[str | None]], int], ...] = (
            (self.wait, 45),
            (self.watch, 25),
            (self.come_back, 10),
            (self.walk_away, 12),
            (self.cancel, 5),
            (self.hang_up, 3),
        )
        while not stop.is_set():
            [way] = self.rng.choices([each for each, _ in ways], [weight for _, weight in ways])
            self.did[way.__name__] += 1
            began = time.monotonic()
            try:
                run_id = await way(a_request(self.rng))
                if run_id is not None:
                    self.ends[await self.ended(run_id)] += 1
            except LOST:
                if not self.closing:
                    raise
                return
            self.longest = max(self.longest, time.monotonic() - began)

    async def wait(self, text: str) -> str | None:
        """Wait for the answer."""
        return await self.create(text, wait=WAIT_SECONDS)

    async def watch(self, text: str) -> str | None:
        """Watch it from the beginning to the end."""
        run_id = await self.create(text)
        if run_id is not None:
            await self._see_all(run_id, cut=None)
        return run_id

    async def come_back(self, text: str) -> str | None:
        """Watch it, lose the connection in the middle, and come back for the rest."""
        run_id = await self.create(text)
        if run_id is not None:
            await self._see_all(run_id, cut=self.rng.randint(1, 3))
        return run_id

    async def walk_away(self, text: str) -> str | None:
        """Hang up while the answer is on its way, and ask again with the same key."""
        key = str(uuid.uuid4())
        with contextlib.suppress(TimeoutError, httpx2.TimeoutException):
            async with asyncio.timeout(self.rng.uniform(0.005, 0.3)):
                return await self.create(text, wait=WAIT_SECONDS, key=key)
        return await self.create(text, wait=WAIT_SECONDS, key=key)

    async def cancel(self, text: str) -> str | None:
        """Change one's mind."""
        run_id = await self.create(text)
        if run_id is not None:
            answer = await self.http.post(f"/v1/runs/{run_id}/cancel")
            assert answer.status_code in (200, 409), answer.text
        return run_id

    async def hang_up(self, text: str) -> str | None:
        """Break off in the middle of the request."""
        url = self.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f'{head}Content-Length: 400\r\n\r\n{{"input": "{text}'.encode())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        return None

    async def take_nothing(self, run_id: str, stop: asyncio.Event) -> None:
        """Open the stream of a long run again and again, and read none of it."""
        url = self.http.base_url
        while not stop.is_set():
            with socket.socket() as lazy:
                lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                lazy.setblocking(False)
                loop = asyncio.get_running_loop()
                try:
                    await loop.sock_connect(lazy, (url.host, url.port))
                    asking = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    await loop.sock_sendall(lazy, asking.encode())
                except ConnectionError:
                    assert self.closing
                    return
                self.did["take_nothing"] += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAZY_SECONDS):
                        await stop.wait()

    async def flood(self, number: int) -> None:
        """Many at once, more than may wait: some are taken, the others told when to come back."""
        taken = await asyncio.gather(*(self.create("kind-look", patient=False) for _ in range(number)))
        for run_id in taken:
            if run_id is not None:
                self.ends[await self.ended(run_id)] += 1

    async def create(
        self, text: str, *, wait: float = 0, key: str | None = None, patient: bool = True
    ) -> str | None:
        """Hand a request in; the run's id, or None when the queue stays full."""
        deadline = time.monotonic() + END_SECONDS
        key = key or str(uuid.uuid4())
        while True:
            try:
                answer = await self.http.post(
                    "/v1/runs",
                    params={"wait": wait} if wait else {},
                    json={"input": text},
                    headers={"idempotency-key": key},
                )
            except httpx2.ReadError:
                # A caller cannot know what became of it, and asks again under the same key.
                if self.closing or time.monotonic() > deadline:
                    raise
                self.cut += 1
                continue
            if answer.status_code in (200, 201, 202):
                run_id = str(answer.json()["run_id"])
                self.accepted.add(run_id)
                return run_id
            if self.closing and answer.status_code == 503:
                return None
            assert answer.status_code == 429, (answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "queue_full"
            assert int(answer.headers["retry-after"]) >= 1
            self.refused += 1
            if not patient or time.monotonic() > deadline:
                return None
            await asyncio.sleep(int(answer.headers["retry-after"]))

    async def ended(self, run_id: str) -> str:
        """How the run ended. Raises: AssertionError when it is lost, or stuck."""
        deadline = time.monotonic() + END_SECONDS
        while True:
            answer = await self.http.get(f"/v1/runs/{run_id}", params={"wait": WAIT_SECONDS})
            assert answer.status_code == 200, (run_id, answer.text)
            status = str(answer.json()["status"])
            if status in ENDS or self.closing:
                return status
            assert time.monotonic() < deadline, f"{run_id} is still {status}"

    async def _see_all(self, run_id: str, cut: int | None) -> None:
        """Every event once and in order, whether or not the stream is cut after so many."""
        seen: list[int] = []
        kind = ""
        while kind not in ("ended", "waiting") and not self.closing:
            headers = {"last-event-id": str(seen[-1])} if seen else {}
            async with self.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
                assert response.status_code in (200, 204), response.status_code
                if response.status_code == 204:
                    break
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        seen.append(event["seq"])
                        kind = event["kind"]
                        if cut is not None and len(seen) == cut:
                            cut = None
                            break
        assert seen == list(range(1, len(seen) + 1)), (run_id, seen)
