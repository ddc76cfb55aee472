"""The derived table says what the declaration's own engine does."""

from itertools import product

import pytest
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from signalbox.machines.breaker import BreakerMachine
from signalbox.machines.keys import KeyMachine
from signalbox.machines.table import (
    MachineClass,
    events,
    final_states,
    initial_state,
    states,
    transition_table,
)


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    broken = State(final=True)

    switched = off.to(on) | on.to(off)
    dropped = broken.from_(off, on)


def test_a_declaration_becomes_a_table() -> None:
    assert transition_table(Light) == {
        ("off", "switched"): "on",
        ("on", "switched"): "off",
        ("off", "dropped"): "broken",
        ("on", "dropped"): "broken",
    }
    assert states(Light) == ("off", "on", "broken")
    assert events(Light) == ("switched", "dropped")
    assert initial_state(Light) == "off"
    assert final_states(Light) == {"broken"}


@pytest.mark.parametrize("machine_class", [Light, KeyMachine, BreakerMachine])
def test_the_engine_agrees_with_the_table(machine_class: MachineClass) -> None:
    table = transition_table(machine_class)
    for state, event in product(states(machine_class), events(machine_class)):
        machine = machine_class(start_value=state)
        if (state, event) in table:
            machine.send(event)
            assert {reached.id for reached in machine.configuration} == {table[state, event]}
        else:
            with pytest.raises(TransitionNotAllowed):
                machine.send(event)


class Guarded(StateMachine):
    waiting = State(initial=True)
    ready = State(final=True)

    started = waiting.to(ready, cond="allowed")

    def allowed(self) -> bool:
        return True


class Ambiguous(StateMachine):
    waiting = State(initial=True)
    left = State(final=True)
    right = State(final=True)

    moved = waiting.to(left) | waiting.to(right)


@pytest.mark.parametrize(
    ("machine_class", "why"),
    [(Guarded, "has a condition"), (Ambiguous, "has more than one target")],
)
def test_what_a_table_cannot_hold_is_refused(machine_class: MachineClass, why: str) -> None:
    with pytest.raises(ValueError, match=f"waiting --.*--> {why}"):
        transition_table(machine_class)
