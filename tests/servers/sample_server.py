"""A tiny domain to test the shared hosting with: notes about customers."""

from __future__ import annotations

import asyncio
import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from handoff.store import ABSENT, Index, Put, Store, new_id
from servers._access import current_call
from servers._definition import BadRow, LoadReport, ServerDefinition
from servers._records import Records, commit
from servers._results import Cursor, IdempotencyToken, InvalidError, Limit, Page
from servers._tools import read_tool, write_tool


class Author(BaseModel):
    """Who wrote a note."""

    name: str
    age: int


class SampleNote(BaseModel):
    """A note."""

    note_id: str
    customer_id: str
    title: str
    length: float = 1.0


@dataclass
class Gate:
    """Lets a test hold calls inside a tool."""

    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    opened: asyncio.Event = field(default_factory=asyncio.Event)


def notes(store: Store) -> Records[SampleNote]:
    return Records(
        store,
        "notes",
        SampleNote,
        noun="note",
        indexes=lambda note: [Index("all", "", note.note_id), Index("customer", note.customer_id)],
    )


class SampleTools:
    """The tools; `gate` and `runs` are for the tests."""

    def __init__(self, store: Store) -> None:
        self.notes = notes(store)
        self.gate = Gate()
        self.runs = 0

    @write_tool("Write note")
    async def write_note(
        self,
        customer_id: Annotated[str, Field(min_length=1, max_length=64, description="Whose note.")],
        title: Annotated[str, Field(max_length=80)],
        length: float = 1.0,
        kind: Literal["plain", "urgent"] = "plain",
        author: Author | None = None,
        idempotency_token: IdempotencyToken = None,
    ) -> SampleNote:
        """Write a note about a customer.

        Not for tickets:
        those have a server of their own.
        """
        self.runs += 1
        call = current_call()
        call.check_customer(customer_id)
        note = SampleNote(note_id=new_id("note"), customer_id=customer_id, title=title, length=length)
        put = self.notes.put(note.note_id, note, expected=ABSENT)
        return await commit(self.notes.store, call, [put], note)

    @read_tool("Get note")
    async def get_note(self, note_id: str) -> SampleNote:
        """Read one note. Not for finding notes."""
        note, _ = await self.notes.get(note_id, field="note_id", suggestion="use list_notes")
        current_call().check_customer(note.customer_id)
        return note

    @read_tool("List notes")
    async def list_notes(self, limit: Limit = 10, cursor: Cursor = None) -> Page[SampleNote]:
        """List notes. Not for reading one."""
        call = current_call()
        where = ("customer", call.customer_id) if call.customer_id else ("all", "")
        return await self.notes.page(*where, limit=limit, cursor=cursor)

    @read_tool("Wait at the gate")
    async def wait_at_gate(self) -> SampleNote:
        """Wait until the test opens the gate. Not for users."""
        self.gate.entered.release()
        await self.gate.opened.wait()
        return SampleNote(note_id="n", customer_id="c", title="through")

    @read_tool("Crash")
    async def crash(self, secret: str) -> SampleNote:
        """Fail unexpectedly. Not for users."""
        raise ValueError(f"bad thing with {secret}")

    @read_tool("Write a lot")
    async def read_much(self, length: int) -> SampleNote:
        """Answer with a long text. Not for users."""
        return SampleNote(note_id="n", customer_id="c", title="x" * length)

    @write_tool("Erase note", destructive=True)
    async def erase_note(self, note_id: str, idempotency_token: IdempotencyToken = None) -> SampleNote:
        """Refuse to erase a note. Not for users."""
        raise InvalidError("note_id cannot be erased", field="note_id", suggestion="keep it")


async def load_demo(store: Store) -> int:
    """Two notes, in two commits at once."""
    records = notes(store)
    puts = []
    for number in (1, 2):
        note = SampleNote(note_id=f"note_{number}", customer_id="cus_1001", title=f"Demo {number}")
        puts.append(records.put(note.note_id, note, expected=ABSENT))
    await asyncio.gather(*(store.commit([put]) for put in puts))
    return len(puts)


async def load_file(store: Store, path: Path) -> LoadReport:
    report = LoadReport()
    records = notes(store)
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            if len(row) != 2:
                report.bad.append(BadRow(line, "a row has two columns"))
                continue
            note = SampleNote(note_id=new_id("note"), customer_id=row[0], title=row[1])
            await store.commit([Put("notes", note.note_id, note.model_dump(), ABSENT, (Index("all", ""),))])
            report.loaded += 1
    assert records.collection == "notes"
    return report


DEFINITION = ServerDefinition(
    name="sample",
    title="Sample",
    instructions="Notes about customers, for tests.",
    tools=SampleTools,
    load_demo=load_demo,
    load_file=load_file,
)
