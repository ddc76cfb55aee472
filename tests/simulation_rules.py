"""What holds for a whole gateway under load, seen from outside (see `tests/simulation.py`).

A rule that is broken fails with the story of the request that broke it.
"""

from __future__ import annotations

from collections import defaultdict

from signalbox.actors.outputs import Refusal, StreamHead, WholeAnswer
from signalbox.machines.facts import BreakerState
from signalbox.machines.lifecycle import TRANSITIONS, Event, State
from signalbox.types import Midstream
from tests.fleet import NEVER_SENT, numbers_in, past_rpm
from tests.replays import replayed
from tests.simulation import Client, Simulation

LEDGER_SECONDS = 15.0
"""How long a charge may take; the end is not sent before."""


def check(simulation: Simulation) -> None:
    simulation.rig.assert_nothing_is_held()
    assert simulation.tasks_left == 0
    assert simulation.pool is not None
    assert (simulation.pool.open_leases, simulation.pool.waiting) == (0, {})
    no_key_is_used_past_its_rpm(simulation)
    every_route_came_back(simulation)
    for client in simulation.clients:
        ended_in_one_final_state(simulation, client)
        was_told_each_word_once(simulation, client)
        called_no_more_often_than_allowed(simulation, client)
        called_nobody_after_content_but_to_go_on(simulation, client)
        is_decided_the_same_again(simulation, client)
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


def every_route_came_back(simulation: Simulation) -> None:
    """When all faults were over, one call of each route was answered and closed its breaker."""
    for route_id, pieces in simulation.recoveries.items():
        assert isinstance(pieces[0], WholeAnswer), f"seed {simulation.seed}: {route_id} {pieces}"
    assert set(simulation.breakers.values()) == {BreakerState.CLOSED}, f"seed {simulation.seed}"


def was_told_each_word_once(simulation: Simulation, client: Client) -> None:
    """In order, from whichever providers they came; all of them, where it was told that it is."""
    words = numbers_in(client.told.text)
    assert words == list(range(len(words))), simulation.story(client)
    if client.has_success:
        assert len(words) == simulation.fleet.length_for(client.name), simulation.story(client)


def called_no_more_often_than_allowed(simulation: Simulation, client: Client) -> None:
    calls = simulation.calls_of()[client.name]
    assert len(calls) <= client.plan.retry.max_attempts_total, simulation.story(client)


def called_nobody_after_content_but_to_go_on(simulation: Simulation, client: Client) -> None:
    """A call that begins after content was sent belongs to a stream that was broken before."""
    seen = [at for at, piece in client.seen if b'"content": "' in getattr(piece, "data", b"")]
    later = [call for call in simulation.calls_of()[client.name] if seen and call.at > seen[0]]
    names = {event.name for event in simulation.trace_of(client).events}
    assert not later or Event.STREAM_RESUMED in names, simulation.story(client)
    if client.plan.midstream is Midstream.ERROR:
        assert Event.STREAM_RESUMED not in names, simulation.story(client)


def is_decided_the_same_again(simulation: Simulation, client: Client) -> None:
    """What was recorded is enough to decide everything again."""
    assert replayed(simulation.trace_of(client)).identical, simulation.story(client)


def got_one_answer(simulation: Simulation, client: Client) -> None:
    """A client that stays sees one end, the one that the trace tells of."""
    state, pieces = simulation.trace_of(client).state, client.pieces
    if client.left_at is not None:
        return
    assert client.has_success == (state == "done"), simulation.story(client)
    if pieces and isinstance(pieces[0], StreamHead):
        assert client.stream.count(b"[DONE]") == 1, simulation.story(client)
        assert client.stream.endswith(b"data: [DONE]\n\n"), simulation.story(client)
        assert len(client.told.finish[0]) == 1, simulation.story(client)
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
    if client.told.text and not told:
        assert charge is not None, simulation.story(client)
        assert charge.amount, simulation.story(client)


def was_not_kept_waiting(simulation: Simulation, client: Client) -> None:
    """A client that reads at once has its end by its deadline."""
    if client.pause == 0:
        longest = client.plan.timeouts.total + LEDGER_SECONDS
        assert client.served_until - client.asks_at <= longest, simulation.story(client)
