"""Budgets and holds on Redis, for all processes together: a `MoneyStore` that can lose its memory.

The rules are those of `MemoryMoneyStore`, in `lua/money*.lua`: one script call is one step. The
time is Redis' own, and so are the windows. One slot, `{sb:money}`, holds all of it.

**A lost memory** (a flush, a restart without a file) is seen by a missing key, the *epoch*. The
first call after the loss makes a new one; from then on whatever needs a counter is answered
`Rebuilding` until the instances that live have told their open holds again. Who lives is known here
by signs of life of their own, given with every `expire`, so that one script sees all of it. Two
instances that rebuild at once do the same one after the other. Counters come back as they always
do, from the ledger, and leave out the holds that were told.

**An instance that was taken for dead** and is not, or was cut off, finds itself forgotten: it tells
its holds again before it is granted anything, and the counters under them are loaded again.

Redis must not evict (`maxmemory-policy noeviction`): half a memory is worse than none.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import redis

from signalbox.errors import StoreUnavailable
from signalbox.machines.budget import CERTAIN_AFTER, LOAD_PATIENCE, MOST, Budget, Crossing, Period
from signalbox.persistence.instances_redis import LIFETIME
from signalbox.persistence.money_stores import (
    LONGEST_TTL,
    ExtendAnswer,
    Extended,
    Extension,
    HoldAnswer,
    HoldGranted,
    HoldRefused,
    HoldRequest,
    HoldSettlement,
    LoadAnswer,
    LoadBegun,
    LoadBusy,
    Loaded,
    LoadEnded,
    LoadRequest,
    NotLoaded,
    OpenHold,
    Rebuilding,
    Settled,
    SpentQuery,
    Standing,
    StandingAnswer,
)
from signalbox.persistence.redis_scripts import Constant, RedisScript
from signalbox.types import NanoUSD

SLOT = "{sb:money}"

VETERANS_WAIT = 3.0
"""Seconds for which a lost memory stays open at least: an instance looks in every two, and one that
came after another's last look is not known to it."""
NEWCOMERS_WAIT = 7.0
"""The same where none of those who have come was there before: one that found Redis away tries
again within five."""

SETTLED_FOR = 2 * 3600
"""Seconds for which a charge is remembered, so that one that is told again changes nothing; longer
than a settlement may wait to be told. One that came later still would make its counters load
again, and would not be counted twice either."""

MAX_IN_DOUBT = 1024
"""Holds to be given back once Redis answers. A failure leaves one batch of them, and nothing more
is asked before the next answer; what is forgotten lapses."""

_CONSTANTS: dict[str, Constant] = {
    "MOST": float(MOST),
    "LONGEST_TTL": LONGEST_TTL,
    "LOAD_PATIENCE": LOAD_PATIENCE,
    "CERTAIN_AFTER": CERTAIN_AFTER,
    "SETTLED_FOR": SETTLED_FOR,
    "INSTANCE_LIFE": LIFETIME,
    "VETERANS_WAIT": VETERANS_WAIT,
    "NEWCOMERS_WAIT": NEWCOMERS_WAIT,
}


class _Line(msgspec.Struct, frozen=True):
    """A budget as the script needs it."""

    id: str
    limit: NanoUSD
    period: Period
    hard: bool
    alert_at: tuple[float, ...]


