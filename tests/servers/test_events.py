"""Records that very many write at once: nothing is refused, lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from handoff.errors import JsonObject, StoreUnavailableError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Check, Entry, Put, Write
from servers._access import Call
from servers._events import SNAPSHOT_ACTOR, SNAPSHOT_EVERY, Addition, EventStream
from servers._records import Records, ReplayedCall
from servers._results import ConflictError
from servers.customer_data.customers import CustomerChange, NewCustomer
from servers.customer_data.directory import Directory
from servers.ticketing.desk import COMMENTS, TICKETS, Desk
from servers.ticketing.tickets import NewTicket, TicketChange
from tests.servers.processes import environment

CALL = Call("a_tool", principal="marta")
PROCESSES = 4
EACH = 50
WAIT_SECONDS = 60.0

WRITER = """
import asyncio, json, sys
from dataclasses import replace
from datetime import datetime
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._records import ReplayedCall
from servers.customer_data.directory import Directory
from servers.ticketing.desk import Desk

path, kind, id, mine, count = sys.argv[1:]

async def write(store, number):
    call = Call("a_tool", principal=mine, token=f"{mine}-{number}", fingerprint="f")
    text = f"{mine}-{number}"
    try:
        if kind == "comments":
            receipt = await Desk(store).comment(call, id, text, public=False)
            return text, receipt.comments
        receipt = await Directory(store).add_note(call, id, text)
        return text, receipt.notes
    except ReplayedCall as replayed:
        return text, replayed.result[kind]

async def main():
    async with await SqliteStore.open(path, owner="test") as store:
        print("ready", flush=True)
        sys.stdin.readline()
        numbers = list(range(int(count)))
        print(json.dumps(await asyncio.gather(*(write(store, number) for number in numbers + numbers))))

