"""What is remembered of conversations, and for how long, and that their requests stay together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from signalbox.actors import affinity
from signalbox.actors.affinity import TTL, Affinity
from signalbox.machines.facts import Warmth
from tests.gateway import KEY, Gateway, Provider, gateway, simulated_provider
from tests.simulator_client import chat


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


# ── a whole gateway ───────────────────────────────────────────────────────────────────────────

TWO_OF_TWO_KEYS = """
keys.test.key = {{ value = "{key}" }}
[providers.a]
base_url = "{url}"
keys = [{{ value = "sk-a-1" }}, {{ value = "sk-a-2" }}]
[providers.b]
base_url = "{url}"
keys = [{{ value = "sk-b-1" }}, {{ value = "sk-b-2" }}]
[models.m]
routes = [
  {{ provider = "a", model = "m", input = 1.0, output = 1.0, cached_read = 0.1 }},
  {{ provider = "b", model = "m", input = 1.0, output = 1.0, cached_read = 0.1 }},
]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Gateway]:
    with gateway(TWO_OF_TWO_KEYS.format(key=KEY, url=provider.url)) as started:
        yield started


Told = Callable[[str], tuple[dict[str, Any], dict[str, str]]]
"""How a request names its conversation: fields of its body, and headers."""


@pytest.mark.parametrize(
    "told",
    [
        lambda name: ({"session_id": name}, {}),
        lambda name: ({}, {"x-session-id": name}),
        lambda name: ({"prompt_cache_key": name}, {}),
        lambda name: ({"messages": [{"role": "user", "content": name}]}, {}),
    ],
    ids=["session_id", "x-session-id", "prompt_cache_key", "first message"],
)
def test_each_conversation_stays_with_one_key_and_not_all_with_the_same(
    running: Gateway, provider: Provider, told: Told
) -> None:
    keys = []
    for name in ("monday", "tuesday", "wednesday"):
        provider.plays()
        body, headers = told(name)
        for _ in range(4):
            assert running.post(chat() | body, **headers).status_code == 200
        keys.append({call["key"] for call in provider.received()})
    assert [len(of_one) for of_one in keys] == [1, 1, 1]
    assert len(set.union(*keys)) > 1
