"""The library's rules: ids, updates, imports, and loading from files."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handoff.errors import StoreUnavailableError, StructuredError, TokenConflictError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._definition import LoadReport
from servers._records import ReplayedCall
from servers._results import ConflictError, ForbiddenError, InvalidError, NotFoundError
from servers.knowledge_base.articles import MOST_BODY_BYTES, ArticleDraft, slug
from servers.knowledge_base.front_matter import MalformedPageError, read_page
from servers.knowledge_base.importing import import_articles
from servers.knowledge_base.library import Library
from servers.knowledge_base.loading import load_file

CALL = Call("save_article")
IMPORT = Call("import_articles", token="t1", fingerprint="f1")


def draft(title: str = "Move the folder", body: str = "Steps.", **more: Any) -> ArticleDraft:
    return ArticleDraft(title=title, body=body, **more)


@pytest.fixture
def library(store: SqliteStore) -> Library:
    return Library(store)


@pytest.mark.parametrize(
    ("title", "id"),
    [
        ("Move the folder", "move-the-folder"),
        ("  HY-104: no connection!  ", "hy-104-no-connection"),
        ("Überprüfung für Straße", "uberprufung-fur-strae"),
        ("同期できません", ""),
        ("a" * 100, "a" * 56),
        ("../../etc/passwd", "etc-passwd"),
    ],
)
def test_an_id_is_made_of_the_letters_and_digits_of_the_title(title: str, id: str) -> None:
    assert slug(title) == id


async def test_two_articles_of_one_title_get_ids_of_their_own(library: Library) -> None:
    saved = [await library.create(CALL, draft()) for _ in range(11)]
    ids = [each.article_id for each in saved]
    assert ids[:3] == ["move-the-folder", "move-the-folder-2", "move-the-folder-3"]
    assert len(set(ids)) == 11
    assert all(len(id) <= 64 for id in ids)


async def test_articles_created_at_once_never_overwrite_each_other(library: Library) -> None:
    saved = await asyncio.gather(*(library.create(CALL, draft(body=f"Text {n}")) for n in range(20)))
    bodies = {(await library.get(each.article_id)).body for each in saved}
    assert bodies == {f"Text {n}" for n in range(20)}


async def test_a_title_without_latin_letters_still_gets_an_id(library: Library) -> None:
    assert (await library.create(CALL, draft("同期できません"))).article_id == "article"


async def test_what_an_update_leaves_out_stays(library: Library) -> None:
    created = await library.create(CALL, draft(category="Sync Problems", tags=["relocate"]))
    saved = await library.update(CALL, created.article_id, draft("Move it", "New steps."))
    assert (saved.version, saved.title) == (2, "Move it")
    article = await library.get(created.article_id)
    assert (article.body, article.category, article.tags) == ("New steps.", "sync-problems", ("relocate",))
    assert article.version == 2
    assert article.updated_at > created.updated_at


async def test_a_changed_article_is_found_by_its_new_words_only(library: Library) -> None:
    created = await library.create(CALL, draft("Old title", "About giraffes."))
    await library.update(CALL, created.article_id, draft("New title", "About zebras."))
    assert (await library.find("zebras", limit=5, cursor=None)).items
    assert not (await library.find("giraffes", limit=5, cursor=None)).items


async def test_an_update_that_expects_another_version_is_refused(library: Library) -> None:
    created = await library.create(CALL, draft())
    with pytest.raises(VersionConflictError) as refused:
        await library.update(CALL, created.article_id, draft(), expected_version=7)
    assert refused.value.to_json()["current_version"] == 1
    with pytest.raises(NotFoundError):
        await library.update(CALL, "unknown", draft())


async def test_a_customers_conversation_cannot_write_articles(library: Library) -> None:
    created = await library.create(CALL, draft())
    restricted = replace(CALL, customer_id="cus_1001")
    with pytest.raises(ForbiddenError):
        await library.create(restricted, draft())
    with pytest.raises(ForbiddenError):
        await library.update(restricted, created.article_id, draft())
    with pytest.raises(ForbiddenError):
        await import_articles(library, restricted, [{"title": "A", "body": "B"}])
    assert (await library.get(created.article_id)).version == 1


async def test_a_creation_repeated_with_its_token_is_done_once(library: Library) -> None:
    call = replace(CALL, token="t1", fingerprint="f1")
    first = await library.create(call, draft())
    with pytest.raises(ReplayedCall) as replayed:
        await library.create(call, draft())
    assert replayed.value.result == first.model_dump(mode="json")
    with pytest.raises(TokenConflictError):
        await library.create(replace(call, fingerprint="f2"), draft())
    with pytest.raises(NotFoundError):
        await library.get("move-the-folder-2")


@pytest.mark.parametrize(
    "field",
    [
        {"title": " "},
        {"title": "two\nlines"},
        {"body": "\x00"},
        {"body": "x" * (MOST_BODY_BYTES + 1)},
        {"body": '"' * (MOST_BODY_BYTES // 2)},
        {"category": "???"},
        {"tags": ["x"] * 31},
        {"tags": ["y" * 61]},
        {"author": "me"},
    ],
)
def test_an_article_that_makes_no_sense_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        ArticleDraft.model_validate({"title": "A", "body": "B", **field})


async def test_an_import_stores_the_good_ones_and_says_what_is_wrong_with_the_rest(
    library: Library,
) -> None:
    drafts: list[dict[str, Any]] = [
        {"title": "First", "body": "One."},
        {"title": "", "body": "secret-value"},
        {"title": "Third", "body": "Three.", "tags": ["three"], "category": "sync"},
        {"body": "No title."},
        {"title": "Fifth", "body": "Five.", "colour": "red"},
        {"title": "Own id", "body": "Six.", "article_id": "six"},
        {"title": "Own id again", "body": "Seven.", "article_id": "six"},
        {"title": "Bad id", "body": "Eight.", "article_id": "../x"},
        {"title": 9, "body": None},
    ]
    outcome = await import_articles(library, Call("import_articles"), drafts)
    assert [(each.index, each.article_id) for each in outcome.successful] == [
        (0, "first"),
        (2, "third"),
        (5, "six"),
    ]
    assert [(each.index, each.field) for each in outcome.failed] == [
        (1, "title"),
        (3, "title"),
        (4, "article"),
        (6, "article_id"),
        (7, "article_id"),
        (8, "title"),
    ]
    assert outcome.total == 9
    assert "secret-value" not in outcome.model_dump_json()
    assert (await library.get("six")).title == "Own id"


async def test_an_import_under_an_id_that_is_in_use_replaces_that_article(library: Library) -> None:
    created = await library.create(CALL, draft(tags=["keep"]))
    again = {"title": "New", "body": "Newer.", "article_id": created.article_id}
    await import_articles(library, Call("import_articles"), [again])
    article = await library.get(created.article_id)
    assert (article.title, article.version, article.tags) == ("New", 2, ("keep",))


async def test_an_import_repeated_with_its_token_is_answered_from_the_store(library: Library) -> None:
    drafts = [{"title": "Same", "body": "Text."}, {"title": "", "body": ""}]
    first = await import_articles(library, IMPORT, drafts)
    with pytest.raises(ReplayedCall) as replayed:
        await import_articles(library, IMPORT, drafts)
    assert replayed.value.result == first.model_dump(mode="json")
    with pytest.raises(NotFoundError):
        await library.get("same-2")


async def test_an_import_that_was_cut_short_goes_on_where_it_was(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = [{"title": f"Part {number}", "body": "Text."} for number in range(6)]
    commit, calls = library.store.commit, 0

    async def breaking(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise StoreUnavailableError("the disk is full")
        return await commit(*arguments, **options)

    with monkeypatch.context() as broken:
        broken.setattr(library.store, "commit", breaking)
        first = await import_articles(library, IMPORT, drafts)
    assert (len(first.successful), len(first.failed)) == (3, 3)
    assert all(failed.retryable for failed in first.failed)
    second = await import_articles(library, IMPORT, drafts)
    assert [each.article_id for each in second.successful] == [f"part-{number}" for number in range(6)]
    assert await library.store.get("articles", "part-0-2") is None


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(report: LoadReport) -> list[tuple[int, str]]:
    return [(bad.line, bad.message.split(":")[0]) for bad in report.bad]


async def test_a_folder_of_markdown_is_loaded_and_each_bad_file_is_named(
    library: Library, tmp_path: Path
) -> None:
    folder = tmp_path / "help"
    written(folder, "Getting Started/first.md", "# First steps\n\nDo this.\n")
    written(folder, "full.md", "---\nid: own\ntitle: 'Full'\ntags: [a, b]\nupdated: 2026-01-02\n---\nBody.\n")
    written(folder, "notes.txt", "not an article")
    written(folder, "z-bad/blank.md", "---\ntitle: Blank\n---\n\n")
    written(folder, "z-bad/latin.md", b"# caf\xe9\n")
    written(folder, "z-bad/open.md", "---\ntitle: Open\n")
    written(folder, "z-bad/same.md", "---\nid: own\ntitle: Same\n---\nBody.\n")
    written(folder, "z-bad/strange.md", "---\ntitle: S\nwhat is this\n---\nBody.\n")
    written(folder, "z-bad/untitled.md", "Just text.\n")
    report = await load_file(library.store, folder)
    assert report.loaded == 2
    assert problems(report) == [
        (1, "z-bad/blank.md"),
        (1, "z-bad/latin.md"),
        (1, "z-bad/open.md"),
        (1, "z-bad/same.md"),
        (3, "z-bad/strange.md"),
        (1, "z-bad/untitled.md"),
    ]
    first, full = await library.get("first"), await library.get("own")
    assert (first.title, first.body, first.category) == ("First steps", "Do this.", "getting-started")
    assert (full.title, full.tags, full.category) == ("Full", ("a", "b"), "general")
    assert full.updated_at.isoformat() == "2026-01-02T00:00:00+00:00"


async def test_loading_a_folder_again_replaces_what_has_changed(library: Library, tmp_path: Path) -> None:
    path = written(tmp_path, "a.md", "# Title\n\nOld.\n")
    await load_file(library.store, path)
    written(tmp_path, "a.md", "# Title\n\nNew.\n")
    assert (await load_file(library.store, path)).loaded == 1
    assert (await library.get("a")).body == "New."


async def test_a_folder_without_articles_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as refused:
        await load_file(library.store, tmp_path)
    assert refused.value.suggestion


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_rows_are_loaded_with_their_tags(library: Library, tmp_path: Path, kind: str) -> None:
    rows = [
        {"title": "One", "body": "Text.", "tags": "a, b", "category": "Sync", "article_id": "one"},
        {"title": "", "body": "No title.", "tags": "", "category": "", "article_id": ""},
        {"title": "Three", "body": "Text.", "tags": "", "category": "", "article_id": ""},
        {"title": "Three", "body": "Text.", "tags": "", "category": "", "article_id": ""},
    ]
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
    else:
        plain = [{name: value for name, value in row.items() if value} for row in rows]
        lines = [json.dumps({**row, "tags": str(row.get("tags", "")).split(",")}) for row in plain]
    path = written(tmp_path, f"articles.{kind}", "\n".join(lines))
    report = await load_file(library.store, path)
    first = 2 if kind == "csv" else 1
    assert (report.loaded, [bad.line for bad in report.bad]) == (2, [first + 1, first + 3])
    one, three = await library.get("one"), await library.get("three")
    assert (one.tags, one.category) == (("a", "b"), "sync")
    assert (three.tags, three.category) == ((), "general")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("tags: a, b", ["a", "b"]),
        ("tags: [a, 'b c']", ["a", "b c"]),
        ("tags:\n  - a\n  - b", ["a", "b"]),
        ("tags:\n- a\n- b", ["a", "b"]),
        ("tags: a,\n  b", ["a", "b"]),
        ("tags:", []),
        ("other: 1", []),
    ],
)
def test_a_list_in_front_matter_may_be_written_in_any_usual_way(text: str, tags: list[str]) -> None:
    page = read_page(f"---\ntitle: T\n{text}\n# comment\n---\nBody\n")
    assert page.items("tags") == tags
    assert (page.text("title"), page.body) == ("T", "Body")


def test_a_page_without_front_matter_has_its_heading_as_title() -> None:
    page = read_page("\ufeff# Title #\n\nBody\n\n## More\n")
    assert (page.text("title"), page.body) == ("Title", "Body\n\n## More")


@pytest.mark.parametrize(("text", "line"), [("---\na: 1\n", 1), ("---\na: 1\n???\n---\n", 3)])
def test_malformed_front_matter_is_reported_with_its_line(text: str, line: int) -> None:
    with pytest.raises(MalformedPageError) as refused:
        read_page(text)
    assert refused.value.line == line


def test_a_day_that_is_none_is_refused_without_quoting_it() -> None:
    page = read_page("---\nupdated: next week\n---\nBody")
    with pytest.raises(StructuredError) as refused:
        page.instant("updated")
    assert "next week" not in refused.value.message


async def test_an_id_in_use_is_not_created_a_second_time(library: Library) -> None:
    await library.create(CALL, draft(), article_id="own")
    with pytest.raises(ConflictError) as refused:
        await library.create(CALL, draft(), article_id="own")
    assert refused.value.field == "article_id"
