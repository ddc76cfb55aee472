"""Budgets in process and on Redis answer alike and as a plain model says, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from signalbox.machines.budget import Budget
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_stores import (
    HoldRefused,
    HoldRequest,
    HoldSettlement,
    LoadBegun,
    Loaded,
    LoadRequest,
    MoneyStore,
    OpenHold,
    Standing,
)
from signalbox.types import NanoUSD
from tests.money_desk import START, budget, dollars, ready
from tests.money_twins import MoneyTwins
from tests.servers import private_redis

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with private_redis() as server:
        yield server.address


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        yield client


@pytest.mark.slow
def test_both_stores_answer_as_the_model_does(client: redis.Redis) -> None:
    class OnThisRedis(MoneyTwins):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        OnThisRedis, settings=settings(max_examples=60, stateful_step_count=40)
    )


# ── each store alone ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["in process", "on Redis"])
def store(request: pytest.FixtureRequest, client: redis.Redis) -> MoneyStore:
    """Its time is `START`."""
    return MemoryMoneyStore() if request.param == "in process" else ready(client)


def begin(store: MoneyStore, watched: Budget) -> LoadBegun:
    [begun] = store.begin_loads([LoadRequest(watched, "test")], START)
    assert isinstance(begun, LoadBegun)
    return begun


def end(store: MoneyStore, watched: Budget, begun: LoadBegun, spent: int) -> None:
    [ended] = store.end_loads([Loaded(watched, begun.token, NanoUSD(spent))], START)
    assert ended.done


def opened(store: MoneyStore, id: str, watched: Budget) -> None:
    store.open([OpenHold(id, NanoUSD(5), 100.0, (watched,))], START)


def settled(store: MoneyStore, id: str, watched: Budget, *, after: float = 0.0) -> None:
    store.settle([HoldSettlement(id, NanoUSD(5), START + after, (watched,))], START)


def spent(store: MoneyStore, watched: Budget) -> NanoUSD | None:
    """None: it is to be loaded."""
    [answer] = store.standings([watched], START)
    return answer.spent if isinstance(answer, Standing) else None


def test_a_load_that_is_begun_again_counts_what_is_settled_since_then(store: MoneyStore) -> None:
    soft = budget(10, hard=False)
    for id in ("a", "b"):
        opened(store, id, soft)
    begin(store, soft)
    settled(store, "a", soft)
    begun = begin(store, soft)
    settled(store, "b", soft)
    end(store, soft, begun, spent=5)
    assert spent(store, soft) == 10


@pytest.mark.parametrize(("after", "known"), [(0.5, None), (1.5, 5)])
def test_what_a_sum_may_hold_of_a_request_that_began_meanwhile_is_loaded_again(
    store: MoneyStore, after: float, known: int | None
) -> None:
    soft = budget(10, hard=False)
    begun = begin(store, soft)
    opened(store, "a", soft)
    end(store, soft, begun, spent=0)
    settled(store, "a", soft, after=after)
    assert spent(store, soft) == known


def test_a_load_during_which_such_a_request_was_settled_is_void(store: MoneyStore) -> None:
    soft = budget(10, hard=False)
    begun = begin(store, soft)
    opened(store, "a", soft)
    settled(store, "a", soft)
    [ended] = store.end_loads([Loaded(soft, begun.token, NanoUSD(5))], START)
    assert not ended.done


def test_a_request_that_was_charged_gets_no_other_hold(store: MoneyStore) -> None:
    soft = budget(10, hard=False)
    end(store, soft, begin(store, soft), spent=0)
    opened(store, "a", soft)
    settled(store, "a", soft)
    opened(store, "a", soft)
    [standing] = store.standings([soft], START)
    assert isinstance(standing, Standing)
    assert (standing.spent, standing.held) == (5, 0)


def test_a_refusal_leaves_nothing_behind(store: MoneyStore) -> None:
    roomy, tight = budget(10, "roomy"), budget(1, "tight")
    for each in (roomy, tight):
        end(store, each, begin(store, each), spent=0)
    asked = HoldRequest("a", dollars(2), dollars(2), 100.0, (roomy, tight))
    [refused] = store.hold([asked], START)
    assert isinstance(refused, HoldRefused)
    assert refused.budget == tight
    [standing] = store.standings([roomy], START)
    assert isinstance(standing, Standing)
    assert standing.held == 0
