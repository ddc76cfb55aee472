"""What another process changed is read again, once, and what cannot be read stays as it was."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.changes import AGAIN_SECONDS, Changes
from signalbox.actors.supervisor import Supervisor
from signalbox.config import ConfigError
from signalbox.errors import SignalboxError, StoreUnavailable
from tests import records
from tests.fakes import InlineWorkers, MemoryStore, database_away, no_fault, supervised


class Reader:
    """Counts how often it reads; `error` is what it finds instead."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: SignalboxError | None = None

    async def __call__(self) -> None:
        self.reads += 1
        if self.error is not None:
            raise self.error


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.supervisor = Supervisor()
        self.changes = Changes(
            self.supervisor, self.store, InlineWorkers(), InlineWorkers(AGAIN_SECONDS)
        )
        self.keys, self.presets = Reader(), Reader()
        self.changes.add("keys", self.keys)
        self.changes.add("presets", self.presets)

    @property
    def reads(self) -> tuple[int, int]:
        return self.keys.reads, self.presets.reads


@pytest.fixture
def world(autojump_clock: MockClock) -> World:
    return World()


async def some_polls() -> None:
    await trio.sleep(4 * AGAIN_SECONDS)


async def test_a_change_is_read_within_a_poll_and_only_once(world: World) -> None:
    await world.changes.refresh()
    async with supervised(world.supervisor):
        await some_polls()
        assert world.reads == (1, 1)
        records.insert(world.store, records.key("new"))
        await trio.sleep(1.5 * AGAIN_SECONDS)
        assert world.reads == (2, 2)
        await some_polls()
        assert world.reads == (2, 2)


async def test_what_cannot_be_used_is_told_and_keeps_nobody_else_from_reading(
    world: World,
) -> None:
    world.keys.error = ConfigError("the database: models.m: no such provider")
    with pytest.raises(ConfigError, match="no such provider"):
        await world.changes.refresh()
    assert world.reads == (1, 1)
    async with supervised(world.supervisor):
        await some_polls()
        # It would be just as wrong again; the next change may mend it.
        assert world.reads == (1, 1)
        world.keys.error = None
        records.insert(world.store, records.key("new"))
        await some_polls()
        assert world.reads == (2, 2)


async def test_a_part_that_was_away_is_read_again_without_a_change(world: World) -> None:
    world.presets.error = StoreUnavailable("just now")
    with pytest.raises(StoreUnavailable, match="just now"):
        await world.changes.refresh()
    async with supervised(world.supervisor):
        await some_polls()
        assert world.presets.reads > 2
        world.presets.error = None
        await some_polls()
        read = world.presets.reads
        await some_polls()
        assert world.presets.reads == read


async def test_a_database_that_is_away_is_asked_until_it_is_back(world: World) -> None:
    await world.changes.refresh()
    async with supervised(world.supervisor):
        world.store.fault = database_away
        await some_polls()
        assert world.reads == (1, 1)
        world.store.fault = no_fault
        records.insert(world.store, records.key("new"))
        await some_polls()
        assert world.reads == (2, 2)
