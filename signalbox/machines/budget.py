"""Budgets: how much may be spent in a period, and one budget's counter. Pure: time is passed in.

The ledger is the truth, and a counter is a cache of it that also knows what is about to be spent:

    spent   charges of the current window, of requests whose holds are over
    held    what open holds may still cost, whatever window their charges will fall into

A request is granted a hold, later perhaps an extension, only while spent + held stays within the
limit, and its charge takes the place of the hold. A charge is durable in the ledger *before* its
hold is settled. From that follow the rules by which a counter is loaded and doubted:

* When a load begins, the holds that are open are noted, and the ledger is summed *without* their
  requests, whether or not they are charged by then. What is settled from then on is added. So no
  charge is missed or counted twice, although the sum is made while requests go on.
* A charge that comes with a hold which was open then, or was granted since, is certain to be
  missing in the sum. Of any other nobody can say that (its hold had lapsed, or Redis has lost it):
  the counter is doubted, and loaded again before anything is granted.
* Soft budgets open holds also while they are loaded, since nobody waits for them. Whether the
  charge of such a hold may be in the sum, its time says.
* A hold that lapses was its holder's, who is gone or very slow, and may have been charged: doubt.
* Another window, also one that comes again when a clock is put back, is always loaded.

A doubt costs a sum over the ledger and never a wrong answer. It is raised by crashes, outages and
the turn of a window, not by requests that go well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from signalbox.types import NanoUSD

HOUR = 3600
DAY = 24 * HOUR

MOST = NanoUSD(9_000_000 * 10**9)
"""The largest limit, and the most that a counter counts. Redis' scripts compute with doubles, which
are exact up to 2⁵³; nine million dollars are just below."""

LOAD_PATIENCE = 5.0
"""Seconds after which a load that has not ended is taken for dead: longer than a database may take
for a sum."""

CERTAIN_AFTER = 1.0
"""Seconds after the end of a load from which on a charge is certain to be missing in its sum, by
clocks that may differ so much."""

ALERT_AT = (0.8, 1.0)


class Period(StrEnum):
    """How long a budget lasts. Hours, days and months of UTC; weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"
    """For good: it never begins again."""


class BudgetScope(StrEnum):
    """Whose spending a budget bounds."""

    REQUEST = "request"
    """The one request: a ceiling, not a counter."""
    GLOBAL = "global"
    KEY = "key"
    USER = "user"
    TAG = "tag"
    ACCOUNT = "account"


class Budget(msgspec.Struct, frozen=True):
    id: str
    name: str
    scope: BudgetScope
    subject: str | None
    """The key's id, the end user, the tag, the account; None for a request and for all of them."""
    limit: NanoUSD
    period: Period
    hard: bool
    """False: nothing is refused, alerts are raised."""
    alert_at: tuple[float, ...] = ALERT_AT
    """Fractions of the limit; each is told of once in a window."""


class Window(msgspec.Struct, frozen=True):
    """From `start` on, until `end` is reached. Unix seconds; an `end` of None: for good."""

    start: float
    end: float | None

    def contains(self, at: float) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


def window_of(period: Period, at: float) -> Window:
    """The window of `period` in which the Unix time `at` is."""
    if period is Period.TOTAL:
        return Window(0.0, None)
    day = math.floor(at / DAY)
    if period is Period.MONTH:
        return _month_of(day)
    length, first = _GRIDS[period]
    start = math.floor((at - first) / length) * length + first
    return Window(float(start), float(start + length))


_GRIDS = {Period.HOUR: (HOUR, 0), Period.DAY: (DAY, 0), Period.WEEK: (7 * DAY, -3 * DAY)}
"""How long a window is, and where one begins: 1 January 1970 was a Thursday."""

_EPOCH = date(1970, 1, 1).toordinal()


def _month_of(day: int) -> Window:
    """`day`: since 1 January 1970."""
    first = date.fromordinal(_EPOCH + day).replace(day=1)
    year, month = divmod(first.year * 12 + first.month, 12)
    following = date(year, month + 1, 1)
    start, end = (float((each.toordinal() - _EPOCH) * DAY) for each in (first, following))
    return Window(start, end)


def grantable(want: NanoUSD, least: NanoUSD, left: Iterable[NanoUSD]) -> NanoUSD | None:
    """The largest amount from `least` to `want` that fits into all that is left; None: there is
    none."""
    amount = min([want, *left])
    return None if amount < least else amount


class Crossing(msgspec.Struct, frozen=True):
    """A budget's total, spent and held, has passed something for the first time in its window."""

    budget: Budget
    spent: NanoUSD
    held: NanoUSD
    fraction: float | None
    """Of the limit, that was reached; None: a hard limit itself was passed, because a charge was
    larger than its hold."""


