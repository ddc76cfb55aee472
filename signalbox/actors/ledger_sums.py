"""What the ledger says was spent, as the budgets' counters are loaded from it."""

from __future__ import annotations

from collections.abc import Sequence

from signalbox.actors.ledger import Ledger
from signalbox.actors.ports import Workers
from signalbox.errors import StoreUnavailable
from signalbox.persistence.money_stores import SpentQuery
from signalbox.persistence.stores import SpendingQuery, SpendingStore
from signalbox.types import NanoUSD


class LedgerSums:
    """A charge counts from the moment at which it is durable: while one of this process lies in the
    spool, where no database counts it, nothing is answered."""

    def __init__(self, ledger: Ledger, store: SpendingStore, readers: Workers) -> None:
        self._ledger = ledger
        self._store = store
        self._readers = readers

    async def spent(self, queries: Sequence[SpentQuery]) -> list[NanoUSD]:
        """In the order of the queries. Raises `StoreUnavailable`."""
        # Looked at first: what is spooled while the database is asked is not settled before it is,
        # and whoever asks adds what is settled since.
        if self._ledger.has_spooled:
            raise StoreUnavailable(
                "charges wait in the spool, so that the database does not know what was spent"
            )
        return await self._readers.run(self._store.spent, [_told(query) for query in queries])


def _told(query: SpentQuery) -> SpendingQuery:
    budget = query.budget
    return SpendingQuery(budget.scope, budget.subject, query.since, query.until, query.without)
