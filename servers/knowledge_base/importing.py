"""Importing many articles at once: each is done or reported on its own, and none is done twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import BaseModel, ValidationError

from handoff.errors import JsonObject
from servers._access import Call
from servers._pipeline import Outcome, map_reduce
from servers._records import ReplayedCall, commit
from servers._results import ConflictError
from servers._text import RecordId
from servers.knowledge_base.articles import ArticleDraft, SavedArticle
from servers.knowledge_base.library import Library, check_writer
from servers.knowledge_base.pages import refused

MOST_ARTICLES = 50
_AT_ONCE = 8


class ImportDraft(ArticleDraft):
    """An article to import. Under an id that is in use it replaces that article."""

    article_id: RecordId | None = None


class ImportedArticle(BaseModel):
    """An article that is in the library now."""

    index: int
    """Its place in the request, from 0."""
    article_id: str


async def import_articles(
    library: Library, call: Call, drafts: Sequence[JsonObject]
) -> Outcome[ImportedArticle]:
    """Write every draft that is in order, and say what is wrong with the others.

    Under the call's token each draft has a token of its own, so that a call that was cut short goes on
    where it was, and a whole one is answered from the store.

    Raises: ForbiddenError in a customer's conversation; ReplayedCall; TokenConflictError.
    """
    check_writer(call)
    repeated = set(_repeated(drafts))

    async def work(numbered: tuple[int, JsonObject]) -> ImportedArticle:
        index, draft = numbered
        if index in repeated:
            raise ConflictError("an article before this one has the same id", field="article_id")
        try:
            saved = await _save(library, _part(call, index), draft)
        except ReplayedCall as done:
            saved = SavedArticle.model_validate(done.result)
        return ImportedArticle(index=index, article_id=saved.article_id)

    outcome = await map_reduce(list(enumerate(drafts)), work, limit=_AT_ONCE)
    if any(failed.retryable for failed in outcome.failed):
        return outcome  # not final: the same call again does what is missing
    return await commit(library.store, call, [], outcome)


async def _save(library: Library, call: Call, draft: JsonObject) -> SavedArticle:
    try:
        new = ImportDraft.model_validate(draft)
    except ValidationError as error:
        raise refused(error) from None
    if new.article_id is not None and await library.holds(new.article_id):
        return await library.update(call, new.article_id, new)
    return await library.create(call, new, article_id=new.article_id)


def _repeated(drafts: Sequence[JsonObject]) -> Iterator[int]:
    """The drafts whose id another one before them has: which of the two would stay is anybody's guess."""
    seen: set[str] = set()
    for index, draft in enumerate(drafts):
        article_id = draft.get("article_id")
        if isinstance(article_id, str):
            if article_id in seen:
                yield index
            seen.add(article_id)


def _part(call: Call, index: int) -> Call:
    """The call as it is for one draft; under the tool's name no caller could have used its token."""
    return replace(call, tool=f"{call.tool}#{index}", fingerprint=f"{call.fingerprint}#{index}")
