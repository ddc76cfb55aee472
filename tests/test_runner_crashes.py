"""A fault of the gateway's own: the other routes are tried, or the client is told, and nothing is
held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors import runner as runner_module
from signalbox.actors.outputs import Output, Refusal
from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_door import ChatEncoder
from signalbox.machines import facts as f
from signalbox.machines.request import decide
from signalbox.machines.state import Decision, RequestState
from tests.rig import (
    Rig,
    kinds,
    model,
    openai_provider,
    plan,
    provider_key,
    scripted_rig,
    sent,
)
from tests.scripted_upstream import (
    LOST,
    ROLE,
    Call,
    Head,
    Script,
    ScriptedUpstream,
    answer,
    error,
    stream,
    text,
)

ONE = plan(model("m", "a"))
TWO = plan(model("m", "a", "b"))

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Fault(Exception):
    """What nobody has foreseen."""


def crash(*args: object, **fields: object) -> Any:
    raise Fault


def told(pieces: list[Output]) -> str:
    """The error as the client sees it: `500 internal_error`, or `in the stream: internal_error`."""
    for piece in pieces:
        if isinstance(piece, Refusal):
            return f"{piece.error.status} {piece.error.code}"
    codes = [code for code in ("internal_error", "bad_upstream") if code.encode() in sent(pieces)]
    return f"in the stream: {' '.join(codes)}"


# ── in an adapter ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", ["build", "rate_limits", "decode_answer", "stream_decoder"])
async def test_a_fault_in_one_route_does_not_cost_the_client_the_others(
    method: str, streamed: bool, tmp_path: Path
) -> None:
    good = stream("hi") if streamed else answer("hi")
    rig = scripted_rig(tmp_path, good, good)
    adapter = OpenAIAdapter("a")
    setattr(adapter, method, crash)
    providers = {**rig.services.providers, "a": openai_provider("a", adapter)}
    rig.services = replace(rig.services, providers=providers)
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=streamed), TWO)
    assert "Refusal" not in kinds(pieces)
    used = method not in ({"decode_answer"} if streamed else {"stream_decoder"})
    assert bool(rig.alerts) == used, "an operator is told of it"
    rig.assert_nothing_is_held()


async def test_a_fault_after_content_breaks_the_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    feed = SseDecoder.feed
    monkeypatch.setattr(
        SseDecoder,
        "feed",
        lambda self, data: crash() if b"second" in data else feed(self, data),
    )
    rig = scripted_rig(tmp_path, stream("first", "second"))
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), TWO)
    assert b"first" in sent(pieces)
    assert told(pieces) == "in the stream: bad_upstream"
    rig.assert_nothing_is_held()


# ── in the machine ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fact", "streamed", "seen"),
    [
        (f.RequestAdmitted, True, "500 internal_error"),
        (f.RoutesSurveyed, True, "500 internal_error"),
        (f.LeaseGranted, True, "500 internal_error"),
        (f.ContentArrived, True, "500 internal_error"),
        (f.UpstreamEnded, True, "in the stream: internal_error"),
        (f.UpstreamEnded, False, "500 internal_error"),
        (f.ChargeRecorded, True, "in the stream: internal_error"),
        (f.ChargeRecorded, False, "500 internal_error"),
    ],
)
async def test_a_decision_that_crashes_ends_the_request(
    fact: type[f.Fact], streamed: bool, seen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(state: RequestState, told: f.Fact) -> Decision:
        return crash() if isinstance(told, fact) else decide(state, told)

    monkeypatch.setattr(runner_module, "decide", broken)
    rig = scripted_rig(tmp_path, stream("hi") if streamed else answer("hi"))
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=streamed), ONE)
    assert told(pieces) == seen
    assert_failed(rig)


def assert_failed(rig: Rig) -> None:
    assert (rig.only_trace.state, rig.only_trace.error_code) == ("failed", "internal_error")
    assert any("a request crashed" in alert for alert in rig.alerts)
    rig.assert_nothing_is_held()


# ── in what the runner uses ───────────────────────────────────────────────────────────────────

Break = Callable[[Rig, pytest.MonkeyPatch], None]


def breaks(part: str, method: str) -> Break:
    """`part` of the services crashes in `method`."""
    return lambda rig, patch: patch.setattr(getattr(rig.services, part), method, crash)


def lacks_the_provider(rig: Rig, patch: pytest.MonkeyPatch) -> None:
    rig.services = replace(rig.services, providers={})


def cannot_tell_what_it_takes(rig: Rig, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenAIAdapter, "unsupported", crash)


def replaces(part: str) -> Break:
    """A function of the services crashes."""
    crashing: dict[str, Any] = {part: crash}

    def break_(rig: Rig, patch: pytest.MonkeyPatch) -> None:
        rig.services = replace(rig.services, **crashing)

    return break_


def encoder(method: str) -> Break:
    return lambda rig, patch: patch.setattr(ChatEncoder, method, crash)


@pytest.mark.parametrize(
    ("break_", "streamed", "seen"),
    [
        (breaks("limiter", "admit"), False, "500 internal_error"),
        (cannot_tell_what_it_takes, False, "500 internal_error"),
        (breaks("key_pool", "headrooms"), False, "500 internal_error"),
        (breaks("key_pool", "lease"), False, "500 internal_error"),
        (lacks_the_provider, False, "500 internal_error"),
        (breaks("health", "attempt_started"), True, "500 internal_error"),
        (breaks("ledger", "record"), False, "500 internal_error"),
        (breaks("ledger", "record"), True, "in the stream: internal_error"),
        (replaces("new_id"), False, "500 internal_error"),
        (replaces("new_id"), True, "in the stream: internal_error"),
        (encoder("answer"), False, "500 internal_error"),
        (encoder("finish"), True, "in the stream: internal_error"),
    ],
)
async def test_a_step_that_crashes_ends_the_request(
    break_: Break, streamed: bool, seen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, stream("hi") if streamed else answer("hi"))
    request = rig.request(stream=streamed)
    break_(rig, monkeypatch)
    async with rig.running():
        pieces = await rig.ask(request, ONE)
    assert told(pieces) == seen
    assert_failed(rig)


async def test_an_alert_that_cannot_be_raised_does_not_hold_the_rest_up(tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, error(404, code="model_not_found"))
    rig.services = replace(rig.services, alert=crash)
    async with rig.running():
        pieces = await rig.ask(rig.request(), TWO)
    assert told(pieces) == "500 internal_error"
    rig.assert_nothing_is_held()


async def test_an_error_that_cannot_be_told_still_ends_the_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken: Script = [Head(), ROLE, text("hi"), LOST]
    rig = scripted_rig(tmp_path, broken)
    encoder("error")(rig, monkeypatch)
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), ONE)
    assert sent(pieces) == ROLE + text("hi")
    assert rig.only_trace.state == "failed"
    rig.assert_nothing_is_held()


async def test_a_crash_while_a_key_is_awaited_ends_the_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, error(429, retry_after="3"))
    breaks("key_pool", "wait_for_room")(rig, monkeypatch)
    async with rig.running():
        pieces = await rig.ask(rig.request(), ONE)
    assert told(pieces) == "500 internal_error"
    assert_failed(rig)


async def test_a_crash_during_a_backoff_ends_the_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(call: Call) -> Script:
        breaks("health", "snapshots")(rig, monkeypatch)
        return error(500)

    rig = Rig(ScriptedUpstream(fail), tmp_path, [provider_key("a")])
    async with rig.running():
        pieces = await rig.ask(rig.request(), ONE)
    assert told(pieces) == "500 internal_error"
    assert_failed(rig)


async def test_the_crash_of_one_request_touches_no_other(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"), answer("hi"))
    async with rig.running():
        with monkeypatch.context() as patch:
            patch.setattr(ChatEncoder, "answer", crash)
            await rig.ask(rig.request(), ONE)
        pieces = await rig.ask(rig.request(), ONE)
    assert kinds(pieces) == ["WholeAnswer"]
    rig.assert_nothing_is_held()
