"""The state of a request's machine, and the turn in which a decision is put together."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from signalbox.errors import ApiError, AttemptReport, Failure
from signalbox.machines.commands import (
    AcquireLease,
    Command,
    ExtendHold,
    FinishRequest,
    RecordCharge,
    RecordTransition,
    Resume,
    SendError,
    SurveyRoutes,
)
from signalbox.machines.decisions import KEY_IS_AT_FAULT, Step, Verdict, verdict
from signalbox.machines.facts import Delivered, Warmth
from signalbox.machines.lifecycle import Event, State, advance
from signalbox.machines.plan import RequestPlan
from signalbox.machines.selection import Excluded, Ranked
from signalbox.machines.spending import NOTHING_SENT, Sent, Terms, terms_of, wanted_for
from signalbox.types import ModelPlan, NanoUSD, RetryPolicy, Route

Decision = tuple["RequestState", tuple[Command, ...]]


class Wait(msgspec.Struct, frozen=True):
    """A key of this route will have room at `available_at`."""

    model: ModelPlan
    route: Route
    available_at: float
    again: bool
    """Whether the request may try the route then; if not, the client is told the time all the
    same."""


class Running(msgspec.Struct, frozen=True):
    """One upstream call: under way, or the last one that was."""

    attempt: int
    route: Route
    key_id: str
    resume: Resume | None = None
    callers_own: bool = False
    """On a key that came with the request."""


class Break(msgspec.Struct, frozen=True):
    """The client's stream broke after content."""

    delivered: Delivered
    words: str
    """What broke it."""


class RequestState(msgspec.Struct, frozen=True):
    """All that the next decision depends on, besides the fact."""

    plan: RequestPlan
    deadline_at: float
    model: ModelPlan
    models_left: tuple[ModelPlan, ...]
    lifecycle: State = State.PENDING
    attempt: int = 0
    """The number of upstream calls so far."""
    current: Running | None = None
    """The call that the request follows; between two calls the one that failed last."""
    hedge: Running | None = None
    """A second call beside it, until one of the two is dropped."""
    alternatives: tuple[Ranked, ...] = ()
    """The last survey's ranking, from the route that is asked for a lease now."""
    excluded: tuple[Excluded, ...] = ()
    """Why the last survey's other routes may not be tried."""
    spent: frozenset[str] = frozenset()
    """Ids of the routes that this request is done with."""
    burnt: frozenset[tuple[str, str]] = frozenset()
    """(route id, key id): keys that this request is done with on a route."""
    stand_in: frozenset[str] = frozenset()
    """Providers for which the caller's own key has failed: the gateway's stand in for it."""
    no_prefill: frozenset[str] = frozenset()
    """Ids of the routes that refused an answer that was begun."""
    retries: tuple[str, ...] = ()
    """One route id for each retry that was used on it."""
    backing_off: bool = False
    """The call that comes next is such a retry, not a try with another key."""
    reports: tuple[AttemptReport, ...] = ()
    waits: tuple[Wait, ...] = ()
    wait_until: float | None = None
    """When the patience for rate-limited keys ends; None: nothing was waited for yet."""
    told_to_wait_until: float | None = None
    """The earliest time that a rate-limited answer named."""
    reopens_at: float | None = None
    """The earliest time that a circuit breaker which kept the request out lets a probe through."""
    committed: int | None = None
    """The last attempt whose content went to the client."""
    broken: Break | None = None
    """The last break of the client's stream; None: it never broke."""
    charging: bool = False
    """The answer is whole, its attempt is settled, and its charge is being recorded."""
    held: NanoUSD = NanoUSD(0)
    """Of hard budgets. While a stream grows it is extended without the machine."""
    sent: Sent = NOTHING_SENT
    """What the client was sent before the last break, as far as it costs."""
    cut: bool = False
    """The answer ended where its budgets did."""

    @property
    def route(self) -> Route | None:
        return self.current.route if self.current is not None else None

    @property
    def retry_policy(self) -> RetryPolicy:
        return self.plan.retry_policy(self.model)

    @property
    def calls_used_up(self) -> bool:
        return self.attempt >= self.retry_policy.max_attempts_total

    @property
    def running(self) -> tuple[Running, ...]:
        """The calls under way."""
        if self.charging or self.lifecycle not in (State.EXECUTING, State.STREAMING):
            return ()
        return tuple(each for each in (self.current, self.hedge) if each is not None)

    @property
    def called(self) -> frozenset[str]:
        """Ids of the routes that a call was made to."""
        failed = (report for report in self.reports if report.attempt is not None)
        return frozenset(
            {f"{report.provider}:{report.model}" for report in failed}
            | {call.route.id for call in self.running}
        )

    def ceiling_for(self, route: Route) -> int | None:
        """The longest answer of the route that the hold pays for; None: as long as it may be."""
        if self.plan.spending is None:
            return None
        terms = terms_of(self.plan.spending, self.model.name, route, self.sent)
        return terms.ceiling(self.held) if isinstance(terms, Terms) else None

    def verdict(self, failure: Failure, call: Running) -> Verdict:
        """What follows from the failure of this call."""
        return verdict(
            failure.kind,
            failure.retry_after,
            callers_own=call.callers_own,
            # State that the caller's key made is not to be had with another one.
            stands_in=self.plan.byok_fallback and self.plan.only_key is None,
        )

    def keys_done_with(self, route: Route) -> frozenset[str]:
        return frozenset(key for route_id, key in self.burnt if route_id == route.id)

    def next_lease(self, route: Route, warm: Warmth | None = None) -> AcquireLease:
        """For the next call, on a key that the request may still use.

        A key that made what the request refers to goes before one whose prompt cache is warm.
        """
        done_with, pin = self.keys_done_with(route), self.plan.pin
        preferred = warm.key_id if warm is not None else None
        if pin is not None and pin.route_id == route.id:
            preferred = pin.key_id
        return AcquireLease(
            attempt=self.attempt + 1,
            route=route,
            exclude_keys=done_with,
            prefer_key=None if preferred in done_with else preferred,
            only_key=self.plan.only_key,
            stands_in=route.provider in self.stand_in,
        )


