"""A recorded request through today's machine: the same decisions, or the first that differs.

What is compared of a decision is its transitions, with route and reason, and at the end the final
state and the error's code. Facts are fed as they were recorded; only a survey's routes are those of
the plan that is replayed, with the health and the headroom that were recorded for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from signalbox.errors import SignalboxError
from signalbox.machines.commands import Command, FinishRequest, RecordTransition, SurveyRoutes
from signalbox.machines.facts import ClientGone, Fact, RequestCrashed, RoutesSurveyed
from signalbox.machines.lifecycle import State
from signalbox.machines.plan import RequestPlan, RequestPlanned
from signalbox.machines.request import decide, start
from signalbox.machines.state import RequestState
from signalbox.types import Route

Moves = tuple[RecordTransition, ...]


class Ending(msgspec.Struct, frozen=True):
    """How a request ended."""

    state: State
    error_code: str | None


class RecordedStep(msgspec.Struct, frozen=True):
    """A fact, and the transitions that were decided on it."""

    at: float
    """Seconds since the request began."""
    fact: Fact
    moves: Moves


class RecordedRequest(msgspec.Struct, frozen=True):
    planned: RequestPlanned
    steps: tuple[RecordedStep, ...]
    ending: Ending

    @property
    def complete(self) -> bool:
        """False where the record stops before the request did: a trace keeps so many events."""
        return any(move.target.final for step in self.steps for move in step.moves)


class Decided(msgspec.Struct, frozen=True):
    """What today's machine makes of one fact."""

    moves: Moves = ()
    ending: Ending | None = None
    """Where the request is over with it."""
    cut_short: bool = False
    """The recorded request crashed or was cancelled in the middle of this decision."""
    misfit: str = ""
    """Why the machine cannot take the fact, in words."""


class ComparedStep(msgspec.Struct, frozen=True):
    recorded: RecordedStep
    today: Decided
    same: bool


class Comparison(msgspec.Struct, frozen=True):
    """The steps up to the first that differs, or all of them and then the endings."""

    steps: tuple[ComparedStep, ...]
    recorded: Ending
    today: Ending | None
    """None where a step differs, and where the record is not complete."""
    complete: bool
    """Whether the record reaches to the request's end."""

    @property
    def identical(self) -> bool:
        """As far as the record goes."""
        if not all(step.same for step in self.steps):
            return False
        return not self.complete or self.today == self.recorded


def compare(recorded: RecordedRequest, plan: RequestPlan | None = None) -> Comparison:
    """The recorded facts through today's machine, with `plan` instead of the recorded one."""
    planned = recorded.planned
    decisions = replay(plan or planned.plan, planned.at, recorded.steps)
    steps: list[ComparedStep] = []
    ending: Ending | None = None
    for step, today in zip(recorded.steps, decisions, strict=True):
        is_cut = not recorded.complete and step is recorded.steps[-1]
        moves = today.moves[: len(step.moves)] if is_cut else today.moves
        steps.append(ComparedStep(step, today, same=not today.misfit and moves == step.moves))
        if not steps[-1].same:
            return Comparison(tuple(steps), recorded.ending, None, recorded.complete)
        ending = today.ending or ending
    return Comparison(tuple(steps), recorded.ending, ending, recorded.complete)


def replay(plan: RequestPlan, at: float, steps: Sequence[RecordedStep]) -> Iterator[Decided]:
    """Today's decisions on recorded facts, one for each; `at` is when the request began.

    A decision that was cut short leaves the state that it left then. The recorded transitions
    serve for nothing else.
    """
    machine = _Machine(start(plan, at)[0])
    facts = [*(step.fact for step in steps), None]
    for step, following in zip(steps, facts[1:], strict=True):
        yield machine.hear(step, following)


@dataclass(slots=True)
class _Machine:
    state: RequestState
    surveyed: tuple[Route, ...] = ()
    """The routes that it asked to be surveyed last."""

    def hear(self, step: RecordedStep, following: Fact | None) -> Decided:
        try:
            fact = self._as_planned(step.fact)
            state, commands = decide(self.state, fact)
        except Exception as error:  # The machine is pure: whatever it raises, the fact caused it.
            return _misfit(error, step, following)
        moves = tuple(each for each in commands if isinstance(each, RecordTransition))
        if _cut_short(step.moves, moves, following):
            # As the runner has it: a decision holds from its first transition on.
            self.state = state if step.moves else self.state
            return Decided(step.moves, cut_short=True)
        self.state = state
        for command in commands:
            if isinstance(command, SurveyRoutes):
                self.surveyed = command.routes
        return Decided(moves, _ending(commands))

    def _as_planned(self, fact: Fact) -> Fact:
        """A survey with the routes that were asked for. Raises `NothingRecorded`."""
        if not isinstance(fact, RoutesSurveyed) or not self.surveyed:
            return fact
        candidates = fact.candidates
        if [each.route.id for each in candidates] != [route.id for route in self.surveyed]:
            known = {each.route.id: each for each in candidates}
            missing = [route.id for route in self.surveyed if route.id not in known]
            if missing:
                raise NothingRecorded(f"nothing is recorded of {', '.join(missing)}")
            candidates = tuple(known[route.id] for route in self.surveyed)
        pairs = zip(candidates, self.surveyed, strict=True)
        return replace(fact, candidates=tuple(replace(each, route=r) for each, r in pairs))


class NothingRecorded(SignalboxError):
    """Today's plan has a route that the recorded request did not look at."""


def _cut_short(recorded: Moves, today: Moves, following: Fact | None) -> bool:
    """Whether the request ended from outside after a part of today's transitions."""
    ended = isinstance(following, ClientGone | RequestCrashed)
    return ended and len(recorded) < len(today) and today[: len(recorded)] == recorded


def _misfit(error: Exception, step: RecordedStep, following: Fact | None) -> Decided:
    name = type(error).__name__
    if not step.moves and isinstance(following, RequestCrashed) and following.message == name:
        return Decided(cut_short=True)
    if isinstance(error, NothingRecorded):
        return Decided(misfit=str(error))
    return Decided(misfit=f"the fact does not fit here ({name}: {error})")


def _ending(commands: Sequence[Command]) -> Ending | None:
    for command in commands:
        if isinstance(command, FinishRequest):
            return Ending(command.state, command.error.code if command.error else None)
    return None
