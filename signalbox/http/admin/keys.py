"""Gateway keys: their secret is in the answer that makes or rotates them, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from signalbox.config import GatewayKeySettings
from signalbox.http.admin import problems
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import (
    Count,
    Id,
    Name,
    Names,
    Tag,
    UnixTime,
    Usd,
    told_usd,
    version_of,
)
from signalbox.http.admin.operations import Body, Operation, View
from signalbox.http.admin.resources import (
    AnyCall,
    Paging,
    Resource,
    Source,
    changes_of,
    filled,
    listing,
    made,
    must_exist,
    shown,
    to_change,
    updating,
    write,
)
from signalbox.machines.budget import Period, window_of
from signalbox.persistence.gateway_keys import new_key_secret
from signalbox.persistence.key_changes import LONGEST_OVERLAP, OVERLAP, revoked, rotated
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import SpendingQuery
from signalbox.types import MOST_TAGS, Secret

State = Literal["active", "disabled", "expired", "revoked"]


class NewKey(Body, frozen=True):
    name: Name
    owner: Id | None = None
    """The id of the user who pays for it; null: it is an account of its own."""
    enabled: bool = True
    expires_at: UnixTime | None = None
    models: Names = ()
    """That it may call, also `vendor/*`; none: all."""
    providers: Names = ()
    """That may serve it; none: all."""
    tags: Annotated[tuple[Tag, ...], Meta(max_length=MOST_TAGS)] = ()
    preset: Name | None = None
    byok_fallback: bool = False
    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None


KeyChange = changes_of("KeyChange", NewKey)


class KeyQuery(Paging, frozen=True):
    name: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET


class Key(NewKey, frozen=True, kw_only=True):
    id: str
    source: Source
    state: State
    prefix: str | None
    """What people recognise it by."""
    created_at: float | None
    updated_at: float | None
    revoked_at: float | None
    previous_until: float | None
    """Until when the secret of before its rotation is good."""
    version: str


class Spent(View, frozen=True):
    """By calendar periods in UTC; weeks begin on Monday."""

    day: Usd
    week: Usd
    month: Usd
    total: Usd


class KeyDetail(Key, frozen=True, kw_only=True):
    spent: Spent


class MadeKey(Key, frozen=True, kw_only=True):
    secret: str
    """Is shown this once."""


class Rotation(Body, frozen=True):
    overlap_seconds: Annotated[float, Meta(ge=0, le=LONGEST_OVERLAP)] = OVERLAP
    """How long the secret of before stays good."""


def _state(enabled: bool, expires_at: float | None, now: float) -> State:
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "active" if enabled else "disabled"


def _show(desk: Desk, record: GatewayKeyRecord) -> Key:
    state = _state(record.enabled, record.expires_at, desk.now())
    return filled(
        Key,
        record,
        source="database",
        state=state if record.revoked_at is None else "revoked",
        version=version_of(record),
    )


def _declared(desk: Desk) -> Mapping[str, Key]:
    return {key.id: _declared_key(key, desk.now()) for key in desk.settings().keys}


def _declared_key(key: GatewayKeySettings, now: float) -> Key:
    return filled(
        Key,
        key,
        source="configuration",
        state=_state(key.enabled, key.expires_at, now),
        prefix=None,
        created_at=None,
        updated_at=None,
        revoked_at=None,
        previous_until=None,
        version="",
    )


def _declaration(desk: Desk, id: str) -> str:
    name = next(key.name for key in desk.settings().keys if key.id == id)
    return desk.settings().origins.describe(("keys", name))


async def _checked(call: AnyCall, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("owner") is not None:
        await must_exist(call, "owner", "user", UserRecord, given["owner"])
    providers = call.desk.settings().providers
    for index, name in enumerate(given.get("providers", ())):
        if name not in providers:
            raise problems.unknown(f"providers[{index}]", "provider", name, providers)
    return given


KEYS = Resource(
    kind="key",
    path="/keys",
    record=GatewayKeyRecord,
    view=Key,
    show=_show,
    new=NewKey,
    change=KeyChange,
    filters=KeyQuery,
    checked=_checked,
    declared=_declared,
    declaration=_declaration,
)


async def _read(call: AnyCall) -> KeyDetail:
    key = await shown(KEYS, call)
    now = call.desk.now()
    windows = [window_of(Period(period), now) for period in Spent.__struct_fields__]
    queries = [SpendingQuery("key", call.path["id"], window.start) for window in windows]
    amounts = await call.desk.readers.run(call.desk.store.spent, queries)
    return filled(KeyDetail, key, spent=Spent(*map(told_usd, amounts)))


async def _create(call: AnyCall) -> MadeKey:
    secret = new_key_secret()
    record = await made(KEYS, call, digest=secret.digest, prefix=secret.prefix)
    return _with_secret(call, record, secret.secret)


async def _rotate(call: AnyCall) -> MadeKey:
    record = await to_change(KEYS, call)
    if record.revoked_at is not None:
        raise problems.not_possible_now("key_revoked", "The key is revoked, for good.")
    changed = rotated(record, at=call.desk.now(), overlap=call.body.overlap_seconds)
    record = await write(KEYS, call, "rotate", record, changed.record)
    return _with_secret(call, record, changed.secret)


async def _revoke(call: AnyCall) -> Key:
    record = await to_change(KEYS, call)
    if record.revoked_at is None:
        changed = revoked(record, at=call.desk.now())
        record = await write(KEYS, call, "revoke", record, changed)
    return _show(call.desk, record)


def _with_secret(call: AnyCall, record: GatewayKeyRecord, secret: Secret) -> MadeKey:
    return filled(MadeKey, _show(call.desk, record), secret=secret.reveal())


_ONE = f"{KEYS.path}/{{id}}"
OPERATIONS = (
    listing(KEYS),
    Operation(
        "POST", KEYS.path, "Make a key", _create, MadeKey, body=NewKey, status=201, conflicts=True
    ),
    Operation("GET", _ONE, "One key", _read, KeyDetail, versioned=True),
    updating(KEYS),
    Operation(
        "POST",
        f"{_ONE}/rotate",
        "Give a key another secret",
        _rotate,
        MadeKey,
        body=Rotation,
        versioned=True,
    ),
    Operation("POST", f"{_ONE}/revoke", "End a key for good", _revoke, Key, versioned=True),
)
