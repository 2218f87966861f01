"""From a markdown file to an article."""

from __future__ import annotations

from pathlib import PurePath

from pydantic import ValidationError

from handoff.errors import JsonObject
from servers._results import InvalidError
from servers.knowledge_base.articles import FiledArticle, StoredArticle, slug
from servers.knowledge_base.front_matter import read_page


def article_of(text: str, name: str) -> StoredArticle:
    """The article in a file called `name`, which may be a path below the loaded folder.

    The id is the front matter's, else the file's name; the category the front matter's, else the folder's.

    Raises: MalformedPageError; InvalidError, naming the field and never quoting it.
    """
    page = read_page(text)
    path = PurePath(name)
    title = page.text("title")
    if title is None:
        raise InvalidError("is missing; write it in the front matter or as the first heading", field="title")
    given = {
        "article_id": page.text("id") or slug(path.stem) or slug(title),
        "title": title,
        "body": page.body,
        "category": page.text("category") or slug(path.parent.name) or None,
        "tags": page.items("tags"),
        "updated_at": page.instant("updated"),
    }
    return article({field: value for field, value in given.items() if value is not None})


def article(given: JsonObject) -> StoredArticle:
    """Raises: InvalidError, naming the field and never quoting it."""
    try:
        return FiledArticle.model_validate(given).stored()
    except ValidationError as error:
        raise refused(error) from None


def refused(error: ValidationError) -> InvalidError:
    """The first thing that is wrong with an article, without its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    known = first["loc"] and first["loc"][0] in FiledArticle.model_fields
    return InvalidError(
        first["msg"],
        field=str(first["loc"][0]) if known else "article",
        suggestion="correct it and send this article again",
    )
