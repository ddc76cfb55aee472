"""A request that is interrupted, whatever it is doing just then, gives everything back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.outputs import Output
from signalbox.actors.runner import RequestRunner
from tests.replays import replayed
from tests.rig import Rig, charges_refused, model, plan, scripted_rig
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

TWO = plan(model("m", "a", "b"))


class AtStep(trio.abc.Instrument):
    """Calls `action` before the step of that number, counted over all tasks."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self._left = step
        self._action = action
        self.done = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left == 0:
            self.done = True
            self._action()
        self._left -= 1


Interruption = Callable[[trio.CancelScope, RequestRunner, trio.MemoryReceiveChannel[Output]], None]


def cancel(scope: trio.CancelScope, runner: RequestRunner, pieces: object) -> None:
    """The process stops, or the connection broke while something was sent."""
    scope.cancel()


def leave(
    scope: trio.CancelScope, runner: RequestRunner, pieces: trio.MemoryReceiveChannel[Output]
) -> None:
    """The client closes its connection, and the door does as well."""
    runner.client_gone()
    pieces.close()


def leave_unnoticed(
    scope: trio.CancelScope, runner: RequestRunner, pieces: trio.MemoryReceiveChannel[Output]
) -> None:
    """The door closes, and nobody says why."""
    pieces.close()


SCENES: dict[str, tuple[bool, list[Script]]] = {
    "whole answer": (False, [answer("hi")]),
    "stream": (True, [stream("a", "b")]),
    "another key's turn": (False, [error(429, retry_after="1"), answer("hi")]),
    "retry, then another route": (True, [[REFUSED], error(500), [Head(), LOST], stream("a")]),
    "wait for a key": (
        False,
        [error(429, retry_after="3"), error(429, retry_after="2"), answer("hi")],
    ),
    "broken stream": (True, [[Head(), text("a"), Wait(1), LOST]]),
    "nothing is left": (False, [error(400)]),
    "no content": (True, [[Head(), ROLE, STOP.replace(b'"stop"', b'"length"')]]),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("interruption", [cancel, leave, leave_unnoticed])
def test_a_request_that_is_interrupted_at_any_step_gives_everything_back(
    scene: str, interruption: Interruption, tmp_path: Path
) -> None:
    streamed, scripts = SCENES[scene]
    for step in count():
        rig = scripted_rig(tmp_path, *scripts, work_seconds=0.5)
        in_time = interrupted(rig, streamed, interruption, step)
        rig.assert_nothing_is_held()
        trace, charges = rig.only_trace, list(rig.store.charges.values())
        assert len(charges) <= 1
        assert trace.cost == (charges[0].amount if charges else None)
        assert charges or trace.state == "failed"
        assert replayed(trace).identical
        if not in_time:
            assert step > 5, "the request was never under way"
            return


@pytest.mark.parametrize("interruption", [cancel, leave])
def test_an_operator_is_told_of_a_lost_charge_whenever_the_request_was_interrupted(
    interruption: Interruption, tmp_path: Path
) -> None:
    for step in count():
        rig = scripted_rig(tmp_path, stream("a", "b"), spool_bytes=0)
        rig.store.fault = charges_refused
        in_time = interrupted(rig, True, interruption, step)
        content_went_out = any(e.name == "first_token_received" for e in rig.only_trace.events)
        assert any("charge reached neither" in alert for alert in rig.alerts) == content_went_out
        if not in_time:
            return


def interrupted(rig: Rig, streamed: bool, interruption: Interruption, step: int) -> bool:
    """Plays a request that is interrupted at `step`; False where it was over before."""

    async def play() -> bool:
        async with rig.running():
            runner, pieces = rig.runner(rig.request(stream=streamed), TWO)
            with trio.CancelScope() as scope:
                interrupt = AtStep(step, lambda: interruption(scope, runner, pieces))
                trio.lowlevel.add_instrument(interrupt)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(runner.run)
                    await read_all(pieces)
            trio.lowlevel.remove_instrument(interrupt)
            assert pieces.statistics().open_send_channels == 0, "its output was left open"
        return interrupt.done

    return trio.run(play, clock=MockClock(autojump_threshold=0))


async def read_all(pieces: trio.MemoryReceiveChannel[Output]) -> None:
    try:
        async for _ in pieces:
            pass
    except trio.ClosedResourceError:
        return
