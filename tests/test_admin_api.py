"""What operators ask a gateway for: health, traces, diagrams, the login."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.actors.readiness import Readiness, ReadinessReport
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.http.metrics import MetricsSources, exposition
from signalbox.ids import is_uuid7
from signalbox.machines.diagram import render
from signalbox.simulator import Step
from tests.doors import door_client
from tests.fakes import InlineWorkers, MemoryStore, database_away
from tests.gateway import (
    ADMIN_TOKEN,
    KEY,
    Gateway,
    Provider,
    config_for,
    gateway,
    simulated_provider,
)
from tests.shared_station import Shared, Station, away
from tests.simulator_client import chat

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config_for(simulator)) as started:
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        yield client


@pytest.fixture(scope="module")
def saved(running: Gateway, simulator: Provider) -> list[str]:
    """The ids of seven saved traces, newest first; every other one failed."""
    ids: list[str] = []
    for number in range(7):
        simulator.plays(Step(status=400) if number % 2 else Step())
        ids.insert(0, running.post(chat()).headers["x-request-id"])
    for trace_id in ids:
        running.trace(trace_id)
    return ids


def admin(http: httpx.Client, path: str) -> Any:
    answer = http.get(path, headers=ADMIN)
    assert answer.status_code == 200
    return answer.json()


def refused(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return answer.status_code, error["code"]


# Health


@pytest.mark.parametrize("path", ["/healthz", "/healthz//"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_is_open(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 200
    assert method == "HEAD" or answer.json() == {"status": "ok"}


def test_a_gateway_that_runs_is_ready(http: httpx.Client) -> None:
    answer = http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "reasons": [], "degraded": []}


async def test_what_is_not_ready_is_named() -> None:
    async def idle(mailbox: Mailbox[None, None]) -> None:
        await mailbox.receive_batch(1)

    supervisor, store, draining = Supervisor(), MemoryStore(), trio.Event()
    supervisor.add(ChildSpec("writer", idle, capacity=1, capacity_reason="a test"))
    readiness = Readiness(supervisor, store, InlineWorkers(), draining)
    [not_running] = (await readiness.look()).reasons
    assert not_running.startswith("the actor writer is ")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        assert (await readiness.look()).reasons == []
        store.fault = database_away
        draining.set()
        reasons = (await readiness.look()).reasons
        supervisor.stop()
    assert reasons[0] == "the gateway is stopping"
    assert reasons[1].endswith("the database does not answer")


@pytest.mark.parametrize("refuse", [False, True])
async def test_what_is_done_without_the_shared_state_is_named(
    autojump_clock: MockClock, refuse: bool
) -> None:
    shared = Shared()
    station = Station(shared, refuse=refuse)
    readiness = Readiness(
        station.supervisor, MemoryStore(), InlineWorkers(), trio.Event(), station.state
    )
    async with station.running():
        assert await readiness.look() == ReadinessReport([], [])
        shared.fault = away
        await trio.sleep(30)
        seen = await readiness.look()
    [said] = seen.reasons if refuse else seen.degraded
    assert re.fullmatch(r"the shared state is away since \d\d s \(connection refused\)", said)
    assert (seen.degraded if refuse else seen.reasons) == []


# Metrics


def test_metrics_are_what_prometheus_reads(http: httpx.Client, saved: list[str]) -> None:
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert found['signalbox_key_phase{key="primary/1",phase="active",provider="primary"}'] == 1
    assert found['signalbox_key_open_leases{key="primary/1",provider="primary"}'] == 0
    assert found['signalbox_route_breaker{route="primary:m",state="closed"}'] == 1
    assert found['signalbox_actor_restarts_total{actor="ledger"}'] == 0
    assert not [name for name in found if "shared_state" in name]


async def test_metrics_tell_of_an_outage(autojump_clock: MockClock) -> None:
    shared = Shared()
    station = Station(shared, rpm=10, refuse=True)
    async with station.running():
        await station.health.attempt_started("openai:\ud800")
        await station.leases(5)
        shared.fault = away
        await station.admit(KeyLimits("ci", None, None, None))
        found = samples(await metrics_of(station))
    assert found["signalbox_shared_state_up"] == 0
    assert found["signalbox_shared_state_failures_total"] == 1
    assert found['signalbox_limiter_refusals_total{kind="shared_state",scope="global"}'] == 1


async def test_every_metric_is_documented(autojump_clock: MockClock) -> None:
    station = Station(Shared())
    async with station.running():
        text = await metrics_of(station)
    page = (Path(__file__).parents[1] / "docs" / "operating.md").read_text("utf-8")
    documented = set(re.findall(r"`(signalbox_\w+)`", page))
    assert set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE)) == documented


async def metrics_of(station: Station) -> str:
    sources = MetricsSources(
        station.supervisor, station.pool, station.limiter, station.health, station.state
    )
    return (await exposition(sources)).decode()


def samples(text: str) -> dict[str, float]:
    """By name and labels, as Prometheus reads them."""
    return {
        sample.name + _labels(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _labels(labels: dict[str, str]) -> str:
    listed = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{listed}}}" if listed else ""


# Traces


def test_traces_are_listed_newest_first(http: httpx.Client, saved: list[str]) -> None:
    listed = admin(http, "/traces")
    assert [trace["id"] for trace in listed["traces"]] == saved
    assert listed["under_way"] == []
    newest = listed["traces"][0]
    assert (newest["model"], newest["state"], newest["status"]) == ("m", "done", 200)
    assert (newest["key"], newest["provider"], newest["attempts"]) == ("test", "primary", 1)
    assert "events" not in newest


def test_pages_of_traces_cover_them_all(http: httpx.Client, saved: list[str]) -> None:
    found: list[str] = []
    page = admin(http, "/traces?limit=3")["traces"]
    while page:
        assert len(page) <= 3
        found += [trace["id"] for trace in page]
        page = admin(http, f"/traces?limit=3&before={found[-1]}")["traces"]
    assert found == saved


def test_traces_are_filtered(http: httpx.Client, saved: list[str]) -> None:
    def ids(query: str) -> list[str]:
        return [trace["id"] for trace in admin(http, f"/traces?{query}")["traces"]]

    assert ids("state=failed") == saved[1::2]
    assert ids("state=done") == saved[0::2]
    assert ids("model=m&state=done&limit=1") == saved[:1]
    assert ids("model=another") == []


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=-1", "limit=x", f"limit={'9' * 5000}", "limit="),
        *("before=x", "state=running"),
    ],
)
def test_a_query_that_is_wrong_is_400(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/traces?{query}", headers=ADMIN)
    assert refused(answer) == (400, "invalid_value")
    assert query.partition("=")[0] in answer.json()["error"]["message"]


def test_one_trace_has_its_events_and_bodies(http: httpx.Client, saved: list[str]) -> None:
    trace = admin(http, f"/traces/{saved[1]}")
    assert trace["error"]["code"] == "invalid_value"
    names = [event["name"] for event in trace["events"] if event["kind"] == "event"]
    assert names == ["admitted", "route_selected", "refused"]
    assert [event["seq"] for event in trace["events"]] == list(range(len(trace["events"])))
    kinds = [payload["kind"] for payload in trace["payloads"]]
    assert kinds[:3] == ["request", "upstream_request", "upstream_response"]
    assert json.loads(trace["payloads"][0]["body"]) == chat()


def test_a_request_under_way_is_served_from_the_hub(
    running: Gateway, http: httpx.Client, provider_stalls: None
) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    body = chat(stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        trace_id = answer.headers["x-request-id"]
        received = answer.iter_raw()  # closes the answer when it is let go
        next(received)
        running_now = running.admin(f"/traces/{trace_id}").json()
        [listed] = running.admin("/traces").json()["under_way"]
        assert running.admin("/traces?state=done").json()["under_way"] == []
    assert listed == running_now
    assert (listed["trace_id"], listed["state"]) == (trace_id, "streaming")
    assert running.trace(trace_id)["error"]["code"] == "client_closed"
    assert running.admin("/traces").json()["under_way"] == []


@pytest.fixture
def provider_stalls(simulator: Provider) -> None:
    simulator.plays(Step(stall_after=1))


def test_a_trace_that_is_not_there_is_404(http: httpx.Client) -> None:
    assert is_uuid7(UNKNOWN_ID)
    answer = http.get(f"/traces/{UNKNOWN_ID}", headers=ADMIN)
    assert refused(answer) == (404, "trace_not_found")
    for odd in ("1", "x" * 300, "%00", "..%2F..", UNKNOWN_ID.upper()):
        assert http.get(f"/traces/{odd}", headers=ADMIN).status_code in (400, 404)


@pytest.mark.parametrize("path", ["/traces", f"/traces/{UNKNOWN_ID}"])
def test_traces_need_the_admin_token(http: httpx.Client, path: str) -> None:
    for headers in ({}, {"authorization": f"Bearer {KEY}"}, {"authorization": ADMIN_TOKEN}):
        assert refused(http.get(path, headers=headers)) == (401, "admin_required")


# Other paths and methods


@pytest.mark.parametrize("path", ["/nowhere", "/traces/a/b", "/*", "/%2e%2e/etc"])
def test_other_paths_are_404(http: httpx.Client, path: str) -> None:
    assert refused(http.get(path)) == (404, "not_found")


def test_a_method_that_is_not_possible_is_405(http: httpx.Client) -> None:
    answer = http.post("/traces", headers=ADMIN)
    assert refused(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("machine", ["request", "key", "breaker"])
@pytest.mark.parametrize(
    ("extension", "format", "content_type"),
    [
        ("mmd", "mermaid", "text/plain; charset=utf-8"),
        ("md", "md", "text/markdown; charset=utf-8"),
        ("svg", "svg", "image/svg+xml"),
        ("dot", "dot", "text/vnd.graphviz; charset=utf-8"),
    ],
)
def test_diagrams_are_open(
    http: httpx.Client, machine: str, extension: str, format: str, content_type: str
) -> None:
    answer = http.get(f"/diagrams/{machine}.{extension}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.text == render(machine, format)


def test_a_diagram_that_is_not_there_is_404(http: httpx.Client) -> None:
    for name in ("nothing.svg", "request.scxml", "request.png", "request"):
        assert refused(http.get(f"/diagrams/{name}")) == (404, "not_found")


# The login


def test_a_login_link_opens_a_session_once(running: Gateway, http: httpx.Client) -> None:
    [link] = re.findall(r"/login\?code=\S+", running.output)
    assert http.head(link).status_code == 200  # looking at a link does not use it up
    answer = http.get(link)
    assert (answer.status_code, answer.headers["location"]) == (302, "/traces")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes  # this connection has no TLS
    assert "Max-Age=604800" in attributes
    assert http.get(link, headers={"cookie": ""}).status_code == 401

    def status(sent: str) -> int:
        with door_client(running.url) as fresh:
            return fresh.get("/traces", headers={"cookie": sent}).status_code

    assert status(cookie) == 200
    assert status(cookie[:-2]) == 401
    assert status(f"signalbox_session={'9' * 5000}.x") == 401
    assert status('signalbox_session="\\377"') == 401


def test_a_login_without_a_good_code_is_401(http: httpx.Client) -> None:
    for query in ("", "?code=", "?code=guess"):
        answer = http.get(f"/login{query}")
        assert refused(answer) == (401, "invalid_login")
        assert "set-cookie" not in answer.headers
