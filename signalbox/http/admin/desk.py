"""What the operations of the admin API work with, and the one way in which they change things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from signalbox.actors.ports import Workers
from signalbox.config import Overlay, Settings
from signalbox.errors import SignalboxError
from signalbox.http.admin import problems
from signalbox.persistence.auditing import Actor, audit_of
from signalbox.persistence.master_keys import VaultError
from signalbox.persistence.record_store import Change, RecordExists, RecordMissing
from signalbox.persistence.records import AuditRecord, Managed
from signalbox.persistence.stores import Store
from signalbox.persistence.vault import Vault

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
    vault: Vault
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
        sealed: Callable[[Vault], Sequence[Change]] | None = None,
    ) -> None:
        """Writes the changes with their audit; when it returns this process goes by them.

        `sealed` makes further ones, with secrets in them, in the thread that writes.
        Raises `RequestError` (400, 409, 503), `StoreUnavailable`.
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
            await self.writers.run(self._write, changes, sealed, audit)
        except VaultError as error:
            raise problems.vault_locked(error) from None
        except RecordExists as error:
            raise problems.already_exists(kind, error.fields[-1]) from None
        except RecordMissing:
            raise problems.changed_meanwhile(kind) from None
        except ValueError as error:
            raise problems.invalid(None, str(error)) from None
        await self.see()

    def _write(
        self,
        changes: Sequence[Change],
        sealed: Callable[[Vault], Sequence[Change]] | None,
        audit: AuditRecord,
    ) -> None:
        if sealed is None:
            self.store.change(changes, audit)
            return
        with self.vault.held():
            self.store.change([*changes, *sealed(self.vault)], audit)

    async def see(self) -> None:
        """After a change: it is written, and whoever could not read it now has said so, and reads
        it again."""
        with suppress(SignalboxError):
            await self.refresh()