asyncio.run(main())
"""


async def write_from_many_processes(store: SqliteStore, kind: str, id: str) -> list[tuple[str, int]]:
    """Each text that was written, with the number it was told; every write was sent twice at once."""
    pipe = asyncio.subprocess.PIPE
    arguments = [(str(store.path), kind, id, f"p{number}", str(EACH)) for number in range(PROCESSES)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, *own), stdin=pipe, stdout=pipe, stderr=pipe, env=environment()
        )
        for own in arguments
    ]
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    assert [complaint for _, complaint in outputs] == [b""] * PROCESSES
    return [(text, number) for told, _ in outputs for text, number in json.loads(told)]


async def opened(store: SqliteStore) -> str:
    new = NewTicket(subject="Everybody's outage", description="Nothing syncs.", customer_id="cus_1")
    return (await Desk(store).open(CALL, new)).ticket_id


async def created(store: SqliteStore) -> str:
    customer = await Directory(store).create(CALL, NewCustomer(name="Ada", email="ada@example.com"))
    return customer.customer_id


async def test_comments_of_many_processes_on_one_ticket_all_arrive_once_and_in_order(
    store: SqliteStore,
) -> None:
    ticket_id = await opened(store)
    told = await write_from_many_processes(store, "comments", ticket_id)
    seen = await Desk(store).get(CALL, ticket_id)
    entries = await store.entries(COMMENTS, ticket_id)

    assert len(set(told)) == len(entries) == PROCESSES * EACH
    assert [(entry.data["text"], entry.seq) for entry in entries] == sorted(set(told), key=lambda one: one[1])
    assert seen.earlier_comments + len(seen.comments) == PROCESSES * EACH
    assert [comment.text for comment in seen.comments] == [entry.data["text"] for entry in entries[-20:]]
    assert seen.version == 1 + PROCESSES * EACH
    assert seen.updated_at == max(datetime.fromisoformat(entry.data["at"]) for entry in entries)
    snapshot = await store.get(TICKETS, ticket_id)
    assert snapshot is not None
    assert snapshot.data["comments"] >= SNAPSHOT_EVERY


async def test_notes_of_many_processes_on_one_customer_all_arrive_once_and_in_order(
    store: SqliteStore,
) -> None:
    customer_id = await created(store)
    told = await write_from_many_processes(store, "notes", customer_id)
    known = await Directory(store).get(CALL, customer_id, include_history=True)
    texts = [text for text, _ in sorted(set(told), key=lambda one: one[1], reverse=True)]

    assert len(set(told)) == PROCESSES * EACH
    assert sorted(number for _, number in set(told)) == list(range(1, PROCESSES * EACH + 1))
    assert [note.text for note in known.notes] == texts[: len(known.notes)]
    assert [event.text for event in known.history or []] == texts[: len(known.history or [])]
    assert len(known.notes) + known.earlier_notes == PROCESSES * EACH
    assert known.version == 1 + PROCESSES * EACH


async def test_comments_and_changes_of_one_ticket_do_not_disturb_each_other(store: SqliteStore) -> None:
    ticket_id = await opened(store)
    async with await SqliteStore.open(store.path, owner="test") as other:
        desks = [Desk(store), Desk(other)]
        await asyncio.gather(
            *(desks[n % 2].comment(CALL, ticket_id, f"comment {n}", public=False) for n in range(60)),
            *(
                desks[n % 2].update(
                    CALL, ticket_id, TicketChange(assignee=f"agent {n}"), expected_version=None
                )
                for n in range(3)
            ),
        )
    seen = await Desk(store).get(CALL, ticket_id)

    assert seen.earlier_comments + len(seen.comments) == 60
    assert seen.version == 1 + 60 + 3
    assert len(seen.history) == 4


async def test_notes_and_changes_of_one_customer_do_not_disturb_each_other(store: SqliteStore) -> None:
    customer_id = await created(store)
    async with await SqliteStore.open(store.path, owner="test") as other:
        sides = [Directory(store), Directory(other)]
        await asyncio.gather(
            *(sides[n % 2].add_note(CALL, customer_id, f"note {n}") for n in range(60)),
            *(
                sides[n % 2].change(
                    CALL, customer_id, CustomerChange(company=f"No. {n}"), expected_version=None
                )
                for n in range(3)
            ),
        )
    known = await Directory(store).get(CALL, customer_id, include_history=True)

    assert len(known.notes) + known.earlier_notes == 60
    assert known.version == 1 + 60 + 3
    assert len(known.history or []) + known.earlier_events == 64


async def test_a_change_that_names_the_version_it_saw_is_not_refused_for_a_snapshot(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = await opened(store)
    for n in range(SNAPSHOT_EVERY - 1):
        await Desk(store).comment(CALL, ticket_id, f"comment {n}", public=False)
    seen = await Desk(store).get(CALL, ticket_id)
    commit, late = store.commit, [True]

    async def commit_after_a_snapshot(writes: Sequence[Write], **options: Any) -> Any:
        if late and any(isinstance(write, Put) for write in writes):
            late.clear()
            record = await store.get(TICKETS, ticket_id)
            assert record is not None
            await commit([Put(TICKETS, ticket_id, record.data, record.version)], actor=SNAPSHOT_ACTOR)
        return await commit(writes, **options)

    monkeypatch.setattr(store, "commit", commit_after_a_snapshot)
    change = TicketChange(priority="high")
    changed = await Desk(store).update(CALL, ticket_id, change, expected_version=seen.version)
    assert (changed.priority, changed.version) == ("high", seen.version + 1)
    with pytest.raises(VersionConflictError) as refused:
        await Desk(store).update(CALL, ticket_id, TicketChange(priority="low"), expected_version=seen.version)
    assert refused.value.to_json()["current_version"] == changed.version


async def test_a_list_shows_when_a_ticket_was_last_commented_on(store: SqliteStore) -> None:
    desk = Desk(store)
    ticket_id = await opened(store)
    await opened(store)
    receipt = await desk.comment(CALL, ticket_id, "hello", public=False)
    for query in ("", "outage", ticket_id):
        page = await desk.find(CALL, query, customer_id=None, status=None, limit=10, cursor=None)
        times = {ticket.ticket_id: ticket.updated_at for ticket in page.items}
        assert times[ticket_id] == receipt.comment.at, query


async def test_no_comment_comes_after_the_ticket_was_closed(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticket is closed between the moment a comment reads it and the moment it is written."""
    desk, ticket_id = Desk(store), await opened(store)
    commit, late = store.commit, [True]

    async def commit_too_late(writes: Sequence[Write], **options: Any) -> Any:
        if late:
            late.clear()
            await desk.update(CALL, ticket_id, TicketChange(status="closed"), expected_version=None)
        return await commit(writes, **options)

    monkeypatch.setattr(store, "commit", commit_too_late)
    with pytest.raises(ConflictError, match="closed"):
        await desk.comment(CALL, ticket_id, "one more thing", public=True)
    assert (await desk.get(CALL, ticket_id)).comments == []


async def test_a_comment_sent_twice_with_one_token_is_there_once_with_one_answer(store: SqliteStore) -> None:
    ticket_id = await opened(store)
    calls = [replace(CALL, token=f"t{n % 5}", fingerprint="f") for n in range(20)]
    outcomes = await asyncio.gather(
        *(Desk(store).comment(call, ticket_id, str(call.token), public=False) for call in calls),
        return_exceptions=True,
    )

    answers: dict[str, list[JsonObject]] = {}
    for outcome in outcomes:
        assert not isinstance(outcome, BaseException) or isinstance(outcome, ReplayedCall)
        answer = outcome.result if isinstance(outcome, ReplayedCall) else outcome.model_dump(mode="json")
        answers.setdefault(answer["comment"]["text"], []).append(answer)
    assert len(answers) == 5
    for same in answers.values():
        assert len({json.dumps(answer) for answer in same}) == 1, same
    assert sorted(same[0]["comments"] for same in answers.values()) == [1, 2, 3, 4, 5]
    assert len((await Desk(store).get(CALL, ticket_id)).comments) == 5


