"""The live trace, seen by viewers outside: what they are told, and who may look."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from signalbox.actors.trace_hub import VIEWER_MESSAGES
from signalbox.simulator import Step
from tests.doors import door_client
from tests.gateway import (
    KEY,
    Gateway,
    Provider,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.raw_http import ask, kept_alive
from tests.simulator_client import chat
from tests.viewer import ADMIN, Viewer, viewer


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config_for(simulator)) as started:
        yield started


@pytest.fixture(scope="module")
def session(running: Gateway) -> str:
    """A browser's session cookie, by the login link of the start."""
    [link] = re.findall(r"http://\S+/login\?code=\S+", running.output)
    return httpx.get(link).headers["set-cookie"].partition(";")[0]


@pytest.fixture
def provider(simulator: Provider) -> Provider:
    simulator.plays()
    return simulator


def test_a_viewer_is_told_of_a_request_while_it_is_under_way(
    running: Gateway, provider: Provider
) -> None:
    provider.plays(Step(status=500), Step(stall_after=2))
    with viewer(running.url) as watching, door_client(running.url) as http:
        snapshot = watching.receive()
        assert (snapshot["type"], snapshot["requests"]) == ("snapshot", [])
        body = chat(stream=True, extra={"tags": ["a"]}, user="u")
        headers = {"authorization": f"Bearer {KEY}"}
        with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            trace_id = answer.headers["x-request-id"]
            begun = messages_until(watching, "first_token_received")
            summary = running.admin(f"/traces/{trace_id}").json()
            with viewer(running.url) as late:
                [still] = late.receive()["requests"]
        ended = watching.until("finished")
    messages = begun + ended
    assert {message["trace_id"] for message in messages} == {trace_id}
    assert [b["seq"] - a["seq"] for a, b in pairwise([snapshot, *messages])] == [1] * len(messages)
    assert [said(message) for message in messages] == [
        "started m",
        "pending → selecting by admitted",
        "selecting → executing by route_selected",
        "attempt 1 started",
        "attempt 1 failed",
        "executing → retrying by attempt_failed",
        "retrying → executing by backoff_elapsed",
        "attempt 2 started",
        "executing → streaming by first_token_received",
        "attempt 2 dropped",
        "streaming → failed by cancelled",
        "finished failed",
    ]
    started = messages[0]
    assert (started["user"], started["tags"], started["stream"]) == ("u", ["a"], True)
    assert summary == still
    assert (still["trace_id"], still["state"], still["attempts"]) == (trace_id, "streaming", 2)


def messages_until(watching: Viewer, event: str) -> list[dict[str, Any]]:
    messages = [watching.receive()]
    while messages[-1].get("event") != event:
        messages.append(watching.receive())
    return messages


def said(message: dict[str, Any]) -> str:
    kind = message["type"]
    if kind == "transition":
        return f"{message['from']} → {message['to']} by {message['event']}"
    if kind == "attempt":
        return f"attempt {message['attempt']} {message['outcome']}"
    return f"{kind} {message['model' if kind == 'started' else 'state']}"


def test_every_viewer_is_told_and_one_that_leaves_disturbs_nobody(
    running: Gateway, provider: Provider
) -> None:
    with viewer(running.url) as staying, viewer(running.url) as other:
        with viewer(running.url) as leaving:
            leaving.receive()
        answer = running.post(chat())
        for watching in (staying, other):
            *_, finished = watching.until("finished")
            assert finished["trace_id"] == answer.headers["x-request-id"]
            assert (finished["state"], finished["status"]) == ("done", 200)
            assert finished["cost"] > 0


def test_what_a_viewer_says_means_nothing(running: Gateway, provider: Provider) -> None:
    with viewer(running.url) as watching:
        watching.receive()
        for text in ("", "{", "x" * 10_000):
            watching.send(text)
        running.post(chat())
        assert watching.until("finished")[0]["type"] == "started"


def test_a_viewer_that_is_too_slow_is_told_what_it_lost(
    running: Gateway, provider: Provider
) -> None:
    body = json.dumps(chat(extra={"tags": ["x" * 128] * 16}, user="u" * 50_000)).encode()
    with viewer(running.url) as watching, kept_alive(running.url) as line:
        # More than the hub keeps for it, beyond what the sockets' buffers hold.
        for _ in range(VIEWER_MESSAGES // 7 + 200):
            assert line.status(body) == 200
        messages = watching.until("lagged")
        assert messages[-1]["missed"] > 0
        after = watching.receive()
        assert after["seq"] == messages[-2]["seq"] + messages[-1]["missed"] + 1


# Who may look


def test_a_viewer_needs_the_admin_token(running: Gateway) -> None:
    for headers in ({}, {"authorization": f"Bearer {KEY}"}, {"cookie": "signalbox_session=1.x"}):
        with viewer(running.url, headers) as stranger:
            assert stranger.refused == 403
    with viewer(running.url, ADMIN) as operator:
        assert operator.refused is None


def test_a_session_looks_only_from_the_gateway_s_own_pages(running: Gateway, session: str) -> None:
    origins = {running.url: None, "http://elsewhere.example": 403, "null": 403, "": 403}
    for origin, refused in origins.items():
        with viewer(running.url, {"cookie": session, "origin": origin}) as watching:
            assert watching.refused == refused
    with viewer(running.url, {"cookie": session}) as watching:
        assert watching.refused == 403


def test_without_a_websocket_the_upgrade_is_asked_for(running: Gateway) -> None:
    answer = running.admin("/traces/live")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


def test_other_websockets_are_not_there(running: Gateway) -> None:
    upgrade = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    for path, code in (("/v1/realtime", "unsupported_endpoint"), ("/other", "not_found")):
        answer = ask(running.url, path, method="GET", headers=upgrade)
        assert (answer.status, answer.error["code"]) == (404, code)


# The end


def test_at_the_end_streams_are_drained_and_viewers_sent_away(
    simulator: Provider, provider: Provider
) -> None:
    provider.plays(Step(text="one two three four", token_delay=0.2))
    with gateway(config_for(simulator)) as stopping, door_client(stopping.url) as http:
        with viewer(stopping.url) as watching:
            body = chat(stream=True)
            headers = {"authorization": f"Bearer {KEY}"}
            with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
                received = answer.iter_raw()
                first = next(received)
                stopping.process.terminate()
                assert watching.close_code() == 1001
                ready = eventually(lambda: is_listening(stopping), lambda up: not up)
                assert not ready
                whole = first + b"".join(received)
        assert stopping.process.wait(timeout=60) == 0
    assert b"four" in whole
    assert whole.endswith(b"data: [DONE]\n\n")


def is_listening(gateway: Gateway) -> bool:
    try:
        httpx.get(f"{gateway.url}/readyz", headers={"connection": "close"})
    except httpx.ConnectError:
        return False
    return True
