"""The bounded mailbox between an actor and everyone who speaks to it.

A mailbox outlives the actor that reads it: a restarted actor finds what was queued. What the
actor held when it died is gone, and every ask among it fails with `ActorCrashed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar, cast

import msgspec
import trio

from signalbox.errors import ActorCrashed, MailboxFull, SignalboxError

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class AskTimedOut(SignalboxError):
    """No reply within the deadline. The actor may still come to the message and act on it."""


class AskCycle(SignalboxError):
    """The ask would wait for itself: its path of mailboxes ends where it began."""


class MailboxClosed(SignalboxError):
    """The mailbox takes no more messages: its actor is stopping or has stopped."""


class MailboxStatistics(msgspec.Struct, frozen=True):
    depth: int
    """Messages that wait for the actor."""
    capacity: int
    in_hand: int
    """Asks that the actor has taken, has not answered, and that somebody waits for."""
    tells_refused: int
    asks_timed_out: int


class Envelope(Generic[MessageT, ReplyT]):
    """A message on its way, and the way back to whoever asked.

    The first answer stands. Where nobody asked, or nobody waits any more, answering does nothing.
    """

    __slots__ = ("_answer", "_answered", "_error", "_in_hand", "message")

    def __init__(self, message: MessageT, answered: trio.Event | None) -> None:
        self.message = message
        self._answered = answered
        self._answer: ReplyT | None = None
        self._error: Exception | None = None
        self._in_hand: set[Envelope[MessageT, ReplyT]] | None = None

    def reply(self, answer: ReplyT) -> bool:
        """False: nobody waits for it."""
        if not self._awaited():
            return False
        self._answer = answer
        self._settle()
        return True

    def fail(self, error: Exception) -> None:
        """Raises `error` in the task that asked."""
        if self._awaited():
            self._error = error
            self._settle()

    def _awaited(self) -> bool:
        return self._answered is not None and not self._answered.is_set()

    def _settle(self) -> None:
        assert self._answered is not None
        self._answered.set()
        if self._in_hand is not None:
            self._in_hand.discard(self)

    def _taken(self, in_hand: set[Envelope[MessageT, ReplyT]]) -> None:
        """The actor has it: an ask is in its hand until it is answered or given up."""
        if self._awaited():
            self._in_hand = in_hand
            in_hand.add(self)

    def _asker_left(self) -> None:
        if self._awaited():
            self._settle()

    def _result(self) -> ReplyT:
        if self._error is not None:
            raise self._error
        return cast(ReplyT, self._answer)


_current_actor: ContextVar[Mailbox[Any, Any] | None] = ContextVar("current_actor", default=None)
"""The mailbox of the actor in whose task, or in whose child task, the code runs."""


class Mailbox(Generic[MessageT, ReplyT]):
    """A bounded queue of messages to one actor, in the order of their arrival."""

    def __init__(self, name: str, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"mailbox {name}: capacity is {capacity}, expected 1 or more")
        self.name = name
        self._capacity = capacity
        send, receive = trio.open_memory_channel[Envelope[MessageT, ReplyT]](capacity)
        self._send, self._receive = send, receive
        self._in_hand: set[Envelope[MessageT, ReplyT]] = set()
        self._asking: Counter[Mailbox[Any, Any]] = Counter()
        self._closed = False
        self._tells_refused = 0
        self._asks_timed_out = 0

    def __repr__(self) -> str:
        return f"<Mailbox {self.name} {self.statistics()}>"

    @property
    def closed(self) -> bool:
        return self._closed

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(
            depth=self._receive.statistics().current_buffer_used,
            capacity=self._capacity,
            in_hand=len(self._in_hand),
            tells_refused=self._tells_refused,
            asks_timed_out=self._asks_timed_out,
        )

    # What everyone else does with it

    def tell(self, message: MessageT) -> None:
        """Leaves the message and never waits. Raises `MailboxFull` or `MailboxClosed`."""
        try:
            self._send.send_nowait(Envelope(message, None))
        except trio.WouldBlock:
            self._tells_refused += 1
            raise MailboxFull(
                f"{self.name}: {self._capacity} messages wait already, no room for another"
            ) from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise MailboxClosed(f"{self.name} takes no more messages") from None

    async def ask(
        self, message: MessageT, deadline_seconds: float, *, shielded: bool = False
    ) -> ReplyT:
        """The actor's reply. One deadline covers the wait for room and the wait for the reply.

        `shielded`: it is not given up when the asker is cancelled.

        Raises `AskTimedOut`, `ActorCrashed`, `MailboxClosed`, `AskCycle`, or what the actor
        answered with `Envelope.fail`.
        """
        answered = trio.Event()
        envelope: Envelope[MessageT, ReplyT] = Envelope(message, answered)
        asker = _current_actor.get()
        if asker is not None:
            self._refuse_cycle(asker)
            asker._asking[self] += 1
        try:
            with trio.move_on_after(deadline_seconds, shield=shielded):
                try:
                    # Not `send` at once: that gives way to every other task before it returns.
                    self._send.send_nowait(envelope)
                except trio.WouldBlock:
                    await self._send.send(envelope)
                await answered.wait()
            if not answered.is_set():
                self._asks_timed_out += 1
                raise AskTimedOut(f"{self.name} did not reply within {deadline_seconds:g} s")
            return envelope._result()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise MailboxClosed(f"{self.name} takes no more messages") from None
        finally:
            envelope._asker_left()
            if asker is not None:
                asker._asking[self] -= 1

    def _refuse_cycle(self, asker: Mailbox[Any, Any]) -> None:
        path = self._path_to(asker)
        if path is not None:
            names = " → ".join(mailbox.name for mailbox in (asker, *path))
            raise AskCycle(f"{asker.name} would wait for itself: {names}")

    def _path_to(self, target: Mailbox[Any, Any]) -> tuple[Mailbox[Any, Any], ...] | None:
        """From here to `target` along the asks under way. They hold no cycle: none was let in."""
        if self is target:
            return (self,)
        for asked, count in self._asking.items():
            path = asked._path_to(target) if count else None
            if path is not None:
                return (self, *path)
        return None

    # What the actor does with it

    async def receive_batch(self, limit: int) -> list[Envelope[MessageT, ReplyT]]:
        """Waits for a message, then takes what else is there: at most `limit` in all.

        An empty list says that the mailbox is closed and drained. A cancelled call takes nothing.
        """
        try:
            batch = [await self._receive.receive()]
        except trio.EndOfChannel:
            return []
        # EndOfChannel here is for the next call to report: what the batch holds is not lost.
        try:
            while len(batch) < limit:
                batch.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass
        for envelope in batch:
            envelope._taken(self._in_hand)
        return batch

    # What the supervisor does with it

    async def run(self, actor: Callable[[Mailbox[MessageT, ReplyT]], Awaitable[None]]) -> None:
        """Runs the actor on this mailbox. However it ends, asks left in its hand fail."""
        token = _current_actor.set(self)
        try:
            await actor(self)
        except BaseException as cause:
            self._fail_in_hand(f"{self.name} died with the message in hand: {cause!r}", cause)
            raise
        else:
            self._fail_in_hand(f"{self.name} ended without an answer", None)
        finally:
            _current_actor.reset(token)

    def close(self) -> None:
        """Takes no more messages. The actor can still receive those that wait."""
        self._closed = True
        self._send.close()

    def abandon(self) -> None:
        """Closes for good: what waits is not received any more, and its asks fail."""
        self.close()
        try:
            while True:
                self._receive.receive_nowait()._taken(self._in_hand)
        except (trio.EndOfChannel, trio.ClosedResourceError):
            pass
        self._receive.close()
        self._fail_in_hand(f"{self.name} stopped before it came to the message", None)

    def _fail_in_hand(self, why: str, cause: BaseException | None) -> None:
        for envelope in list(self._in_hand):
            error = ActorCrashed(why)
            error.__cause__ = cause
            envelope.fail(error)