class Tally(BaseModel):
    """A record whose entries add up."""

    total: int = 0
    folded: int = 0


class Added(BaseModel):
    number: int


def added(tally: Tally, entries: Sequence[Entry]) -> Tally:
    total = tally.total + sum(entry.data["amount"] for entry in entries)
    return Tally(total=total, folded=entries[-1].seq)


class Tallies:
    """A stream of entries over records, as a server keeps one."""

    def __init__(self, store: SqliteStore, *, every: int = 5, keep: int | None = None) -> None:
        self.records = Records(store, "tallies", Tally, noun="tally")
        self.stream = EventStream(
            self.records, "amounts", fold=added, folded=lambda tally: tally.folded, every=every, keep=keep
        )

    async def add(self, amount: int, checks: Sequence[Check] = ()) -> int:
        async def read() -> Tally:
            return (await self.records.get("t", field="id"))[0]

        def decide(_: Tally) -> Addition[Added]:
            return Addition({"amount": amount}, Added(number=0), {"number": 0}, checks)

        return (await self.stream.append("t", CALL, read, decide)).number

    async def total(self) -> int:
        found = await self.stream.find("t")
        assert found is not None
        return found.model.total


@pytest.fixture
async def tallies(store: SqliteStore) -> Tallies:
    await store.commit([Put("tallies", "t", Tally().model_dump(), ABSENT)])
    return Tallies(store)


async def test_a_read_folds_in_what_came_since_the_snapshot(tallies: Tallies, store: SqliteStore) -> None:
    for amount in range(1, 13):
        assert await tallies.add(amount) == amount
        assert await tallies.total() == sum(range(amount + 1))
    record = await store.get("tallies", "t")
    assert record is not None
    assert (record.data, record.version) == ({"total": 55, "folded": 10}, 3)
    assert [entry.actor for entry in await store.log("tallies")] == ["", SNAPSHOT_ACTOR, SNAPSHOT_ACTOR]
    found = await tallies.stream.find("t", back=4)
    assert found is not None
    assert [entry.seq for entry in found.entries] == [7, 8, 9, 10, 11, 12]
    assert await tallies.stream.find("nobody") is None


async def test_a_snapshot_that_fails_or_loses_changes_nothing(
    tallies: Tallies, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = store.commit
    failures: list[Exception] = [VersionConflictError("tallies", "t", 1, 2), StoreUnavailableError("full")]

    async def commit_appends_only(writes: Sequence[Write], **options: Any) -> Any:
        if any(isinstance(write, Put) for write in writes):
            raise failures.pop()
        return await commit(writes, **options)

    monkeypatch.setattr(store, "commit", commit_appends_only)
    for amount in range(1, 14):
        await tallies.add(amount)
    assert failures == []
    assert await tallies.total() == 91
    monkeypatch.undo()
    await tallies.add(14)
    await tallies.add(15)
    record = await store.get("tallies", "t")
    assert record is not None
    assert record.data == {"total": 120, "folded": 15}


async def test_what_a_snapshot_holds_may_go_and_the_rest_stays(tallies: Tallies, store: SqliteStore) -> None:
    trimmed = Tallies(store, keep=2)
    for amount in range(1, 14):
        await trimmed.add(amount)
        assert await trimmed.total() == sum(range(amount + 1))
    assert [entry.seq for entry in await store.entries("amounts", "t")] == [9, 10, 11, 12, 13]


async def test_a_reader_whose_snapshot_was_replaced_and_trimmed_meanwhile_reads_again(
    store: SqliteStore, tallies: Tallies, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed = Tallies(store, keep=0)
    for amount in range(1, 5):
        await trimmed.add(amount)
    entries, late = store.entries, [True]

    async def entries_after_more(stream: str, key: str, **options: Any) -> list[Entry]:
        if late:
            late.clear()
            for amount in range(5, 9):
                await trimmed.add(amount)
        return await entries(stream, key, **options)

    monkeypatch.setattr(store, "entries", entries_after_more)
    assert await trimmed.total() == 36
    late.append(True)
    [current] = await trimmed.stream.brought_up({"t": Tally()})
    assert current.total == await trimmed.total()


async def test_appends_of_many_never_lose_to_changes_of_the_record(
    tallies: Tallies, store: SqliteStore
) -> None:
    async def rewrite() -> None:
        for _ in range(40):
            record = await store.get("tallies", "t")
            assert record is not None
            await store.commit([Put("tallies", "t", record.data)])

    numbers, _ = await asyncio.gather(asyncio.gather(*(tallies.add(1) for _ in range(100))), rewrite())
    assert sorted(numbers) == list(range(1, 101))
