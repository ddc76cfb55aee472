"""The runner: one request performed, with a provider and a client in memory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Refusal, StreamHead, WholeAnswer
from signalbox.types import Timeouts
from tests.rig import CAPACITY, charges_refused, kinds, model, plan, scripted_rig, sent
from tests.scripted_upstream import (
    LOST,
    REFUSED,
    ROLE,
    STOP,
    Head,
    Script,
    Wait,
    answer,
    error,
    stream,
    text,
)

ONE = plan(model("m", "a"))
TWO = plan(model("m", "a", "b"))


# ── answers ───────────────────────────────────────────────────────────────────────────────────


async def test_a_whole_answer(autojump_clock: MockClock, tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        [piece] = await rig.ask(rig.request(), ONE)
    assert isinstance(piece, WholeAnswer)
    assert msgspec.json.decode(piece.body)["choices"][0]["message"]["content"] == "hi"
    assert ("x-signalbox-provider", "a") in piece.headers
    assert ("x-signalbox-cost", "0.00002") in piece.headers
    assert rig.only_trace.state == "done"
    rig.assert_nothing_is_held()


async def test_a_stream_begins_with_what_came_before_its_content(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, stream("hello ", "world"))
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), ONE)
    assert isinstance(pieces[0], StreamHead)
    assert sent(pieces) == b"".join(
        (ROLE, text("hello "), text("world"), STOP, b"data: [DONE]\n\n")
    )
    rig.assert_nothing_is_held()


async def test_the_client_never_sees_what_failed_before_the_first_content(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    broken: Script = [Head(), ROLE, b'data: {"error": {"message": "no", "code": 500}}\n\n']
    rig = scripted_rig(tmp_path, [REFUSED], error(503), broken, stream("hi"))
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), TWO)
    assert sent(pieces) == b"".join((ROLE, text("hi"), STOP, b"data: [DONE]\n\n"))
    assert [call.url.split("/")[2] for call in rig.calls] == ["a", "a", "a", "b"]
    rig.assert_nothing_is_held()


async def test_a_stream_that_breaks_after_content_ends_with_one_error_in_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(), ROLE, text("hi"), LOST])
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), TWO)
    assert kinds(pieces) == ["StreamHead", "StreamBytes"]
    assert sent(pieces).count(b'"error"') == 2, "the error, and its finish reason"
    assert len(rig.calls) == 1
    [charge] = rig.store.charges.values()
    assert (charge.reason, charge.usage.estimated) == ("broken", True)
    rig.assert_nothing_is_held()


async def test_nothing_is_charged_for_an_answer_without_content(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(), ROLE, STOP.replace(b'"stop"', b'"length"')])
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), ONE)
    assert kinds(pieces) == ["StreamHead", "StreamBytes"]
    [charge] = rig.store.charges.values()
    assert (charge.reason, charge.amount) == ("no_content", 0)
    rig.assert_nothing_is_held()


# ── the charge comes before the end ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_charge_is_durable_before_the_end_is_sent(
    streamed: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, stream("hi") if streamed else answer("hi"), work_seconds=3)
    request = rig.request(stream=streamed)
    runner, pieces = rig.runner(request, ONE)
    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        async for piece in pieces:
            is_end = isinstance(piece, WholeAnswer) or b"[DONE]" in getattr(piece, "data", b"")
            assert (request.id in rig.store.charges) == is_end
    rig.assert_nothing_is_held()


@pytest.mark.parametrize(
    ("script", "streamed", "told"),
    [(answer("hi"), False, ["Refusal"]), (stream("hi"), True, ["StreamHead", "StreamBytes"])],
)
async def test_an_answer_that_cannot_be_charged_is_an_error(
    script: Script, streamed: bool, told: list[str], autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, script, spool_bytes=0)
    async with rig.running():
        rig.store.fault = charges_refused
        pieces = await rig.ask(rig.request(stream=streamed), ONE)
    assert kinds(pieces) == told
    assert b"internal_error" in sent(pieces) or [
        piece.error.status for piece in pieces if isinstance(piece, Refusal)
    ] == [500]
    assert rig.only_trace.error_code == "internal_error"
    assert any("charge reached neither" in alert for alert in rig.alerts)
    rig.assert_nothing_is_held()


# ── clocks ────────────────────────────────────────────────────────────────────────────────────

CLOCKS = Timeouts(first_token=7, idle=5, response=11, total=40)


@pytest.mark.parametrize(
    ("script", "streamed", "at", "kind"),
    [
        ([Wait(99)], True, 7, "first_token_timeout"),
        ([Wait(6), Head(), ROLE, Wait(99)], True, 7, "first_token_timeout"),
        ([Wait(99)], False, 11, "response_timeout"),
        ([Head(), b"{", Wait(99)], False, 11, "response_timeout"),
        ([Wait(6), Head(), text("hi"), Wait(4), text("hi"), Wait(99)], True, 15, "idle_timeout"),
    ],
)
async def test_each_clock_ends_the_attempt_at_its_own_time(
    script: Script, streamed: bool, at: float, kind: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, script, answer("late") if not streamed else stream("late"))
    request = rig.request(stream=streamed)
    async with rig.running():
        await rig.ask(request, replace(TWO, timeouts=CLOCKS))
    [failure] = [e for e in rig.only_trace.events if e.name == "UpstreamFailed"]
    assert (failure.data["failure"]["kind"], failure.at) == (kind, at)
    rig.assert_nothing_is_held()


async def test_the_deadline_ends_the_request_whatever_it_does(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(
        tmp_path, [Head(), *[step for _ in range(9) for step in (text("x"), Wait(4.5))]]
    )
    async with rig.running():
        began = trio.current_time()
        pieces = await rig.ask(rig.request(stream=True), replace(ONE, timeouts=CLOCKS))
        assert trio.current_time() == began + CLOCKS.total
    assert b'"code":"timeout"' in sent(pieces)
    [charge] = rig.store.charges.values()
    assert charge.reason == "deadline"
    rig.assert_nothing_is_held()


# ── back-pressure ─────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_does_not_read_stops_the_reading_and_the_idle_clock(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    words = [text(f"word {number} ") for number in range(100)]
    rig = scripted_rig(tmp_path, [Head(), *words, STOP])
    runner, pieces = rig.runner(rig.request(stream=True), replace(ONE, timeouts=CLOCKS))
    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(CLOCKS.idle * 4)
        [call] = rig.calls
        # The head takes one place; one piece is in hand, and one more was read ahead of it.
        assert len(call.reads) <= CAPACITY + 1
        assert call.reads[-1] == call.reads[0]
        got = [piece async for piece in pieces]
    assert sent(got) == b"".join((*words, STOP, b"data: [DONE]\n\n"))
    rig.assert_nothing_is_held()
