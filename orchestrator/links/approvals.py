"""Telling the server that owns an approval what a person decided, with that person's credential.

A server at a URL is asked over HTTP with the person's own bearer token: `POST /approvals/{id}/resolve`. One
that is started here belongs to the local user, and is asked by its own command: `approvals approve ID`. No
credential of an agent is used for either.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote, urlsplit

import httpx2

from handoff.errors import JsonObject, StructuredError
from orchestrator.links.target import child_environment
from orchestrator.team import ServerEntry

HTTP_SECONDS = 20.0
COMMAND_SECONDS = 30.0

Verdict = Literal["approve", "reject"]

_STANDS: dict[Verdict, tuple[str, ...]] = {
    "approve": ("approved", "used"),
    "reject": ("rejected", "expired"),
}
"""What the server may say of an approval that was decided so before."""


class ApprovalError(StructuredError):
    """The server did not take the decision; nothing is decided here either."""

    code = "approval_refused"


class ApprovalUnavailableError(ApprovalError):
    """The server could not be asked."""

    code = "approval_unavailable"
    retryable = True


class ServerApprovals:
    """The approvals of a team's servers."""

    def __init__(self, servers: Mapping[str, ServerEntry], env: Mapping[str, str]) -> None:
        """`env` is what servers that are started here get."""
        self._servers = servers
        self._env = env

    async def resolve(
        self, server: str, approval_id: str, verdict: Verdict, *, note: str, credential: str | None
    ) -> None:
        """Record the decision at the server; one that was recorded before stands.

        `credential` is the person's bearer token at that server. Raises: ApprovalError.
        """
        entry = self._servers.get(server)
        if entry is None:
            raise ApprovalError(f"the team file has no server {server} any more")
        if entry.command is not None:
            await self._by_command(server, entry.command, approval_id, verdict, note)
        else:
            await _over_http(server, entry.urls, approval_id, verdict, note, credential)

    async def _by_command(
        self, server: str, command: tuple[str, ...], approval_id: str, verdict: Verdict, note: str
    ) -> None:
        reason = [f"--reason={note}"] if note else []
        done, told = await self._run(server, command, verdict, *reason, "--json", "--", approval_id)
        if done:
            return
        if told.get("code") != "conflict":
            raise _refused(server, told)
        known, now = await self._run(server, command, "show", "--json", "--", approval_id)
        if not known or now.get("status") not in _STANDS[verdict]:
            raise _refused(server, told)

    async def _run(self, server: str, command: tuple[str, ...], *arguments: str) -> tuple[bool, JsonObject]:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "approvals",
                *arguments,
                env=child_environment(self._env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise ApprovalUnavailableError(f"the command of {server} cannot be started") from error
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            raise ApprovalUnavailableError(f"{server} did not take the decision in time") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode == 0, _object(output)


async def _over_http(
    server: str, urls: tuple[str, ...], approval_id: str, verdict: Verdict, note: str, credential: str | None
) -> None:
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    async with httpx2.AsyncClient(headers=headers, timeout=HTTP_SECONDS) as http:
        for url in urls:
            base = "{0.scheme}://{0.netloc}".format(urlsplit(url))
            place = f"{base}/approvals/{quote(approval_id, safe='')}/resolve"
            try:
                answer = await http.post(place, json={"decision": verdict, "note": note})
                if answer.status_code == httpx2.codes.CONFLICT:
                    listed = await http.get(f"{base}/approvals", params={"all": "true"})
                    if _stands(_object(listed.content), approval_id, verdict):
                        return
            except httpx2.TransportError:
                continue
            if answer.is_success:
                return
            raise _answered(server, answer.status_code, _object(answer.content), given=credential is not None)
    raise ApprovalUnavailableError(f"{server} cannot be reached", retry_after_seconds=2)


def _stands(listed: JsonObject, approval_id: str, verdict: Verdict) -> bool:
    items = listed.get("items")
    return isinstance(items, list) and any(
        item.get("approval_id") == approval_id and item.get("status") in _STANDS[verdict]
        for item in items
        if isinstance(item, dict)
    )


def _answered(server: str, status: int, told: JsonObject, *, given: bool) -> ApprovalError:
    if status in (401, 403):
        return ApprovalError(
            f"{server} refuses the credential for approvals" if given else f"{server} asks who decides",
            code="approval_credential",
            suggestion=f"give your own token at {server}, one that may approve: over HTTP as "
            "X-Approval-Authorization, on the command line as SWITCHBOARD_APPROVAL_TOKEN",
        )
    if status in (408, 425, 429) or status >= 500:
        return ApprovalUnavailableError(f"{server} cannot take the decision now", retry_after_seconds=2)
    return _refused(server, told)


def _refused(server: str, told: JsonObject) -> ApprovalError:
    """What the server said; its own words name no values of others."""
    why = told.get("detail") or told.get("message") or "it does not know of this approval"
    suggestion = told.get("suggestion")
    return ApprovalError(
        f"{server} does not take the decision: {why}",
        suggestion=suggestion if isinstance(suggestion, str) else None,
    )


def _object(text: bytes) -> JsonObject:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
