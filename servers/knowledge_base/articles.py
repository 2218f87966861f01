"""Articles: what one holds, and the id its title gives it."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

import pydantic_core
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from handoff.errors import JsonObject
from servers._text import RecordId, ShortText, one_line, prose

GENERAL = "general"
"""The category of an article that names none."""

MOST_BODY_BYTES = 16_000
"""Longest body as JSON: with the rest of the article it stays under what a result may have."""

_SLUG_CHARS = 56
"""Leaves room in an id for what tells two articles of one title apart."""


def slug(text: str) -> str:
    """The text as a part of an id, such as `restore-a-file`; empty when no Latin letter is in it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:_SLUG_CHARS].rstrip("-")


def _markdown(value: str) -> str:
    text = prose(value)
    if len(pydantic_core.to_json(text)) > MOST_BODY_BYTES:
        raise PydanticCustomError(
            "body_too_long", "must not be longer than {most} bytes", {"most": MOST_BODY_BYTES}
        )
    return text


def _category(value: str) -> str:
    if not (category := slug(value)):
        raise PydanticCustomError("no_category", "must have letters or digits")
    return category


Body = Annotated[str, Field(max_length=MOST_BODY_BYTES), AfterValidator(_markdown)]
Category = Annotated[str, Field(max_length=40), AfterValidator(_category)]
Tag = Annotated[str, Field(max_length=60), AfterValidator(one_line)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=30)]


class ArticleDraft(BaseModel):
    """An article as a writer gives it. What is left out stays as it is, or takes its default."""

    model_config = ConfigDict(extra="forbid")

    title: ShortText
    body: Body
    """Markdown."""
    category: Category | None = None
    tags: Tags | None = None
    """Other words people use for the same thing; search finds the article by them."""


class StoredArticle(BaseModel):
    """An article as stored. What is here was checked when it was written, so that reading is cheap."""

    article_id: str
    title: str
    body: str
    category: str = GENERAL
    tags: tuple[str, ...] = ()
    updated_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    def changed(self, draft: ArticleDraft) -> StoredArticle:
        """The article with what the draft gives, as of now."""
        return self.model_copy(update={**given(draft), "updated_at": datetime.now(UTC)})


class FiledArticle(ArticleDraft):
    """An article from a file, with its own id and day."""

    article_id: RecordId
    updated_at: AwareDatetime | None = None

    def stored(self) -> StoredArticle:
        known: JsonObject = {"updated_at": self.updated_at} if self.updated_at else {}
        return StoredArticle(article_id=self.article_id, **given(self), **known)


class Article(StoredArticle):
    """An article as it is read."""

    version: int
    """Give it as `expected_version` to change only what was read here."""


class ArticleHit(BaseModel):
    """An article that was found."""

    article_id: str
    title: str
    excerpt: str
    """Where it matches; the words that match stand in brackets."""
    category: str
    score: float
    """Higher is better; comparable only within one search."""


class SavedArticle(BaseModel):
    """What was written."""

    article_id: str
    title: str
    version: int
    updated_at: AwareDatetime


def given(draft: ArticleDraft) -> JsonObject:
    """The fields of a draft that say something."""
    fields = {name: getattr(draft, name) for name in ArticleDraft.model_fields}
    return {name: value for name, value in fields.items() if value is not None}
