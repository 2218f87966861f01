"""Full-text search for people: their words in, the best records first, page by page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from handoff.errors import StructuredError
from handoff.store import Hit, Store
from servers._search.query import MAX_CHARS, Term, all_of, any_of, read_query
from servers._search.vocabulary import PLAIN, Vocabulary

__all__ = ["LOOK_AHEAD", "MAX_CHARS", "MAX_OFFSET", "SearchPage", "search"]

Best = Callable[[str, int, int], Awaitable[list[Hit]]]
"""Finds so many of the best hits of an expression, from an offset on."""

MAX_OFFSET = 1_000
"""How deep a search can be paged; whoever reads on should ask better."""

LOOK_AHEAD = 5
"""`more` counts up to this many hits beyond the page and no further."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Part of the hits, best first."""

    hits: tuple[Hit, ...]
    next_cursor: str | None
    more: int
    """How many hits follow, counted up to `LOOK_AHEAD`."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page starts: in the list of the hits with all words, or in that of the hits with any."""

    any_word: bool
    offset: int = 0


async def search(
    store: Store,
    collection: str,
    query: str,
    *,
    limit: int,
    cursor: str | None,
    within: tuple[str, str] | None = None,
    vocabulary: Vocabulary = PLAIN,
    enough: int = 1,
    excerpts: bool = True,
) -> SearchPage:
    """The records that match `query`, best first.

    Those that hold all its words, if there are at least `enough` of them. Otherwise those that hold any,
    and holding all only ranks higher: one word that an answer happens not to use must not hide it.
    `within` restricts to the records listed under that index name and key. Who never shows excerpts
    goes without: they cost as much as the search.

    Raises: InvalidError naming `query` when it has no words; StructuredError `invalid_cursor`.
    """
    terms = read_query(query, vocabulary)

    async def best(match: str, most: int, offset: int) -> list[Hit]:
        return await store.search(collection, match, limit=most, offset=offset, within=within, excerpts=False)

    page = await _ranked(best, terms, limit, cursor, _binding(collection, query, within), enough)
    return await _with_excerpts(store, collection, terms, page) if excerpts else page


async def _ranked(
    best: Best, terms: list[Term], limit: int, cursor: str | None, binding: str, enough: int
) -> SearchPage:
    start = _read_cursor(cursor, binding) if cursor is not None else _Position(any_word=False)
    wanted = limit + LOOK_AHEAD
    some_hold_all = True
    if not start.any_word:
        most = max(wanted, enough) if cursor is None else wanted
        hits = await best(all_of(terms), most, start.offset)
        if cursor is not None or len(hits) >= enough or len(terms) == 1:
            return _page(hits[:wanted], start, limit, binding)
        start, some_hold_all = _Position(any_word=True), bool(hits)
    hits = await best(any_of(terms, prefer_all=some_hold_all), wanted, start.offset)
    return _page(hits, start, limit, binding)


async def _with_excerpts(store: Store, collection: str, terms: list[Term], page: SearchPage) -> SearchPage:
    """The page with a part of each body that holds as many of the words as possible, in any form."""
    if not page.hits:
        return page
    any_form = " OR ".join(term.expression() for term in terms)
    found = await store.excerpts(collection, any_form, [hit.id for hit in page.hits])
    return replace(page, hits=tuple(replace(hit, excerpt=found.get(hit.id, "")) for hit in page.hits))


def _page(hits: list[Hit], start: _Position, limit: int, binding: str) -> SearchPage:
    more, following = len(hits[limit:]), _Position(start.any_word, start.offset + limit)
    if not more or following.offset > MAX_OFFSET:
        return SearchPage(tuple(hits[:limit]), None, 0)
    return SearchPage(tuple(hits[:limit]), _write_cursor(following, binding), more)


def _binding(collection: str, query: str, within: tuple[str, str] | None) -> str:
    """What a cursor belongs to: it would point anywhere in the hits of another search."""
    parts = json.dumps([collection, query, within]).encode()
    return hashlib.sha256(parts).hexdigest()[:16]


def _write_cursor(position: _Position, binding: str) -> str:
    text = json.dumps([int(position.any_word), position.offset, binding], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, binding: str) -> _Position:
    try:
        padded = cursor[:256] + "=" * (-len(cursor[:256]) % 4)
        any_word, offset, bound = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _invalid_cursor() from None
    valid = any_word in (0, 1) and type(offset) is int and 0 <= offset <= MAX_OFFSET and bound == binding
    if not valid:
        raise _invalid_cursor()
    return _Position(bool(any_word), offset)


def _invalid_cursor() -> StructuredError:
    return StructuredError(
        "cursor does not belong to this search",
        code="invalid_cursor",
        field="cursor",
        suggestion="repeat the search without cursor, with the same query from page to page",
    )
