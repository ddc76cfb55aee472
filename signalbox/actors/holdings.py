"""What one request asks of the shared state, and what it holds of it: its admission, its leases."""

from __future__ import annotations

from collections.abc import Callable

from signalbox.actors.attempt import Attempt
from signalbox.actors.key_pool import AttemptOutcome, Denied, Lease, ProviderKey, callers_key
from signalbox.actors.money import MoneyAway
from signalbox.actors.purse import Purse
from signalbox.actors.rate_limiter import Admission, KeyLimits, Refusal
from signalbox.actors.services import RunnerServices
from signalbox.errors import Failure, FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.plan import RequestPlan
from signalbox.machines.spending import expected_cost
from signalbox.types import NanoUSD, Request

GRACE_SECONDS = 30.0
"""What a request holds outlives its deadline by this much; past it, its owner is taken for dead."""


class Holdings:
    """Answers the machine's questions with facts, and gives everything back. `clock`: monotonic."""

    def __init__(
        self,
        request: Request,
        plan: RequestPlan,
        limits: KeyLimits,
        services: RunnerServices,
        clock: Callable[[], float],
        *,
        deadline_at: float,
        purse: Purse | None = None,
    ) -> None:
        """`purse`: where budgets bound what the request may cost, or watch over it."""
        self._purse = purse
        self._request = request
        self._plan = plan
        self._limits = limits
        self._services = services
        self._clock = clock
        self._deadline_at = deadline_at
        self._admission: Admission | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        """What the limiter tells the client, once it was asked."""
        self.attempts: dict[int, Attempt] = {}
        """By number; each has a lease, or the caller's own key."""

    async def admit(self, command: c.AdmitRequest) -> f.Fact:
        answer = await self._services.limiter.admit(
            self._limits,
            self._request.expected_tokens,
            self._request.id,
            ttl=self._time_left() + GRACE_SECONDS,
        )
        self.headers = answer.headers
        if isinstance(answer, Refusal):
            return f.RequestRejected(
                self._clock(),
                answer.scope,
                answer.kind,
                answer.message,
                None if answer.never else answer.retry_after,
            )
        self._admission = answer
        if self._purse is None:
            return f.RequestAdmitted(self._clock())
        return await self._hold(self._purse, command)

    async def _hold(self, purse: Purse, command: c.AdmitRequest) -> f.Fact:
        hard = self._plan.spending is not None
        want = (
            command.want
            if hard
            else expected_cost(
                self._plan.models, self._plan.prompt_tokens, self._plan.output_tokens
            )
        )
        ttl = self._time_left() + GRACE_SECONDS
        refusal = await purse.open(want, command.least, ttl=ttl)
        at = self._clock()
        if refusal is None:
            return f.RequestAdmitted(at, purse.held if hard else None)
        self.leave(0)
        if isinstance(refusal, MoneyAway):
            return f.RequestRejected(at, "", f.BUDGETS_AWAY, refusal.why, None)
        scope = refusal.budget.scope
        return f.RequestRejected(at, scope, f.BUDGET, "", None, refusal)

    async def extend(self, command: c.ExtendHold) -> f.Fact:
        held = NanoUSD(0) if self._purse is None else await self._purse.extend(command.total)
        return f.HoldExtended(self._clock(), held)

    async def survey(self, command: c.SurveyRoutes) -> f.Fact:
        services, at = self._services, self._clock()
        candidates = await services.candidates(
            self._request,
            command.routes,
            at,
            only_key=self._plan.only_key,
            stand_in=command.stand_in,
        )
        may_hedge = self._plan.hedge and services.health.may_hedge()
        return f.RoutesSurveyed(at, candidates, services.rng.random(), may_hedge)

    async def lease(self, command: c.AcquireLease) -> f.Fact:
        route = command.route
        own = None if command.stands_in else self._request.byok.get(route.provider)
        if own is not None:
            return self._granted(command, callers_key(route.provider, own), None)
        answer = await self._services.key_pool.lease(
            route.provider,
            route.model,
            self._request.expected_tokens,
            owner=self._request.id,
            ttl=self._time_left() + GRACE_SECONDS,
            exclude=command.exclude_keys,
            prefer=command.prefer_key,
            only=command.only_key,
        )
        if isinstance(answer, Denied):
            return f.LeaseDenied(self._clock(), command.attempt, answer.reason, answer.available_at)
        return self._granted(command, answer.key, answer)

    def _granted(
        self, command: c.AcquireLease, key: ProviderKey, lease: Lease | None
    ) -> f.LeaseGranted:
        route = command.route
        endpoint = self._services.endpoint(self._request, route)
        assert endpoint is not None, "a route that has nothing like it is never selected"
        attempt = self.attempts[command.attempt] = Attempt(
            number=command.attempt,
            route=route,
            key=key,
            lease=lease,
            endpoint=endpoint,
            started_at=self._clock(),
            timeouts=self._plan.timeouts,
        )
        return f.LeaseGranted(
            self._clock(), command.attempt, key.id, key.label, attempt.callers_own
        )

    async def further_call(self, attempt: Attempt) -> Failure | None:
        """Counts one more call of an attempt against the limits of its key. Where they are used up
        it waits in the key's queue; a failure where that takes too long.

        The tokens were reserved with the attempt's own lease, which stays the one that is held.
        """
        if attempt.lease is None:
            return None
        pool, route = self._services.key_pool, attempt.route
        patience = self._clock() + self._plan.retry.max_wait
        while True:
            answer = await pool.lease(
                route.provider,
                route.model,
                0,
                owner=self._request.id,
                ttl=self._time_left() + GRACE_SECONDS,
                only=attempt.key.id,
            )
            if isinstance(answer, Lease):
                pool.settle(answer, AttemptOutcome(None, 0, None, cancelled=True))
                return None
            if answer.reason == f.Unavailable.PROBING:
                return None  # this attempt is itself what tests the key
            if not await pool.wait_for_room(
                route.provider, route.model, 0, patience, only=attempt.key.id
            ):
                return Failure(FailureKind.RATE_LIMITED, f"further calls: {answer.reason}")

    async def await_key(self, command: c.AwaitKey) -> f.Fact:
        room = await self._services.key_pool.wait_for_room(
            command.route.provider,
            command.route.model,
            self._request.expected_tokens,
            self._clock() + command.delay,
            exclude=command.exclude_keys,
            only=command.only_key,
        )
        return f.KeyWaitEnded(self._clock(), room)

    def _time_left(self) -> float:
        return self._deadline_at - self._clock()

    def leave(self, tokens: int | None) -> None:
        """Gives back the admission, and what is held for a charge that will not come. `tokens`:
        used; None: not known, the estimate counts."""
        if self._purse is not None:
            self._purse.give_back()
        if self._admission is not None:
            self._services.limiter.settle(self._admission, tokens)
            self._admission = None

    def release_all(self) -> None:
        """Gives back what a request that ended out of the ordinary still holds."""
        for attempt in self.attempts.values():
            attempt.abandon()
            if attempt.lease is not None and not attempt.settled:
                outcome = AttemptOutcome(None, None, None, cancelled=True)
                self._services.key_pool.settle(attempt.lease, outcome)
        self.leave(None)
