"""`switchboard erase`: a customer goes from the orchestrator and from every server of the team."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from handoff.errors import JsonObject, StructuredError
from orchestrator.commands.opening import AsJson, StoreOption, TeamOption, echo_json, told

if TYPE_CHECKING:
    from pathlib import Path

    from handoff.erasure import Person
    from handoff.store import Store
    from orchestrator.team import ServerEntry

_UNFINISHED = 2
"""Exit status when all is well here and a server elsewhere has still to be told."""


def erase(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")],
    prove: Annotated[
        list[str] | None,
        typer.Option("--prove", help="A value that must be gone, such as a maiden name; repeatable."),
    ] = None,
    cancel_runs: Annotated[
        bool, typer.Option("--cancel-runs", help="Cancel what the customer's runs still do.")
    ] = False,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
) -> None:
    """Erase a customer everywhere: their data become tombstones, and a search of the files proves it.

    It cannot be undone. Servers at a URL are named with the command to run there. Exit status 1 when
    something is left, 2 when only those servers are.
    """
    values = {f"--prove {place}": each for place, each in enumerate(prove or [], 1)}
    outcome = told(lambda: _erased(customer, values, cancel_runs, store, team))
    if as_json:
        echo_json(outcome)
    else:
        _show(outcome)
    left = any(report["proof"] and report["proof"]["left"] for report in outcome["reports"])
    raise typer.Exit(1 if left else _UNFINISHED if outcome["elsewhere"] else 0)


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that is started here, whose own command erases."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    async def step(self, step: str, customer: str, given: JsonObject | None = None) -> JsonObject:
        """One step of the erasure. Raises: StructuredError when the server did not do it."""
        process = await asyncio.create_subprocess_exec(
            *(*self.command, "erase", f"--exchange={step}", "--", customer),
            env=dict(self.environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            # Over its pipe: a command line can be read by everybody on the machine.
            output, said = await process.communicate(json.dumps(given or {}).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines()
            raise StructuredError(
                f"{self.name} could not erase ({lines[-1] if lines else 'it said nothing'})",
                code="erasure_refused",
                suggestion="put that right and run the command again; what is erased stays erased",
            )
        found: JsonObject = json.loads(output)
        return found


async def _erased(
    customer: str, values: Mapping[str, str], cancel_runs: bool, store_url: str | None, team: Path | None
) -> JsonObject:
    from handoff.erasure import Person
    from handoff.stores import open_store
    from orchestrator.asking import default_store
    from orchestrator.desk import NAMESPACE, servers_store
    from orchestrator.links.target import child_environment
    from orchestrator.team import load_team

    if not customer.strip() or customer.startswith("erased_"):
        raise StructuredError("this is not the id of a customer", suggestion="find it: search_customers")
    url = store_url or default_store()
    entries = load_team(team).servers
    environment = child_environment({"SWITCHBOARD_STORE": servers_store(url)})
    servers = [_Server(name, entry.command, environment) for name, entry in entries.items() if entry.command]
    person = Person(customer)
    store = await open_store(url, namespace=NAMESPACE)
    try:
        identified: dict[str, int] = {}
        plans = await asyncio.gather(*(server.step("plan", customer) for server in servers))
        for server, plan in zip(servers, plans, strict=True):
            identified[server.name] = len(plan["person"]["identity"])
            person.take(plan["person"])
        await _stop_runs(store, person, cancel_runs)
        # Who knows best who the person is goes last: an erasure that is killed can ask again.
        servers.sort(key=lambda server: identified[server.name])
        return {
            "reports": await _everywhere(store, person, values, servers, one_by_one=_apart(url)),
            "elsewhere": _elsewhere(entries, customer),
        }
    finally:
        await store.close()


async def _stop_runs(store: Store, person: Person, cancel_runs: bool) -> None:
    """Raises: ErasureError when runs of the person are in work and may not be cancelled."""
    from handoff.erasure import ErasureError
    from orchestrator.erasure import RunBelongings
    from orchestrator.runs.closing import cancel_run
    from orchestrator.runs.journal import Journal

    in_work = await RunBelongings(store).in_work(person)
    if in_work and not cancel_runs:
        named = ", ".join(in_work[:5])
        raise ErasureError(
            f"{len(in_work)} runs of this customer are in work ({named}); nothing was erased",
            suggestion="wait until they have ended, or repeat the command with --cancel-runs",
        )
    for run_id in in_work:
        await cancel_run(Journal(store), run_id)


def _apart(url: str) -> bool:
    """Whether every store has files of its own, in which no other one can have left anything."""
    from handoff.shared_contexts import CONTEXT_STORE_VARIABLE

    return url.startswith("sqlite:") and not os.environ.get(CONTEXT_STORE_VARIABLE)


async def _everywhere(
    store: Store,
    person: Person,
    values: Mapping[str, str],
    servers: Sequence[_Server],
    *,
    one_by_one: bool,
) -> list[JsonObject]:
    """Erase here and on the servers, and prove it; where stores share files, when it is done everywhere."""
    from handoff.copies import Copies
    from handoff.erasure import Counts, erase_person
    from handoff.proof import ErasureReport, compacted, prove
    from orchestrator.erasure import RunBelongings

    belongings = (Copies(store), RunBelongings(store))
    counts: Counts = await erase_person(store, person, belongings)
    told_servers = {"person": person.to_json(), "given": dict(values)}
    erased: dict[str, JsonObject] = {}
    for server in () if one_by_one else servers:
        for report in (await server.step("erase", person.customer_id, told_servers))["reports"]:
            _add(erased.setdefault(report["where"], {}), report["erased"])
    counts += await erase_person(store, person, belongings)
    own = ErasureReport("orchestrator", counts, await compacted(store), await prove(store, person, values))
    reports = [own.to_json()]
    for server in servers:
        for report in (await server.step("prove", person.customer_id, told_servers))["reports"]:
            _add(report["erased"], erased.pop(report["where"], {}))
            reports.append(report)
    return reports


def _add(total: JsonObject, more: JsonObject) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def _elsewhere(entries: Mapping[str, ServerEntry], customer: str) -> list[JsonObject]:
    """Servers that others run: where they are, and what to run there."""
    return [
        {
            "server": name,
            "urls": list(entry.urls),
            "command": f"switchboard-{name} erase {shlex.quote(customer)}",
        }
        for name, entry in entries.items()
        if not entry.command
    ]


def _show(outcome: JsonObject) -> None:
    from handoff.proof import report_lines

    for report in outcome["reports"]:
        typer.echo("\n".join(report_lines(report)))
    for each in outcome["elsewhere"]:
        typer.echo(f"{each['server']}: NOT erased, it runs elsewhere ({', '.join(each['urls'])}).")
        typer.echo(f"  run there, with the store it serves: {each['command']}")
