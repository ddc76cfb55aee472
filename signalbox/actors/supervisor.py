"""Keeps the actors running: starts them in order, restarts those that crash, stops them in reverse.

A crash restarts the one actor and touches no other. An actor that crashes again and again takes
the process down, in the same orderly way as a stop, so that the others still write what they hold.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox, MailboxStatistics, MessageT, ReplyT
from signalbox.errors import SignalboxError

logger = logging.getLogger(__name__)


class SupervisorGaveUp(SignalboxError):
    """An actor crashed too often. `child` names it, `__cause__` is its last crash."""

    def __init__(self, child: str, crashes: int, within: float, cause: Exception) -> None:
        super().__init__(f"{child} crashed {crashes} times within {within:g} s, last: {cause!r}")
        self.child = child


class EndedEarly(SignalboxError):
    """An actor returned although its mailbox was open; that counts as a crash."""


class RestartPolicy(msgspec.Struct, frozen=True):
    """How soon a crashed actor runs again, and when the supervisor gives up. Times in seconds.

    `intensity` restarts within `within` are allowed to each actor; the next crash is the last.
    The delay starts at `base_delay` and grows by `backoff` with each crash in that window. There is
    no jitter: nothing else restarts at the same moment.
    """

    intensity: int = 3
    within: float = 5.0
    base_delay: float = 0.1
    backoff: float = 2.0

    def delay(self, crashes: int) -> float:
        """How long to wait after the last of so many crashes in the window."""
        return self.base_delay * self.backoff ** (crashes - 1)


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[MessageT, ReplyT]):
    """An actor as the supervisor sees it.

    `actor` reads its mailbox until `receive_batch` gives an empty list, then returns.
    """

    name: str
    actor: Callable[[Mailbox[MessageT, ReplyT]], Awaitable[None]]
    capacity: int
    capacity_reason: str
    """Why the mailbox holds that many messages."""
    drain_seconds: float = 5.0
    """How long it may go on after its mailbox is closed, before it is cancelled."""


class ChildState(StrEnum):
    NEW = "new"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


class ChildStatistics(msgspec.Struct, frozen=True):
    name: str
    state: ChildState
    restarts: int
    last_crash: str | None
    mailbox: MailboxStatistics


class _Child:
    """What the supervisor keeps about one actor, across its restarts."""

    def __init__(self, spec: ChildSpec[Any, Any]) -> None:
        self.spec = spec
        self.mailbox: Mailbox[Any, Any] = Mailbox(spec.name, spec.capacity)
        self.state = ChildState.NEW
        self.scope = trio.CancelScope()
        self.stopped = trio.Event()
        self.restarts = 0
        self.last_crash: str | None = None
        self.crash_times: deque[float] = deque()

    def statistics(self) -> ChildStatistics:
        return ChildStatistics(
            name=self.spec.name,
            state=self.state,
            restarts=self.restarts,
            last_crash=self.last_crash,
            mailbox=self.mailbox.statistics(),
        )

    def note_crash(self, crash: Exception, within: float) -> int:
        """Remembers the crash; how many there were in the last `within` seconds."""
        now = trio.current_time()
        self.last_crash = repr(crash)
        self.crash_times.append(now)
        while self.crash_times[0] <= now - within:
            self.crash_times.popleft()
        return len(self.crash_times)


class Supervisor:
    """Owns the mailboxes and runs the actors. Add the actors first, then `run`.

    The order of `add` is the order of the start; an actor that asks another is added after it, so
    that at the stop, in reverse, the asked one is still there.
    """

    def __init__(self, policy: RestartPolicy | None = None) -> None:
        self._policy = policy or RestartPolicy()
        self._children: list[_Child] = []
        self._stopping = trio.Event()
        self._gave_up: SupervisorGaveUp | None = None

    def add(self, spec: ChildSpec[MessageT, ReplyT]) -> Mailbox[MessageT, ReplyT]:
        """The mailbox of a new actor. It takes messages from now on, before the actor runs."""
        if any(child.spec.name == spec.name for child in self._children):
            raise ValueError(f"there is an actor named {spec.name} already, names must differ")
        child = _Child(spec)
        self._children.append(child)
        return child.mailbox

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the actors until `stop`, then stops them in reverse order.

        `task_status.started` is called when all of them run. Raises `SupervisorGaveUp` after the
        same orderly stop. When the caller cancels it instead, nothing is drained.
        """
        async with trio.open_nursery() as nursery:
            for child in self._children:
                await nursery.start(self._keep_running, child)
            task_status.started()
            await self._stopping.wait()
            for child in reversed(self._children):
                await self._stop_child(child)
        if self._gave_up is not None:
            raise self._gave_up

    def stop(self) -> None:
        """Begins the orderly stop: each mailbox is closed, its actor drains it and returns."""
        self._stopping.set()

    def statistics(self) -> tuple[ChildStatistics, ...]:
        return tuple(child.statistics() for child in self._children)

    def tree(self) -> str:
        """The supervision tree in a terminal's drawing characters, one line an actor."""
        lines = ["supervisor"]
        for child in self._children:
            branch = "└─" if child is self._children[-1] else "├─"
            seen = child.statistics()
            restarts = f"{seen.restarts} restart{'' if seen.restarts == 1 else 's'}"
            depth = f"mailbox {seen.mailbox.depth}/{seen.mailbox.capacity}"
            lines.append(
                f"{branch} {seen.name}: {seen.state}, {restarts}, {depth}"
                f" ({child.spec.capacity_reason})"
            )
        return "\n".join(lines)

    async def _keep_running(self, child: _Child, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            with child.scope:
                while (crash := await self._run_once(child)) is not None:
                    crashes = child.note_crash(crash, self._policy.within)
                    logger.error("%s crashed", child.spec.name, exc_info=crash)
                    if crashes > self._policy.intensity:
                        self._give_up(child, crashes, crash)
                        break
                    child.state = ChildState.RESTARTING
                    await trio.sleep(self._policy.delay(crashes))
                    child.restarts += 1
        except Exception as crash:
            # It raised while it was being cancelled; its siblings are still to be drained.
            child.last_crash = repr(crash)
            logger.exception("%s crashed while it was cancelled", child.spec.name)
        finally:
            child.state = ChildState.STOPPED
            child.mailbox.abandon()
            child.stopped.set()

    async def _run_once(self, child: _Child) -> Exception | None:
        """None when the actor is done, else what ended it."""
        child.state = ChildState.RUNNING
        try:
            await child.mailbox.run(child.spec.actor)
        except Exception as crash:
            return crash
        if not child.mailbox.closed:
            return EndedEarly(f"{child.spec.name} returned although its mailbox is open")
        return None

    def _give_up(self, child: _Child, crashes: int, crash: Exception) -> None:
        # The first to give up is the cause; an actor that fails in the stop after it is not.
        if self._gave_up is None:
            self._gave_up = SupervisorGaveUp(child.spec.name, crashes, self._policy.within, crash)
            self._gave_up.__cause__ = crash
        self.stop()

    async def _stop_child(self, child: _Child) -> None:
        child.mailbox.close()
        with trio.move_on_after(child.spec.drain_seconds):
            await child.stopped.wait()
        if not child.stopped.is_set():
            logger.error(
                "%s did not stop within %g s and is cancelled; %d messages are left",
                child.spec.name,
                child.spec.drain_seconds,
                child.mailbox.statistics().depth,
            )
            child.scope.cancel()
            await child.stopped.wait()
