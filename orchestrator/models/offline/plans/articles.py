"""How-to questions: search the knowledge base, read the best articles, quote one with its source."""

from __future__ import annotations

import re
from collections.abc import Generator

from orchestrator.models.offline.conversation import Call, Outcome
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.plans.part import GET_ARTICLE, SEARCH_ARTICLES, Case, Part, Plan, broken
from orchestrator.models.offline.plans.question import (
    Question,
    read_question,
    share,
    stems_of,
    trouble_stems,
)
from orchestrator.models.protocol import JsonObject

_HITS = 5
_READ = 3
"""How many articles are read to choose from."""
_QUOTED = 1200
"""How many characters of an article are quoted; the whole can be read under its title."""
_MISFIT = 0.8
"""What an article about a fault loses where no fault is asked about."""

Found = tuple[JsonObject | None, Outcome | None]
"""An article, or none; and the outcome of the search if that failed."""


def answer_how_to(case: Case, task: Task) -> Plan:
    """Answer from the article that fits best, or say that there is none."""
    article, failed = yield from find_article(task.words)
    if failed is not None:
        return broken(SEARCH_ARTICLES, failed, "search the help articles")
    if article is None:
        return Part(
            "I found no help article that answers this, and I do not want to guess. If you tell me a little "
            "more, I can search again; or write “let me talk to a person”.",
            False,
        )
    return Part(quote(article, task.words))


def find_article(words: str, *, about_fault: bool = False) -> Generator[list[Call], list[Outcome], Found]:
    """The article that answers `words`, or None.

    Some articles help when something fails, others when all is well: `about_fault` says which to prefer.
    """
    question = read_question(words)
    if not question.queries:
        return None, None
    pages = yield [Call(SEARCH_ARTICLES, {"query": query, "limit": _HITS}) for query in question.queries]
    if not any(page.ok for page in pages):
        return None, pages[0]
    standing = _standing(pages, question, about_fault=about_fault)
    best = sorted(standing, key=lambda name: -standing[name])[:_READ]
    if not best:
        return None, None
    outcomes = yield [Call(GET_ARTICLE, {"article_id": name}) for name in best]
    fitting = [one.content for one in outcomes if one.ok and _fits(one.content, question)]
    if not fitting:
        return None, None
    return max(fitting, key=lambda article: _score(article, question, standing)), None


def quote(article: JsonObject, words: str) -> str:
    """The part of the article that fits the question, as it is written, and where it is from."""
    body = _fitting_part(str(article.get("body", "")), read_question(words).terms)
    return f"{body}\n\nSource: help article “{article.get('title')}” ({article.get('article_id')})."


def _standing(pages: list[Outcome], question: Question, *, about_fault: bool) -> dict[str, float]:
    """How well each hit stands: its rank in the searches, and what its title shares with the question."""
    standing: dict[str, float] = {}
    for weight, page in zip((1.0, 0.5), pages, strict=False):
        for rank, hit in enumerate(page.items()):
            name, title = str(hit.get("article_id")), stems_of(str(hit.get("title")))
            start = 0.8 * share(title, question.terms)
            if not about_fault and _is_about_trouble(hit, title, question):
                start -= _MISFIT
            standing[name] = standing.get(name, start) + weight / (1 + rank)
    return standing


def _is_about_trouble(hit: JsonObject, title: frozenset[str], question: Question) -> bool:
    """Whether an article helps when something fails, and the question does not name that very trouble."""
    named = title & trouble_stems()
    is_trouble = hit.get("category") == "troubleshooting" or bool(named)
    return is_trouble and not named & set(question.terms)


def _score(article: JsonObject, question: Question, standing: dict[str, float]) -> float:
    title = stems_of(str(article.get("title")))
    own = share(_head(article), question.terms) + 0.4 * share(title, question.terms)
    return standing.get(str(article.get("article_id")), 0.0) + own


def _head(article: JsonObject) -> frozenset[str]:
    """The stems of the title and the tags: what the article says it is about."""
    tags = " ".join(map(str, article.get("tags") or ()))
    return stems_of(f"{article.get('title')} {tags}")


def _fits(article: JsonObject, question: Question) -> bool:
    """Whether the article is about what is asked, so that quoting it is an answer.

    Some word must be in its title or tags, a third of all words somewhere, and so must the words that are
    special to the question, unless the title itself names what is asked about.
    """
    head = _head(article)
    everything = head | stems_of(str(article.get("body")))
    telling = [term for term in question.terms if term not in trouble_stems()]
    if not any(term in head for term in telling or question.terms):
        return False
    if 3 * sum(term in everything for term in question.terms) < len(question.terms):
        return False
    in_title = sum(term in stems_of(str(article.get("title"))) for term in telling)
    special = [term in everything for term in question.specific]
    unknown = len(special) - sum(special)
    if in_title >= 2 or sum(special) >= unknown:
        return True
    title = stems_of(str(article.get("title")))
    return in_title >= 1 and unknown <= 1 and not _is_about_trouble(article, title, question)


def _fitting_part(body: str, terms: tuple[str, ...]) -> str:
    """The opening of the article and the section whose heading fits best, within the length to quote."""
    opening, *sections = re.split(r"(?m)^(?=#{1,4} )", body.strip())
    if len(body) <= _QUOTED or not sections:
        return _cut(body.strip())
    best = max(sections, key=lambda section: _section_score(section, terms))
    rest = best if _section_score(best, terms) > 0 else sections[0]
    lead = opening.strip()
    return _cut(f"{lead}\n\n{rest.strip()}".strip() if len(lead) < _QUOTED // 2 else lead)


def _section_score(section: str, terms: tuple[str, ...]) -> float:
    heading, _, text = section.partition("\n")
    return 2.0 * share(stems_of(heading), terms) + 0.5 * share(stems_of(text), terms)


def _cut(text: str) -> str:
    """At most the length to quote, ending with a whole line."""
    if len(text) <= _QUOTED:
        return text
    end = text.rfind("\n", 0, _QUOTED)
    return f"{text[: end if end > _QUOTED // 2 else _QUOTED].rstrip()}\n..."
