"""Two processes that hammer one Redis come to exactly what the limits allow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import redis

from signalbox.persistence.lease_stores import LimitRequest, Scope, ScopeLimits
from tests.limit_hammer import TIMES
from tests.servers import private_redis

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with private_redis() as server:
        yield server.address


@pytest.fixture(autouse=True)
def _fresh(socket: Path) -> None:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()


def asked(
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    burst: int | None = None,
    key: ScopeLimits | None = None,
) -> LimitRequest:
    """10 tokens under global limits, and those of a key."""
    everyone = ScopeLimits(Scope.GLOBAL, "", rpm, tpm, concurrency, burst)
    return LimitRequest("r", 10, 60.0, (everyone,) if key is None else (everyone, key))


@pytest.fixture(scope="module")
def hammers(socket: Path) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.limit_hammer", str(socket)]
    with ExitStack() as stack:
        hammers = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for _ in range(2)
        ]
        yield hammers
        for hammer in hammers:
            assert hammer.stdin is not None
            hammer.stdin.close()


def ordered(
    hammers: list[subprocess.Popen[str]], order: str, requests: list[LimitRequest]
) -> list[int]:
    """What each made of its own order, both at once."""
    for hammer, request in zip(hammers, requests, strict=True):
        assert hammer.stdin is not None
        hammer.stdin.write(f"{order} {msgspec.json.encode(request).decode()}\n")
    answers = []
    for hammer in hammers:
        assert hammer.stdout is not None
        answers.append(int(hammer.stdout.readline()))
    return answers


@pytest.mark.parametrize(
    ("asked_for", "total"),
    [
        (asked(rpm=700), 700),
        (asked(rpm=1, burst=300), 300),
        (asked(tpm=7007), 700),
        (asked(concurrency=700), 700),
        (asked(rpm=600, tpm=5000, concurrency=550), 500),
        (asked(), 2 * TIMES),
    ],
)
def test_a_thousand_reservations_from_two_processes_come_to_exactly_the_limit(
    hammers: list[subprocess.Popen[str]],
    asked_for: LimitRequest,
    total: int,
) -> None:
    assert sum(ordered(hammers, "take", [asked_for] * 2)) == total


def test_the_global_limit_holds_over_the_keys_of_two_processes(
    hammers: list[subprocess.Popen[str]],
) -> None:
    keys = [ScopeLimits(Scope.KEY, name, None, None, 300, None) for name in ("a", "b")]
    granted = ordered(hammers, "take", [asked(rpm=500, key=key) for key in keys])
    assert sum(granted) == 500
    assert max(granted) <= 300


def test_places_that_come_and_go_in_two_processes_are_never_too_many(
    hammers: list[subprocess.Popen[str]],
) -> None:
    assert max(ordered(hammers, "churn", [asked(concurrency=1)] * 2)) == 1
    assert sum(ordered(hammers, "take", [asked(concurrency=3)] * 2)) == 3
