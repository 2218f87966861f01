"""Loading a company's own articles: a folder of markdown, one markdown file, or CSV or JSONL.

An article whose id is in the library already is replaced, so that a help centre kept in files can be
loaded again after each change.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from handoff.errors import JsonObject, StructuredError
from handoff.store import Put, Store
from servers._definition import BadRow, LoadReport
from servers._loading.columns import refused_file
from servers._loading.files import IN_FLIGHT, load_rows
from servers._results import ConflictError, InvalidError
from servers._text import RecordId, ShortText
from servers.knowledge_base.articles import Body, Category, StoredArticle, slug
from servers.knowledge_base.front_matter import MalformedPageError
from servers.knowledge_base.library import Library
from servers.knowledge_base.pages import article, article_of

LOADED_BY = "load"
MAX_FILE_BYTES = 262_144
_MARKDOWN = (".md", ".markdown")


def _in_one_cell(value: object) -> object:
    """JSONL may give the tags as a list; a CSV cell holds them separated by commas."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


class ArticleRow(BaseModel):
    """One row; without an id the title makes it."""

    model_config = ConfigDict(extra="forbid")

    title: ShortText
    body: Body
    article_id: RecordId | None = None
    category: Category | None = None
    tags: Annotated[str, BeforeValidator(_in_one_cell)] = ""
    updated_at: AwareDatetime | None = None

    def stored(self) -> StoredArticle:
        """Raises: InvalidError."""
        known: JsonObject = {name: value for name, value in self if value is not None}
        tags = [tag for tag in map(str.strip, self.tags.split(",")) if tag]
        return article({**known, "tags": tags, "article_id": self.article_id or slug(self.title)})


async def load_file(store: Store, path: Path) -> LoadReport:
    """Load articles; what is wrong with a file or a row is reported, and the others are loaded.

    Raises: InvalidError when there is nothing to load; StoreError.
    """
    if path.is_dir() or path.suffix.lower() in _MARKDOWN:
        return await _load_pages(store, path)
    unique = _Unique(Library(store))
    return await load_rows(path, ArticleRow, lambda row: unique.put(row.stored()), store, actor=LOADED_BY)


class _Unique:
    """Sees that no id comes twice within one load: the second article would replace the first."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._seen: set[str] = set()

    def put(self, article: StoredArticle) -> Put:
        """Raises: ConflictError."""
        if article.article_id in self._seen:
            raise ConflictError("an article before this one has the same id", field="article_id")
        self._seen.add(article.article_id)
        return self._library.put(article, expected=None)


async def _load_pages(store: Store, path: Path) -> LoadReport:
    report, unique = LoadReport(), _Unique(Library(store))
    folder = path if path.is_dir() else path.parent
    found = _pages(path) if path.is_dir() else iter((path,))
    while batch := list(itertools.islice(found, IN_FLIGHT)):
        puts = []
        for file in batch:
            name = file.relative_to(folder).as_posix()
            try:
                puts.append(unique.put(article_of(_read(file), name)))
            except StructuredError as error:
                report.bad.append(_bad(name, error))
        await asyncio.gather(*(store.commit([put], actor=LOADED_BY) for put in puts))
        report.loaded += len(puts)
    if not report.loaded and not report.bad:
        raise refused_file("is a folder without .md files", "name the folder that holds the articles")
    return report


def _pages(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in _MARKDOWN and file.is_file())


def _read(file: Path) -> str:
    """Raises: InvalidError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidError(f"the file is longer than {MAX_FILE_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"cannot be read: {error.strerror or 'input/output error'}") from None
    except UnicodeDecodeError:
        raise InvalidError("is not UTF-8 text") from None


def _bad(name: str, error: StructuredError) -> BadRow:
    line = error.line if isinstance(error, MalformedPageError) else 1
    reason = f"{error.field}: {error.message}" if error.field else error.message
    return BadRow(line, f"{name}: {reason}")
