"""Filling an empty store with the demo company's invoices and refunds."""

from __future__ import annotations

import asyncio

from handoff.store import ABSENT, Store, Write
from servers.billing.demo_books import Books
from servers.billing.ledger import Ledger
from servers.billing.limits import RefundLimits
from servers.billing.refunds import Refunds

_PER_COMMIT = 40


async def load_demo(store: Store) -> int:
    """Write the demo company's books; returns how many invoices and refunds were written.

    Raises: VersionConflictError when one of them is there already.
    """
    books, ledger, refunds = Books(), Ledger(store), Refunds(store, RefundLimits())
    first: list[Write] = [
        refunds.records.put(refund.refund_id, refund, expected=ABSENT) for refund in books.refunds
    ]
    first += ledger.opening(books.invoices[0])
    # On its own, before the others: it touches every collection, so that a store which is not empty is
    # noticed before anything is written.
    await store.commit(first, actor="demo")
    rest = books.invoices[1:]
    batches = [rest[start : start + _PER_COMMIT] for start in range(0, len(rest), _PER_COMMIT)]
    await asyncio.gather(
        *(
            store.commit([write for invoice in batch for write in ledger.opening(invoice)], actor="demo")
            for batch in batches
        )
    )
    return len(books.invoices) + len(books.refunds)
