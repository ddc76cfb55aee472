"""Budgets of extra calls: retries and hedges as a share of the ordinary ones.

When a provider is down, every client's request is tried again, and the retries alone can keep it
down. So ordinary calls pay for extra ones: each deposits a fraction of a call, each extra call
withdraws one. A small reserve, which time refills, lets a quiet gateway make extra calls as well.
(The idea is that of Finagle's `RetryBudget` and of gRPC's retry throttling, proposal A6.)

The balance is one token bucket with two sources: time fills it up to `reserve`, deposits up to
`cap`. In any `w` seconds with `n` ordinary calls, as long as every withdrawal finds room,

    extra calls ≤ cap + refill × w + ratio × n

and from a fresh budget on the bound is `reserve` in place of `cap`: what a withdrawal takes was
there at the beginning, or came in meanwhile.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace


class BudgetRules(msgspec.Struct, frozen=True):
    ratio: float
    """Extra calls that each ordinary call pays for."""
    reserve: float
    """Extra calls that may be made without ordinary ones; 1 or more."""
    refill: float
    """Calls a second with which time restores the reserve."""
    cap: float
    """Extra calls that can be saved up; `reserve` or more."""


RETRIES = BudgetRules(ratio=0.2, reserve=10.0, refill=1.0, cap=100.0)
"""Of one route. A provider in trouble gets at most a fifth more than its ordinary load, as Finagle
and Envoy have it by default. The reserve is full again after ten seconds and is more than one
request's own retries; the cap lets a busy route get over the reset of a hundred connections."""

HEDGES = BudgetRules(ratio=0.05, reserve=5.0, refill=0.1, cap=20.0)
"""Of all requests together. A hedge is paid for twice, and one started at the p95 is needed by one
call in twenty; more than that means that everything has become slow, when extra calls make it
slower (Dean and Barroso, "The Tail at Scale", 2013). A quiet gateway may make six a minute."""


class CallBudget(msgspec.Struct, frozen=True):
    """A balance as it stood at `at`, by the monotonic clock of the caller's."""

    rules: BudgetRules
    balance: float
    at: float = 0.0

    @classmethod
    def fresh(cls, rules: BudgetRules) -> CallBudget:
        return cls(rules, rules.reserve)

    def has_room(self, now: float) -> bool:
        """Whether one more extra call may be made."""
        return self._refilled(now).balance >= 1.0

    def deposited(self, now: float) -> CallBudget:
        """An ordinary call is made."""
        refilled = self._refilled(now)
        return replace(refilled, balance=min(self.rules.cap, refilled.balance + self.rules.ratio))

    def withdrawn(self, now: float) -> CallBudget:
        """An extra call is made. Where there was no room (it was asked some time before), that
        leaves a debt, which is paid before there is room again."""
        refilled = self._refilled(now)
        return replace(refilled, balance=refilled.balance - 1.0)

    def _refilled(self, now: float) -> CallBudget:
        passed = now - self.at
        if passed <= 0:
            return self
        balance, reserve = self.balance, self.rules.reserve
        # What deposits brought above the reserve stays.
        if balance < reserve:
            balance = min(reserve, balance + self.rules.refill * passed)
        return CallBudget(self.rules, balance, now)
