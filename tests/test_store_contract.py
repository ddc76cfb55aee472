"""What every engine promises of charges, traces and state; `test_record_store.py` has the rest."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.machines.facts import Candidate, Headroom, RouteHealth, RoutesSurveyed
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.stores import (
    Charge,
    Store,
    Swept,
    TraceEvent,
    TraceFilter,
    TracePayload,
    TraceRecord,
)
from signalbox.persistence.trace_values import unplain
from signalbox.types import NanoUSD, Route, Secret, Usage
from tests import records
from tests.engines import OpenStore

SECONDS_PER_DAY = 86_400
NOW = 1_800_000_000.0
"""Years after the records' ids and times."""

# One store serves all examples of a property: the records' ids are new each time.
on_stores = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
on_one_store = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def without_details(trace: TraceRecord) -> TraceRecord:
    return replace(trace, events=(), payloads=())


# The ledger


@on_one_store
@given(st.lists(records.charges, max_size=5))
def test_charges_are_read_as_they_were_written(store: Store, charges: list[Charge]) -> None:
    store.append_charges(charges)
    assert [store.load_charge(charge.request_id) for charge in charges] == charges


def test_an_unknown_amount_is_not_a_zero_amount(store: Store) -> None:
    unknown = records.charge(amount=None)
    free = replace(records.charge(amount=0), usage=Usage(prompt=0, cached_read=None))
    store.append_charges([unknown, free])
    assert store.load_charge(unknown.request_id) == unknown
    assert store.load_charge(free.request_id) == free


def test_a_request_is_charged_once(store: Store) -> None:
    first = records.charge(amount=1)
    again = records.charge(first.request_id, amount=2)
    store.append_charges([first])
    store.append_charges([first, again, records.charge()])
    assert store.load_charge(first.request_id) == first


def test_a_request_charged_twice_in_one_batch_is_charged_the_first_time(store: Store) -> None:
    first = records.charge(amount=1)
    store.append_charges([first, records.charge(first.request_id, amount=2)])
    assert store.load_charge(first.request_id) == first


@pytest.mark.parametrize("request_id", [records.fresh_id(), "", "no uuid", "\ud800", "\0"])
def test_a_request_without_a_charge_has_none(store: Store, request_id: str) -> None:
    assert store.load_charge(request_id) is None


def test_a_charge_that_no_database_could_keep_is_named_and_keeps_its_batch_out(
    store: Store,
) -> None:
    good = records.charge()
    for bad, field in [
        (replace(records.charge(), amount=NanoUSD(2**63)), "amount"),
        (replace(records.charge(), usage=Usage(completion=10**30)), "usage.completion"),
        (replace(records.charge(), at=float("nan")), "at"),
    ]:
        with pytest.raises(ValueError, match=f"{bad.request_id}: {field}"):
            store.append_charges([good, bad])
    assert store.load_charge(good.request_id) is None


