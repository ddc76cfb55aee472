"""Each fault before the first content, as JSON and as a stream, with each thing that can be left,
and the streams that are odd but whole: what the client saw and what the providers saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.fault_cells import (
    ASKED,
    RETRIES,
    SECOND_PROVIDER,
    Cell,
    assert_given_up,
    assert_one_answer,
    cells,
)
from tests.fault_table import FAULTS, HARMLESS, TEXT
from tests.lanes import Lanes, running_lanes

CELLS = cells(FAULTS)
SOUND = Step(text="All is well.", hang_up=True)
"""It leaves no connection for a later request, see `lanes.LOST`."""
UNPLAYABLE = {
    *(Kind.INTERNAL, Kind.UNSUPPORTED_PARAMETER, Kind.OVER_BUDGET),
    *(Kind.SPLICE_MISMATCH, Kind.IDLE_TIMEOUT),
}
"""No provider's fault, or one that comes after content."""


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    own = [cell.models for cell in CELLS]
    with running_lanes([*own, *[SECOND_PROVIDER.models()] * len(HARMLESS)], RETRIES) as running:
        yield running


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault_before_the_content_is_seen_only_when_nothing_is_left(
    lanes: Lanes, cell: Cell
) -> None:
    lane, fault, left = lanes.at(CELLS.index(cell)), cell.fault, cell.left
    sound = {left.sound_key: SOUND} if left.sound_key else {}
    lane.plays(**{left.broken_key: fault.step}, **sound)
    extra = {"timeout": fault.clocks}
    seen = lane.ask(ASKED, stream=fault.stream, temperature=0.5, extra=extra)

    if cell.rescued:
        assert_one_answer(seen, "All is well.")
        assert seen.headers["x-signalbox-provider"] == lane.provider(left.sound_provider)
        assert seen.headers["x-signalbox-model"] == lane.model(left.sound_model)
        assert seen.headers["x-signalbox-attempts"] == str(cell.failed_calls + 1)
    else:
        assert (seen.status, seen.error["code"]) == (cell.status, fault.code)
        failed = [attempt["kind"] for attempt in seen.error["metadata"]["attempts"]]
        assert failed == [fault.kind] * cell.failed_calls
        assert seen.headers["x-should-retry"] == str(fault.kind is Kind.RATE_LIMITED).lower()
        charge = lane.charge(seen)
        assert charge is None or charge.amount == 0

    assert lane.way() == cell.way
    assert all(_as_asked(call["body"], stream=fault.stream) for call in lane.calls())
    if fault.is_silence:
        assert_given_up(lane, left)


def _as_asked(body: dict[str, Any], *, stream: bool) -> bool:
    """Whether a provider got the client's own request, with its own name for the model."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    asked = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5}
    return body == asked | {"model": body["model"], "stream": stream} | options


def test_every_kind_of_failure_is_in_the_matrix() -> None:
    assert {fault.kind for fault in FAULTS} == set(Kind) - UNPLAYABLE


@pytest.mark.parametrize("oddity", HARMLESS)
def test_an_odd_stream_that_is_whole_is_an_answer(lanes: Lanes, oddity: str) -> None:
    lane = lanes.at(len(CELLS) + list(HARMLESS).index(oddity))
    lane.plays(first=HARMLESS[oddity], second=Step(text="not wanted"))
    seen = lane.ask(ASKED, stream=True, stream_options={"include_usage": True})

    assert_one_answer(seen, TEXT)
    assert lane.called() == {"first": 1}
    [usage] = seen.usages
    assert seen.events[-1]["usage"] == usage
    assert usage["completion_tokens"] > 0
