"""What others change in the database is seen here, and read again by whoever holds it in memory.

Keys that are created or revoked, presets, budgets, configuration: another process, a command line
or an instance beside this one, writes them. The store's change mark moves then. Whoever changes
something in this process asks for a `refresh` before it answers, so that its own next request sees
it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.ports import Workers
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import SignalboxError, StoreUnavailable
from signalbox.persistence.stores import ManagedStore

logger = logging.getLogger(__name__)

WAIT_SECONDS = 2.0
"""After which the mark is looked at although the store told of nothing."""
AGAIN_SECONDS = 0.25
"""After which what could not be read is read again."""

Reload = Callable[[], Awaitable[None]]


class Changes:
    """The actor that looks for changes."""

    def __init__(
        self, supervisor: Supervisor, store: ManagedStore, workers: Workers, waiters: Workers
    ) -> None:
        """`waiters` are threads that nothing else needs: one of them waits all the time."""
        self._store = store
        self._workers = workers
        self._waiters = waiters
        self._reloads: dict[str, Reload] = {}
        self._mark: int | None = None
        self._reading = trio.Lock()
        supervisor.add(
            ChildSpec(
                name="changes",
                actor=self._run,
                capacity=1,
                capacity_reason="nothing is told to it; its mailbox only says when to stop",
            )
        )

    def add(self, name: str, reload: Reload) -> None:
        """`reload` reads its part of the database anew, after those that were added before it.

        It raises a `SignalboxError` where it cannot, and then holds what it held.
        """
        self._reloads[name] = reload

    async def refresh(self) -> None:
        """Everything is read again. What could not be read is as it was, and logged; raises the
        first of the errors when all have had their turn."""
        async with self._reading:
            # The mark is read first: what changes while the rest is read is then read again.
            mark = await self._workers.run(self._store.change_mark)
            failures = [
                error
                for name, reload in self._reloads.items()
                if (error := await _tried(name, reload))
            ]
            away = any(isinstance(error, StoreUnavailable) for error in failures)
            self._mark = None if away else mark
        if failures:
            raise failures[0]

    async def _run(self, mailbox: Mailbox[None, None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await mailbox.receive_batch(1)
            self._store.stop_waiting()
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                if self._mark is None or await self._wait(self._mark) != self._mark:
                    await self.refresh()
            except StoreUnavailable as error:
                logger.warning("what others changed is not seen, the database is away: %s", error)
                await trio.sleep(AGAIN_SECONDS)
            except SignalboxError:
                # It is logged, and read again with the next change.
                if self._mark is None:
                    await trio.sleep(AGAIN_SECONDS)

    async def _wait(self, mark: int) -> int:
        """The mark that is found then."""
        return await self._waiters.run(self._store.wait_for_change, mark, WAIT_SECONDS)


async def _tried(name: str, reload: Reload) -> SignalboxError | None:
    try:
        await reload()
    except SignalboxError as error:
        logger.warning("%s: as before, since what was changed cannot be used: %s", name, error)
        return error
    return None
