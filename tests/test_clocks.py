"""The clocks of a request, in virtual time: each fires at its moment, and the request goes on
elsewhere where nothing was sent. (`connect` is kept by the upstream client: test_upstream.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Output, Refusal, WholeAnswer
from signalbox.machines.plan import RequestPlan
from signalbox.types import Timeouts
from tests.folding import fold_bytes
from tests.rig import Rig, model, plan, scripted_rig, sent
from tests.scripted_upstream import DONE, ROLE, STOP, Head, Step, Wait, answer, stream, text

CLOCKS = Timeouts(first_token=3, idle=5, response=40, total=90)
EVER = Wait(10_000)
SILENT: list[Step] = [EVER]
STALLED: list[Step] = [Head(), ROLE, EVER]


def timed(*providers: str, timeouts: Timeouts = CLOCKS) -> RequestPlan:
    return replace(plan(model("m", *providers)), timeouts=timeouts)


async def ask(rig: Rig, chain: RequestPlan, *, streamed: bool) -> Sequence[Output]:
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=streamed), chain)
    rig.assert_nothing_is_held()
    return pieces


@pytest.mark.parametrize("silence", [SILENT, STALLED], ids=["no head", "no content"])
async def test_a_stream_without_a_first_token_is_left_for_another_route(
    silence: list[Step], autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, silence, stream("hi"))
    pieces = await ask(rig, timed("a", "b"), streamed=True)
    assert fold_bytes(sent(pieces)).text == "hi"
    assert [call.at for call in rig.calls] == [0, pytest.approx(CLOCKS.first_token)]
    assert not rig.upstream.open_calls


async def test_a_route_that_stayed_silent_is_not_tried_again_by_the_request(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, SILENT, SILENT)
    [refused] = await ask(rig, timed("a", "b"), streamed=True)
    assert isinstance(refused, Refusal)
    assert (refused.error.status, refused.error.code) == (504, "timeout")
    assert [call.url.split("/")[2] for call in rig.calls] == ["a", "b"]


async def test_a_stream_that_falls_silent_after_content_is_told_at_the_idle_clock(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(), ROLE, text("hi"), EVER])
    pieces = await ask(rig, timed("a"), streamed=True)
    assert fold_bytes(sent(pieces)).finish == {0: ["error"]}
    assert trio.current_time() >= CLOCKS.idle
    assert rig.only_trace.duration_ms == pytest.approx(CLOCKS.idle * 1000)


async def test_the_idle_clock_begins_anew_with_each_read(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    slow: list[Step] = [Head(), ROLE, text("a"), Wait(4), text("b"), Wait(4), text("c"), STOP, DONE]
    pieces = await ask(scripted_rig(tmp_path, slow), timed("a"), streamed=True)
    assert fold_bytes(sent(pieces)).text == "abc"


async def test_no_clock_but_the_last_runs_while_the_client_does_not_read(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, stream(*"abcdefghijklmnopqrstuvwxyz"))
    runner, pieces = rig.runner(rig.request(stream=True), timed("a"))
    seen: list[Output] = []
    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(CLOCKS.idle * 5)
        async for piece in pieces:
            seen.append(piece)
    assert fold_bytes(sent(seen)).text == "abcdefghijklmnopqrstuvwxyz"
    assert rig.only_trace.state == "done"


@pytest.mark.parametrize(
    ("providers", "times"),
    [
        (["a"], [0]),
        (["a", "b"], [0, 40]),
        # 40 s, then what leaves a third of the total, then the rest.
        (["a", "b", "c"], [0, 40, 60]),
    ],
)
async def test_whole_answers_are_waited_for_as_long_as_leaves_the_next_route_its_chance(
    providers: list[str], times: list[float], autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[SILENT] * 3, providers=providers)
    [refused] = await ask(rig, timed(*providers), streamed=False)
    assert isinstance(refused, Refusal)
    assert refused.error.code == "timeout"
    assert [call.at for call in rig.calls] == pytest.approx(times)


async def test_a_route_that_is_slow_to_answer_whole_is_left_for_another(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, SILENT, answer("hi"))
    [piece] = await ask(rig, timed("a", "b"), streamed=False)
    assert isinstance(piece, WholeAnswer)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_total_ends_a_request_wherever_it_is(
    streamed: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    patient = Timeouts(first_token=500, idle=500, response=500, total=7)
    rig = scripted_rig(tmp_path, SILENT)
    [refused] = await ask(rig, timed("a", timeouts=patient), streamed=streamed)
    assert isinstance(refused, Refusal)
    assert (refused.error.status, refused.error.code) == (504, "timeout")
    assert rig.only_trace.duration_ms == pytest.approx(7000)
