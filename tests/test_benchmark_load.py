"""The benchmark's load generator against its upstream, and the gateway between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest

from benchmarks import cases
from benchmarks.bed import Bed, CannotRun, bed
from benchmarks.plan import Outcome, Plan, Step
from benchmarks.run import Runner
from benchmarks.servers.base import Ask
from benchmarks.servers.direct import Direct
from benchmarks.servers.nginx import Nginx
from benchmarks.servers.signalbox import ADMIN_TOKEN, Signalbox
from benchmarks.servers.tensorzero import TensorZero
from benchmarks.viewers import handshake


@pytest.fixture(scope="module")
def made() -> Iterator[Bed]:
    with bed() as found:
        yield found


def ask(made: Bed, *steps: Step) -> list[Outcome]:
    return made.load(Plan([made.upstream_port], list(steps))).outcomes


def test_every_answer_is_counted(made: Bed) -> None:
    requests = Direct().requests(made, Ask("now"))
    long = Direct().requests(made, Ask("now", cases.LONG))
    short, other = ask(
        made,
        Step("short", requests, "json", 4, least=50, most=50),
        Step("long", long, "json", 2, least=6, most=6),
    )
    assert (short.answered, short.errors) == (50, 0)
    assert (other.answered, other.errors) == (6, 0)
    assert short.p50 is not None
    assert made.upstream_counts()["now"] >= 56


def test_streams_are_read_to_their_end(made: Bed) -> None:
    requests = Direct().requests(made, Ask("paced"))
    [found] = ask(made, Step("streams", requests, "stream", 5, least=5, most=5, stagger=0.1))
    assert (found.answered, found.errors, found.pieces) == (5, 0, 500)


def test_streams_are_held_while_requests_go_on(made: Bed) -> None:
    held = Direct().requests(made, Ask("idle"))
    requests = Direct().requests(made, Ask("now"))
    found, among = ask(
        made,
        Step("held", held, "held", 80, least=80, most=80),
        Step("among", requests, "json", 2, least=20, most=20),
    )
    assert (found.answered, found.errors) == (80, 0)
    assert (among.answered, among.errors) == (20, 0)


def test_what_is_wrong_is_an_error(made: Bed) -> None:
    requests = [each.replace(b"/now/", b"/fail/") for each in Direct().requests(made, Ask("now"))]
    refused, stream = ask(
        made,
        Step("refused", requests, "json", 2, least=4, most=4),
        Step("no stream", requests, "stream", 2, least=4, most=4),
    )
    assert (refused.answered, refused.errors) == (0, 4)
    assert refused.complaints[0].startswith("HTTP/1.1 503 Service Unavailable")
    assert (stream.answered, stream.errors) == (0, 4)


def test_a_server_that_cannot_be_had_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_package(_: object) -> None:
        raise CannotRun("there is no such package")

    def no_start(_: object, __: Bed) -> NoReturn:
        raise CannotRun("it ended at its start")

    monkeypatch.setattr(Nginx, "install", no_package)
    monkeypatch.setattr(TensorZero, "install", lambda _: None)
    monkeypatch.setattr(TensorZero, "running", no_start)
    monkeypatch.setattr(TensorZero, "version", lambda _: "1.0")
    found = Runner(["nginx", "tensorzero"], cases.by_name(["json-1", "sse-32"]), 1).run()
    assert found.rows == []
    assert found.servers == {"nginx": "not installed", "tensorzero": "1.0"}
    assert [(each.server, each.case, each.reason) for each in found.missing] == [
        ("nginx", "", "there is no such package"),
        ("tensorzero", "json-1", "it ended at its start"),
        ("tensorzero", "sse-32", "it ended at its start"),
    ]


@pytest.mark.slow
def test_the_gateway_carries_every_lane_with_a_viewer_watching(made: Bed) -> None:
    gateway = Signalbox()
    lanes = ["now", "anthropic", "gemini"]
    streams = ["paced", "anthropic-paced", "gemini-paced"]
    steps = [
        Step(lane, gateway.requests(made, Ask(lane)), "json", 2, least=3, most=3) for lane in lanes
    ]
    steps += [
        Step(lane, gateway.requests(made, Ask(lane)), "stream", 1, least=1, most=1)
        for lane in streams
    ]
    with gateway.running(made) as running:
        plan = Plan(
            running.ports,
            steps,
            gateway=running.pids,
            viewers=1,
            viewer_request=handshake("/traces/live", ADMIN_TOKEN),
        )
        outcomes = made.load(plan).outcomes
    assert [(each.name, each.answered, each.errors, each.complaints) for each in outcomes] == [
        *((lane, 3, 0, []) for lane in lanes),
        *((lane, 1, 0, []) for lane in streams),
    ]
    assert all(each.cpu_seconds > 0 for each in outcomes)
    assert all(each.viewer_bytes > 0 for each in outcomes)


@pytest.mark.slow
def test_a_fallback_in_every_request_asks_the_failing_route_first(made: Bed) -> None:
    gateway = Signalbox("fallback", models=20, failing=True)
    requests = gateway.requests(made, Ask("now"))
    before = made.upstream_counts()
    with gateway.running(made) as running:
        plan = Plan(running.ports, [Step("all", requests, "json", 4, least=60, most=60)])
        [outcome] = made.load(plan).outcomes
    after = made.upstream_counts()
    assert (outcome.answered, outcome.errors) == (60, 0)
    assert after["fail"] - before.get("fail", 0) == 60
