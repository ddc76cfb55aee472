"""What `money.py` asks of its store, as operations of `store_access.py`."""

from __future__ import annotations

from collections.abc import Sequence

from signalbox.actors.store_access import Operation, Turn, Undo
from signalbox.machines.budget import Budget
from signalbox.persistence.money_stores import (
    ExtendAnswer,
    Extension,
    HoldAnswer,
    HoldGranted,
    HoldRequest,
    HoldSettlement,
    LoadAnswer,
    Loaded,
    LoadEnded,
    LoadRequest,
    MoneyStore,
    OpenHold,
    Rebuilding,
    Settled,
    StandingAnswer,
)
from signalbox.types import NanoUSD


def _give_back(request: HoldRequest, answer: HoldAnswer) -> Undo[MoneyStore] | None:
    if not isinstance(answer, HoldGranted):
        return None
    return Undo(SETTLE_HOLD, HoldSettlement(request.id, NanoUSD(0), 0.0, request.budgets))


def _leave(store: MoneyStore, asked: Sequence[None], now: float) -> Sequence[None]:
    store.leave(now)
    return asked


OPEN_HOLD: Operation[MoneyStore, OpenHold, HoldGranted] = Operation(
    "open a hold", Turn.BEGIN, lambda store, items, now: store.open(items, now)
)
SETTLE_HOLD: Operation[MoneyStore, HoldSettlement, Settled] = Operation(
    "settle a hold", Turn.GIVE_BACK, lambda store, items, now: store.settle(items, now)
)
FORGET: Operation[MoneyStore, str, None] = Operation(
    "forget budgets", Turn.GIVE_BACK, lambda store, items, now: store.forget(items, now)
)
EXPIRE_HOLDS: Operation[MoneyStore, None, Rebuilding | None] = Operation(
    "expire holds", Turn.GIVE_BACK, lambda store, items, now: [store.expire(now) for _ in items]
)
REJOIN: Operation[MoneyStore, tuple[OpenHold, ...], bool] = Operation(
    "tell open holds again",
    Turn.BEGIN,
    lambda store, items, now: [store.rejoin(holds, now) for holds in items],
)
HOLD: Operation[MoneyStore, HoldRequest, HoldAnswer] = Operation(
    "hold money", Turn.TAKE, lambda store, items, now: store.hold(items, now), undo=_give_back
)
LEAVE: Operation[MoneyStore, None, None] = Operation("leave", Turn.LOOK, _leave)
EXTEND: Operation[MoneyStore, Extension, ExtendAnswer] = Operation(
    "extend a hold", Turn.TAKE, lambda store, items, now: store.extend(items, now)
)
BEGIN_LOAD: Operation[MoneyStore, LoadRequest, LoadAnswer] = Operation(
    "begin to load budgets", Turn.TAKE, lambda store, items, now: store.begin_loads(items, now)
)
END_LOAD: Operation[MoneyStore, Loaded, LoadEnded] = Operation(
    "load budgets", Turn.TAKE, lambda store, items, now: store.end_loads(items, now)
)
LOOK_AT_BUDGETS: Operation[MoneyStore, Budget, StandingAnswer] = Operation(
    "look at budgets", Turn.LOOK, lambda store, items, now: store.standings(items, now)
)
