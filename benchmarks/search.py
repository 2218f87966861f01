"""Knowledge-base search at 1,000 and at 10,000 articles: how long a question takes, and how that grows.

The articles are put together from paragraphs of the demo company's own, so that words are as common and
as rare as in real help texts, with a few words of their own. The questions are whole sentences and
keywords, as agents send them, and go through the server's own search, excerpts included. Beside the time
stands the CPU time, which a busy machine changes less. Exits with 1 when ten times the articles take more
than the promised multiple of the time (median), or when at 10,000 one question in twenty takes more CPU time
than promised.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT
from servers.knowledge_base.articles import StoredArticle
from servers.knowledge_base.demo import demo_articles
from servers.knowledge_base.library import Library

SIZES = (1_000, 10_000)
ROUNDS = 10
PROMISED_GROWTH = 5.0
PROMISED_P95_MS = 20.0
BATCH = 500

QUESTIONS = (
    "how do I restore a file I deleted last week",
    "my sync is stuck at 99%",
    "change the card you charge",
    "can my accountant get the invoices",
    "HY-104",
    "what does error HY-207 mean and how do I get rid of it",
    "refund duplicate charge",
    "shared folder permissions viewer editor",
    "the app on my laptop uses a lot of memory since the last update",
    "two-factor authentication lost phone",
    "how much does the team plan cost for twelve people if we pay for a whole year",
    "webhook signature",
    "move the folder to another drive",
    "who deleted the files in our shared folder",
    "restore backup to a new computer",
    "single sign-on certificate expired",
    "upload is slow",
    "delete my account and all my files",
    "API rate limit",
    "can I open my files on a phone without a connection",
)


def generated(count: int) -> Iterator[StoredArticle]:
    """Articles of the demo's paragraphs, shuffled anew for each."""
    rng = random.Random(count)
    demo = list(demo_articles())
    paragraphs = [part for article in demo for part in article.body.split("\n\n") if len(part) > 40]
    for number in range(count):
        like = rng.choice(demo)
        body = [*rng.sample(paragraphs, rng.randint(4, 9)), f"Reference {rng.randrange(count):06d}."]
        yield StoredArticle(
            article_id=f"article-{number}",
            title=f"{like.title} {rng.choice(demo).title.split()[-1]}",
            body="\n\n".join(body),
            category=like.category,
            tags=like.tags[: rng.randint(0, 6)],
        )


async def fill(store: SqliteStore, count: int) -> None:
    library, articles = Library(store), list(generated(count))
    for at in range(0, count, BATCH):
        puts = [library.put(article, expected=ABSENT) for article in articles[at : at + BATCH]]
        await store.commit(puts, actor="benchmark")


@dataclass
class Times:
    """Milliseconds of each question, in rounds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


async def measure(directory: Path, count: int) -> Times:
    """Ask every question in every round."""
    async with await SqliteStore.open(directory / f"{count}.db", owner="benchmark") as store:
        await fill(store, count)
        library, times = Library(store), Times()
        for _ in range(ROUNDS):
            for question in QUESTIONS:
                start, spent = time.perf_counter(), time.process_time()
                page = await library.find(question, limit=10, cursor=None)
                times.wall.append((time.perf_counter() - start) * 1000)
                times.cpu.append((time.process_time() - spent) * 1000)
                assert page.items
        return times


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def main() -> int:
    with tempfile.TemporaryDirectory(dir=".") as directory:
        few, many = (asyncio.run(measure(Path(directory), count)) for count in SIZES)
    growth = statistics.median(many.wall) / statistics.median(few.wall)
    result = {
        "benchmark": "search",
        "questions": len(QUESTIONS),
        "articles": list(SIZES),
        "p50_ms": [round(statistics.median(times.wall), 2) for times in (few, many)],
        "p95_ms": [round(p95(times.wall), 2) for times in (few, many)],
        "p95_cpu_ms": [round(p95(times.cpu), 2) for times in (few, many)],
        "p50_ratio": round(growth, 2),
        "promised": {"p50_ratio": PROMISED_GROWTH, "p95_cpu_ms": PROMISED_P95_MS},
    }
    print(f"questions to the knowledge base, {len(QUESTIONS)} different ones, {ROUNDS} rounds")
    for count, times in zip(SIZES, (few, many), strict=True):
        took = f"p50 {statistics.median(times.wall):6.2f} ms   p95 {p95(times.wall):6.2f} ms"
        print(f"  {count:>6,} articles: {took}   p95 {p95(times.cpu):6.2f} ms CPU")
    print(f"  ten times the articles take {growth:.1f} times as long (promised: {PROMISED_GROWTH:g})")
    print(json.dumps(result))
    return 0 if growth <= PROMISED_GROWTH and p95(many.cpu) <= PROMISED_P95_MS else 1


if __name__ == "__main__":
    sys.exit(main())
