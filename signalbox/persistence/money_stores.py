"""The store of budgets' counters and of the holds on them, as a protocol.

Calls take batches and answer in the same order; one call is one step, as in `lease_stores.py`.
`now` is Unix time, UTC. A store that several processes share keeps a time of its own instead.
The rules are those of `machines/budget.py`. A store knows nothing of the ledger: it says which
counters it has not loaded, and is told what the ledger's sum was.

A store that can lose its memory knows that as well: it then answers `Rebuilding` to everything that
needs a counter, until each instance that lives has told its open holds again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from signalbox.machines.budget import DAY, Budget, Crossing
from signalbox.types import NanoUSD

LONGEST_TTL = float(DAY)
"""Seconds. No hold lasts longer."""


class HoldRequest(msgspec.Struct, frozen=True):
    """A hold of `want`, or of as much as there is left but no less than `least`, under `budgets`.

    `id` is the request's; `ttl` seconds, at most `LONGEST_TTL`.
    """

    id: str
    want: NanoUSD
    least: NanoUSD
    ttl: float
    budgets: tuple[Budget, ...]


class HoldGranted(msgspec.Struct, frozen=True):
    """The same again for a request that has a hold already."""

    id: str
    amount: NanoUSD
    crossed: tuple[Crossing, ...] = ()
    unloaded: tuple[str, ...] = ()
    """Soft budgets whose counters are not loaded."""


class HoldRefused(msgspec.Struct, frozen=True):
    """The budget of those in the way that has the least left."""

    budget: Budget
    spent: NanoUSD
    held: NanoUSD
    resets_at: float | None
    """Unix time at which its window ends; None: never."""
    least: NanoUSD = NanoUSD(0)
    """What the request would have needed."""

    @property
    def retry_at(self) -> float | None:
        """When the request may fit; None: waiting does not help."""
        return self.resets_at if self.least <= self.budget.limit else None


class NotLoaded(msgspec.Struct, frozen=True):
    """Hard budgets whose counters the store does not have for the current window."""

    budget_ids: tuple[str, ...]


class Rebuilding(msgspec.Struct, frozen=True):
    """The store has lost its memory."""

    told: bool
    """Whether this instance has told its open holds since."""


class Extension(msgspec.Struct, frozen=True):
    """Up to `want` more for a request that has a hold, under the budgets that it was held under."""

    id: str
    want: NanoUSD
    budgets: tuple[Budget, ...]


class Extended(msgspec.Struct, frozen=True):
    amount: NanoUSD
    """Granted, 0 to `want`; 0 also where there is no such hold any more."""
    crossed: tuple[Crossing, ...] = ()


class OpenHold(msgspec.Struct, frozen=True):
    """A hold that its holder has, whether or not there was room; `ttl` seconds from now on."""

    id: str
    amount: NanoUSD
    ttl: float
    budgets: tuple[Budget, ...]


class HoldSettlement(msgspec.Struct, frozen=True):
    """A hold is over. `amount` was charged at the Unix time `at`; 0: nothing was."""

    id: str
    amount: NanoUSD
    at: float
    budgets: tuple[Budget, ...]
    """Those of the hold, for a store that does not know it."""


class Settled(msgspec.Struct, frozen=True):
    done: bool
    """False: nothing is changed by it. It was settled already, or there was no hold, and no
    charge."""
    crossed: tuple[Crossing, ...] = ()
    unloaded: tuple[str, ...] = ()
    """Budgets whose counters are not loaded: who wants to know where they stand loads them."""


class SpentQuery(msgspec.Struct, frozen=True):
    """What the ledger is asked: the sum of what was charged under `budget` from `since` on until
    before `until` (Unix seconds; None: for good), but for the requests `without`."""

    budget: Budget
    since: float
    until: float | None
    without: tuple[str, ...]


class LoadRequest(msgspec.Struct, frozen=True):
    """`loader` may begin again a load that it has begun; anybody else waits for its end."""

    budget: Budget
    loader: str


class LoadBegun(msgspec.Struct, frozen=True):
    token: str
    """Names the load. It never comes again."""
    query: SpentQuery


class LoadBusy(msgspec.Struct, frozen=True):
    """Somebody else is loading the counter, or has loaded it."""

    loaded: bool


class Loaded(msgspec.Struct, frozen=True):
    budget: Budget
    token: str
    spent: NanoUSD


class LoadEnded(msgspec.Struct, frozen=True):
    done: bool
    """False: something happened meanwhile that the sum may have missed, or counted already."""
    crossed: tuple[Crossing, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """Where a budget stands in its current window. None: not known now."""

    budget: Budget
    spent: NanoUSD | None
    held: NanoUSD | None
    resets_at: float | None
    """Unix time; None: never."""

    @property
    def limit(self) -> NanoUSD:
        return self.budget.limit

    @property
    def left(self) -> NanoUSD | None:
        """What may still be held; never less than nothing."""
        if self.spent is None:
            return None
        return NanoUSD(max(0, self.limit - self.spent - (self.held or 0)))


HoldAnswer: TypeAlias = HoldGranted | HoldRefused | NotLoaded | Rebuilding
ExtendAnswer: TypeAlias = Extended | NotLoaded | Rebuilding
LoadAnswer: TypeAlias = LoadBegun | LoadBusy | Rebuilding
StandingAnswer: TypeAlias = Standing | NotLoaded | Rebuilding


class MoneyStore(Protocol):
    """Owns the counters of budgets and the open holds. Holds whose time is over lapse before
    anything else is done, in every call."""

    def hold(self, requests: Sequence[HoldRequest], now: float) -> list[HoldAnswer]:
        """Grants what fits into what every hard budget has left, and counts it in all of them."""
        ...

    def extend(self, extensions: Sequence[Extension], now: float) -> list[ExtendAnswer]: ...

    def open(self, holds: Sequence[OpenHold], now: float) -> list[HoldGranted]:
        """Counts new holds under soft budgets alone, which nobody is refused."""
        ...

    def settle(self, settlements: Sequence[HoldSettlement], now: float) -> list[Settled]:
        """Ends holds. A charge counts once, in the window of its time; a charge without a hold
        makes its budgets' counters not loaded, since nobody knows whether they have it."""
        ...

    def begin_loads(self, requests: Sequence[LoadRequest], now: float) -> list[LoadAnswer]: ...

    def end_loads(self, loads: Sequence[Loaded], now: float) -> list[LoadEnded]: ...

    def standings(self, budgets: Sequence[Budget], now: float) -> list[StandingAnswer]: ...

    def forget(self, budget_ids: Sequence[str], now: float) -> list[None]:
        """Their counters are not loaded any more; holds stay."""
        ...

    def expire(self, now: float) -> Rebuilding | None:
        """Lets holds lapse whose time is over; None: the store has its memory."""
        ...

    def rejoin(self, holds: Sequence[OpenHold], now: float) -> bool:
        """Tells all open holds of this instance again. Whether every instance has done so.

        The counters under them are not loaded then: what was summed may lack their charges.
        """
        ...

    def leave(self, now: float) -> None:
        """This instance ends: nobody waits for it any more."""
        ...
