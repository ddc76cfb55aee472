"""Presets, budgets and users: what the database and the configuration say of them, in memory.

All of it is asked by synchronous calls. `changes.py` says when the database is read again; what the
configuration declares goes before a record of the same name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

import msgspec
from msgspec.structs import replace

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.ports import Workers
from signalbox.config import BudgetSettings, Settings
from signalbox.machines.budget import Budget, BudgetScope, Period
from signalbox.persistence.records import (
    BudgetRecord,
    GatewayKeyRecord,
    PresetRecord,
    UserRecord,
)
from signalbox.persistence.stores import ManagedStore, SpendingStore
from signalbox.types import NanoUSD, Preset

logger = logging.getLogger(__name__)


CREDITS = "credits"
"""What the budget of a prepaid balance is called, and its id before the account's."""


class DirectoryStore(ManagedStore, SpendingStore, Protocol):
    """What it reads."""


class _Records(msgspec.Struct, frozen=True):
    """What was read of the database."""

    presets: Sequence[PresetRecord] = ()
    budgets: Sequence[BudgetRecord] = ()
    users: Sequence[UserRecord] = ()
    keys: Sequence[GatewayKeyRecord] = ()
    balances: Mapping[str, NanoUSD] = msgspec.field(default_factory=dict)


class _Scope(msgspec.Struct):
    """The budgets of one scope."""

    of: dict[str, list[Budget]] = msgspec.field(default_factory=dict)
    """Of one subject alone."""
    of_each: list[Budget] = msgspec.field(default_factory=list)
    """Each subject's own: made for it when it comes."""

    def add(self, budget: Budget) -> None:
        if budget.subject is None:
            self.of_each.append(budget)
        else:
            self.of.setdefault(budget.subject, []).append(budget)

    def budgets(self, subject: str) -> Iterable[Budget]:
        yield from self.of.get(subject, ())
        for budget in self.of_each:
            yield replace(budget, id=f"{budget.id}:{subject}", subject=subject)


class Directory:
    """Knows presets, budgets and users."""

    def __init__(self, store: DirectoryStore, workers: Workers, settings: Settings) -> None:
        self._store = store
        self._workers = workers
        self._settings = settings
        self._records = _Records()
        self._warned: frozenset[str] = frozenset()
        self._arrange()

    def __repr__(self) -> str:
        return f"<Directory, {len(self._presets)} presets, {len(self._users)} users>"

    # What is asked

    def preset(self, slug: str) -> Preset | None:
        """The version in force."""
        return self._presets.get(slug)

    @property
    def presets(self) -> Mapping[str, Preset]:
        """Those in force, by slug."""
        return self._presets

    def presets_near(self, slug: str) -> list[str]:
        return get_close_matches(slug, self._presets)

    def user(self, id: str) -> UserRecord | None:
        return self._users.get(id)

    def user_of_token(self, digest: bytes) -> UserRecord | None:
        """Who signs in with the token of this SHA-256; None also where they may not."""
        return self._by_token.get(digest)

    def budgets_for(
        self, key: GatewayKey, user: str | None, tags: Iterable[str]
    ) -> Sequence[Budget]:
        """All that bound what a request may spend: everybody's, its account's, its key's, its end
        user's, those of each of its tags. Every one has its subject (none: everybody's).

        The id of a budget that each subject has its own of is `<id>:<subject>`. What was paid in
        for an account is a hard budget of it, `credits:<account>`; one for which nothing ever was
        has none.
        """
        scopes = self._scopes
        found = list(self._everybodys)
        found += scopes[BudgetScope.ACCOUNT].budgets(key.account)
        found += scopes[BudgetScope.KEY].budgets(key.id)
        if user:
            found += scopes[BudgetScope.USER].budgets(user)
        for tag in dict.fromkeys(tags):
            found += scopes[BudgetScope.TAG].budgets(tag)
        return found

    # What it is told

    def configure(self, settings: Settings) -> None:
        """Takes what another configuration declares in the place of what the one before did."""
        self._settings = settings
        self._arrange()

    async def load(self) -> None:
        """Reads the database. Raises `StoreUnavailable`."""
        self._records = await self._workers.run(_read, self._store)
        self._arrange()

    def _arrange(self) -> None:
        """In one step: nobody sees a half of it."""
        settings, records = self._settings, self._records
        self._presets = {**_newest(records.presets), **settings.presets}
        self._users = {user.id: user for user in records.users}
        self._by_token = {
            user.token_digest: user
            for user in records.users
            if user.token_digest is not None and user.enabled and user.role != "none"
        }
        self._everybodys: list[Budget] = []
        self._scopes = {scope: _Scope() for scope in BudgetScope}
        warnings = []
        for each in settings.budgets:
            subject, warning = self._resolved(each)
            warnings += [warning] if warning else []
            self._add(_budget(each, subject))
        for record in records.budgets:
            if record.enabled:
                self._add(_budget(record, record.subject))
        for account, balance in records.balances.items():
            self._add(_credits(account, balance))
        warnings += [
            f"the preset {slug} of the database has no effect: the configuration declares it"
            for slug in sorted({each.slug for each in records.presets} & settings.presets.keys())
        ]
        for warning in warnings:
            if warning not in self._warned:
                logger.warning("%s", warning)
        self._warned = frozenset(warnings)

    def _add(self, budget: Budget) -> None:
        if budget.scope is BudgetScope.GLOBAL:
            self._everybodys.append(budget)
        else:
            self._scopes[budget.scope].add(budget)

    def _resolved(self, budget: BudgetSettings) -> tuple[str | None, str | None]:
        """The subject by its id where the configuration names it, and what is to be said of it."""
        subject = budget.subject
        if subject is None or budget.scope not in ("key", "account"):
            return subject, None
        known = {key.name: key.id for key in self._records.keys}
        ids = {key.id for key in self._settings.keys} | set(known.values())
        if budget.scope == "account":
            known = {user.name: user.id for user in self._records.users}
            owners = {key.owner for key in self._settings.keys if key.owner is not None}
            ids |= owners | set(known.values())
        if subject in ids:
            return subject, None
        if subject in known:
            return known[subject], None
        missing = f"there is no {budget.scope} of the name or id {subject!r}"
        return subject, f"the budget {budget.name} has no effect: {missing}"


def _read(store: DirectoryStore) -> _Records:
    return _Records(
        store.records(PresetRecord),
        store.records(BudgetRecord),
        store.records(UserRecord),
        store.records(GatewayKeyRecord),
        store.balances(),
    )


def _newest(records: Iterable[PresetRecord]) -> dict[str, Preset]:
    """By slug."""
    return {
        record.slug: Preset(record.slug, str(record.version), record.document)
        for record in sorted(records, key=lambda each: each.version)
    }


def _budget(given: BudgetSettings | BudgetRecord, subject: str | None) -> Budget:
    return Budget(
        id=given.id,
        name=given.name,
        scope=BudgetScope(given.scope),
        subject=subject,
        limit=given.limit,
        period=Period(given.period),
        hard=given.hard,
        alert_at=given.alert_at,
    )


def _credits(account: str, balance: NanoUSD) -> Budget:
    return Budget(
        id=f"{CREDITS}:{account}",
        name=CREDITS,
        scope=BudgetScope.ACCOUNT,
        subject=account,
        limit=NanoUSD(max(0, balance)),
        period=Period.TOTAL,
        hard=True,
    )
