"""An erasure that is broken off anywhere is finished by the next one; traffic meanwhile does no harm."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from handoff.erasure import Eraser, Person, eraser_of
from handoff.errors import StructuredError
from handoff.store import Store
from servers._definition import ServerDefinition
from servers._erasing import Erasing
from servers.customer_data.server import DEFINITION as CUSTOMER_DATA
from servers.ticketing.server import DEFINITION as TICKETING
from tests.conftest import MakeStore
from tests.servers.caller import Caller, calling

HER = "cus_planted1"
TEXT = "Planted words that nobody else would write"


class BrokenOffError(BaseException):
    """The process ends here."""


class Cut:
    """A store whose process ends before the commit with that number."""

    def __init__(self, store: Store, at: int) -> None:
        self._store = store
        self._left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def eraser(self) -> Eraser:
        self._count()
        return eraser_of(self._store)

    async def commit(self, *arguments: Any, **options: Any) -> Any:
        self._count()
        return await self._store.commit(*arguments, **options)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BrokenOffError


async def erased(definition: ServerDefinition, store: Any) -> None:
    await Erasing(definition, store, None).erase(Person(HER))


async def everything(store: Store) -> str:
    """All that a store holds, as its places tell it."""
    found = await eraser_of(store).places([HER, TEXT])
    return json.dumps(found)


async def tickets_and_replays(caller: Caller, number: int) -> list[dict[str, Any]]:
    """Tickets of the customer with comments; answers the calls that made them."""
    mine, calls = caller.for_customer(HER), []
    for place in range(3):
        call = {
            "subject": f"{TEXT} {number}",
            "description": TEXT,
            "idempotency_token": f"open-{number}-{place}",
        }
        ticket = await mine.ok("create_ticket", **call)
        await mine.ok("add_ticket_comment", ticket_id=ticket["ticket_id"], text=TEXT)
        calls.append(call)
    return calls


async def test_wherever_an_erasure_ends_the_next_one_finishes_it(make_store: MakeStore) -> None:
    number, broken = 0, True
    while broken:
        store = await make_store()
        async with calling(TICKETING, store) as caller:
            # The marker of an earlier round would refuse the tickets of this one.
            await forget_erasures(store)
            calls = await tickets_and_replays(caller, number)
            try:
                await erased(TICKETING, Cut(store, number))
                broken = False
            except BrokenOffError:
                pass
            await erased(TICKETING, store)
            assert await everything(store) == "{}", f"after {number} commits"
            mine = caller.for_customer(HER)
            for call in calls:
                assert (await mine.error("create_ticket", **call))["code"] == "expired"
        number += 3
    assert number > 9


async def forget_erasures(store: Store) -> None:
    from handoff.erasure import ERASURES, tombstone_id
    from handoff.store import Delete

    await store.commit([Delete(ERASURES, tombstone_id(HER))])


async def test_a_customer_who_is_written_to_meanwhile_is_gone_all_the_same(make_store: MakeStore) -> None:
    store = await make_store()
    async with calling(CUSTOMER_DATA, store) as caller:
        customer = await caller.ok("create_customer", name="Åsa Planted", email="asa@planted.example")
        id = customer["customer_id"]
        going = asyncio.Event()

        async def write(writer: int) -> int:
            done = 0
            for place in range(40):
                going.set()
                note = {"customer_id": id, "note": f"{TEXT} {writer}-{place}"}
                failed, _ = await caller.ask("update_customer_notes", **note)
                done += not failed
            return done

        writers = [asyncio.create_task(write(number)) for number in range(4)]
        await going.wait()
        person = Person(id)
        await Erasing(CUSTOMER_DATA, store, None).erase(person)
        assert sum(await asyncio.gather(*writers)) < 4 * 40
        with suppress(StructuredError):
            await Erasing(CUSTOMER_DATA, store, None).erase(Person(id))
        assert await eraser_of(store).places([id, TEXT, "asa@planted.example"]) == {}
