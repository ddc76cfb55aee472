"""A saved request through today's machine: identical, or the first difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from signalbox.errors import FailureKind
from signalbox.machines import facts as f
from signalbox.machines.commands import RecordTransition
from signalbox.machines.lifecycle import Event
from signalbox.machines.plan import RequestPlanned
from signalbox.machines.replay import ComparedStep, Comparison, Ending, compare
from signalbox.persistence.stores import TraceEvent, TraceRecord
from signalbox.persistence.trace_values import (
    FACTS,
    UnreadableTrace,
    plain,
    read_recorded,
    unplain,
)
from signalbox.types import NanoUSD, Secret
from tests.replays import MISHAPS, TWO_ROUTES, played, replayed, with_events
from tests.rig import model, plan
from tests.simulation import Simulation

COMMON = {
    Event.ATTEMPT_FAILED,
    Event.ROUTE_FAILED,
    Event.NEXT_MODEL_CHOSEN,
    Event.STREAM_ENDED,
    Event.CANCELLED,
    Event.DEADLINE_EXCEEDED,
}
"""Events that some of a few hundred simulated requests see: else identity would mean little."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> TraceRecord:
    return played(tmp_path_factory.mktemp("rig"), *MISHAPS)


def as_event(fact: f.Fact) -> TraceEvent:
    return TraceEvent(0, 0.0, "fact", type(fact).__name__, plain(fact))


NO_TIMER = as_event(f.TimerFired(0, "tea"))
"""A fact that the machine can make nothing of."""


def first_difference(comparison: Comparison) -> ComparedStep:
    assert not comparison.identical
    *before, last = comparison.steps
    assert all(step.same for step in before)
    assert not last.same
    return last


# ── what a trace keeps ────────────────────────────────────────────────────────────────────────

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
LEAVES: Mapping[Any, st.SearchStrategy[Any]] = {
    NoneType: st.none(),
    bool: st.booleans(),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Secret: st.just(Secret("…")),
    Any: _json,
    NanoUSD: st.integers(0, 9 * 10**15).map(NanoUSD),
}


