"""The runner: performs one request's commands, feeds facts back.

`decide` says what to do; nothing is decided here. However the request ends, every lease is released
and the limiter is settled, under a shield with a deadline where the request is being cancelled.

A request runs in the task that called it. What it waits for (an upstream call, a backoff, a key's
queue) is a *job*; while there is one, as nearly always, the runner waits in it itself. Only a hedge
makes several, and then each has a task.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

import trio
from msgspec.structs import replace

from signalbox.actors.alarms import Alarm
from signalbox.actors.attempt import Attempt
from signalbox.actors.attempt_tools import AttemptTools
from signalbox.actors.billing import (
    NO_CONTENT,
    charge_of,
    cost_text,
    record,
    total_tokens,
    usage_of,
)
from signalbox.actors.holdings import Holdings
from signalbox.actors.jobs import Call, Job, Pause
from signalbox.actors.outputs import ClientSide, OutputPort, answer_headers
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.actors.request_trace import RequestTrace
from signalbox.actors.services import RunnerServices
from signalbox.actors.settlement import settle_attempt
from signalbox.actors.transcript import Transcript
from signalbox.adapters.door import DoorEncoder
from signalbox.adapters.protocol import Delta, Seam
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.budget import Budget
from signalbox.machines.lifecycle import State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide, start
from signalbox.machines.spending import dollars, names_of, terms_of
from signalbox.persistence.stores import Charge
from signalbox.types import Midstream, Request, Usage

logger = logging.getLogger(__name__)

CLEANUP_SECONDS = 20.0
"""How long a cancelled request may take to charge what it delivered: more than the ledger's own
deadline."""


class RequestRunner:
    """Carries one request from its admission to its final state."""

    def __init__(
        self,
        request: Request,
        plan: RequestPlan,
        limits: KeyLimits,
        encoder: DoorEncoder,
        services: RunnerServices,
        output: OutputPort,
        payloads: str,
        *,
        body: bytes,
        budgets: Sequence[Budget] = (),
    ) -> None:
        """`body`: the request for the trace, as it came but for the caller's keys."""
        self._request = request
        self._services = services
        self._clock = services.clock
        self._hurried = plan.timeouts_tightened
        self._config_version = plan.config_version
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
        self._transcript = Transcript(kept=plan.midstream is not Midstream.ERROR)
        self._told: list[Attempt] = []
        """The attempts whose content went to the client, in order."""
        self._charge: Charge | None = None
        self._state, commands = start(plan, self._trace.began)
        self._purse = services.purse(request.id, budgets)
        self._held = Holdings(
            request,
            plan,
            limits,
            services,
            self._clock,
            deadline_at=self._state.deadline_at,
            purse=self._purse,
        )
        self._decided = self._state
        """What the state becomes with the commands of the last decision."""
        self._todo = deque(commands)
        """Those of them that are still to be performed."""
        self._heard: deque[f.Fact] = deque()
        """Facts that are to be decided on when they are."""
        self._jobs: list[Job] = []
        self._waiting: trio.CancelScope | None = None
        """While the runner itself waits in its only job."""
        self._woken: trio.Event | None = None
        """While jobs run in tasks of their own, in `_nursery`."""
        self._nursery: trio.Nursery | None = None
        self._deadline: Alarm | None = None

    def __repr__(self) -> str:
        return f"<RequestRunner {self._request.id} {self._state.lifecycle}>"

    def client_gone(self) -> None:
        """The door says that nobody reads any more."""
        self._interrupt(f.ClientGone(self._clock()))

    def _interrupt(self, fact: f.Fact) -> None:
        """A fact from outside of the request's own task. It ends what the runner waits for: such a
        fact ends the request."""
        self._heard.append(fact)
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._woken is not None:
            self._woken.set()

    def stream_begun(self) -> None:
        """The door has sent a stream's head, so the client has seen a 200 whatever comes now."""
        self._client.begun()

    async def run(self) -> None:
        """Returns when the request is in a final state and all that it held is given back."""
        try:
            await self._drive()
        finally:
            # Nobody reads any more. What is left to say must not wait for them.
            self._client.close()
            if self._todo or not self._state.lifecycle.final:
                with trio.CancelScope(shield=True, deadline=self._clock() + CLEANUP_SECONDS):
                    await self._cut_short(f.ClientGone(self._clock()))
            if self._deadline is not None:
                self._deadline.cancel()
            self._held.release_all()

    async def _drive(self) -> None:
        await self._work_off_safely()
        while not self._state.lifecycle.final:
            if not self._heard:
                await self._wait()
            await self._work_off_safely()
        self._client.close()

    async def _work_off_safely(self) -> None:
        try:
            await self._work_off()
        except Exception as error:
            logger.exception("request %s crashed in %s", self._request.id, self._state.lifecycle)
            await self._cut_short(f.RequestCrashed(self._clock(), type(error).__name__))

    # ── waiting ───────────────────────────────────────────────────────────────────────────────

    async def _wait(self) -> None:
        """Until there is something to decide on."""
        if len(self._jobs) > 1:
            await self._wait_for_several()
            return
        with trio.CancelScope() as scope:
            self._waiting = scope
            if self._jobs:
                await self._step(self._jobs[0], scope)
            else:  # the deadline will come
                await trio.sleep_forever()
        self._waiting = None
        if scope.cancelled_caught and self._jobs:
            self._cut(self._jobs[0])

    async def _wait_for_several(self) -> None:
        """Until the request is over: each job has a task, and so has each that comes now."""
        async with trio.open_nursery() as self._nursery:
            for job in self._jobs:
                self._nursery.start_soon(self._run_job, job)
            while not self._state.lifecycle.final:
                while not self._heard:
                    self._woken = trio.Event()
                    await self._woken.wait()
                await self._work_off_safely()
            self._nursery.cancel_scope.cancel()
        self._nursery = self._woken = None

    async def _run_job(self, job: Job) -> None:
        while not job.over:
            with trio.CancelScope() as scope:
                await self._step(job, scope)
            if scope.cancelled_caught:
                self._cut(job)
            if self._woken is not None:
                self._woken.set()
            await job.decided()

    async def _step(self, job: Job, scope: trio.CancelScope) -> None:
        try:
            self._listen(job, await job.step(scope))
        except Exception as error:
            logger.exception("request %s crashed while it waited", self._request.id)
            self._listen(job, f.RequestCrashed(self._clock(), type(error).__name__))

    def _cut(self, job: Job) -> None:
        self._listen(job, job.cut_short())

    def _listen(self, job: Job, fact: f.Fact | None) -> None:
        if fact is not None:
            self._heard.append(fact)
        if fact is None or job.over:
            self._jobs.remove(job)

    def _begin(self, job: Job) -> None:
        self._jobs.append(job)
        if self._nursery is not None:
            self._nursery.start_soon(self._run_job, job)

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
                self._start_timer(command)
            case c.AdmitRequest():
                return await self._held.admit(command)
            case c.ExtendHold():
                return await self._held.extend(command)
            case c.SurveyRoutes():
                return await self._held.survey(command)
            case c.AcquireLease():
                return await self._held.lease(command)
            case c.AwaitKey():
                self._begin(Pause(partial(self._held.await_key, command)))
            case c.OpenUpstream():
                await self._open(command)
            case c.CommitAnswer():
                await self._commit(command.attempt)
            case c.SettleAttempt():
                self._settle(command)
            case c.RecordCharge():
                return await self._record_charge(command)
            case c.SendEnd():
                await self._send_end(command.attempt)
            case c.SendError():
                await self._client.fail(command.error, self._held.headers)
            case c.RaiseAlert():
                self._services.alert(f"{command.message} (request {self._request.id})")
            case c.FinishRequest():
                self._leave()
                try:
                    await self._note_costs(command)
                finally:
                    self._finish(command)
            case _:
                raise TypeError(f"not a command: {command!r}")
        return None

    # ── timers ────────────────────────────────────────────────────────────────────────────────

    def _start_timer(self, command: c.StartTimer) -> None:
        if command.timer is c.Timer.DEADLINE:
            self._deadline = self._services.alarms.set(command.delay, self._too_late)
        else:
            self._begin(Pause(partial(self._timer, command)))

    def _too_late(self) -> None:
        closed = f.BreakerState.CLOSED
        self._interrupt(f.TimerFired(self._clock(), c.Timer.DEADLINE, None, closed))

    async def _timer(self, command: c.StartTimer) -> f.Fact:
        await trio.sleep(command.delay)
        breaker = f.BreakerState.CLOSED
        if command.route is not None:
            [past] = await self._services.health.snapshots([command.route.id], self._clock())
            breaker = past.breaker
        return f.TimerFired(self._clock(), command.timer, command.attempt, breaker)

    # ── the upstream call ─────────────────────────────────────────────────────────────────────

    async def _open(self, command: c.OpenUpstream) -> None:
        services, route = self._services, command.route
        attempt = self._held.attempts[command.attempt]
        attempt.timeouts, attempt.resume = command.timeouts, command.resume
        attempt.max_tokens = command.max_tokens
        attempt.sent_before = self._transcript.text if command.resume is not None else ""
        attempt.health_number = await services.health.attempt_started(
            route.id, retry=command.retry, hedge=command.hedge
        )
        self._trace.attempt_started(attempt.number, route.provider, route.model, attempt.key.label)
        tools = AttemptTools(
            upstream=services.upstream,
            alarms=services.alarms,
            deliver=self._deliver,
            delivered=self._delivered,
            may_retry=services.health.may_retry,
            clock=self._clock,
            wall_clock=services.wall_clock,
            rng=services.rng,
            payload_limit=self._trace.payload_limit,
            further_call=partial(self._held.further_call, attempt),
            credentials=services.credentials,
        )
        self._begin(Call(attempt, self._request, tools))

    async def _deliver(self, deltas: Sequence[Delta]) -> int:
        if self._purse is not None:
            deltas = deltas[: await self._purse.cover(deltas)]
        if deltas:
            await self._client.deltas(deltas)
        for delta in deltas:
            self._transcript.add(delta)
        return len(deltas)

    def _delivered(self) -> f.Delivered:
        delivered = self._transcript.delivered
        if self._purse is None:
            return delivered
        sent = self._purse.sent
        return replace(delivered, tokens=sent.tokens, cost=sent.cost)

    async def _commit(self, number: int) -> None:
        attempt = self._held.attempts[number]
        if attempt.resume is None:
            await self._client.head(self._headers(attempt))
        else:
            route, sent = attempt.route, self._transcript.delivered.text
            await self._client.seam(Seam(route.provider, route.model, attempt.resume, sent))
        self._told.append(attempt)
        state = self._state
        if self._purse is not None and state.plan.spending is not None:
            terms = terms_of(state.plan.spending, state.model.name, attempt.route, state.sent)
            self._purse.follow(terms, state.sent)
        attempt.commit()

    def _settle(self, command: c.SettleAttempt) -> None:
        settle_attempt(
            self._held.attempts[command.attempt],
            command,
            self._request,
            self._services,
            self._trace,
            at=self._clock(),
            hurried=self._hurried,
        )

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    async def _record_charge(self, command: c.RecordCharge) -> f.Fact:
        attempt = self._held.attempts[command.attempt]
        told = self._told if attempt in self._told else [*self._told, attempt]
        charge = self._charge_of(told, command.reason)
        assert charge is not None, "what was told has a cost, be it unknown"
        if self._purse is not None:
            self._purse.charging()
        trouble = await record(self._services.ledger, charge)
        if trouble is not None:
            return f.ChargeFailed(self._clock(), command.attempt, trouble)
        self._charge = charge
        if self._purse is not None:
            self._purse.settle(charge)
        output = None if charge.usage.estimated else charge.usage.output_total
        if output is not None:
            self._services.sizes.learn(self._state.model.name, self._request.key_id, output)
        return f.ChargeRecorded(self._clock(), command.attempt)

    async def _note_costs(self, command: c.FinishRequest) -> None:
        """A request that failed without content is charged nothing; the ledger says so where its
        calls may have cost something, and the client is not kept waiting for it."""
        if command.state is State.DONE or self._told or self._state.charging:
            return
        charge = self._charge_of((), NO_CONTENT)
        if charge is None:
            return
        trouble = await record(self._services.ledger, charge)
        if trouble is None:
            self._charge = charge
        else:
            logger.warning("what request %s cost is not noted: %s", self._request.id, trouble)

    def _charge_of(self, told: Sequence[Attempt], reason: str) -> Charge | None:
        services = self._services
        return charge_of(
            self._request,
            told,
            [*self._held.attempts.values()],
            reason,
            charge_id=services.new_id(),
            at=services.wall_clock(),
            config_version=self._config_version,
        )

    async def _send_end(self, number: int) -> None:
        attempt = self._held.attempts[number]
        cost = cost_text(self._charge)
        provider = attempt.route.provider
        if attempt.answer is not None:
            headers = self._headers(attempt, cost)
            await self._client.whole(headers, attempt.answer, provider, cost)
            return
        if not attempt.committed:
            await self._commit(number)
            await self._client.deltas(attempt.held)
        assert self._charge is not None, "an answer ends when its charge is recorded"
        if attempt.cut and self._purse is not None:
            hard = [budget for budget in self._purse.budgets if budget.hard]
            self._trace.cut(number, dollars(self._purse.held), names_of(hard))
            await self._client.cut(self._request.choices)
        await self._client.finish(provider, cost, self._charge.usage)

    def _leave(self) -> None:
        charge = self._charge
        used = 0 if charge is None else total_tokens(charge.usage)
        # Content whose charge was lost was used all the same, only nobody knows how much.
        self._held.leave(None if charge is None and self._told else used)

    def _finish(self, command: c.FinishRequest) -> None:
        services = self._services
        answered_by = self._answered_by()
        charge = self._charge
        if command.state is State.DONE and answered_by is not None:
            self._remember(answered_by)
        self._trace.body("response", bytes(self._client.sent))
        saved = self._trace.finish(
            state=command.state.value,
            status=self._client.status,
            attempts=self._state.attempt,
            provider=answered_by.route.provider if answered_by else None,
            route_model=answered_by.route.model if answered_by else None,
            error=command.error,
            usage=charge.usage if charge else Usage(),
            cost=charge.amount if charge else None,
            first_token_at=self._told[0].first_token_at if self._told else None,
        )
        services.writer.save(saved)

    def _answered_by(self) -> Attempt | None:
        """The attempt that gave the client its answer, or the last part of it."""
        state = self._state
        if state.lifecycle is State.DONE and state.current is not None:
            return self._held.attempts[state.current.attempt]
        return self._told[-1] if self._told else None

    def _remember(self, attempt: Attempt) -> None:
        """The provider's prompt cache now holds this conversation, under a key of the gateway's."""
        conversation = self._request.conversation
        tokens = total_tokens(usage_of(self._request, attempt))
        if conversation is not None and tokens is not None and not attempt.callers_own:
            self._services.affinity.remember(conversation, attempt.route.id, attempt.key.id, tokens)

    def _headers(self, attempt: Attempt, cost: str | None = None) -> tuple[tuple[str, str], ...]:
        headers = answer_headers(
            self._state.model.name,
            attempt.route.provider,
            attempts=self._state.attempt,
            cost=cost,
            dropped=attempt.dropped,
        )
        return headers + self._held.headers
