"""The library: articles are found, read, created and changed here."""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Iterator
from functools import partial

from handoff.errors import VersionConflictError
from handoff.store import ABSENT, Hit, Put, Store, Write
from servers._access import Call
from servers._changes import change
from servers._records import Records, commit
from servers._results import ConflictError, ForbiddenError, Page
from servers._search.search import search
from servers._search.vocabulary import SUPPORT
from servers.knowledge_base.articles import (
    Article,
    ArticleDraft,
    ArticleHit,
    SavedArticle,
    StoredArticle,
    given,
    slug,
)

ARTICLES = "articles"

ENOUGH = 15
"""In a library so large that this many articles hold all the words of a question, the others can wait."""

_EXCERPT = 160
_NUMBERED = 9
_FIND_IT = "find the article with search_articles"


def _text(article: StoredArticle) -> dict[str, str]:
    # A tag is what somebody calls the thing, so it weighs as much as the title does.
    return {"title": f"{article.title}\n{', '.join(article.tags)}", "body": article.body}


class Library:
    """All articles of one store. Every customer may read them; only staff may write them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._records = Records(store, ARTICLES, StoredArticle, noun="article", text=_text)

    async def find(self, query: str, *, limit: int, cursor: str | None) -> Page[ArticleHit]:
        """Raises: InvalidError naming `query`; StructuredError `invalid_cursor`."""
        found = await search(
            self.store, ARTICLES, query, limit=limit, cursor=cursor, vocabulary=SUPPORT, enough=ENOUGH
        )
        articles = await self._records.get_many([hit.id for hit in found.hits])
        by_id = {article.article_id: article for article in articles}
        hits = [
            ArticleHit(
                article_id=hit.id,
                title=by_id[hit.id].title,
                excerpt=_excerpt(hit, by_id[hit.id].body),
                category=by_id[hit.id].category,
                score=round(hit.score, 3),
            )
            for hit in found.hits
            if hit.id in by_id  # one that was removed a moment ago
        ]
        return Page(items=hits, next_cursor=found.next_cursor, more=found.more)

    async def get(self, article_id: str) -> Article:
        """Raises: NotFoundError."""
        article, version = await self._read(article_id)
        return Article(**dict(article), version=version)

    async def holds(self, article_id: str) -> bool:
        return await self._records.find(article_id) is not None

    async def create(self, call: Call, draft: ArticleDraft, *, article_id: str | None = None) -> SavedArticle:
        """Store a new article, under an id made of its title unless one is given.

        Raises: ForbiddenError in a customer's conversation; ConflictError for an id that is in use.
        """
        check_writer(call)
        for free in _free_ids(draft.title) if article_id is None else (article_id,):
            article = StoredArticle(article_id=free, **given(draft))
            try:
                return await commit(
                    self.store, call, [self.put(article, expected=ABSENT)], _saved(article, 1)
                )
            except VersionConflictError:
                continue
        raise ConflictError(
            "an article has this id already",
            field="article_id",
            suggestion="read it with get_article and update it, or leave the id out",
        )

    async def update(
        self, call: Call, article_id: str, draft: ArticleDraft, *, expected_version: int | None = None
    ) -> SavedArticle:
        """Replace an article's title and body, and its category and tags if they are given.

        Raises: ForbiddenError, NotFoundError, VersionConflictError, ContentionError.
        """
        check_writer(call)

        def decide(article: StoredArticle, version: int) -> tuple[list[Write], SavedArticle]:
            changed = article.changed(draft)
            return [self.put(changed, expected=version)], _saved(changed, version + 1)

        return await change(
            self._records,
            article_id,
            call,
            partial(self._read, article_id),
            decide,
            expected_version=expected_version,
        )

    def put(self, article: StoredArticle, *, expected: int | None) -> Put:
        """The write that stores an article with the text it is found by."""
        return self._records.put(article.article_id, article, expected=expected)

    async def _read(self, article_id: str) -> tuple[StoredArticle, int]:
        return await self._records.get(article_id, field="article_id", suggestion=_FIND_IT)


def check_writer(call: Call) -> None:
    """Raises: ForbiddenError in a customer's conversation: what one writes, all others read."""
    if call.customer_id is not None:
        raise ForbiddenError(
            "a conversation with a customer cannot write articles",
            suggestion="open a ticket that proposes the change, or hand over to a person",
        )


def _free_ids(title: str) -> Iterator[str]:
    """Ids to try, the readable ones first."""
    stem = slug(title) or "article"
    yield stem
    yield from (f"{stem}-{number}" for number in range(2, _NUMBERED + 1))
    while True:
        yield f"{stem[:46]}-{secrets.token_hex(8)}"


def _excerpt(hit: Hit, body: str) -> str:
    """The part of the body that matches; its beginning where only the title and the tags do."""
    unmarked = str.maketrans("", "", "[]…")
    in_body = hit.excerpt.translate(unmarked).strip() in body.translate(unmarked)
    return " ".join(hit.excerpt.split()) if in_body else textwrap.shorten(body, _EXCERPT, placeholder=" …")


def _saved(article: StoredArticle, version: int) -> SavedArticle:
    return SavedArticle(
        article_id=article.article_id, title=article.title, version=version, updated_at=article.updated_at
    )
