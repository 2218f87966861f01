"""The `erase` command of every server: a person goes from its store, and that they are gone is proved."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handoff.copies import Copies, SharedCopies
from handoff.erasure import Belongings, Person, erase_person
from handoff.errors import JsonObject, StructuredError
from handoff.proof import ErasureReport, compacted, prove, report_lines
from handoff.store import Store
from servers._definition import ServerDefinition
from servers._hosting.opening import open_server_store
from servers._hosting.wire import stdout_set_aside

if TYPE_CHECKING:
    from collections.abc import Coroutine

CustomerArgument = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")]
ProveOption = Annotated[
    list[str] | None,
    typer.Option("--prove", help="A value that must be gone, such as a maiden name; repeatable."),
]

SHARED = "shared contexts"


class Erasing:
    """A server's store, and the store of shared contexts if it uses one, while a person goes from them."""

    def __init__(self, definition: ServerDefinition, store: Store, shared: Store | None) -> None:
        self._definition = definition
        self._store = store
        self._shared = shared
        own = [definition.erasure(store)] if definition.erasure is not None else []
        self._belongings: list[Belongings] = [Copies(store), *own]

    async def collect(self, person: Person) -> None:
        """Find out what is the person's, and change nothing."""
        for each in reversed(self._belongings):
            await each.collect(person)

    async def erase(self, person: Person) -> list[ErasureReport]:
        """Put tombstones in the place of what is the person's, in every store."""
        reports: list[ErasureReport] = []
        await self.collect(person)
        if self._shared is not None:
            counts = await erase_person(self._shared, person, [SharedCopies(self._shared)])
            reports.append(ErasureReport(SHARED, counts))
        counts = await erase_person(self._store, person, self._belongings)
        return [*reports, ErasureReport(self._definition.name, counts)]

    async def prove(
        self, person: Person, given: Mapping[str, str], reports: Sequence[ErasureReport]
    ) -> list[ErasureReport]:
        """Make the files hold nothing else than the stores, and search them."""
        stores = {self._definition.name: self._store, SHARED: self._shared}
        proved: list[ErasureReport] = []
        for report in reports:
            store = stores[report.where]
            assert store is not None  # there is a report of it
            done = await compacted(store)
            proof = await prove(store, person, given)
            proved.append(ErasureReport(report.where, report.counts, done, proof))
        return proved


def add_erase_command(app: typer.Typer, definition: ServerDefinition, store_option: Any) -> None:
    """Add `erase` to a server's command."""

    def erase(
        customer: CustomerArgument,
        proving: ProveOption = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
        exchange: Annotated[
            str | None, typer.Option("--exchange", hidden=True, help="A step of `switchboard erase`.")
        ] = None,
        store: str | None = None,
    ) -> None:
        """Erase a customer: their data become tombstones, and a search of the files proves it.

        It cannot be undone. Books keep amounts and dates. Exit status 1 when something is left.
        """
        with stdout_set_aside():
            told = _run(_exchanged(definition, store, _checked(customer), proving or [], exchange))
        if exchange is not None or as_json:
            typer.echo(json.dumps(told, ensure_ascii=True))
        else:
            typer.echo("\n".join(line for report in told["reports"] for line in report_lines(report)))
        left = any(report["proof"] and report["proof"]["left"] for report in told.get("reports", ()))
        raise typer.Exit(1 if left and exchange is None else 0)

    # The option is of the module that builds the command line, which imports this one.
    erase.__annotations__["store"] = store_option
    app.command("erase")(erase)


def _run(work: Coroutine[Any, Any, JsonObject]) -> JsonObject:
    return asyncio.run(work)


async def _exchanged(
    definition: ServerDefinition, url: str | None, customer: str, proving: Sequence[str], step: str | None
) -> JsonObject:
    """What was asked for: everything, or one step for a process that asks several servers."""
    person, given = Person(customer), {f"--prove {place}": each for place, each in enumerate(proving, 1)}
    if step in ("erase", "prove"):
        told = json.loads(sys.stdin.read())
        person.take(told["person"])
        given = dict(told["given"])
    async with _opened(definition, url) as erasing:
        if step == "plan":
            await erasing.collect(person)
            return {"person": person.to_json()}
        reports = await erasing.erase(person)
        if step != "erase":
            reports = await erasing.prove(person, given, reports)
        return {"reports": [report.to_json() for report in reports]}


@asynccontextmanager
async def _opened(definition: ServerDefinition, url: str | None) -> AsyncIterator[Erasing]:
    from handoff.shared_contexts import CONTEXT_STORE_VARIABLE, NAMESPACE
    from handoff.stores import open_store

    store = await open_server_store(definition.name, url)
    try:
        place = os.environ.get(CONTEXT_STORE_VARIABLE)
        shared = await open_store(place, namespace=NAMESPACE) if place else None
        try:
            yield Erasing(definition, store, shared)
        finally:
            if shared is not None:
                await shared.close()
    finally:
        await store.close()


def _checked(customer: str) -> str:
    """Raises: StructuredError for what cannot be the id of a customer."""
    if not customer.strip() or customer.startswith("erased_"):
        raise StructuredError(
            "this is not the id of a customer",
            code="invalid_value",
            field="CUSTOMER",
            suggestion="find the id with search_customers",
        )
    return customer
