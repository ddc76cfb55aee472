"""What one request holds under its budgets, and whether it pays for what is about to be delivered.

Every way out of a request ends the hold: a charge settles it, the end without a charge gives it
back. Only where nobody knows whether a charge was written does it stay until its time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from signalbox.actors.alarms import Alarms
from signalbox.actors.money import Hold, Money, MoneyAway
from signalbox.adapters.protocol import Delta
from signalbox.machines.budget import Budget
from signalbox.machines.facts import BudgetReached
from signalbox.machines.spending import NOTHING_SENT, RouteTerms, Sent, Terms
from signalbox.persistence.money_stores import HoldRefused
from signalbox.persistence.stores import Charge
from signalbox.types import NanoUSD

ANSWER_TOKENS = 32
"""Of an answer, that nobody sees: the marks of its end and of its tool calls."""
LEAST_STEP = 256
MOST_STEP = 8192
"""Tokens by which a hold is extended: as much again as there is, within these bounds. Larger steps
would keep from others what this answer may never need."""


class Purse:
    """`wall_clock`: Unix seconds."""

    def __init__(
        self,
        request_id: str,
        budgets: Sequence[Budget],
        money: Money,
        alarms: Alarms,
        wall_clock: Callable[[], float],
    ) -> None:
        self.budgets = tuple(budgets)
        self._id = request_id
        self._money = money
        self._alarms = alarms
        self._wall_clock = wall_clock
        self._hold: Hold | None = None
        self._charging = False
        """A charge may have been written, and is not known to be."""
        self._terms: Terms | None = None
        """Of the attempt that the client follows."""
        self._sent = NOTHING_SENT
        """By attempts before it."""
        self._tokens = 0
        """By it, at most."""
        self._extending: trio.Event | None = None
        self._dry = False
        """The last time there was less than was asked for."""

    @property
    def held(self) -> NanoUSD:
        return NanoUSD(0) if self._hold is None else self._hold.amount

    async def open(
        self, want: NanoUSD, least: NanoUSD, *, ttl: float
    ) -> BudgetReached | MoneyAway | None:
        """None: it is held."""
        answer = await self._money.hold(self._id, want, least, self.budgets, ttl=ttl)
        if isinstance(answer, Hold):
            self._hold = answer
            return None
        return self._reached(answer) if isinstance(answer, HoldRefused) else answer

    def _reached(self, refused: HoldRefused) -> BudgetReached:
        resets_at = refused.resets_at
        return BudgetReached(
            refused.budget,
            refused.spent,
            refused.held,
            refused.least,
            resets_at,
            None if resets_at is None else max(0.0, resets_at - self._wall_clock()),
        )

    async def extend(self, total: NanoUSD) -> NanoUSD:
        """What is held then, of up to `total` in all."""
        if self._hold is not None and total > self._hold.amount:
            more = NanoUSD(total - self._hold.amount)
            self._dry = await self._money.extend(self._hold, more) < more
        return self.held

    # ── a stream that grows ───────────────────────────────────────────────────────────────────

    def follow(self, terms: RouteTerms, sent: Sent) -> None:
        """The client is sent the answer of another attempt from now on."""
        self._terms = terms if isinstance(terms, Terms) else None
        self._sent, self._tokens = sent, ANSWER_TOKENS

    @property
    def sent(self) -> Sent:
        """What the client has been sent of the answer, by all attempts."""
        if self._terms is None:
            return self._sent
        cost = self._terms.cost(self._tokens) - self._terms.base
        return Sent(self._sent.tokens + self._tokens, NanoUSD(self._sent.cost + cost))

    async def cover(self, deltas: Sequence[Delta]) -> int:
        """How many of the deltas are paid for, and may go out. Waits only where the hold has to be
        extended for them, which is begun before that is so."""
        terms = self._terms
        for place, delta in enumerate(deltas):
            tokens = self._tokens + most_tokens(delta)
            if terms is not None and terms.cuttable and terms.cost(tokens) > self.held:
                await self._reach(terms, tokens)
                if terms.cost(tokens) > self.held:
                    return place
            self._tokens = tokens
        if terms is not None and terms.cuttable:
            self._look_ahead(terms)
        return len(deltas)

    async def _reach(self, terms: Terms, tokens: int) -> None:
        if self._extending is not None:
            await self._extending.wait()
        if terms.cost(tokens) > self.held:
            await self.extend(terms.cost(tokens + self._step))

    def _look_ahead(self, terms: Terms) -> None:
        if self._extending is not None or self._dry:
            return
        if terms.cost(self._tokens + self._step // 2) > self.held:
            self._extending = trio.Event()
            self._alarms.set(0.0, self._extend_ahead)

    async def _extend_ahead(self) -> None:
        extending, terms = self._extending, self._terms
        assert extending is not None
        try:
            if terms is not None:
                await self.extend(terms.cost(self._tokens + 2 * self._step))
        finally:
            self._extending = None
            extending.set()

    @property
    def _step(self) -> int:
        return max(LEAST_STEP, min(MOST_STEP, self._tokens))

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def charging(self) -> None:
        """A charge is about to be written."""
        self._charging = True

    def settle(self, charge: Charge) -> None:
        """It is durable."""
        self._charging = False
        if self._hold is not None:
            self._money.settle(self._hold, charge.amount, charge.at)

    def give_back(self) -> None:
        """Nothing more will be charged. Again, or after a charge: nothing happens."""
        if self._hold is not None and not self._charging:
            self._money.release(self._hold)


def most_tokens(delta: Delta) -> int:
    """What the content of a delta can come to: a token is at least a byte."""
    chars = delta.content_chars
    if not chars:
        return 0
    raw = delta.raw
    if raw.isascii() and b"\\u" not in raw:
        return chars
    return min(len(raw), 4 * chars)
