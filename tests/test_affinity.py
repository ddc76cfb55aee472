"""What is remembered of conversations, and for how long."""

from __future__ import annotations

import pytest

from signalbox.actors import affinity
from signalbox.actors.affinity import TTL, Affinity
from signalbox.machines.facts import Warmth


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Affinity:
    return Affinity(clock)


def test_only_the_route_that_was_used_last_is_warm(memory: Affinity) -> None:
    assert memory.warmth("c", "a:m", 100) is None
    memory.remember("c", "a:m", "key 1", 900)
    assert memory.warmth("c", "a:m", 1000) == Warmth("key 1", 900)
    memory.remember("c", "b:m", "key 2", 950)
    assert memory.warmth("c", "a:m", 1000) is None
    assert memory.warmth("c", "b:m", 1000) == Warmth("key 2", 950)
    assert memory.warmth("other", "b:m", 1000) is None


def test_no_more_is_in_the_cache_than_the_prompt_has(memory: Affinity) -> None:
    memory.remember("c", "a:m", "key", 900)
    assert memory.warmth("c", "a:m", 100) == Warmth("key", 100)


def test_a_cache_is_cold_some_time_after_its_last_use(memory: Affinity, clock: Clock) -> None:
    memory.remember("c", "a:m", "key", 1)
    clock.now = TTL - 1
    assert memory.warmth("c", "a:m", 1) is not None
    memory.remember("c", "a:m", "key", 1)
    clock.now = 2 * TTL - 2
    assert memory.warmth("c", "a:m", 1) is not None
    clock.now = 2 * TTL - 1
    assert memory.warmth("c", "a:m", 1) is None


def test_what_is_cold_is_forgotten(memory: Affinity, clock: Clock) -> None:
    memory.remember("old", "a:m", "key", 1)
    clock.now = TTL
    memory.remember("new", "a:m", "key", 1)
    assert len(memory) == 1


def test_the_longest_unused_gives_way(memory: Affinity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "MAX_CONVERSATIONS", 2)
    for conversation in ("a", "b", "a", "c"):
        memory.remember(conversation, "r:m", "key", 1)
    assert [name for name in "abc" if memory.warmth(name, "r:m", 1)] == ["a", "c"]
