"""A request's life: every state, every event, and that the table is the declaration."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statemachine.exceptions import TransitionNotAllowed

from signalbox.machines.lifecycle import (
    IGNORED,
    TRANSITIONS,
    Event,
    RequestLifecycle,
    State,
    advance,
)
from signalbox.machines.table import (
    IllegalEvent,
    events,
    final_states,
    initial_state,
    states,
    transition_table,
)

UNDER_WAY = {
    "pending": {"admitted": "selecting", "rejected": "failed"},
    "selecting": {
        "key_awaited": "selecting",
        "route_selected": "executing",
        "routes_exhausted": "falling_back",
        "refused": "failed",
    },
    "executing": {
        "first_token_received": "streaming",
        "answered": "done",
        "hedge_started": "executing",
        "attempt_dropped": "executing",
        "attempt_failed": "retrying",
        "route_failed": "selecting",
        "model_failed": "falling_back",
        "refused": "failed",
    },
    "retrying": {"backoff_elapsed": "executing", "route_failed": "selecting"},
    "falling_back": {"next_model_chosen": "selecting", "fallbacks_exhausted": "failed"},
    "streaming": {
        "stream_ended": "done",
        "stream_broken": "failed",
        "stream_resumed": "selecting",
    },
}
ENDINGS = {"cancelled": "failed", "deadline_exceeded": "failed", "crashed": "failed"}
"""What may happen in every state that is under way."""

CONTRACT = {
    (state, event): target
    for state, own in UNDER_WAY.items()
    for event, target in {**own, **ENDINGS}.items()
}

STEPS = st.lists(st.one_of(st.sampled_from(Event), st.integers(0, 10)), min_size=5, max_size=40)
"""Any event, or the number of a legal one: by chance alone few sequences would get far."""


def test_the_declaration_is_the_contract() -> None:
    assert transition_table(RequestLifecycle) == CONTRACT
    assert initial_state(RequestLifecycle) == "pending"
    assert final_states(RequestLifecycle) == {"done", "failed"}


def test_names_are_those_of_the_declaration() -> None:
    assert set(states(RequestLifecycle)) == set(State)
    assert set(events(RequestLifecycle)) == set(Event)


@pytest.mark.parametrize(("state", "event"), [*product(State, Event)])
def test_every_pair_is_a_transition_an_ignore_or_illegal(state: State, event: Event) -> None:
    if (state, event) in CONTRACT:
        assert advance(state, event) == CONTRACT[state, event]
    elif state in ("done", "failed"):
        assert advance(state, event) is state
    else:
        with pytest.raises(IllegalEvent, match=f"{event}.*{state}"):
            advance(state, event)


def test_what_is_ignored_is_so_by_name_and_never_a_transition() -> None:
    assert set(IGNORED) == {*product((State.DONE, State.FAILED), Event)}
    assert IGNORED.isdisjoint(TRANSITIONS)


@given(st.sampled_from(State), STEPS)
@settings(max_examples=500)
def test_the_engine_and_the_table_agree(state: State, steps: list[Event | int]) -> None:
    engine = RequestLifecycle(start_value=state)
    for step in steps:
        event = step if isinstance(step, Event) else legal(state, step)
        # The engine refuses what a final state ignores; the two differ in nothing else.
        if moved(engine, event):
            state = advance(state, event)
        elif state.final:
            assert advance(state, event) is state
        else:
            with pytest.raises(IllegalEvent):
                advance(state, event)
        assert {declared.id for declared in engine.configuration} == {state}


def legal(state: State, number: int) -> Event:
    """One of the events that the state has transitions for; any where it has none."""
    choice = [Event(event) for source, event in CONTRACT if source == state] or [*Event]
    return choice[number % len(choice)]


def moved(engine: RequestLifecycle, event: Event) -> bool:
    """Whether the engine had a transition for it."""
    try:
        engine.send(event)
    except TransitionNotAllowed:
        return False
    return True


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_and_leads_to_an_end(state: State) -> None:
    assert state in reachable(State.PENDING)
    assert any(reached.final for reached in reachable(state))


def reachable(start: State) -> set[State]:
    reached, new = {start}, {start}
    while new:
        new = {target for (source, _), target in TRANSITIONS.items() if source in new} - reached
        reached |= new
    return reached