class RedisMoneyStore:
    """A `MoneyStore` that processes share. Every call is one round trip and raises
    `StoreUnavailable`. Whether a call that failed was done is then not known: what it may have
    granted is given back before the next call, which is a round trip more."""

    def __init__(
        self, client: redis.Redis, instance: str, clock: Callable[[], float] | None = None
    ) -> None:
        """`instance`: a name that no other process has or had. `clock`: Unix seconds, the same in
        all processes; None: Redis' own."""
        self._script = RedisScript(
            client,
            "money",
            clock,
            parts=("money_windows", "money_counters", "money_memory"),
            constants=_CONSTANTS,
        )
        self._instance = instance
        self._known: list[str] = []
        """The instances that lived when the memory was last seen whole."""
        self._in_doubt: deque[HoldSettlement] = deque(maxlen=MAX_IN_DOUBT)

    def hold(self, requests: Sequence[HoldRequest], now: float) -> list[HoldAnswer]:
        try:
            answers = self._call("hold", [_lined(request) for request in requests])
        except StoreUnavailable:
            self._in_doubt.extend(
                HoldSettlement(request.id, NanoUSD(0), 0.0, ()) for request in requests
            )
            raise
        return [
            _hold_answer(request, answer) for request, answer in zip(requests, answers, strict=True)
        ]

    def extend(self, extensions: Sequence[Extension], now: float) -> list[ExtendAnswer]:
        answers = self._call("extend", [_lined(extension) for extension in extensions])
        return [
            _lacking(answer)
            or Extended(NanoUSD(answer["amount"]), _crossed(extension.budgets, answer))
            for extension, answer in zip(extensions, answers, strict=True)
        ]

    def open(self, holds: Sequence[OpenHold], now: float) -> list[HoldGranted]:
        answers = self._call("open", [_lined(hold) for hold in holds])
        return [_granted(hold, answer) for hold, answer in zip(holds, answers, strict=True)]

    def settle(self, settlements: Sequence[HoldSettlement], now: float) -> list[Settled]:
        answers = self._call("settle", [_lined(settlement) for settlement in settlements])
        return [
            Settled(
                answer["done"],
                _crossed(settlement.budgets, answer),
                tuple(answer["unloaded"]),
            )
            for settlement, answer in zip(settlements, answers, strict=True)
        ]

    def begin_loads(self, requests: Sequence[LoadRequest], now: float) -> list[LoadAnswer]:
        asked = [
            {
                "budget": _line(request.budget),
                "loader": request.loader,
                "token": secrets.token_hex(16),
            }
            for request in requests
        ]
        answers = self._call("begin", asked)
        return [
            _load_answer(request, answer) for request, answer in zip(requests, answers, strict=True)
        ]

    def end_loads(self, loads: Sequence[Loaded], now: float) -> list[LoadEnded]:
        asked = [
            {
                "budget": _line(load.budget),
                "token": load.token,
                "spent": min(load.spent, MOST),
            }
            for load in loads
        ]
        answers = self._call("finish", asked)
        return [
            LoadEnded(answer["done"], _crossed([load.budget], answer))
            for load, answer in zip(loads, answers, strict=True)
        ]

    def standings(self, budgets: Sequence[Budget], now: float) -> list[StandingAnswer]:
        answers = self._call("stand", [_line(budget) for budget in budgets])
        return [
            _lacking(answer)
            or Standing(
                budget,
                NanoUSD(answer["spent"]),
                NanoUSD(answer["held"]),
                answer.get("resets_at"),
            )
            for budget, answer in zip(budgets, answers, strict=True)
        ]

    def forget(self, budget_ids: Sequence[str], now: float) -> list[None]:
        self._call("forget", budget_ids)
        return [None] * len(budget_ids)

    def expire(self, now: float) -> Rebuilding | None:
        """Also this instance's sign of life."""
        answer = self._call("expire", None)
        if "lost" in answer:
            return Rebuilding(answer["lost"]["told"])
        self._known = answer["lives"]
        return None

    def rejoin(self, holds: Sequence[OpenHold], now: float) -> bool:
        told = {"holds": [_lined(hold) for hold in holds], "known": self._known}
        return bool(self._call("rejoin", told))

    def leave(self, now: float) -> None:
        self._call("leave", None)

    def _call(self, operation: str, batch: object) -> Any:
        if self._in_doubt:
            doubtful = [_lined(settlement) for settlement in self._in_doubt]
            self._script([SLOT], self._instance, "settle", doubtful)
            self._in_doubt.clear()
        return self._script([SLOT], self._instance, operation, batch)


def _line(budget: Budget) -> _Line:
    limit = min(budget.limit, MOST)
    return _Line(budget.id, limit, budget.period, budget.hard, budget.alert_at)


def _lined(item: HoldRequest | Extension | OpenHold | HoldSettlement) -> dict[str, Any]:
    return msgspec.structs.asdict(item) | {"budgets": [_line(each) for each in item.budgets]}


def _lacking(answer: dict[str, Any]) -> NotLoaded | Rebuilding | None:
    if "told" in answer:
        return Rebuilding(answer["told"])
    if "not_loaded" in answer:
        return NotLoaded(tuple(answer["not_loaded"]))
    return None


def _hold_answer(request: HoldRequest, answer: dict[str, Any]) -> HoldAnswer:
    lacking = _lacking(answer)
    if lacking is not None:
        return lacking
    if "refused" not in answer:
        return _granted(request, answer)
    [budget] = [each for each in request.budgets if each.id == answer["refused"]]
    return HoldRefused(
        budget,
        NanoUSD(answer["spent"]),
        NanoUSD(answer["held"]),
        answer.get("resets_at"),
        request.least,
    )


def _granted(asked: HoldRequest | OpenHold, answer: dict[str, Any]) -> HoldGranted:
    return HoldGranted(
        asked.id,
        NanoUSD(answer["amount"]),
        _crossed(asked.budgets, answer),
        tuple(answer["unloaded"]),
    )


def _load_answer(request: LoadRequest, answer: dict[str, Any]) -> LoadAnswer:
    if "told" in answer:
        return Rebuilding(answer["told"])
    if "token" not in answer:
        return LoadBusy(answer["loaded"])
    query = SpentQuery(
        request.budget, answer["since"], answer.get("until"), tuple(answer["without"])
    )
    return LoadBegun(answer["token"], query)


def _crossed(budgets: Iterable[Budget], answer: dict[str, Any]) -> tuple[Crossing, ...]:
    by_id = {budget.id: budget for budget in budgets}
    return tuple(
        Crossing(by_id[id], NanoUSD(spent), NanoUSD(held), None if fraction is False else fraction)
        for id, spent, held, fraction in answer["crossed"]
        if id in by_id
    )
