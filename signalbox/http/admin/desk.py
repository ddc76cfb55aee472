"""What the operations of the admin API work with, and the one way in which they change things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import trio

from signalbox.actors.ports import Workers
from signalbox.config import Overlay, Settings
from signalbox.errors import SignalboxError
from signalbox.http.admin import problems
from signalbox.persistence.auditing import Actor, audit_of
from signalbox.persistence.record_store import Change, RecordExists, RecordMissing
from signalbox.persistence.records import Managed
from signalbox.persistence.stores import Store

Check = Callable[[Callable[[Overlay], Overlay]], Awaitable[object]]
"""Reads the configuration with a change of what the database adds to it, and puts nothing in force.
Raises `ConfigError`, `StoreUnavailable`."""


class Desk(msgspec.Struct, frozen=True):
    """`now` is Unix time in seconds, `new_id` gives UUIDv7s."""

    store: Store
    readers: Workers
    writers: Workers
    settings: Callable[[], Settings]
    """Those in force."""
    refresh: Callable[[], Awaitable[None]]
    """Makes this process see what was changed in the database."""
    now: Callable[[], float]
    new_id: Callable[[], str]
    check: Check
    turn: trio.Lock
    """Changes come one after the other, so that what one was checked against is still so when it
    is written. (Other processes are kept off by what `Update` compares.)"""

    async def change(
        self,
        *changes: Change,
        by: Actor,
        action: str,
        kind: str,
        target: str,
        before: Managed | None = None,
        after: Managed | None = None,
    ) -> None:
        """Writes the changes with their audit; when it returns this process goes by them.

        Raises `RequestError` (400, 409), `StoreUnavailable`.
        """
        audit = audit_of(
            by,
            action,
            kind.replace(" ", "_"),
            target,
            id=self.new_id(),
            at=self.now(),
            before=before,
            after=after,
        )
        try:
            await self.writers.run(self.store.change, changes, audit)
        except RecordExists as error:
            raise problems.already_exists(kind, error.fields[-1]) from None
        except RecordMissing:
            raise problems.changed_meanwhile(kind) from None
        except ValueError as error:
            raise problems.invalid(None, str(error)) from None
        await self.see()

    async def see(self) -> None:
        """After a change: it is written, and whoever could not read it now has said so, and reads
        it again."""
        with suppress(SignalboxError):
            await self.refresh()
