"""The knowledge-base server as its callers meet it: over MCP, with demo data, and from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff.sqlite.store import SqliteStore
from servers._hosting.opening import file_url
from servers._hosting.server import build_server
from servers.knowledge_base.articles import MOST_BODY_BYTES
from servers.knowledge_base.demo import load_demo
from servers.knowledge_base.server import DEFINITION
from tests.servers.caller import Caller, calling
from tests.servers.processes import ROOT, WAIT_SECONDS, environment

OWN = {"search_articles", "get_article", "save_article", "import_articles"}


@pytest.fixture
async def caller(store: SqliteStore) -> AsyncIterator[Caller]:
    async with calling(DEFINITION, store) as caller:
        yield caller


@pytest.fixture
async def demo(store: SqliteStore, caller: Caller) -> Caller:
    await load_demo(store)
    return caller


async def test_the_tools_are_small_annotated_and_say_when_not_to_use_them(store: SqliteStore) -> None:
    async with Client(build_server(DEFINITION, store)) as client:
        tools = [tool for tool in (await client.list_tools()).tools if tool.name in OWN]
        instructions = client.instructions
    assert {tool.name for tool in tools} == OWN
    weight = sum(len(json.dumps([tool.name, tool.description, tool.input_schema])) for tool in tools)
    assert weight / 4 <= 1_600
    for tool in tools:
        assert tool.output_schema
        assert tool.description is not None
        assert "Not for" in tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is tool.name.startswith(("search", "get"))
        assert tool.annotations.destructive_hint is False
    assert instructions is not None
    assert len(instructions) < 2_048


async def test_a_question_is_answered_with_articles_and_the_best_one_can_be_read(demo: Caller) -> None:
    found = await demo.ok("search_articles", query="how do I restore a file I deleted last week", limit=3)
    best = found["items"][0]
    assert best["article_id"] == "restore-deleted-files"
    assert best["category"] == "sync"
    assert best["excerpt"]
    assert [item["score"] for item in found["items"]] == sorted(
        (item["score"] for item in found["items"]), reverse=True
    )
    article = await demo.ok("get_article", article_id=best["article_id"])
    assert article["title"] == best["title"]
    assert "## In the browser" in article["body"]
    assert article["tags"]
    assert (article["version"], article["updated_at"]) == (1, "2026-10-27T00:00:00Z")


async def test_an_excerpt_shows_where_the_body_matches(demo: Caller) -> None:
    found = await demo.ok("search_articles", query="fs.inotify.max_user_watches", limit=1)
    assert "[fs.inotify.max_user_watches]" in found["items"][0]["excerpt"].replace("].[", ".")


async def test_an_article_found_by_a_tag_shows_how_it_begins(caller: Caller) -> None:
    await caller.ok("save_article", title="Zebra crossing", body="Look *left*.\n\nWalk.", tags=["stripes"])
    found = await caller.ok("search_articles", query="stripes")
    assert found["items"][0]["excerpt"] == "Look *left*. Walk."


async def test_the_pages_of_a_search_do_not_overlap(demo: Caller) -> None:
    first = await demo.ok("search_articles", query="shared folder", limit=5)
    second = await demo.ok("search_articles", query="shared folder", limit=5, cursor=first["next_cursor"])
    ids = [item["article_id"] for page in (first, second) for item in page["items"]]
    assert len(set(ids)) == 10
    assert first["more"] > 0


async def test_every_customer_may_read_but_only_staff_may_write(demo: Caller) -> None:
    customer = demo.for_customer("cus_1001")
    everybody = await demo.ok("search_articles", query="charged twice")
    assert await customer.ok("search_articles", query="charged twice") == everybody
    assert (await customer.ok("get_article", article_id="refunds"))["title"]
    for tool, arguments in (
        ("save_article", {"title": "Mine", "body": "Refund me."}),
        ("save_article", {"title": "Mine", "body": "Refund me.", "article_id": "refunds"}),
        ("import_articles", {"articles": [{"title": "Mine", "body": "Refund me."}]}),
    ):
        error = await customer.error(tool, **arguments)
        assert error["code"] == "forbidden"
        assert error["suggestion"]
    assert (await demo.ok("get_article", article_id="refunds"))["version"] == 1
    assert (await demo.error("get_article", article_id="mine"))["code"] == "not_found"


async def test_an_article_is_written_found_and_changed(caller: Caller) -> None:
    saved = await caller.ok("save_article", title="Zebra crossing", body="Look *left*.", tags=["stripes"])
    assert (saved["article_id"], saved["version"]) == ("zebra-crossing", 1)
    for query in ("zebra", "stripes", "left"):
        found = await caller.ok("search_articles", query=query)
        assert [item["article_id"] for item in found["items"]] == ["zebra-crossing"], query
    changed = await caller.ok(
        "save_article",
        title="Zebra crossing",
        body="Look right.",
        article_id="zebra-crossing",
        expected_version=1,
    )
    assert changed["version"] == 2
    late = await caller.error(
        "save_article", title="Late", body="Late.", article_id="zebra-crossing", expected_version=1
    )
    assert (late["code"], late["current_version"]) == ("version_conflict", 2)
    assert (await caller.ok("get_article", article_id="zebra-crossing"))["body"] == "Look right."


async def test_twenty_identical_saves_with_one_token_make_one_article(caller: Caller) -> None:
    call = {"title": "Once", "body": "Only once.", "idempotency_token": "once-1"}
    results = await asyncio.gather(*(caller.ok("save_article", **call) for _ in range(20)))
    assert all(result == results[0] for result in results)
    assert (await caller.error("get_article", article_id="once-2"))["code"] == "not_found"
    changed = await caller.error("save_article", **{**call, "body": "Twice."})
    assert changed["code"] == "token_conflict"


async def test_an_import_reports_good_and_bad_articles_and_is_done_once(caller: Caller) -> None:
    articles = [{"title": "One", "body": "1"}, {"title": "", "body": "2"}, {"body": "3"}]
    first = await caller.ok("import_articles", articles=articles, idempotency_token="i-1")
    assert first["total"] == 3
    assert first["successful"] == [{"index": 0, "article_id": "one"}]
    assert [(failed["index"], failed["code"], failed["field"]) for failed in first["failed"]] == [
        (1, "invalid_argument", "title"),
        (2, "invalid_argument", "title"),
    ]
    assert await caller.ok("import_articles", articles=articles, idempotency_token="i-1") == first
    other = await caller.error("import_articles", articles=articles[:1], idempotency_token="i-1")
    assert other["code"] == "token_conflict"


async def test_the_largest_article_can_be_saved_and_read(caller: Caller) -> None:
    body = '"\n' * ((MOST_BODY_BYTES - 10) // 4) + "end"
    tags = [f"{number:02}" + "é" * 58 for number in range(30)]
    saved = await caller.ok("save_article", title="ü" * 120, body=body, tags=tags)
    assert (await caller.ok("get_article", article_id=saved["article_id"]))["body"] == body


async def test_a_full_page_of_hits_fits_into_a_result(store: SqliteStore, caller: Caller) -> None:
    for at in range(0, 60, 20):
        drafts = [
            {"title": "word " * 20 + str(at + n), "body": "word " * 500, "category": "c" * 40}
            for n in range(20)
        ]
        await caller.ok("import_articles", articles=drafts)
    assert len((await caller.ok("search_articles", query="word", limit=50))["items"]) == 50


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("search_articles", {"query": ""}, "query"),
        ("search_articles", {"query": "?!"}, "query"),
        ("search_articles", {"query": "sync", "limit": 51}, "limit"),
        ("search_articles", {"query": "sync", "cursor": "x"}, "cursor"),
        ("get_article", {"article_id": "../../secret-name"}, "article_id"),
        ("get_article", {"article_id": "a:b*{}\r\n\x00"}, "article_id"),
        ("save_article", {"title": "", "body": "x"}, "title"),
        ("save_article", {"title": "x", "body": "x" * 20_000}, "body"),
        ("save_article", {"title": "x", "body": "x", "article_id": "secret-name"}, "article_id"),
        ("save_article", {"title": "x", "body": "x", "expected_version": 1}, "expected_version"),
        ("import_articles", {"articles": []}, "articles"),
        ("import_articles", {"articles": [{}] * 51}, "articles"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(
    demo: Caller, tool: str, arguments: dict[str, Any], field: str
) -> None:
    error = await demo.error(tool, **arguments)
    assert error["field"] == field
    assert error["code"] in ("invalid_argument", "invalid_cursor", "not_found")
    assert error["suggestion"]
    assert "secret-name" not in json.dumps(error)


@pytest.mark.parametrize(
    "query", ['"', "NEAR(", "title:sync", "') OR 1=1--", "sync*", "^sync", "\x00", "\U0001f333", "x" * 9_999]
)
async def test_a_hostile_query_over_the_wire_finds_something_or_is_refused(demo: Caller, query: str) -> None:
    failed, content = await demo.ask("search_articles", query=query)
    assert not failed or content["code"] == "invalid_argument"


async def test_the_command_loads_a_folder_and_serves_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "help"
    folder.mkdir()
    (folder / "good.md").write_text("# Good\n\nText.\n", encoding="utf-8")
    (folder / "bad.md").write_text("no title", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "servers.knowledge_base", "load", str(folder)]
    status, output = await run(*command, "--store", file_url(tmp_path / "kb.db"))
    assert status == 1
    assert "bad.md: title: is missing" in output
    assert "loaded 1, bad 1" in output


async def run(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    return process.returncode, output.decode()
