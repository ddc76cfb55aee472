"""What is remembered of whose state is where: in memory, in the database, after a restart."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors import provider_state
from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.provider_state import BATCH_SECONDS, KEPT_SECONDS, ProviderState
from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import ProviderStateStore
from signalbox.persistence.threads import reader_threads, writer_threads
from signalbox.types import Origin, Secret, StateKind, ToolState
from tests.fakes import InlineWorkers, MemoryStore, database_away, no_fault, supervised

HERE = Origin("a:m", "a/1")
THERE = Origin("a:n", "a/2")


def key(place: int, secret: str) -> ProviderKey:
    return ProviderKey(f"a/{place}", "a", f"number {place}", Secret(secret), None, None)


KEYS = (key(1, "first"), key(2, "second"))


class Bench:
    """The actor over a store that can be broken. The wall clock is the test's own."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.supervisor = Supervisor()
        self.store = MemoryStore() if store is None else store
        workers = InlineWorkers()
        self.state = ProviderState(
            self.supervisor,
            self.store,
            KEYS,
            readers=workers,
            writers=workers,
            now=trio.current_time,
        )

    def saves(self) -> list[int]:
        return [rows for operation, rows in self.store.calls if operation == "save_state"]


async def test_an_origin_is_known_at_once_and_to_its_own_gateway_key_alone() -> None:
    state = Bench().state
    state.remember("ci", ["one", "two"], HERE)
    state.remember("ci", ["three"], THERE)
    assert await state.origins("ci", ["one", "three", "four"]) == {"one": HERE, "three": THERE}
    assert await state.origins("someone else", ["one"]) == {}


