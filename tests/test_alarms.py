"""Clocks that are moved by an assignment ring in time all the same, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from signalbox.actors.alarms import FEW, Alarm, Alarms
from signalbox.actors.supervisor import Supervisor
from tests.fakes import supervised

STEPS = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(["restart", "pause", "cancel"])), max_size=12
)
"""(seconds since the step before, what is done then)"""


@dataclass
class Plain:
    """An alarm as one would write it down: when it is due, None while it is not."""

    period: int
    due: float | None
    over: bool = False
    rang_at: list[float] = field(default_factory=list)

    def passes(self, now: float) -> None:
        if not self.over and self.due is not None and self.due <= now:
            self.rang_at.append(self.due)
            self.over = True

    def does(self, step: str, now: float) -> None:
        if step == "cancel":
            self.over = True
        elif not self.over:
            self.due = None if step == "pause" else now + self.period


@given(lives=st.lists(st.tuples(st.integers(1, 9), STEPS), min_size=1, max_size=5))
def test_an_alarm_rings_once_a_period_after_it_was_last_restarted(
    lives: list[tuple[int, list[tuple[int, str]]]],
) -> None:
    async def live(alarms: Alarms, period: int, steps: list[tuple[int, str]]) -> None:
        plain, rang = Plain(period, trio.current_time() + period), list[float]()
        alarm = alarms.set(period, lambda: rang.append(trio.current_time()))
        does: dict[str, Callable[[], None]] = {
            "restart": lambda: alarm.restart(trio.current_time()),
            "pause": alarm.pause,
            "cancel": alarm.cancel,
        }
        for seconds, step in steps:
            # Between the whole seconds at which anything is due, so that no order is left open.
            await trio.sleep_until(trio.current_time() + seconds + 1 / 64)
            plain.passes(trio.current_time())
            does[step]()
            plain.does(step, trio.current_time())
        await trio.sleep(20)
        plain.passes(trio.current_time())
        assert rang == plain.rang_at

    async def main() -> None:
        supervisor = Supervisor()
        alarms = Alarms(supervisor)
        async with supervised(supervisor), trio.open_nursery() as nursery:
            for period, steps in lives:
                nursery.start_soon(live, alarms, period, steps)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_one_that_is_due_before_all_others_is_not_waited_past(
    autojump_clock: MockClock,
) -> None:
    supervisor = Supervisor()
    alarms, rang = Alarms(supervisor), list[tuple[str, float]]()
    async with supervised(supervisor):
        began = trio.current_time()
        alarms.set(100, lambda: rang.append(("late", trio.current_time() - began)))
        await trio.sleep(1)
        alarms.set(2, lambda: rang.append(("early", trio.current_time() - began)))
        await trio.sleep(200)
    assert rang == [("early", 3), ("late", 100)]


def test_alarms_that_were_cancelled_take_no_memory_until_they_would_have_rung() -> None:
    alarms = Alarms(Supervisor(), clock=lambda: 0.0)
    kept = alarms.set(600, lambda: None)
    for _ in range(FEW * 100):
        alarms.set(600, lambda: None).cancel()
    assert len(alarms) == 1
    assert len(alarms._heap) <= 2 * FEW + 2
    kept.cancel()
    kept.cancel()
    assert len(alarms) == 0


async def test_a_crash_of_one_is_told_and_leaves_the_others(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def crash() -> None:
        raise RuntimeError("at once")

    async def crash_later() -> None:
        await trio.sleep(1)
        raise RuntimeError("in a task")

    supervisor = Supervisor()
    alarms, rang = Alarms(supervisor), list[Alarm]()
    async with supervised(supervisor):
        alarms.set(1, crash)
        alarms.set(1, crash_later)
        last = alarms.set(5, lambda: rang.append(last))
        await trio.sleep(10)
        [child] = supervisor.statistics()
        assert child.restarts == 0
    assert rang == [last]
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in told if record.exc_info] == [
        "at once",
        "in a task",
    ]
