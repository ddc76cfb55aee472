"""A request's plan, facts and transitions as the JSON values that a trace keeps, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from signalbox.errors import SignalboxError
from signalbox.machines import facts
from signalbox.machines.commands import RecordTransition
from signalbox.machines.lifecycle import State
from signalbox.machines.plan import RequestPlanned
from signalbox.machines.replay import Ending, RecordedRequest, RecordedStep
from signalbox.persistence.stores import TraceEvent, TraceRecord
from signalbox.types import Secret

FACTS = {
    name: fact
    for name, fact in vars(facts).items()
    if isinstance(fact, type) and issubclass(fact, facts.Fact) and fact is not facts.Fact
}
"""Every fact by the name that a trace gives it."""

ReadT = TypeVar("ReadT")


class UnreadableTrace(SignalboxError):
    """A saved trace is not what this version of the program can have written, and where."""


def plain(value: object) -> Mapping[str, Any]:
    """A fact, a transition or a plan as JSON's values; a secret becomes an ellipsis."""
    converted: Mapping[str, Any] = msgspec.to_builtins(value, enc_hook=without_secret)
    return converted


def unplain(values: Mapping[str, Any], form: type[ReadT]) -> ReadT:
    """The reverse of `plain`. Secrets read as `…`; fields that `form` lacks are passed over.

    Raises `msgspec.ValidationError`, which says where and what was expected.
    """
    return msgspec.convert(values, form, dec_hook=_secret)


def read_recorded(trace: TraceRecord) -> RecordedRequest:
    """The request that the trace is of. Raises `UnreadableTrace`, naming the event."""
    for seq, event in enumerate(trace.events):
        if event.seq != seq:
            raise UnreadableTrace(f"event {seq} is missing: the next one is {event.seq}")
    if not trace.events:
        raise UnreadableTrace("the trace has no events, expected RequestPlanned as the first")
    first, *rest = trace.events
    if (first.kind, first.name) != ("fact", "RequestPlanned"):
        raise _unreadable(first, "expected the fact RequestPlanned")
    planned = _read(first, RequestPlanned)
    if not planned.plan.models:
        raise _unreadable(first, "expected a model in the plan, found none")
    return RecordedRequest(planned, _steps(rest), _ending(trace))


def _steps(events: list[TraceEvent]) -> tuple[RecordedStep, ...]:
    told: list[tuple[float, facts.Fact]] = []
    moves: list[list[RecordTransition]] = []
    for event in events:
        if event.kind == "fact" and event.name in FACTS:
            told.append((event.at, _read(event, FACTS[event.name])))
            moves.append([])
        elif event.kind == "note":
            continue
        elif event.kind != "event":
            raise _unreadable(event, f"expected an event, or a fact of {', '.join(FACTS)}")
        elif not moves:
            raise _unreadable(event, "expected a fact before the first transition")
        else:
            moves[-1].append(_read(event, RecordTransition))
    return tuple(
        RecordedStep(at, fact, tuple(made)) for (at, fact), made in zip(told, moves, strict=True)
    )


def _ending(trace: TraceRecord) -> Ending:
    try:
        return Ending(State(trace.state), trace.error_code)
    except ValueError:
        expected = " or ".join(state for state in State if state.final)
        raise UnreadableTrace(f"its state is {trace.state!r}, expected {expected}") from None


def _read(event: TraceEvent, form: type[ReadT]) -> ReadT:
    try:
        return unplain(event.data, form)
    except msgspec.ValidationError as error:
        raise _unreadable(event, str(error)) from None


def without_secret(value: object) -> str:
    """msgspec's `enc_hook` for all that a trace keeps."""
    if isinstance(value, Secret):
        return "…"
    raise NotImplementedError(f"not a plain value: {type(value).__name__}")


def _secret(form: type, value: object) -> Secret:
    if form is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"expected {form.__name__}, found {type(value).__name__}")


def _unreadable(event: TraceEvent, why: str) -> UnreadableTrace:
    return UnreadableTrace(f"event {event.seq} ({event.kind} {event.name}): {why}")