def values_of(form: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, by its structure."""
    arguments = get_args(form)
    if form in LEAVES:
        return LEAVES[form]
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        hints = get_type_hints(form)
        return st.builds(form, **{each.name: values_of(hints[each.name]) for each in fields(form)})
    if get_origin(form) in (Union, UnionType):
        return st.one_of([values_of(each) for each in arguments])
    if get_origin(form) is frozenset:
        return st.frozensets(values_of(arguments[0]), max_size=2)
    if get_origin(form) is tuple and arguments[-1] is ...:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if get_origin(form) is tuple:
        return st.tuples(*map(values_of, arguments))
    if get_origin(form) is Mapping:
        return st.dictionaries(*map(values_of, arguments), max_size=2)
    assert issubclass(form, StrEnum), f"no values of {form} are known"
    return st.sampled_from(form)


@pytest.mark.parametrize("form", [*FACTS.values(), RequestPlanned, RecordTransition])
@settings(max_examples=25)
@given(st.data())
def test_what_a_trace_keeps_comes_back_equal(form: type[Any], data: st.DataObject) -> None:
    value = data.draw(values_of(form))
    assert unplain(json.loads(json.dumps(plain(value))), form) == value


# ── the same decisions ────────────────────────────────────────────────────────────────────────


def test_whatever_happened_to_a_request_replays_identically(tmp_path: Path) -> None:
    seen = set()
    for seed in range(3):
        simulation = Simulation(seed, 150, tmp_path / str(seed)).run()
        for client in simulation.clients:
            comparison = replayed(simulation.trace_of(client))
            assert comparison.identical, simulation.story(client)
            assert comparison.complete
            seen |= {move.event for step in comparison.steps for move in step.today.moves}
    assert seen >= COMMON


def test_a_record_that_stops_early_is_compared_as_far_as_it_goes(trace: TraceRecord) -> None:
    for length in range(1, len(trace.events)):
        comparison = replayed(with_events(trace, trace.events[:length]))
        assert comparison.identical
        is_over = trace.events[length - 1].name == Event.STREAM_ENDED
        assert comparison.complete == is_over


def test_a_fact_at_which_the_machine_crashed_then_and_crashes_now_is_no_difference(
    trace: TraceRecord,
) -> None:
    crashed = as_event(f.RequestCrashed(0, "ValueError"))
    comparison = replayed(with_events(trace, [*trace.events[:3], NO_TIMER, crashed]))
    assert comparison.identical
    assert comparison.steps[1].today.cut_short


# ── the first difference ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"), [("provider", "c"), ("reason", "a whim"), ("attempt", 7), ("model", "n")]
)
def test_the_first_transition_that_was_another_is_found(
    name: str, value: Any, trace: TraceRecord
) -> None:
    for index, event in enumerate(trace.events):
        if event.kind == "event":
            events = [*trace.events]
            events[index] = replace(event, data={**event.data, name: value})
            step = first_difference(replayed(with_events(trace, events)))
            pairs = zip(step.recorded.moves, step.today.moves, strict=True)
            [(then, now)] = [pair for pair in pairs if pair[0] != pair[1]]
            assert then == replace(now, **{name: value})


def changed(trace: TraceRecord, kind: str, change: Callable[[Any], Any]) -> TraceRecord:
    """The trace with its first fact of that kind changed."""
    events = [*trace.events]
    index = next(i for i, event in enumerate(events) if event.name == kind)
    fact = unplain(events[index].data, FACTS[kind])
    events[index] = replace(events[index], data=plain(change(fact)))
    return with_events(trace, events)


def test_from_another_fact_follows_another_decision(trace: TraceRecord) -> None:
    def refused(fact: f.UpstreamFailed) -> f.UpstreamFailed:
        return replace(fact, failure=replace(fact.failure, kind=FailureKind.INVALID_REQUEST))

    step = first_difference(replayed(changed(trace, "UpstreamFailed", refused)))
    assert [move.event for move in step.recorded.moves] == [Event.ATTEMPT_FAILED]
    assert [move.event for move in step.today.moves] == [Event.REFUSED]


def test_a_fact_that_does_not_fit_is_told_in_words(trace: TraceRecord) -> None:
    def nothing(fact: f.RoutesSurveyed) -> f.RoutesSurveyed:
        return replace(fact, candidates=())

    step = first_difference(replayed(changed(trace, "RoutesSurveyed", nothing)))
    assert step.today.misfit == "nothing is recorded of a:m, b:m"
    events = [*trace.events[:3], NO_TIMER, *trace.events[3:]]
    step = first_difference(replayed(with_events(trace, events)))
    assert step.today.misfit == "the fact does not fit here (ValueError: no such timer: tea)"


def test_another_end_is_a_difference(trace: TraceRecord) -> None:
    comparison = replayed(replace(trace, error_code="timeout"))
    assert all(step.same for step in comparison.steps)
    assert comparison.today == Ending(comparison.recorded.state, None)
    assert not comparison.identical


def test_with_another_plan_they_part_where_it_matters(trace: TraceRecord) -> None:
    recorded = read_recorded(trace)
    fewer = replace(TWO_ROUTES, models=(model("m", "b"),), stream=True)
    step = first_difference(compare(recorded, fewer))
    assert isinstance(step.recorded.fact, f.LeaseGranted)
    assert (step.recorded.moves[0].provider, step.today.moves[0].provider) == ("a", "b")
    first, second = recorded.planned.plan.models[0].routes
    preferred = replace(model("m"), routes=(first, replace(second, order=1)))
    step = first_difference(compare(recorded, replace(fewer, models=(preferred,))))
    assert step.today.moves[0].provider == "b"
    more = replace(plan(model("m", "a", "b", "c")), stream=True)
    assert first_difference(compare(recorded, more)).today.misfit == "nothing is recorded of c:m"
    assert compare(recorded, replace(recorded.planned.plan, config_version="other")).identical


# ── rows that hold anything ───────────────────────────────────────────────────────────────────


def damaged(seq: int, **fields: Any) -> Callable[[TraceRecord], TraceRecord]:
    def damage(trace: TraceRecord) -> TraceRecord:
        events = [*trace.events]
        events[seq] = replace(events[seq], **fields)
        return replace(trace, events=tuple(events))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: replace(t, events=()), "no events, expected RequestPlanned"),
        (lambda t: replace(t, events=t.events[1:]), "event 0 is missing: the next one is 1"),
        (lambda t: replace(t, state="asleep"), "its state is 'asleep', expected done or failed"),
        (damaged(0, name="RequestAdmitted"), "event 0 .*: expected the fact RequestPlanned"),
        (damaged(0, data={"at": 0, "plan": {"models": [], "stream": True}}), "event 0 .*a model"),
        (damaged(1, kind="event"), "event 1 .*: expected a fact before the first transition"),
        (damaged(1, name="Fact"), "event 1 .*: expected an event, or a fact of RequestAdmitted"),
        (damaged(1, data={"at": "now"}), r"event 1 .*Expected `float`, got `str` - at `\$.at`"),
        (damaged(2, data={"event": "admited"}), "event 2 .*Invalid enum value 'admited'"),
        (damaged(2, kind="fact", name="admitted"), "event 2 .*expected an event, or a fact"),
    ],
)
def test_a_damaged_row_is_told_with_its_place(
    damage: Callable[[TraceRecord], TraceRecord], said: str, trace: TraceRecord
) -> None:
    with pytest.raises(UnreadableTrace, match=said):
        read_recorded(damage(trace))


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list):
        return [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(found for key, each in inner for found in paths_in(each, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@given(data=st.data())
def test_whatever_a_row_holds_it_is_replayed_or_refused_by_name(
    data: st.DataObject, trace: TraceRecord
) -> None:
    events = [*trace.events]
    index = data.draw(st.integers(0, len(events) - 1))
    values = json.loads(json.dumps(events[index].data))
    path = data.draw(st.sampled_from(paths_in(values)))
    new = data.draw(_json | st.floats() | st.sampled_from([1e308, -1, "", []]))
    events[index] = replace(events[index], data=put(values, path, new))
    with suppress(UnreadableTrace):
        compare(read_recorded(with_events(trace, events)))
