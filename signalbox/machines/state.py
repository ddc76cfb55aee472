"""The state of a request's machine, and the turn in which a decision is put together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from signalbox.errors import ApiError, AttemptReport
from signalbox.machines.commands import Command, FinishRequest, RecordTransition, SendError
from signalbox.machines.lifecycle import Event, State, advance
from signalbox.machines.plan import RequestPlan
from signalbox.machines.selection import Excluded, Ranked
from signalbox.types import ModelPlan, RetryPolicy, Route

Decision = tuple["RequestState", tuple[Command, ...]]


@dataclass(frozen=True, slots=True)
class Wait:
    """A key of this route will have room at `available_at`."""

    model: ModelPlan
    route: Route
    available_at: float
    again: bool
    """Whether the request may try the route then; if not, the client is told the time all the
    same."""


@dataclass(frozen=True, slots=True)
class RequestState:
    """All that the next decision depends on, besides the fact."""

    plan: RequestPlan
    deadline_at: float
    model: ModelPlan
    models_left: tuple[ModelPlan, ...]
    lifecycle: State = State.PENDING
    attempt: int = 0
    """The number of upstream calls so far; the current one's number."""
    route: Route | None = None
    key_id: str | None = None
    alternatives: tuple[Ranked, ...] = ()
    """The last survey's ranking, from the route that is asked for a lease now."""
    excluded: tuple[Excluded, ...] = ()
    """Why the last survey's other routes may not be tried."""
    spent: frozenset[str] = frozenset()
    """Ids of the routes that this request is done with."""
    burnt: frozenset[tuple[str, str]] = frozenset()
    """(route id, key id): keys that this request is done with on a route."""
    retries: tuple[str, ...] = ()
    """One route id for each retry that was used on it."""
    reports: tuple[AttemptReport, ...] = ()
    waits: tuple[Wait, ...] = ()
    wait_until: float | None = None
    """When the patience for rate-limited keys ends; None: nothing was waited for yet."""
    charging: bool = False
    """The answer is whole, its attempt is settled, and its charge is being recorded."""

    @property
    def retry_policy(self) -> RetryPolicy:
        return self.plan.retry_policy(self.model)

    @property
    def calls_used_up(self) -> bool:
        return self.attempt >= self.retry_policy.max_attempts_total

    def keys_done_with(self, route: Route) -> frozenset[str]:
        return frozenset(key for route_id, key in self.burnt if route_id == route.id)


@dataclass(slots=True)
class Turn:
    """One decision in the making: the state as it moves and the commands so far."""

    state: RequestState
    commands: list[Command] = field(default_factory=list)

    def move(self, event: Event, reason: str = "") -> None:
        state = self.state
        target = advance(state.lifecycle, event)
        route = state.route
        self.commands.append(
            RecordTransition(
                event=event,
                source=state.lifecycle,
                target=target,
                attempt=state.attempt or None,
                provider=route.provider if route else None,
                model=route.model if route else state.model.name,
                reason=reason,
            )
        )
        self.state = replace(state, lifecycle=target)

    def do(self, *commands: Command) -> None:
        self.commands.extend(commands)

    def done(self) -> Decision:
        return self.state, tuple(self.commands)

    def fail(self, error: ApiError) -> None:
        self.do(SendError(error), FinishRequest(self.state.lifecycle, error))
