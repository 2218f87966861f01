"""The demo company's help centre: the markdown files that come with this package."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.resources import files

from handoff.store import ABSENT, Store
from servers.knowledge_base.articles import StoredArticle
from servers.knowledge_base.library import Library
from servers.knowledge_base.pages import article_of


def demo_articles() -> Iterator[StoredArticle]:
    """The articles, by file name."""
    folder = files("servers.knowledge_base") / "articles"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".md"):
            yield article_of(file.read_text("utf-8"), file.name)


async def load_demo(store: Store) -> int:
    """Fill an empty store; the commits run at once, so that the store can group them."""
    library = Library(store)
    puts = [library.put(article, expected=ABSENT) for article in demo_articles()]
    await asyncio.gather(*(store.commit([put], actor="demo") for put in puts))
    return len(puts)
