"""Requests that were played and saved, for the tests that replay them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.machines.replay import Comparison, compare
from signalbox.persistence.stores import TraceEvent, TraceRecord
from signalbox.persistence.trace_rows import event_row, payload_row, read_trace, trace_row
from signalbox.persistence.trace_values import read_recorded
from tests.rig import model, plan, scripted_rig
from tests.scripted_upstream import LOST, REFUSED, Head, Script, error, stream

TWO_ROUTES = plan(model("m", "a", "b"))
MISHAPS: Sequence[Script] = ([REFUSED], error(500), [Head(), LOST], stream("hi"))
"""Three calls of route `a` fail, each in its own way; then `b` answers."""


def played(folder: Path, *scripts: Script) -> TraceRecord:
    """The trace of a streamed request whose calls went as the scripts say."""

    async def play() -> TraceRecord:
        rig = scripted_rig(folder, *scripts)
        async with rig.running():
            await rig.ask(rig.request(stream=True), TWO_ROUTES)
        return rig.only_trace

    return trio.run(play, clock=MockClock(autojump_threshold=0))


def with_events(trace: TraceRecord, events: Sequence[TraceEvent]) -> TraceRecord:
    """The trace with other events, numbered in their order."""
    return replace(trace, events=tuple(replace(e, seq=seq) for seq, e in enumerate(events)))


def replayed(trace: TraceRecord) -> Comparison:
    """The trace as a database gives it back, replayed."""
    kept = read_trace(trace_row(trace), event_row(trace), payload_row(trace))
    return compare(read_recorded(kept))
