"""Each break in the middle of a stream with each thing that can be left: what the client saw, what
the providers saw and what it cost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.fault_cells import (
    ASKED,
    PREFILL,
    RETRIES,
    StreamCell,
    assert_broken,
    assert_given_up,
    assert_one_answer,
    stream_cells,
)
from tests.fault_table import BREAKS, TEXT
from tests.lanes import Lane, Lanes, running_lanes
from tests.observed import Seen

CELLS = stream_cells(BREAKS)


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([cell.models for cell in CELLS], RETRIES) as running:
        yield running


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_broken_stream_goes_on_wherever_it_can(lanes: Lanes, cell: StreamCell) -> None:
    lane, broken, left = lanes.at(CELLS.index(cell)), cell.broken, cell.left
    lane.plays(**{left.broken_key: broken.step}, **_sound(cell))
    extra = {"timeout": broken.clocks}
    seen = lane.ask(ASKED, stream=True, stream_options={"include_usage": True}, extra=extra)

    assert lane.way() == cell.way
    assert seen.headers["x-signalbox-provider"] == lane.provider(left.model.providers[0])
    if cell.rescued:
        assert_one_answer(seen, TEXT)
        [resumed] = seen.events[-1]["x_signalbox"]["resumed"]
        assert resumed["provider"] == lane.provider(left.sound_provider)
        assert resumed["after_chars"] == len(broken.text)
        assert resumed["how"] == ("prefill" if left is PREFILL else "splice")
        _assert_all_is_paid(lane, seen)
    else:
        assert_broken(seen, broken.text, [broken.kind])
        _assert_what_was_sent_is_paid(lane, seen)
    if cell.rescued and left is PREFILL:
        [_, second] = lane.calls()
        begun = {"role": "assistant", "content": broken.text}
        assert second["body"]["messages"][1:] == [begun]
    if broken.kind is Kind.IDLE_TIMEOUT:
        assert_given_up(lane, left)


def _sound(cell: StreamCell) -> dict[str, Step]:
    """A route that takes a prefill tells the rest, all others the same text again."""
    key = cell.left.sound_key
    if key is None:
        return {}
    if cell.left is not PREFILL:
        return {key: Step(text=TEXT)}
    rest = cell.broken.rest
    return {key: Step(text=rest) if rest else Step(empty=True)}


def _assert_all_is_paid(lane: Lane, seen: Seen) -> None:
    """One usage, the last thing that is said, for all that any provider did."""
    [usage] = seen.usages
    assert seen.events[-1]["usage"] == usage
    charge = lane.charge(seen)
    assert charge is not None
    assert charge.reason == "answered"
    assert charge.usage.output_total == usage["completion_tokens"] >= _tokens(TEXT)
    assert float(usage["cost"]) * 1e9 == pytest.approx(charge.amount)


def _assert_what_was_sent_is_paid(lane: Lane, seen: Seen) -> None:
    charge = lane.charge(seen)
    assert charge is not None
    assert (charge.reason, charge.usage.estimated) == ("broken", True)
    assert charge.usage.completion == _tokens(seen.text)
    assert charge.amount == charge.upstream_cost
    assert charge.amount


def _tokens(text: str) -> int:
    """The estimate: four characters a token."""
    return -(-len(text) // 4)