async def test_many_answers_are_one_commit(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number in range(5):
            bench.state.remember("ci", [f"{number} a", f"{number} b"], HERE)
            await trio.sleep(BATCH_SECONDS / 10)
    assert bench.saves() == [10]
    assert (bench.state.statistics().saved, bench.state.statistics().lost) == (10, 0)


async def test_what_gave_way_in_memory_is_found_in_the_database(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_state, "MAX_IN_MEMORY", 2)
    bench = Bench()
    async with supervised(bench.supervisor):
        for name in ("one", "two", "three"):
            bench.state.remember("ci", [name], HERE)
        await trio.sleep(2 * BATCH_SECONDS)
        assert bench.state.statistics().in_memory == 2
        assert list(await bench.state.origins("ci", ["one"])) == ["one"]
        assert bench.state.statistics().in_memory == 2


async def test_what_is_past_its_time_is_unknown_and_deleted(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        bench.state.remember("ci", ["old"], HERE)
        await trio.sleep(KEPT_SECONDS - 1)
        assert list(await bench.state.origins("ci", ["old"])) == ["old"]
        await trio.sleep(1)
        assert await bench.state.origins("ci", ["old"]) == {}
        await trio.sleep(provider_state.SWEEP_SECONDS)
        assert bench.store.state == {}


async def test_while_the_database_is_away_memory_serves_and_writes_wait(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(MemoryStore(database_away))
    async with supervised(bench.supervisor):
        bench.state.remember("ci", ["new"], HERE)
        await trio.sleep(1)
        assert await bench.state.origins("ci", ["new"]) == {"new": HERE}
        with pytest.raises(StoreUnavailable):
            await bench.state.origins("ci", ["new", "unheard of"])
        bench.store.fault = no_fault
        await trio.sleep(10)
        assert len(bench.store.state) == 1


async def test_what_finds_no_room_is_counted_and_known_to_this_process() -> None:
    state = Bench().state  # it does not run, so nothing is taken from its mailbox
    for number in range(4096):
        state.remember("ci", [str(number)], HERE)
    assert state.statistics().lost == 0
    state.remember("ci", ["one", "more"], HERE)
    assert state.statistics().lost == 2
    assert list(await state.origins("ci", ["more"])) == ["more"]


# After a restart, on the same database


def over(
    store: ProviderStateStore, supervisor: Supervisor, keys: tuple[ProviderKey, ...]
) -> ProviderState:
    """The actor of a new process, with these keys configured."""
    return ProviderState(
        supervisor,
        store,
        keys,
        readers=reader_threads(),
        writers=writer_threads(),
        now=lambda: 0.0,
    )


async def remembered(store: ProviderStateStore, keys: tuple[ProviderKey, ...]) -> Origin | None:
    """Whose state it is by what a new process knows."""
    state = over(store, Supervisor(), keys)
    return (await state.origins("ci", ["answer"])).get("answer")


async def test_a_restart_forgets_nothing_but_a_key_that_is_gone(tmp_path: Path) -> None:
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        supervisor = Supervisor()
        state = over(store, supervisor, KEYS)
        async with supervised(supervisor):
            state.remember("ci", ["answer"], HERE)
        assert await remembered(store, KEYS) == HERE
        moved = (key(1, "new"), key(2, "first"))
        assert await remembered(store, moved) == Origin("a:m", "a/2")
        assert await remembered(store, (key(1, "new"), key(2, "second"))) is None


async def test_what_goes_back_with_a_tool_call_is_no_reference_of_the_same_name() -> None:
    state = Bench().state
    state.remember("ci", ["call"], THERE, {"call": b"signed"})
    assert await state.tool_states("ci", ["call", "other"]) == {"call": ToolState(THERE, b"signed")}
    assert await state.tool_states("someone else", ["call"]) == {}
    state.remember("ci", ["plain"], HERE)
    assert await state.tool_states("ci", ["plain"]) == {}


async def test_the_gateway_s_own_state_outlives_a_provider_s_key_and_is_replaced(
    tmp_path: Path,
) -> None:
    name = (StateKind.ANSWER, "resp_1")
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        supervisor = Supervisor()
        state = over(store, supervisor, KEYS)
        async with supervised(supervisor):
            state.keep("ci", [(*name, b"first")])
            state.keep("ci", [(*name, b"second"), (StateKind.ITEM, "msg_1", b"resp_1")])
            assert await state.kept("ci", [name]) == {name: b"second"}
        state = over(store, Supervisor(), ())
        item = (StateKind.ITEM, "msg_1")
        assert await state.kept("ci", [name, item]) == {name: b"second", item: b"resp_1"}
        assert await state.kept("someone else", [name]) == {}
        assert await state.origins("ci", ["resp_1", "msg_1"]) == {}
        assert await state.tool_states("ci", ["resp_1"]) == {}


async def test_what_is_known_to_be_at_a_provider_is_not_looked_for_in_the_database() -> None:
    bench = Bench(MemoryStore(database_away))
    bench.state.remember("ci", ["resp_1"], HERE)
    assert await bench.state.kept("ci", [(StateKind.ANSWER, "resp_1")]) == {}
    with pytest.raises(StoreUnavailable):
        await bench.state.kept("ci", [(StateKind.ANSWER, "resp_2")])


async def test_what_waits_for_the_database_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_state, "MAX_WAITING_BYTES", 25)
    bench = Bench()
    names = [(StateKind.ANSWER, name) for name in ("one", "two", "three")]
    for name in names:
        bench.state.keep("ci", [(*name, b"ten bytes.")])
    assert bench.state.statistics().lost == 1
    assert set(await bench.state.kept("ci", names)) == set(names)
    async with supervised(bench.supervisor):
        await trio.sleep(2 * BATCH_SECONDS)
        bench.state.keep("ci", [(StateKind.ANSWER, "four", b"ten bytes.")])
        await trio.sleep(2 * BATCH_SECONDS)
    assert (bench.state.statistics().saved, bench.state.statistics().lost) == (3, 1)


async def test_memory_holds_a_bounded_amount_of_it_and_the_database_the_rest(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_state, "MAX_STATE_BYTES", 25)
    bench = Bench()
    async with supervised(bench.supervisor):
        for name in ("one", "two", "two", "three"):
            bench.state.remember("ci", [], HERE, {name: b"ten bytes."})
        await trio.sleep(2 * BATCH_SECONDS)
        assert bench.state.statistics().in_memory == 2
        found = await bench.state.tool_states("ci", ["one", "two", "three"])
        assert {name: each.data for name, each in found.items()} == dict.fromkeys(
            ("one", "two", "three"), b"ten bytes."
        )


async def test_what_may_not_be_kept_on_disk_is_known_in_memory_alone(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        bench.state.remember("ci", ["id"], HERE, {"call": b"signed"}, on_disk=False)
        await trio.sleep(2 * BATCH_SECONDS)
        assert list(await bench.state.tool_states("ci", ["call"])) == ["call"]
    assert bench.saves() == [1]
    assert all(record.state is None for record in bench.store.state.values())
