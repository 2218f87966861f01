"""The service with a model and a middle layer that crash over what they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import httpx2
import structlog

from handoff.private_logs import redact_crashes
from orchestrator.log import configure_logging
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText
from orchestrator.service.serving import serve
from tests.orchestrator.serving import DEAD, team_at
from tests.security.planted import PLANTED, TEXTS, switched

WAIT_SECONDS = 20.0


class Choking:
    """Cannot digest a request, and quotes it."""

    def __init__(self) -> None:
        self.choked = 0

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        self.choked += 1
        raise RuntimeError(f"cannot digest {request.messages}")

    async def close(self) -> None:
        """Nothing to close."""


async def session(directory: Path) -> None:
    """Requests of every kind, good and bad; what comes back is printed."""
    model, url = Choking(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(
            team_at(DEAD),
            model=model,
            model_name="choking",
            store_url=f"sqlite:///{directory.as_posix()}/runs.db",
            port=0,
            listening=url.set_result,
        )
    )
    async with httpx2.AsyncClient(base_url=await url, timeout=WAIT_SECONDS) as http:
        await http.post("/v1/runs", json={"input": "\n".join(TEXTS)})
        for text in TEXTS:
            latin = text.encode("ascii", "ignore").decode().replace("\n", " ")
            for answer in (
                await http.post("/v1/runs", json={"input": text, "session_id": text}),
                await http.post("/v1/runs", json={"input": text, text: text}),
                await http.post("/v1/runs", json={"input": ["x", text], "customer_id": text}),
                await http.get(f"/v1/runs/{latin.replace('/', '')}"),
                await http.get("/v1/runs", params={"cursor": text, "status": text}),
                await http.post("/v1/runs", json={"input": ""}, headers={"idempotency-key": latin * 20}),
                await http.post("/v1/runs", content=text.encode()),
            ):
                assert answer.status_code >= 400, answer.text
                sys.stdout.write(answer.text + "\n")
        async with asyncio.timeout(WAIT_SECONDS):
            while not model.choked:  # noqa: ASYNC110 a model that crashes sets no event
                await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


def crash(text: str) -> None:
    raise RuntimeError(f"lost {text}")


async def forgotten() -> None:
    """A task whose exception nobody takes: the event loop logs it."""
    task = asyncio.create_task(asyncio.to_thread(crash, TEXTS[1]))
    await asyncio.wait([task])
    del task


def main() -> None:
    switched()
    redact_crashes()
    configure_logging("DEBUG")
    asyncio.run(session(Path(sys.argv[1])))
    asyncio.run(forgotten())
    log = structlog.get_logger("somebody.else")
    log.warning("login", password=PLANTED[9][0], email=PLANTED[21][0], address=PLANTED[27][0], tokens=12)
    thread = threading.Thread(target=crash, args=("\n".join(TEXTS[:10]),))
    thread.start()
    thread.join(WAIT_SECONDS)
    crash("\n".join(TEXTS))


if __name__ == "__main__":
    main()