@pytest.mark.parametrize("count", [1, 7, 8, 9, 31, 32, 33, 100])
def test_a_batch_of_any_size_is_there_but_for_what_was_there(store: Store, count: int) -> None:
    there = records.charge(amount=1)
    store.append_charges([there])
    batch = [records.charge() for _ in range(count)]
    batch[count // 2] = records.charge(there.request_id, amount=2)
    store.append_charges(batch)
    batch[count // 2] = there
    assert [store.load_charge(charge.request_id) for charge in batch] == batch


# Traces


@on_one_store
@given(st.lists(records.traces, max_size=3))
def test_traces_are_read_as_they_were_written(store: Store, traces: list[TraceRecord]) -> None:
    store.save_traces(traces)
    assert [store.load_trace(trace.id) for trace in traces] == traces


def test_a_trace_that_is_there_is_left_with_its_own_details(store: Store) -> None:
    first = records.trace()
    event = TraceEvent(seq=9, at=1.0, kind="fact", name="late", data={})
    store.save_traces([first, replace(first, events=(event,))])
    store.save_traces([replace(first, state="failed", events=(event,), payloads=())])
    assert store.load_trace(first.id) == first


@pytest.mark.parametrize("count", [1, 7, 8, 9, 31, 32, 33, 100])
@pytest.mark.parametrize("one_is_there", [False, True])
def test_traces_of_a_batch_of_any_size_have_their_own_details(
    store: Store, count: int, one_is_there: bool
) -> None:
    batch = [records.trace() for _ in range(count)]
    named = [replace(t, events=(replace(t.events[0], name=t.id),)) for t in batch]
    kept = [*named]
    if one_is_there:
        kept[count // 2] = batch[count // 2]
        store.save_traces([batch[count // 2]])
    store.save_traces(named)
    assert [store.load_trace(trace.id) for trace in named] == kept


@pytest.mark.parametrize("size", [0, 100, 20_000, 300_000])
def test_bodies_of_any_size_are_read_as_they_were_written(store: Store, size: int) -> None:
    noise = random.Random(size).randbytes(size)
    payloads = [
        TracePayload(seq, kind, attempt, body, truncated=bool(seq))
        for seq, (kind, attempt, body) in enumerate(
            [("request", None, b"{} " * size), ("upstream_request", 1, noise)]
        )
    ]
    trace = replace(records.trace(), payloads=tuple(payloads))
    store.save_traces([trace])
    assert store.load_trace(trace.id) == trace


@pytest.mark.parametrize("trace_id", [records.fresh_id(), "", "no uuid", "\ud800", "\0"])
def test_an_unknown_trace_is_none(store: Store, trace_id: str) -> None:
    assert store.load_trace(trace_id) is None


def test_characters_that_no_database_keeps_are_replaced(store: Store) -> None:
    odd = records.trace(model="gpt\0-\ud800")
    store.save_traces([odd])
    kept = replace(odd, model="gpt\ufffd-\ufffd")
    assert store.load_trace(odd.id) == kept
    assert store.list_traces(limit=9, model="gpt\0-\ud800") == [without_details(kept)]


@pytest.mark.parametrize("data", [{"x": object()}, {"x": "\ud800", "y": object()}])
def test_an_event_that_is_not_json_is_named(store: Store, data: dict[str, object]) -> None:
    event = TraceEvent(seq=7, at=0.0, kind="fact", name="odd", data=data)
    odd = replace(records.trace(), events=(event,))
    with pytest.raises(ValueError, match=f"event 7 of the trace {odd.id}: data is not JSON"):
        store.save_traces([odd])
    assert store.load_trace(odd.id) is None


def test_an_event_at_no_time_is_named(store: Store) -> None:
    odd = records.trace()
    odd = replace(odd, events=(replace(odd.events[0], at=float("nan")),))
    with pytest.raises(ValueError, match=f"an event of the trace {odd.id}: at"):
        store.save_traces([odd])


def test_facts_are_saved_as_they_are_but_for_secrets_and_numbers_that_are_none(
    store: Store,
) -> None:
    route = Route("a", "m", headers=(("x-team", Secret("canary")),), params={"top_p": float("inf")})
    fact = RoutesSurveyed(1.5, (Candidate(route, RouteHealth(), Headroom(True)),), random=0.25)
    event = TraceEvent(seq=0, at=0.0, kind="fact", name="RoutesSurveyed", data=fact)
    trace = replace(records.trace(), events=(event,))
    store.save_traces([trace])
    kept = store.load_trace(trace.id)
    assert kept is not None
    assert "canary" not in repr(kept)
    kept_route = replace(route, headers=(("x-team", Secret("…")),), params={"top_p": None})
    [candidate] = unplain(kept.events[0].data, RoutesSurveyed).candidates
    assert candidate == replace(fact.candidates[0], route=kept_route)


def test_a_sequence_number_used_twice_is_named(store: Store) -> None:
    odd = records.trace()
    odd = replace(odd, events=odd.events * 2)
    with pytest.raises(ValueError, match=f"the events of the trace {odd.id}"):
        store.save_traces([odd])


@on_stores
@given(
    st.lists(
        st.tuples(
            st.integers(1_700_000_000_000, 1_700_000_000_003),
            st.sampled_from(["done", "failed"]),
            st.sampled_from(["a", "b"]),
        ),
        max_size=12,
    ),
    st.integers(1, 5),
    st.sampled_from([None, "done", "failed"]),
    st.sampled_from([None, "a", "b"]),
)
def test_pages_show_each_trace_once_newest_first(
    open_store: OpenStore,
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[int, str, str]],
    limit: int,
    state: str | None,
    model: str | None,
) -> None:
    traces = [
        without_details(
            records.trace(records.fresh_id(ms), started_at=ms / 1000, state=state, model=model)
        )
        for ms, state, model in made
    ]
    with closing(open_store(tmp_path_factory.mktemp("pages"))) as store:
        store.save_traces(traces)
        seen: list[TraceRecord] = []
        while page := store.list_traces(
            limit=limit, before=seen[-1].id if seen else None, state=state, model=model
        ):
            assert len(page) <= limit
            seen += page
    assert seen == [
        trace
        for trace in sorted(traces, key=lambda trace: trace.id, reverse=True)
        if state in (None, trace.state) and model in (None, trace.model)
    ]


def test_a_page_goes_on_from_a_trace_that_was_deleted(store: Store) -> None:
    old, gone, new = (records.trace(started_at=at) for at in (200.0, 100.0, 300.0))
    store.save_traces([old, gone, new])
    assert store.delete_traces(older_than=150.0, limit=10) == 1
    assert store.list_traces(limit=10, before=gone.id) == [without_details(old)]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        store.list_traces(limit=limit)


@on_stores
@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 4), st.integers(0, 9))
def test_retention_takes_the_oldest_and_never_more_than_its_limit(
    open_store: OpenStore,
    tmp_path_factory: pytest.TempPathFactory,
    started: list[int],
    older_than: int,
    limit: int,
) -> None:
    traces = [records.trace(started_at=float(at)) for at in started]
    with closing(open_store(tmp_path_factory.mktemp("retention"))) as store:
        store.save_traces(traces)
        count = store.delete_traces(older_than=float(older_than), limit=limit)
        left = [trace.started_at for trace in traces if store.load_trace(trace.id) == trace]
    assert count == min(limit, sum(at < older_than for at in started))
    assert sorted(left) == sorted(started)[count:]


def test_a_step_of_retention_takes_the_oldest_and_says_whether_there_are_more(
    store: Store,
) -> None:
    traces = [records.trace(started_at=float(at)) for at in (3, 1, 4, 2)]
    store.save_traces(traces)
    steps = [store.sweep_traces(now=NOW, older_than=4.0, limit=2) for _ in range(3)]
    assert steps == [Swept(2, more=True), Swept(1, more=False), Swept(0, more=False)]
    assert [store.load_trace(trace.id) for trace in traces] == [None, None, traces[2], None]


def test_payloads_go_before_their_traces_where_they_are_kept_for_less_time(store: Store) -> None:
    started = [NOW - days * SECONDS_PER_DAY for days in (5.0, 3.0, 2.001, 2.0, 1.0)]
    traces = [records.trace(records.fresh_id(round(at * 1000)), started_at=at) for at in started]
    store.save_traces(traces)
    sweep = partial(
        store.sweep_traces,
        now=NOW,
        older_than=NOW - 4 * SECONDS_PER_DAY,
        payloads_older_than=NOW - 2 * SECONDS_PER_DAY,
        limit=1,
    )
    assert sweep() == Swept(1, more=True)
    while sweep().more:
        pass
    bare = [replace(trace, payloads=()) for trace in traces]
    expected = [None, bare[1], bare[2], traces[3], traces[4]]
    assert [store.load_trace(trace.id) for trace in traces] == expected


def test_a_deleted_trace_takes_its_details_with_it(store: Store) -> None:
    trace = records.trace(started_at=1.0)
    store.save_traces([trace])
    store.delete_traces(older_than=2.0, limit=1)
    bare = without_details(trace)
    store.save_traces([bare])
    assert store.load_trace(trace.id) == bare


_labels = st.sampled_from(["a", "b", "A", "a%", "", "\ud800", "ä"])


@on_stores
@given(
    st.lists(
        st.tuples(st.none() | _labels, st.lists(_labels, max_size=2), st.integers(0, 3)),
        max_size=8,
    ),
    st.builds(
        TraceFilter,
        user=st.none() | _labels,
        tag=st.none() | _labels,
        before=st.none() | st.integers(0, 4).map(float),
    ),
    st.integers(1, 4),
)
def test_the_traces_that_are_meant_are_found_and_deleted_with_their_details(
    open_store: OpenStore,
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[str | None, list[str], int]],
    wanted: TraceFilter,
    limit: int,
) -> None:
    traces = [
        replace(records.trace(started_at=float(at)), user=user, tags=tuple(tags))
        for user, tags, at in made
    ]
    meant = {
        trace.id
        for trace in traces
        if wanted.user in (None, trace.user)
        and (wanted.tag is None or wanted.tag in trace.tags)
        and (wanted.before is None or trace.started_at < wanted.before)
    }
    with closing(open_store(tmp_path_factory.mktemp("meant"))) as store:
        store.save_traces(traces)
        found: list[str] = []
        last: str | None = None
        while True:
            looked = store.match_traces(wanted, after=last, limit=limit)
            found += looked.ids
            last = looked.last
            if last is None:
                break
        assert found == sorted(meant)
        assert store.delete_these_traces(found) == len(meant)
        assert store.delete_these_traces(found) == 0
        assert {trace.id for trace in store.list_traces(limit=99)} == {
            trace.id for trace in traces
        } - meant
        bare = [without_details(trace) for trace in traces if trace.id in meant]
        store.save_traces(bare)
        loaded = [store.load_trace(trace.id) for trace in bare]
    assert [trace and (trace.events, trace.payloads) for trace in loaded] == [((), ())] * len(bare)


# Provider state


def test_whose_state_it_is_is_read_as_it_was_written(store: Store) -> None:
    one, two = records.state("one"), records.state("tool two")
    store.save_state([one, two])
    unknown = records.state("unknown").digest
    found = store.load_state([two.digest, unknown, one.digest])
    assert sorted(found, key=lambda each: each.digest) == sorted(
        [one, two], key=lambda each: each.digest
    )
    assert store.load_state([]) == []


def test_what_was_said_last_of_a_piece_of_state_counts(store: Store) -> None:
    first = records.state("one")
    later = replace(
        first, route_id="b:m", key_mark="4567", expires_at=first.expires_at + 1, state=b"more"
    )
    store.save_state([first])
    store.save_state([first, later])
    assert store.load_state([first.digest]) == [later]


def test_more_state_is_looked_up_at_once_than_one_statement_holds(store: Store) -> None:
    many = [records.state(str(number)) for number in range(1_100)]
    store.save_state(many)
    assert len(store.load_state([record.digest for record in many])) == 1_100


def test_expired_state_is_deleted_in_bounded_steps(store: Store) -> None:
    old = [records.state(f"old {number}", expires_at=100.0 + number) for number in range(3)]
    new = records.state("new", expires_at=103.0)
    store.save_state([*old, new])
    assert [store.delete_state(expired_at=102.0, limit=2) for _ in range(3)] == [2, 1, 0]
    assert store.load_state([each.digest for each in (*old, new)]) == [new]


# The store as a whole


def test_what_was_written_is_there_after_reopening(open_store: OpenStore, tmp_path: Path) -> None:
    charge, trace, key = records.charge(), records.trace(), records.key("ci")
    with closing(open_store(tmp_path)) as store:
        store.append_charges([charge])
        store.save_traces([trace])
        records.insert(store, key)
    with closing(open_store(tmp_path)) as store:
        assert store.load_charge(charge.request_id) == charge
        assert store.load_trace(trace.id) == trace
        assert store.records(GatewayKeyRecord) == [key]


def test_a_closed_store_is_unavailable(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.ping()
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.ping()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append_charges([records.charge()])
