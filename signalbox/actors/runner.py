"""The runner: performs one request's commands in a nursery of its own, feeds facts back.

`decide` says what to do; nothing is decided here. However the request ends, every lease is released
and the limiter is settled, under a shield with a deadline where the request is being cancelled.
"""

from __future__ import annotations

import logging
from collections import deque

import trio

from signalbox.actors.attempt import Attempt, AttemptTools
from signalbox.actors.billing import charge_of, cost_text, total_tokens, usage_of
from signalbox.actors.key_pool import AttemptOutcome, Denied
from signalbox.actors.ledger import ChargeLost
from signalbox.actors.mailbox import AskTimedOut, MailboxClosed
from signalbox.actors.outputs import ClientSide, Output
from signalbox.actors.ports import DoorEncoder
from signalbox.actors.rate_limiter import Admission, KeyLimits, Refusal
from signalbox.actors.request_trace import RequestTrace
from signalbox.actors.services import RunnerServices
from signalbox.actors.settlement import settle_attempt
from signalbox.errors import ActorCrashed
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.lifecycle import State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide, start
from signalbox.persistence.stores import Charge
from signalbox.types import Request, Usage

logger = logging.getLogger(__name__)

FACTS = 32
"""Facts that may wait: attempts and timers wait for room; the client leaves once, at once."""
CLEANUP_SECONDS = 20.0
"""How long a cancelled request may take to charge what it delivered; a little more than the
ledger's own deadline."""
LEASE_GRACE_SECONDS = 30.0
"""A lease outlives its request's deadline by this much; past it, its owner is taken for dead."""


