"""The transition table of a machine that is declared with python-statemachine.

The library's engine costs 0.2 to 0.5 ms a transition, so working code reads this table instead. It
is derived from the declaration, which stays the one place where the transitions are written, the
source of the diagrams and the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from statemachine import StateChart

from signalbox.errors import SignalboxError

StateT = TypeVar("StateT", bound=str)
EventT = TypeVar("EventT", bound=str)
MachineClass = type[StateChart[Any]]
Table = Mapping[tuple[str, str], str]
"""(state, event) → the state that follows."""


class IllegalEvent(SignalboxError):
    """An event that the machine neither has a transition for nor ignores in this state."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"the event {event!r} is not allowed in the state {state!r}")
        self.state = state
        self.event = event


def transition_table(machine_class: MachineClass) -> Table:
    """Every transition of the declaration.

    Raises `ValueError` where the declaration cannot be a table: a condition on a transition, or
    two targets for one (state, event).
    """
    table: dict[tuple[str, str], str] = {}
    for source, event, target, guarded in _transitions(machine_class):
        if guarded:
            raise ValueError(f"{source} --{event}--> has a condition; a table cannot hold one")
        if table.setdefault((source, event), target) != target:
            raise ValueError(f"{source} --{event}--> has more than one target")
    return MappingProxyType(table)


def states(machine_class: MachineClass) -> tuple[str, ...]:
    """The states in the order of their declaration."""
    return tuple(state.id for state in machine_class.states)


def events(machine_class: MachineClass) -> tuple[str, ...]:
    """The events in the order of their declaration."""
    return tuple(event.id for event in machine_class._events)


def initial_state(machine_class: MachineClass) -> str:
    return str(machine_class.initial_state.id)


def final_states(machine_class: MachineClass) -> frozenset[str]:
    return frozenset(state.id for state in machine_class.states if state.final)


def follow(
    table: Mapping[tuple[StateT, EventT], StateT],
    ignored: frozenset[tuple[StateT, EventT]],
    state: StateT,
    event: EventT,
) -> StateT | None:
    """The state after `event`, or None where the machine ignores it by name.

    Raises `IllegalEvent` for every other pair.
    """
    target = table.get((state, event))
    if target is None and (state, event) not in ignored:
        raise IllegalEvent(state, event)
    return target


def _transitions(machine_class: MachineClass) -> Iterator[tuple[str, str, str, bool]]:
    for state in machine_class.states:
        for transition in state.transitions:
            guarded = bool(list(transition.cond))
            for event in transition.events:
                for target in transition.targets:
                    yield state.id, event.id, target.id, guarded
