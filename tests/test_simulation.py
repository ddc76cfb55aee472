"""What holds for a whole gateway under load, seen from outside (see `tests/simulation.py`).

A seed that breaks a rule tells the story of the request that broke it, and is run alone by
`SIGNALBOX_SEED=17 pytest tests/test_simulation.py`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from signalbox.actors.outputs import Refusal, StreamHead, WholeAnswer
from signalbox.machines.lifecycle import TRANSITIONS, Event, State
from tests.fleet import ALL_PLOTS, NEVER_SENT, past_rpm
from tests.simulation import Client, Simulation

LEDGER_SECONDS = 15.0
"""How long a charge may take; the end is not sent before."""

NOT_HERE = {
    Event.HEDGE_STARTED,
    Event.ATTEMPT_DROPPED,
    Event.STREAM_RESUMED,
    Event.CRASHED,  # see test_runner_crashes.py
}
"""Events without an occasion in the simulated world."""

chosen = os.environ.get("SIGNALBOX_SEED")
SMALL_SEEDS = [int(chosen)] if chosen else range(1, 11)
LARGE_SEED = int(chosen or 0)


def check(simulation: Simulation) -> None:
    simulation.rig.assert_nothing_is_held()
    assert simulation.tasks_left == 0
    assert simulation.pool is not None
    assert (simulation.pool.open_leases, simulation.pool.waiting) == (0, {})
    no_key_is_used_past_its_rpm(simulation)
    for client in simulation.clients:
        ended_in_one_final_state(simulation, client)
        called_nobody_after_content(simulation, client)
        got_one_answer(simulation, client)
        is_charged_for_what_it_got(simulation, client)
        was_not_kept_waiting(simulation, client)


def no_key_is_used_past_its_rpm(simulation: Simulation) -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for call in simulation.rig.calls:
        if simulation.fleet.plots[call.number] not in NEVER_SENT:
            times[call.key].append(call.at)
    for key, at in times.items():
        assert not past_rpm(at, simulation.fleet.rpm_of(key)), f"seed {simulation.seed}: {key}"


def ended_in_one_final_state(simulation: Simulation, client: Client) -> None:
    trace = simulation.trace_of(client)
    path = [State.PENDING]
    for event in trace.events:
        if event.kind == "event":
            assert event.data["source"] == path[-1], simulation.story(client)
            path.append(TRANSITIONS[path[-1], Event(event.name)])
    assert [state.final for state in path].count(True) == 1, simulation.story(client)
    assert trace.state == path[-1], simulation.story(client)


def called_nobody_after_content(simulation: Simulation, client: Client) -> None:
    """What the client saw is of one call, the last one."""
    calls = simulation.calls_of()[client.name]
    assert len(calls) <= client.plan.retry.max_attempts_total, simulation.story(client)
    sources = {int(number) for number in re.findall(r"<(\d+)>", client.text)}
    assert sources <= {call.number for call in calls[-1:]}, simulation.story(client)


def got_one_answer(simulation: Simulation, client: Client) -> None:
    """A client that stays sees one end, the one that the trace tells of."""
    state, pieces = simulation.trace_of(client).state, client.pieces
    if client.left_at is not None:
        return
    assert client.has_success == (state == "done"), simulation.story(client)
    if pieces and isinstance(pieces[0], StreamHead):
        assert client.text.count("[DONE]") == 1, simulation.story(client)
        assert client.text.endswith("data: [DONE]\n\n"), simulation.story(client)
    else:
        [piece] = pieces
        assert isinstance(piece, Refusal | WholeAnswer), simulation.story(client)


def is_charged_for_what_it_got(simulation: Simulation, client: Client) -> None:
    """What is done is charged, and so is all content; where the ledger crashed with the charge in
    hand, an operator was told."""
    trace, charge = simulation.trace_of(client), simulation.rig.store.charges.get(client.request.id)
    if trace.state == "done":
        assert charge is not None, simulation.story(client)
        assert charge.amount == trace.cost, simulation.story(client)
    told = any(client.request.id in alert for alert in simulation.rig.alerts)
    if "<" in client.text and not told:
        assert charge is not None, simulation.story(client)
        assert charge.amount, simulation.story(client)


def was_not_kept_waiting(simulation: Simulation, client: Client) -> None:
    """A client that reads at once has its end by its deadline."""
    if client.pause == 0:
        longest = client.plan.timeouts.total + LEDGER_SECONDS
        assert client.served_until - client.asks_at <= longest, simulation.story(client)


@pytest.mark.parametrize("seed", SMALL_SEEDS)
def test_a_small_world_keeps_the_rules(seed: int, tmp_path: Path) -> None:
    check(Simulation(seed, 100, tmp_path).run())


@pytest.mark.slow
def test_two_thousand_requests_keep_the_rules(tmp_path: Path) -> None:
    simulation = Simulation(LARGE_SEED, 2000, tmp_path).run()
    check(simulation)
    if not chosen:
        everything_happened(simulation)


def everything_happened(simulation: Simulation) -> None:
    """The run is worth its time: no fault, no end and no state is missing from it."""
    assert set(simulation.fleet.plots.values()) == set(ALL_PLOTS)
    traces = simulation.rig.store.traces.values()
    names = {event.name for trace in traces for event in trace.events if event.kind == "event"}
    assert names == set(Event) - NOT_HERE
    assert not simulation.crashes_left


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    first, again = (Simulation(3, 100, tmp_path / name).run() for name in ("a", "b"))
    assert first.digest() == again.digest()
