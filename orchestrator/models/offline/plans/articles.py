"""How-to questions: search the knowledge base, read the best article, quote it with its source."""

from __future__ import annotations

import re
from collections.abc import Generator

from orchestrator.models.offline.conversation import Call, Outcome
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.plans.part import GET_ARTICLE, SEARCH_ARTICLES, Case, Part, Plan, broken
from orchestrator.models.offline.sentences import split_sentences
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import table
from orchestrator.models.offline.tokens import Token, tokenise
from orchestrator.models.offline.wording import line
from orchestrator.models.protocol import JsonObject

_HITS = 5
_LONGEST_QUERY = 300
_READ = 3
"""How many articles are read to choose from."""
_QUOTED = 1200
"""How many characters of an article are quoted; the whole can be read under its title."""
_MOST_TERMS = 10
_MISFIT = 0.8
"""What an article about a fault loses where no fault is asked about."""
_NAMING = ("feature", "tech", "billing_topic", "company_topic")
"""The concepts that stand for things of the product."""


def answer_how_to(case: Case, task: Task) -> Plan:
    """Answer from the article that fits best, or say that there is none."""
    article, failed = yield from find_article(task.words)
    if failed is not None:
        return broken(SEARCH_ARTICLES, failed, "search the help articles")
    if article is None:
        return Part(
            "I found no help article that answers this, and I do not want to guess. If you tell me a little more, "
            "I can search again, or write “let me talk to a person”.",
            False,
        )
    return Part(quote(article, task.words))


def find_article(
    words: str, *, about_fault: bool = False
) -> Generator[list[Call], list[Outcome], tuple[JsonObject | None, Outcome | None]]:
    """The article that answers `words`, or None; and the outcome of the search if that failed.

    Some articles help when something fails, others when all is well: `about_fault` says which to prefer.
    """
    queries = _queries(words)
    if not queries:
        return None, None
    pages = yield [Call(SEARCH_ARTICLES, {"query": query, "limit": _HITS}) for query in queries]
    if not any(page.ok for page in pages):
        return None, pages[0]
    terms = key_terms(words)
    standing = _standing(pages, terms, about_fault=about_fault)
    best = sorted(standing, key=lambda name: -standing[name])[:_READ]
    if not best:
        return None, None
    outcomes = yield [Call(GET_ARTICLE, {"article_id": name}) for name in best]
    read = [outcome.content for outcome in outcomes if outcome.ok]
    fitting = [article for article in read if _fits(article, terms)]
    if not fitting:
        return None, None
    return max(fitting, key=lambda article: _score(article, terms, standing)), None


def _standing(pages: list[Outcome], terms: list[str], *, about_fault: bool) -> dict[str, float]:
    """How well each hit stands: its rank in every search, and the words its title shares with the question."""
    standing: dict[str, float] = {}
    for weight, page in zip((1.0, 0.5), pages, strict=False):
        for rank, hit in enumerate(page.items()):
            name = str(hit.get("article_id"))
            title = _stems(hit.get("title"))
            trouble = bool((title & _stems(table("words")["trouble"])) - set(terms))
            start = 0.8 * _share(title, terms) - (_MISFIT if trouble and not about_fault else 0.0)
            standing[name] = standing.get(name, start) + weight / (1 + rank)
    return standing


def quote(article: JsonObject, words: str) -> str:
    """The part of the article that fits the question, as it is written, and where it is from."""
    body = _fitting_part(str(article.get("body", "")), key_terms(words))
    return f"{body}\n\nSource: help article “{article.get('title')}” ({article.get('article_id')})."


def key_terms(words: str) -> list[str]:
    """The stems that say what is asked about, without the words that any question has."""
    return list(dict.fromkeys(token.stem for token in _telling(words)))[:_MOST_TERMS]


def _queries(words: str) -> list[str]:
    """Two searches: the question as it is, and only the words that carry meaning."""
    own = " ".join(dict.fromkeys(token.text for token in _telling(words)))
    return [query for query in dict.fromkeys([line(words, _LONGEST_QUERY), own]) if own]


def _telling(words: str) -> list[Token]:
    """The words that carry meaning."""
    idle = {stem(word) for name in ("function", "idle") for word in table("words")[name].split()}
    telling: list[Token] = []
    for sentence in map(mark_concepts, split_sentences(words)):
        places = [place for concept in _NAMING for place in sentence.concepts.get(concept, ())]
        # A word such as "two" carries meaning where it is part of a name: "two factor".
        joined = {at for place in places if place[1] - place[0] > 1 for at in range(*place)}
        for at, token in enumerate(sentence.tokens):
            if token.kind == "word" and (at in joined or (token.stem not in idle and len(token.text) > 1)):
                telling.append(token)
    return telling


def _score(article: JsonObject, terms: list[str], standing: dict[str, float]) -> float:
    title, tags = _stems(article.get("title")), _stems(" ".join(map(str, article.get("tags") or ())))
    own = 1.0 * _share(title | tags, terms) + 0.4 * _share(title, terms)
    return standing.get(str(article.get("article_id")), 0.0) + own


def _share(stems: set[str], terms: list[str]) -> float:
    """Which part of the terms is among the stems."""
    return sum(term in stems for term in terms) / max(1, len(terms))


def _fits(article: JsonObject, terms: list[str]) -> bool:
    """Whether the article is about what is asked: most of the words are in it, one in a prominent place."""
    head = _stems(article.get("title")) | _stems(" ".join(map(str, article.get("tags") or ())))
    body = _stems(article.get("body"))
    in_head = sum(term in head for term in terms)
    anywhere = sum(term in head or term in body for term in terms)
    return in_head >= 1 and anywhere >= max(1, (len(terms) + 1) // 2)


def _stems(text: object) -> set[str]:
    return {token.stem for token in tokenise(str(text or "")[:16_000]) if token.kind == "word"}


def _fitting_part(body: str, terms: list[str]) -> str:
    """The opening of the article and the section whose heading fits best, within the length to quote."""
    opening, *sections = re.split(r"(?m)^(?=#{1,4} )", body.strip())
    if len(body) <= _QUOTED or not sections:
        return _cut(body.strip())
    best = max(sections, key=lambda section: _section_score(section, terms))
    rest = best if _section_score(best, terms) > 0 else sections[0]
    lead = opening.strip()
    return _cut(f"{lead}\n\n{rest.strip()}".strip() if len(lead) < _QUOTED // 2 else lead)


def _section_score(section: str, terms: list[str]) -> float:
    heading, _, text = section.partition("\n")
    in_heading, in_text = _stems(heading), _stems(text)
    return sum(2.0 * (term in in_heading) + 0.5 * (term in in_text) for term in terms)


def _cut(text: str) -> str:
    """At most the length to quote, ending with a whole line."""
    if len(text) <= _QUOTED:
        return text
    end = text.rfind("\n", 0, _QUOTED)
    return f"{text[: end if end > _QUOTED // 2 else _QUOTED].rstrip()}\n..."