class RequestRunner:
    """Carries one request from its admission to its final state."""

    def __init__(
        self,
        request: Request,
        plan: RequestPlan,
        limits: KeyLimits,
        encoder: DoorEncoder,
        services: RunnerServices,
        output: trio.MemorySendChannel[Output],
        payloads: str,
        *,
        body: bytes,
    ) -> None:
        """`body`: the request as it came, for the trace."""
        self._request = request
        self._limits = limits
        self._services = services
        self._clock = trio.current_time
        self._timeouts = plan.timeouts
        self._hurried = plan.timeouts_tightened
        self._trace = RequestTrace(
            request,
            plan,
            services.hub,
            self._clock,
            payloads=payloads,
            payload_limit=services.max_payload_bytes,
        )
        self._trace.body("request", body)
        self._client = ClientSide(output, encoder, self._trace.payload_limit)
        self._facts_in, self._facts = trio.open_memory_channel[f.Fact](FACTS)
        self._attempts: dict[int, Attempt] = {}
        self._admission: Admission | None = None
        self._refusal_headers: tuple[tuple[str, str], ...] = ()
        self._charge: Charge | None = None
        self._state, commands = start(plan, self._clock())
        self._decided = self._state
        """What the state becomes with the commands of the last decision."""
        self._todo = deque(commands)
        """Those of them that are still to be performed."""
        self._heard: deque[f.Fact] = deque()
        """Facts that are to be decided on when they are."""

    def __repr__(self) -> str:
        return f"<RequestRunner {self._request.id} {self._state.lifecycle}>"

    def client_gone(self) -> None:
        """The door says that nobody reads any more."""
        self._facts_in.send_nowait(f.ClientGone(self._clock()))

    def stream_begun(self) -> None:
        """The door has sent a stream's head, so the client has seen a 200 whatever comes now."""
        self._client.begun()

    async def run(self) -> None:
        """Returns when the request is in a final state and all that it held is given back."""
        try:
            async with trio.open_nursery() as attempts, trio.open_nursery() as timers:
                self._attempt_tasks, self._timer_tasks = attempts, timers
                await self._drive()
                timers.cancel_scope.cancel()
        finally:
            # Nobody reads any more. What is left to say must not wait for them.
            self._client.close()
            with trio.CancelScope(shield=True, deadline=self._clock() + CLEANUP_SECONDS):
                await self._cut_short(f.ClientGone(self._clock()))
            self._release_all()

    async def _drive(self) -> None:
        try:
            await self._work_off()
            while not self._state.lifecycle.final:
                self._heard.append(await self._facts.receive())
                await self._work_off()
        except Exception as error:
            logger.exception("request %s crashed in %s", self._request.id, self._state.lifecycle)
            await self._cut_short(f.RequestCrashed(self._clock(), type(error).__name__))
        self._client.close()

    async def _work_off(self) -> None:
        """Performs what is to do and decides on what was heard, until neither is left.

        A decision that moves the request holds from its transition on: one that is cut short before
        it leaves the state as it was.
        """
        while self._todo or self._heard:
            while self._todo:
                answer = await self._perform(self._todo.popleft())
                if answer is not None:
                    self._heard.append(answer)
            self._state = self._decided
            if self._heard:
                fact = self._heard.popleft()
                self._trace.fact(fact)
                self._decided, commands = decide(self._state, fact)
                self._todo = deque(commands)

    async def _cut_short(self, fact: f.RequestCrashed | f.ClientGone) -> None:
        """Brings a request that crashed or was cancelled to its end, where it is not there yet.

        The step in which that happened is left out, as is each one that crashes now.
        """
        if not self._state.lifecycle.final:
            self._decided = self._state
            self._todo.clear()
            self._heard.append(fact)
        while self._todo or self._heard:
            try:
                await self._work_off()
            except Exception:
                logger.exception("request %s crashed again at its end", self._request.id)

    async def _perform(self, command: c.Command) -> f.Fact | None:
        """Does what the command says; a fact where the answer is there at once."""
        match command:
            case c.RecordTransition():
                self._state = self._decided
                self._trace.transition(command)
            case c.StartTimer():
                self._timer_tasks.start_soon(self._timer, command.timer, command.delay)
            case c.AdmitRequest():
                return await self._admit()
            case c.SurveyRoutes():
                return self._survey(command)
            case c.AcquireLease():
                return await self._lease(command)
            case c.AwaitKey():
                self._timer_tasks.start_soon(self._await_key, command)
            case c.OpenUpstream():
                self._open(command)
            case c.CommitAnswer():
                await self._commit(command.attempt)
            case c.SettleAttempt():
                self._settle(command)
            case c.RecordCharge():
                return await self._record_charge(command)
            case c.SendEnd():
                await self._send_end(command.attempt)
            case c.SendError():
                await self._client.fail(command.error, self._refusal_headers)
            case c.RaiseAlert():
                self._services.alert(f"{command.message} (request {self._request.id})")
            case c.FinishRequest():
                self._finish(command)
            case _:
                raise TypeError(f"not a command: {command!r}")
        return None

    # ── timers ────────────────────────────────────────────────────────────────────────────────

    async def _emit(self, fact: f.Fact) -> None:
        await self._facts_in.send(fact)

    async def _timer(self, timer: c.Timer, delay: float) -> None:
        await trio.sleep(delay)
        await self._emit(f.TimerFired(self._clock(), timer))

    async def _await_key(self, command: c.AwaitKey) -> None:
        route = command.route
        try:
            room = await self._services.key_pool.wait_for_room(
                route.provider,
                route.model,
                self._request.expected_tokens,
                self._clock() + command.delay,
                exclude=command.exclude_keys,
            )
            await self._emit(f.KeyWaitEnded(self._clock(), room))
        except Exception as error:
            logger.exception("request %s crashed while it waited for a key", self._request.id)
            await self._emit(f.RequestCrashed(self._clock(), type(error).__name__))

    # ── admission, routes and leases ──────────────────────────────────────────────────────────

    async def _admit(self) -> f.Fact:
        answer = await self._services.limiter.admit(
            self._limits, self._request.expected_tokens, self._request.id
        )
        if isinstance(answer, Refusal):
            self._refusal_headers = answer.headers
            return f.RequestRejected(
                self._clock(),
                answer.scope,
                answer.kind,
                answer.message,
                None if answer.never else answer.retry_after,
            )
        self._admission = answer
        return f.RequestAdmitted(self._clock())

    def _survey(self, command: c.SurveyRoutes) -> f.Fact:
        at = self._clock()
        candidates = self._services.candidates(self._request, command.routes, at)
        return f.RoutesSurveyed(at, candidates, self._services.rng.random())

    async def _lease(self, command: c.AcquireLease) -> f.Fact:
        endpoint = self._services.endpoints[command.route.provider]
        answer = await self._services.key_pool.lease(
            command.route.provider,
            command.route.model,
            self._request.expected_tokens,
            owner=self._request.id,
            ttl=self._state.deadline_at - self._clock() + LEASE_GRACE_SECONDS,
            exclude=command.exclude_keys,
        )
        if isinstance(answer, Denied):
            return f.LeaseDenied(self._clock(), command.attempt, answer.reason, answer.available_at)
        self._attempts[command.attempt] = Attempt(
            number=command.attempt,
            route=command.route,
            lease=answer,
            endpoint=endpoint,
            started_at=self._clock(),
        )
        return f.LeaseGranted(self._clock(), command.attempt, answer.key.id, answer.key.label)

    # ── the upstream call ─────────────────────────────────────────────────────────────────────

    def _open(self, command: c.OpenUpstream) -> None:
        services, route = self._services, command.route
        attempt = self._attempts[command.attempt]
        attempt.health_number = services.health.attempt_started(route.id)
        self._trace.attempt_started(
            attempt.number, route.provider, route.model, attempt.lease.key.label
        )
        tools = AttemptTools(
            upstream=services.upstream,
            emit=self._emit,
            deliver=self._client.delta,
            clock=self._clock,
            wall_clock=services.wall_clock,
            rng=services.rng,
            payload_limit=self._trace.payload_limit,
        )
        self._attempt_tasks.start_soon(attempt.run, self._request, self._timeouts, tools)

    async def _commit(self, number: int) -> None:
        attempt = self._attempts[number]
        await self._client.head(self._headers(attempt))
        attempt.committed.set()

    def _settle(self, command: c.SettleAttempt) -> None:
        settle_attempt(
            self._attempts[command.attempt],
            command,
            self._request,
            self._services,
            self._trace,
            at=self._clock(),
            hurried=self._hurried,
        )

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    async def _record_charge(self, command: c.RecordCharge) -> f.Fact:
        services = self._services
        charge = charge_of(
            self._request,
            self._attempts[command.attempt],
            command.reason,
            charge_id=services.new_id(),
            at=services.wall_clock(),
        )
        why = f"no answer within {CLEANUP_SECONDS:g} s"
        # A charge that is under way is not given up with its request: it may be written already.
        with trio.CancelScope(shield=True, deadline=self._clock() + CLEANUP_SECONDS):
            try:
                await services.ledger.record(charge)
            except (ChargeLost, AskTimedOut, ActorCrashed, MailboxClosed) as error:
                why = str(error)
            else:
                self._charge = charge
                return f.ChargeRecorded(self._clock(), command.attempt)
        return f.ChargeFailed(self._clock(), command.attempt, why)

    async def _send_end(self, number: int) -> None:
        attempt = self._attempts[number]
        cost = cost_text(self._charge)
        provider = attempt.route.provider
        if attempt.answer is not None:
            headers = self._headers(attempt, cost)
            await self._client.whole(headers, attempt.answer, provider, cost)
            return
        if not attempt.committed.is_set():
            await self._commit(number)
            for delta in attempt.held:
                await self._client.delta(delta)
        usage = usage_of(self._request, attempt)
        await self._client.finish(provider, cost, usage)

    def _finish(self, command: c.FinishRequest) -> None:
        services = self._services
        answered_by = self._answered_by()
        charge = self._charge
        if self._admission is not None:
            services.limiter.settle(self._admission, total_tokens(charge.usage) if charge else 0)
            self._admission = None
        self._trace.body("response", bytes(self._client.sent))
        record = self._trace.finish(
            state=command.state.value,
            status=self._client.status,
            attempts=self._state.attempt,
            provider=answered_by.route.provider if answered_by else None,
            route_model=answered_by.route.model if answered_by else None,
            error=command.error,
            usage=charge.usage if charge else Usage(),
            cost=charge.amount if charge else None,
            first_token_at=answered_by.first_token_at if answered_by else None,
        )
        services.writer.save(record)

    def _answered_by(self) -> Attempt | None:
        """The last attempt, if its answer went out. One before it may hold an empty answer."""
        attempt = self._attempts.get(self._state.attempt)
        if attempt is None or attempt.committed.is_set():
            return attempt
        whole = attempt.answer is not None and self._state.lifecycle is State.DONE
        return attempt if whole else None

    def _release_all(self) -> None:
        """Gives back what a request that ended out of the ordinary still holds."""
        for attempt in self._attempts.values():
            if not attempt.settled:
                outcome = AttemptOutcome(None, None, None, cancelled=True)
                self._services.key_pool.settle(attempt.lease, outcome)
        if self._admission is not None:
            self._services.limiter.settle(self._admission, None)
            self._admission = None

    def _headers(self, attempt: Attempt, cost: str | None = None) -> tuple[tuple[str, str], ...]:
        headers = [
            ("x-signalbox-model", self._state.model.name),
            ("x-signalbox-provider", attempt.route.provider),
            ("x-signalbox-attempts", str(self._state.attempt)),
        ]
        if cost is not None:
            headers.append(("x-signalbox-cost", cost))
        if attempt.dropped:
            headers.append(("x-signalbox-dropped", ", ".join(attempt.dropped)))
        if self._admission is not None:
            headers += self._admission.headers
        return tuple(headers)
