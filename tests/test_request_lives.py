"""Rules that hold for every life of a request, whatever happens in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.errors import Failure, FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.lifecycle import TRANSITIONS, Event, State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide, start
from signalbox.types import Midstream, ModelPlan, RetryPolicy, Route, Timeouts
from tests.dialogue import line

CommandT = TypeVar("CommandT", bound=c.Command)

MOST_FACTS = 300
"""More than any life of these plans takes: 6 calls, 3 models, 5 s of patience in half seconds."""

REASONS = [*["stop"] * 4, "length", None]
LATENCIES = [None, f.Percentiles(0.1, 0.2, 0.3, 0.4)]


def policies() -> st.SearchStrategy[RetryPolicy]:
    return st.builds(
        RetryPolicy,
        attempts=st.integers(0, 2),
        max_wait=st.sampled_from([0.0, 1.0, 5.0]),
        max_attempts_total=st.integers(1, 6),
    )


def models(name: str) -> st.SearchStrategy[ModelPlan]:
    contexts = st.sampled_from([None, 100, 200])
    routes = st.builds(
        Route, provider=st.sampled_from("abc"), model=st.just(name), context_length=contexts
    )
    unlike = st.lists(routes, min_size=1, max_size=3, unique_by=lambda route: route.provider)
    return st.builds(ModelPlan, name=st.just(name), routes=unlike.map(tuple))


def some(*names: str, least: int = 0) -> st.SearchStrategy[tuple[ModelPlan, ...]]:
    return st.tuples(*map(models, names)).flatmap(
        lambda all_: st.integers(least, len(names)).map(lambda count: all_[:count])
    )


plans = st.builds(
    RequestPlan,
    models=some("m", "n", "o", least=1),
    context_fallbacks=some("large"),
    content_fallbacks=some("lenient"),
    stream=st.sampled_from([True, True, False]),
    midstream=st.sampled_from(Midstream),
    hedge=st.booleans(),
    hedge_after=st.sampled_from([None, 0.5]),
    retry=policies(),
    timeouts=st.builds(Timeouts, total=st.sampled_from([3.0, 60.0, 600.0])),
)


class Life:
    """One request from start to end, its commands answered by chance with what may follow."""

    def __init__(self, plan: RequestPlan, chance: Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.facts: list[f.Fact] = []
        self.state, commands = start(plan, self.now)
        self.commands: list[c.Command] = []
        self.open: list[c.Command] = []
        """Commands whose answer is still to come."""
        self.take(commands)
        while not self.state.lifecycle.final:
            assert len(self.facts) < MOST_FACTS, "it goes on for ever"
            self.hear(self.next_fact())

    def __repr__(self) -> str:
        return "\n".join(map(line, self.commands))

    def hear(self, fact: f.Fact) -> None:
        before = copy.deepcopy(self.state)
        state, commands = decide(self.state, fact)
        assert decide(before, fact) == (state, commands), "not a function of its arguments"
        assert self.state == before, "an argument was changed"
        self.facts.append(fact)
        self.state = state
        self.take(commands)

    def take(self, commands: Sequence[c.Command]) -> None:
        self.commands += commands
        self.open += [command for command in commands if awaits_an_answer(command)]

    def all(self, kind: type[CommandT]) -> list[CommandT]:
        return [command for command in self.commands if isinstance(command, kind)]

    def heard(self, *kinds: type[f.Fact]) -> list[f.Fact]:
        return [fact for fact in self.facts if isinstance(fact, kinds)]

    def next_fact(self) -> f.Fact:
        if self.chance.random() < 0.02:
            return self.chance.choice([f.ClientGone(self.now), f.RequestCrashed(self.now, "words")])
        self.now += self.chance.choice([0.0, 0.1, 1.0])
        if self.now >= self.state.deadline_at and not self.state.charging:
            return f.TimerFired(self.now, c.Timer.DEADLINE)
        return self.answer(self.chance.choice(self.answered_at_once() or self.open))

    def answered_at_once(self) -> list[c.Command]:
        """Nothing else is heard before their answers."""
        kinds = c.AdmitRequest | c.SurveyRoutes | c.AcquireLease | c.RecordCharge
        return [command for command in self.open if isinstance(command, kinds)]

    def answer(self, command: c.Command) -> f.Fact:
        """A fact that may follow from `command`, which is then done with but for content."""
        chance, now = self.chance, self.now
        is_first_content = (
            isinstance(command, c.OpenUpstream)
            and self.state.plan.stream
            and self.state.lifecycle is State.EXECUTING
            and chance.random() < 0.5
        )
        if is_first_content:
            assert isinstance(command, c.OpenUpstream)
            return f.ContentArrived(now, command.attempt)
        self.open.remove(command)
        match command:
            case c.AdmitRequest():
                return chance.choice([*[ADMITTED] * 9, REJECTED])
            case c.SurveyRoutes():
                candidates = tuple(map(self.candidate, command.routes))
                may_hedge = chance.random() < 0.8
                return f.RoutesSurveyed(now, candidates, chance.random(), may_hedge)
            case c.AcquireLease() if chance.random() < 0.85:
                return f.LeaseGranted(now, command.attempt, chance.choice(["k1", "k2"]), "key")
            case c.AcquireLease():
                return f.LeaseDenied(now, command.attempt, "words", self.some_time())
            case c.AwaitKey():
                self.now += min(command.delay, chance.choice([0.5, 2.0]))
                return f.KeyWaitEnded(self.now, chance.random() < 0.8)
            case c.StartTimer():
                self.now += command.delay
                return f.TimerFired(self.now, command.timer, command.attempt)
            case c.OpenUpstream():
                return self.end_of(command.attempt)
            case c.RecordCharge() if chance.random() < 0.8:
                return f.ChargeRecorded(now, command.attempt)
            case c.RecordCharge():
                return f.ChargeFailed(now, command.attempt, "words")
        raise TypeError(command)

    def candidate(self, route: Route) -> f.Candidate:
        chance = self.chance
        breaker = chance.choice([*[f.BreakerState.CLOSED] * 5, f.BreakerState.OPEN])
        headroom = f.Headroom(available=True)
        if chance.random() < 0.25:
            headroom = f.Headroom(False, None, self.some_time(), "words")
        unsupported = ("tools",) if chance.random() < 0.1 else ()
        health = f.RouteHealth(breaker=breaker, first_token_percentiles=chance.choice(LATENCIES))
        prefill = chance.random() < 0.5
        return f.Candidate(route, health, headroom, unsupported, prefill=prefill)

    def some_time(self) -> float | None:
        return self.chance.choice([None, self.now + 0.5, self.now + 3, self.now + 20])

    def end_of(self, attempt: int) -> f.Fact:
        if self.chance.random() < 0.5:
            chars = self.chance.choice([0, 9, 9])
            if self.state.lifecycle is State.STREAMING:
                chars = 9
            reason = self.chance.choice(REASONS)
            return f.UpstreamEnded(
                self.now, attempt, reason, chars, 0.5, delivered=self.delivered()
            )
        kind = self.chance.choice(list(FailureKind))
        failure = Failure(kind, "words", retry_after=self.chance.choice([None, None, 2.0]))
        return f.UpstreamFailed(
            self.now,
            attempt,
            failure,
            self.chance.random(),
            may_retry=self.chance.random() < 0.9,
            delivered=self.delivered(),
        )

    def delivered(self) -> f.Delivered:
        return f.Delivered(self.chance.choice([0, 5]), 9, resumable=self.chance.random() < 0.9)


def awaits_an_answer(command: c.Command) -> bool:
    """The deadline is told by the time, not by chance: few lives would outlast it."""
    if isinstance(command, c.StartTimer):
        return command.timer is not c.Timer.DEADLINE
    kinds = c.AdmitRequest | c.SurveyRoutes | c.AcquireLease | c.AwaitKey
    return isinstance(command, kinds | c.OpenUpstream | c.RecordCharge)


ADMITTED = f.RequestAdmitted(0.0)
REJECTED = f.RequestRejected(0.0, "key", "requests", "words", 3.0)

# Chance that Hypothesis itself draws likes extremes: most lives would end with their first fact.
lives = st.builds(Life, plans, st.integers(0, 2**32).map(Random))


@given(lives)
@settings(max_examples=1000)
def test_every_life_keeps_the_rules(life: Life) -> None:
    ends_once_in_a_final_state(life)
    moves_along_the_table(life)
    gives_back_each_lease_once(life)
    calls_no_more_often_than_allowed(life)
    calls_nobody_after_content_but_to_go_on(life)
    follows_two_calls_at_most(life)
    charges_once_and_only_for_an_answer(life)
    tells_the_client_one_end(life)
    does_nothing_any_more(life)


def ends_once_in_a_final_state(life: Life) -> None:
    [finish] = life.all(c.FinishRequest)
    assert life.commands[-1] is finish
    assert finish.state is life.state.lifecycle
    assert (finish.error is None) == (finish.state is State.DONE)


def moves_along_the_table(life: Life) -> None:
    moves = life.all(c.RecordTransition)
    assert all(TRANSITIONS[move.source, move.event] is move.target for move in moves)
    path = [State.PENDING, *(move.target for move in moves)]
    assert path == [*(move.source for move in moves), life.state.lifecycle]
    assert [state.final for state in path].count(True) == 1


def gives_back_each_lease_once(life: Life) -> None:
    granted = [fact.attempt for fact in life.facts if isinstance(fact, f.LeaseGranted)]
    assert granted == list(range(1, len(granted) + 1))
    assert [command.attempt for command in life.all(c.OpenUpstream)] == granted
    assert sorted(command.attempt for command in life.all(c.SettleAttempt)) == granted


def calls_no_more_often_than_allowed(life: Life) -> None:
    assert len(life.all(c.OpenUpstream)) <= life.state.plan.retry.max_attempts_total


def calls_nobody_after_content_but_to_go_on(life: Life) -> None:
    sending = False
    for command in life.commands:
        if isinstance(command, c.CommitAnswer):
            assert not sending, "two answers at once"
            sending = True
        elif isinstance(command, c.RecordTransition) and command.event is Event.STREAM_RESUMED:
            assert life.state.plan.midstream is not Midstream.ERROR
            sending = False
        elif isinstance(command, c.OpenUpstream | c.AcquireLease):
            assert not sending, "a call after content that is no rescue"
        if isinstance(command, c.OpenUpstream):
            assert (command.resume is not None) == bool(commits_before(life, command))


def commits_before(life: Life, command: c.Command) -> list[c.Command]:
    before = life.commands[: life.commands.index(command)]
    return [each for each in before if isinstance(each, c.CommitAnswer)]


def follows_two_calls_at_most(life: Life) -> None:
    """Two where the second is a hedge."""
    under_way: dict[int, bool] = {}
    for command in life.commands:
        if isinstance(command, c.OpenUpstream):
            under_way[command.attempt] = command.hedge
            assert sorted(under_way.values()) in ([False], [True], [False, True])
            assert life.state.plan.hedge or not command.hedge
        elif isinstance(command, c.SettleAttempt):
            del under_way[command.attempt]
    assert not under_way


def charges_once_and_only_for_an_answer(life: Life) -> None:
    charges = life.all(c.RecordCharge)
    assert len(charges) <= 1
    for charge in charges:
        answers = life.heard(f.ContentArrived, f.UpstreamEnded)
        assert charge.attempt in {getattr(fact, "attempt", None) for fact in answers}
    if life.all(c.CommitAnswer):
        assert charges, "content went out and was not charged"


def tells_the_client_one_end(life: Life) -> None:
    assert len(life.all(c.SendEnd)) + len(life.all(c.SendError)) == 1
    if life.all(c.SendEnd):
        assert life.heard(f.ChargeRecorded), "the end went out before its charge was safe"
        assert life.state.lifecycle is State.DONE


def does_nothing_any_more(life: Life) -> None:
    late = [*life.facts, *answers_still_to_come(life)]
    for fact in late:
        state, commands = decide(life.state, fact)
        assert state == life.state
        assert isinstance(fact, f.ChargeFailed) or not commands


def answers_still_to_come(life: Life) -> Iterator[f.Fact]:
    for command in tuple(life.open):
        yield life.answer(command)


@given(lives)
def test_a_fact_of_an_earlier_attempt_changes_nothing(life: Life) -> None:
    """Tells the life again, with facts of attempts that are over in between."""
    state, _ = start(life.state.plan, 0.0)
    for number, fact in enumerate(life.facts):
        followed = {call.attempt for call in (state.current, state.hedge) if call is not None}
        for earlier in life.facts[:number]:
            attempt = getattr(earlier, "attempt", None)
            if attempt is not None and attempt <= state.attempt and attempt not in followed:
                assert decide(state, earlier) == (state, ())
        state, _ = decide(state, fact)
