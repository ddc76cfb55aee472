"""The actor between this process and the stores that all instances share (Redis).

What is asked for at one time goes to the stores as one batch, in one thread for each of them. When
a call fails or is late, the stores are *away*: every ask is answered by stores of this process
instead, under this instance's share of the limits, and the shared ones are tried again until they
answer. Then what was used meanwhile is counted there, what is owed to them is settled, and they are
asked again.

* An ask that meets the failure is answered too, by this process.
* A tell is never dropped in silence: it waits in a bounded queue until the stores have taken it.
* A lease, an admission or an attempt that was granted to somebody who has left is given back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import trio

from signalbox.actors.mailbox import AskTimedOut, Envelope, Mailbox, MailboxClosed
from signalbox.actors.ports import Workers
from signalbox.actors.shared_access import Call, Debt, Job, SharedAccess, run_jobs
from signalbox.actors.store_access import AnswerT, ItemT, Operation, StoreT
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import ActorCrashed, MailboxFull, StoreUnavailable

logger = logging.getLogger(__name__)

ASK_SECONDS = 5.0
"""Much longer than the client's own timeouts: those say what is wrong, and a gateway that is merely
busy does not take the stores for lost."""
HEARTBEAT = 2.0
"""Seconds between two signs of life of this instance. They find an outage that no request met."""
FIRST_PROBE = 1.0
SLOWEST_PROBE = 5.0
"""Seconds before the stores are tried again; doubles from the first to the slowest."""
MAILBOX = 4096
"""Asks that may wait: a few for each request that is being decided on, and those take their turn
in one batch. 200 bytes each."""
BATCH = 256
"""Asks, and as many tells, that one batch serves; at some 30 µs each it is done in 10 ms."""
MAX_TOLD = 8192
"""Tells that may wait. An outage leaves three for each request that was under way when it began;
1 KB each."""
LONGEST_DEBT = 3600.0
"""Seconds. Whatever was granted has expired by then."""


class Instances(Protocol):
    """Who else uses the shared stores. Both are blocking calls and raise `StoreUnavailable`."""

    def announce(self) -> int:
        """Gives a sign of life; how many instances live, this one included."""
        ...

    def leave(self) -> None: ...


class SharedStatistics(msgspec.Struct, frozen=True):
    up: bool
    seconds_away: float
    """Of the outage that lasts; 0: none does."""
    calls: int
    """Calls of the shared stores, each with a batch, heartbeats included."""
    failures: int
    instances: int
    """That lived when the stores last said so."""
    owed: int
    """Tells that wait for the stores."""
    lost: int
    """Tells that found no room, or waited too long."""


_Answers = dict[Call, Sequence[Any]]


class _Away:
    """An outage."""

    def __init__(self, why: str, since: float) -> None:
        self.why = why
        self.since = since
        self.probe_in = FIRST_PROBE


class SharedState:
    """Owns the way to the shared stores. `access` gives each store's users their end of it."""

    def __init__(
        self,
        supervisor: Supervisor,
        instances: Instances,
        workers: Workers,
        *,
        alert: Callable[[str], None] = logger.warning,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`workers`: one thread is enough, and keeps the calls in order."""
        self._instances = instances
        self._workers = workers
        self._alert = alert
        self._clock = clock
        self._accesses: list[SharedAccess[Any]] = []
        self._away: _Away | None = None
        self._returning: _Away | None = None
        """The outage whose debts are being paid: it has not ended before they are."""
        self._live_instances = 1
        self._touch_at = float("-inf")
        self._told: deque[Call] = deque()
        self._calls = self._failures = self._lost = 0
        self._loss_alerted = False
        self._mailbox: Mailbox[Call | None, Sequence[Any]] = supervisor.add(
            ChildSpec(
                name="shared_state",
                actor=self._run,
                capacity=MAILBOX,
                capacity_reason="asks of requests that are being decided on",
            )
        )

    def access(
        self,
        shared: StoreT,
        local: StoreT | None,
        *,
        debt: Debt[StoreT, Any] | None = None,
        stand_in: bool = True,
    ) -> SharedAccess[StoreT]:
        """The access to `shared`, and to `local` while that is away; None: nothing can be asked
        then, and whoever asks decides what that means.

        `debt`: how what `local` has used is counted in `shared`. Without `stand_in`, nothing
        is granted while `shared` is away.
        """
        access = SharedAccess(self, shared, local, debt, stand_in=stand_in)
        self._accesses.append(access)
        return access

    @property
    def away(self) -> str | None:
        """Why the stores cannot be asked now; None: they can."""
        return None if self._away is None else self._away.why

    @property
    def refuses(self) -> bool:
        """Whether some asks fail while the stores are away."""
        return not all(access.stand_in for access in self._accesses)

    @property
    def live_instances(self) -> int:
        return self._live_instances

    def statistics(self) -> SharedStatistics:
        return SharedStatistics(
            up=self._away is None,
            seconds_away=0.0 if self._away is None else self._clock() - self._away.since,
            calls=self._calls,
            failures=self._failures,
            instances=self._live_instances,
            owed=len(self._told),
            lost=self._lost,
        )

    async def connect(self) -> None:
        """Tries the stores before anything is asked.

        Raises `StoreUnavailable`; the stores are away then, and one may go on without them.
        """
        try:
            self._live_instances = await self._counted(self._instances.announce)
        except StoreUnavailable as error:
            self._lose(str(error))
            raise

    # ── what the accesses do ──────────────────────────────────────────────────────────────────

    async def ask(
        self,
        access: SharedAccess[StoreT],
        operation: Operation[StoreT, ItemT, AnswerT],
        items: Sequence[ItemT],
    ) -> Sequence[AnswerT] | None:
        """None: the stores are away."""
        if self._away is not None:
            return None
        try:
            return await self._mailbox.ask(
                Call(access, operation, items, self._clock()), ASK_SECONDS
            )
        except (AskTimedOut, ActorCrashed) as error:
            self._lose(str(error))
        except (StoreUnavailable, MailboxClosed):
            pass
        return None

    def tell(
        self,
        access: SharedAccess[StoreT],
        operation: Operation[StoreT, ItemT, AnswerT],
        item: ItemT,
        then: Callable[[AnswerT], None] | None,
    ) -> None:
        if len(self._told) >= MAX_TOLD:
            self._count_lost(1, f"{MAX_TOLD} wait already")
            return
        self._told.append(Call(access, operation, (item,), self._clock(), then))
        self._wake()

    def _wake(self) -> None:
        """Lets the actor look at what was told; while the stores are away, their return does."""
        if self._away is None:
            # A full mailbox is about to be read anyway, a closed one for the last time.
            with suppress(MailboxFull, MailboxClosed):
                self._mailbox.tell(None)

    # ── the actor ─────────────────────────────────────────────────────────────────────────────

    async def _run(self, mailbox: Mailbox[Call | None, Sequence[Any]]) -> None:
        while True:
            with trio.CancelScope(deadline=self._touch_at) as touch_due:
                batch = await mailbox.receive_batch(BATCH)
            if touch_due.cancelled_caught:
                await self._touch()
            elif batch:
                await self._serve(batch)
            else:
                break
        await self._leave()

    async def _touch(self) -> None:
        """Gives the sign of life, which is also how stores that were away are found again."""
        try:
            self._live_instances = await self._counted(self._instances.announce)
        except StoreUnavailable as error:
            self._lose(str(error))
        else:
            if self._away is not None:
                await self._come_back(self._away)
        away = self._away
        self._touch_at = self._clock() + (HEARTBEAT if away is None else away.probe_in)
        if away is not None:
            away.probe_in = min(SLOWEST_PROBE, 2 * away.probe_in)

    async def _serve(self, batch: Sequence[Envelope[Call | None, Sequence[Any]]]) -> None:
        asked = {envelope.message: envelope for envelope in batch if envelope.message is not None}
        told = self._take_told()
        try:
            answers = await self._perform([*told, *asked]) if self._away is None else {}
        except BaseException:
            self._count_lost(len(told), "the actor crashed")
            raise
        self._owe([call for call in told if call not in answers])
        for call in told:
            if call in answers and call.then is not None:
                call.then(answers[call][0])
        for call, envelope in asked.items():
            if call not in answers:
                envelope.fail(StoreUnavailable(self.away or "the shared state was away"))
            elif not envelope.reply(answers[call]):
                self._undo(call, answers[call])
        if self._told:
            self._wake()

    async def _perform(self, calls: Sequence[Call]) -> _Answers:
        """The answers to those calls that came through; the stores are away where one did not.

        No store waits for another: a batch takes as long as the one that is asked most.
        """
        stores: dict[int, dict[int, Job]] = {}
        for call in sorted(calls, key=lambda call: call.operation.turn):
            jobs = stores.setdefault(id(call.access), {})
            job = jobs.setdefault(id(call.operation), Job(call.access, call.operation, []))
            job.calls.append(call)
        answers: _Answers = {}
        async with trio.open_nursery() as nursery:
            for jobs in stores.values():
                nursery.start_soon(self._perform_in_order, list(jobs.values()), answers)
        return answers

    async def _perform_in_order(self, jobs: Sequence[Job], answers: _Answers) -> None:
        done, error = await self._workers.run(run_jobs, jobs, self._clock())
        self._calls += len(done) + (error is not None)
        if error is not None:
            self._failures += 1
            self._lose(str(error))
        for job, answered in zip(jobs, done, strict=False):
            rest = iter(answered)
            for call in job.calls:
                answers[call] = [next(rest) for _ in call.items]

    async def _counted(self, call: Callable[[], int]) -> int:
        self._calls += 1
        try:
            return await self._workers.run(call)
        except StoreUnavailable:
            self._failures += 1
            raise

    def _lose(self, why: str) -> None:
        if self._away is not None:
            return
        self._touch_at = self._clock() + FIRST_PROBE
        if self._returning is not None:
            self._away = self._returning
            return
        self._away = _Away(why, self._clock())
        self._alert(f"the shared state is away ({why}); until it is back, {self._meanwhile()}")

    def _meanwhile(self) -> str:
        if self.refuses:
            return "requests are refused"
        return f"this instance keeps to its share of the limits, 1/{self._live_instances}"

    async def _come_back(self, away: _Away) -> None:
        # Asked again from here on: what is asked meanwhile waits until this is through.
        self._away, self._returning = None, away
        try:
            await self._pay_debts()
            await self._serve_told()
        finally:
            self._returning = None
        if self._away is None:
            self._loss_alerted = False
            logger.warning("the shared state is back after %.1f s", self._clock() - away.since)

    async def _pay_debts(self) -> None:
        now = self._clock()
        debts = [call for access in self._accesses for call in access.owed_calls(now)]
        for call in await self._perform(debts):
            call.access.paid()

    async def _serve_told(self) -> None:
        while self._told and self._away is None:
            await self._serve([])

    async def _leave(self) -> None:
        await self._serve_told()
        if self._told:
            logger.warning("%d settlements were not told to the shared state", len(self._told))
        if self._away is None:
            try:
                await self._workers.run(self._instances.leave)
            except StoreUnavailable as error:
                logger.warning("the shared state was not told of this instance's end: %s", error)

    # ── tells that wait ───────────────────────────────────────────────────────────────────────

    def _take_told(self) -> list[Call]:
        """The oldest of what was told, as much as a batch may hold."""
        oldest, too_old = self._clock() - LONGEST_DEBT, 0
        while self._told and self._told[0].at <= oldest:
            self._told.popleft()
            too_old += 1
        self._count_lost(too_old, f"older than {LONGEST_DEBT:g} s")
        return [self._told.popleft() for _ in range(min(BATCH, len(self._told)))]

    def _owe(self, calls: Sequence[Call]) -> None:
        """Puts them back in front of what was told since, which keeps the queue's bound."""
        self._told.extendleft(reversed(calls))
        over = max(0, len(self._told) - MAX_TOLD)
        for _ in range(over):
            self._told.pop()
        self._count_lost(over, f"{MAX_TOLD} wait already")

    def _undo(self, call: Call, answers: Sequence[Any]) -> None:
        undo = call.operation.undo
        if undo is None:
            return
        for item, answer in zip(call.items, answers, strict=True):
            taken_back = undo(item, answer)
            if taken_back is not None:
                self.tell(call.access, taken_back.operation, taken_back.item, None)

    def _count_lost(self, count: int, why: str) -> None:
        if count and not self._loss_alerted:
            self._loss_alerted = True
            self._alert(
                f"settlements for the shared state are lost ({why}); what they would have given "
                f"back ends with its time to live"
            )
        self._lost += count
