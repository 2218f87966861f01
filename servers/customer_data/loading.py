"""Loading a company's own customers from CSV or JSONL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from handoff.erasure import ERASURES
from handoff.store import Store, Write
from servers._definition import LoadReport
from servers._loading.files import load_rows
from servers._text import RecordId
from servers.customer_data import history
from servers.customer_data.customers import Customer, NewCustomer, Note, NoteText, Status
from servers.customer_data.directory import CUSTOMERS, EMAILS, Directory

LOADED_BY = "load"


class CustomerRow(NewCustomer):
    """One row: ids are the file's own, so that loading it again adds nothing twice."""

    customer_id: RecordId
    seats: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    status: Status = "active"
    since: date = Field(default_factory=lambda: datetime.now(UTC).date())
    note: NoteText | None = None


async def load_file(store: Store, path: Path) -> LoadReport:
    """Load customers, each with a history event that says so.

    Raises: InvalidError when the file as a whole cannot be read; StoreError.
    """
    directory = Directory(store)

    def writes(row: CustomerRow) -> Sequence[Write]:
        events = [history.event("created", "Loaded from a file", LOADED_BY)]
        notes: tuple[Note, ...] = ()
        if row.note is not None:
            notes = (Note(text=row.note, at=datetime.now(UTC), by=LOADED_BY),)
            events.append(history.event("note", row.note, LOADED_BY))
        known = {name: value for name, value in row if name != "note"}
        return directory.creation(Customer(**known, notes=notes, events=len(events)), events)

    taken = {CUSTOMERS: "customer_id", EMAILS: "email", ERASURES: "customer_id"}
    return await load_rows(path, CustomerRow, writes, store, taken=taken, actor=LOADED_BY)