class Told(msgspec.Struct, frozen=True):
    """What was alerted of in a window, under a limit. Under another limit all of it is news."""

    limit: NanoUSD = NanoUSD(-1)
    fraction: float = 0.0
    """The largest that was told of."""
    over: bool = False


class Load(msgspec.Struct, frozen=True):
    """A sum over the ledger that is being made."""

    token: str
    loader: str
    began_at: float


class Counter:
    """One budget's money in its current window. Nothing here judges a limit but `left`."""

    __slots__ = (
        "held",
        "holds",
        "load",
        "loaded",
        "newer",
        "spent",
        "summed_at",
        "told",
        "window",
    )

    def __init__(self) -> None:
        self.window: Window | None = None
        self.loaded = False
        self.spent = NanoUSD(0)
        """Unless `loaded`: what was settled since the load began."""
        self.held = NanoUSD(0)
        self.holds: dict[str, NanoUSD] = {}
        """By the request's id."""
        self.load: Load | None = None
        self.newer: set[str] = set()
        """Holds that were opened while it was loaded last."""
        self.summed_at = -math.inf
        """When that load ended."""
        self.told = Told()

    def enter(self, window: Window) -> None:
        """To be called before anything else, with the window that is current."""
        if window != self.window:
            self.window = window
            self.told = Told()
            self.doubt()

    @property
    def has_told(self) -> bool:
        return self.told.over or self.told.fraction > 0

    def doubt(self) -> None:
        """The ledger knows better; a load under way may have come too early."""
        self.loaded, self.load, self.spent = False, None, NanoUSD(0)

    def left(self, limit: NanoUSD) -> NanoUSD:
        return NanoUSD(max(0, min(limit, MOST) - self.spent - self.held))

    def open(self, id: str, amount: NanoUSD) -> None:
        self.holds[id] = amount
        self.held = NanoUSD(self.held + amount)
        if self.load is not None:
            self.newer.add(id)

    def extend(self, id: str, amount: NanoUSD) -> None:
        self.holds[id] = NanoUSD(self.holds[id] + amount)
        self.held = NanoUSD(self.held + amount)

    def settle(self, id: str, amount: NanoUSD, at: float) -> None:
        """A request is charged `amount` at the Unix time `at`; its hold, if it has one, is over."""
        certain = id in self.holds and not self._may_have_summed(id, at)
        self._close(id)
        if not amount or self.window is None or not self.window.contains(at):
            return
        if not certain:
            self.doubt()
        else:
            self.spent = NanoUSD(min(MOST, self.spent + amount))

    def _may_have_summed(self, id: str, at: float) -> bool:
        if id not in self.newer:
            return False
        return self.load is not None or at < self.summed_at + CERTAIN_AFTER

    def lapse(self, id: str) -> None:
        """The time of a hold is over, and nobody has said what became of it."""
        self._close(id)
        self.doubt()

    def _close(self, id: str) -> None:
        self.newer.discard(id)
        self.held = NanoUSD(self.held - self.holds.pop(id, NanoUSD(0)))

    def begin(self, token: str, loader: str, now: float) -> tuple[str, ...]:
        """A load begins. The requests whose charges it must leave out."""
        self.spent = NanoUSD(0)
        self.newer.clear()
        self.load = Load(token, loader, now)
        return tuple(self.holds)

    def is_loaded_by_another(self, loader: str, now: float) -> bool:
        """Whether that is to be waited for."""
        load = self.load
        if load is None or load.loader == loader:
            return False
        return abs(now - load.began_at) < LOAD_PATIENCE

    def end(self, token: str, spent: NanoUSD, now: float) -> bool:
        """What the ledger says; False: that is not what was asked for any more."""
        if self.load is None or self.load.token != token:
            return False
        self.loaded, self.load, self.summed_at = True, None, now
        self.spent = NanoUSD(min(MOST, self.spent + spent))
        return True

    def crossed(self, budget: Budget, *, fresh: bool) -> list[Crossing]:
        """What is to be told of, each once. Unless `fresh`, the budget is as it was when a request
        began, and its limit may be another one by now."""
        total, limit = self.spent + self.held, min(budget.limit, MOST)
        if not self.loaded or total == 0 or not (fresh or self.told.limit == limit):
            return []
        told = self.told if self.told.limit == limit else Told(limit)
        passed: list[float | None] = list(_reached(budget.alert_at, total, limit, told.fraction))
        self.told = replace(told, fraction=max([told.fraction, *_known(passed)]))
        if budget.hard and total > limit and not told.over:
            self.told = replace(self.told, over=True)
            passed.append(None)
        return [Crossing(budget, self.spent, self.held, fraction) for fraction in passed]


def _reached(
    fractions: Sequence[float], total: int, limit: NanoUSD, beyond: float
) -> Iterable[float]:
    return (each for each in sorted(fractions) if each > beyond and total >= each * limit)


def _known(fractions: Iterable[float | None]) -> Iterable[float]:
    return (each for each in fractions if each is not None)