class Turn(msgspec.Struct):
    """One decision in the making: the state as it moves and the commands so far."""

    state: RequestState
    commands: list[Command] = msgspec.field(default_factory=list)

    def move(self, event: Event, reason: str = "", about: Running | None = None) -> None:
        """`about`: the call that it is about, where that is not the current one."""
        state = self.state
        target = advance(state.lifecycle, event)
        call = about or state.current
        self.commands.append(
            RecordTransition(
                event=event,
                source=state.lifecycle,
                target=target,
                attempt=call.attempt if call else None,
                provider=call.route.provider if call else None,
                model=call.route.model if call else state.model.name,
                reason=reason,
            )
        )
        self.state = replace(state, lifecycle=target)

    def do(self, *commands: Command) -> None:
        self.commands.extend(commands)

    def survey(self) -> None:
        """Asks how the model's routes stand, with enough held for the dearest of them that is left.

        What there is not enough for is passed over when they are ranked.
        """
        state, spending = self.state, self.state.plan.spending
        if spending is not None:
            left = [route for route in state.model.routes if route.id not in state.spent]
            wanted = wanted_for(spending, state.model, left, state.sent)
            if wanted > state.held:
                self.do(ExtendHold(wanted))
        self.do(SurveyRoutes(state.model.routes, state.stand_in))

    def note(self, failure: Failure, call: Running) -> None:
        """Keeps what an error will tell of the call."""
        report = AttemptReport(
            provider=call.route.provider,
            model=call.route.model,
            kind=failure.kind,
            message=failure.message,
            attempt=call.attempt,
            status=failure.status,
            param=failure.param,
        )
        self.state = replace(self.state, reports=(*self.state.reports, report))

    def be_done_with(self, call: Running, failure: Failure) -> None:
        """The route is not tried again by this request or, where another key may do better, the
        key is not, if it is at fault."""
        state = self.state
        if state.verdict(failure, call).step is not Step.NEXT_KEY:
            self.state = replace(state, spent=state.spent | {call.route.id})
        elif call.callers_own:
            self.state = replace(state, stand_in=state.stand_in | {call.route.provider})
        elif failure.kind in KEY_IS_AT_FAULT:
            self.state = replace(state, burnt=state.burnt | {(call.route.id, call.key_id)})

    def done(self) -> Decision:
        return self.state, tuple(self.commands)

    def fail(self, error: ApiError) -> None:
        self.do(SendError(error), FinishRequest(self.state.lifecycle, error))

    def charge_delivered(self, reason: str) -> None:
        """What went to the client is charged, however the request ends; nothing twice."""
        if self.state.committed is not None and not self.state.charging:
            self.do(RecordCharge(self.state.committed, reason))
