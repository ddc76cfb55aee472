"""Keys for providers: the gateway's own, and those that callers keep for a gateway key.

A secret is only written: it is sealed in the thread that keeps it, and what is told is its label.
"""

from __future__ import annotations

from functools import partial

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from signalbox.config_providers import KNOWN_PROVIDERS
from signalbox.config_secrets import masked
from signalbox.http.admin import problems
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import Count, Name, SecretText, version_of
from signalbox.http.admin.operations import Body, Operation, View
from signalbox.http.admin.resources import (
    AnyCall,
    Page,
    Paging,
    Resource,
    changes_of,
    filled,
    found,
    operations_of,
    paged,
)
from signalbox.persistence.record_store import Delete, Insert, Update
from signalbox.persistence.records import ByokKeyRecord, GatewayKeyRecord, ProviderKeyRecord
from signalbox.persistence.sealed_records import with_secret
from signalbox.types import Secret


class ProviderKeyFields(Body, frozen=True, kw_only=True):
    """What may be changed of one."""

    rpm: Count | None = None
    tpm: Count | None = None
    enabled: bool = True


class NewProviderKey(ProviderKeyFields, frozen=True, kw_only=True):
    provider: Name
    secret: SecretText


class ProviderKeyQuery(Paging, frozen=True):
    provider: str | UnsetType = UNSET


class ProviderKey(ProviderKeyFields, frozen=True, kw_only=True):
    id: str
    provider: str
    label: str
    """What is shown of the secret."""
    created_at: float
    updated_at: float | None
    version: str


class StoredKey(Body, frozen=True, kw_only=True):
    secret: SecretText


class CallersKey(View, frozen=True, kw_only=True):
    provider: str
    label: str
    """What is shown of the secret."""
    created_at: float


def _show(_: Desk, record: ProviderKeyRecord) -> ProviderKey:
    return filled(ProviderKey, record, version=version_of(record))


PROVIDER_KEYS = Resource(
    kind="provider key",
    path="/provider-keys",
    record=ProviderKeyRecord,
    view=ProviderKey,
    show=_show,
    new=NewProviderKey,
    change=changes_of("ProviderKeyChange", ProviderKeyFields),
    filters=ProviderKeyQuery,
)


async def _create(call: AnyCall) -> ProviderKey:
    desk, body = call.desk, call.body
    _check_provider(call, "provider", body.provider)
    secret = Secret(body.secret)
    record = ProviderKeyRecord(
        desk.new_id(),
        body.provider,
        masked(secret),
        b"",
        desk.now(),
        body.rpm,
        body.tpm,
        body.enabled,
    )
    await desk.change(
        by=call.actor,
        action="create",
        kind=PROVIDER_KEYS.kind,
        target=record.id,
        after=record,
        sealed=lambda vault: [Insert(with_secret(vault, record, secret))],
    )
    return _show(desk, await found(PROVIDER_KEYS, replace(call, path={"id": record.id})))


async def _list_stored(call: AnyCall) -> Page[CallersKey]:
    return paged({each.provider: _shown(each) for each in await _stored(call)}, call.query)


async def _store(call: AnyCall) -> CallersKey:
    desk, provider = call.desk, call.path["provider"]
    _check_provider(call, "provider", provider)
    secret = Secret(call.body.secret)
    stored = {each.provider: each for each in await _stored(call)}
    before = stored.get(provider)
    if before is None:
        key_id, now = call.path["id"], desk.now()
        after = ByokKeyRecord(desk.new_id(), key_id, provider, masked(secret), b"", now)
    else:
        after = replace(before, label=masked(secret))
    await desk.change(
        by=call.actor,
        action="create" if before is None else "update",
        kind="callers key",
        target=after.id,
        before=before,
        after=after,
        sealed=lambda vault: [
            Insert(with_secret(vault, after, secret))
            if before is None
            else Update(with_secret(vault, after, secret), was=before)
        ],
    )
    return _shown(after)


async def _forget(call: AnyCall) -> None:
    provider = call.path["provider"]
    for record in await _stored(call):
        if record.provider == provider:
            await call.desk.change(
                Delete(record),
                by=call.actor,
                action="delete",
                kind="callers key",
                target=record.id,
                before=record,
            )
            return
    raise problems.not_found("callers key", provider)


async def _stored(call: AnyCall) -> list[ByokKeyRecord]:
    """Raises `RequestError` (404) where there is no such gateway key."""
    desk, key_id = call.desk, call.path["id"]
    declared = key_id in {key.id for key in desk.settings().keys}
    if not declared:
        read = partial(desk.store.record, GatewayKeyRecord, key_id)
        if await desk.readers.run(read) is None:
            raise problems.not_found("key", key_id)
    return await desk.readers.run(desk.store.records, ByokKeyRecord, {"key_id": key_id})


def _shown(record: ByokKeyRecord) -> CallersKey:
    return filled(CallersKey, record)


def _check_provider(call: AnyCall, param: str, name: str) -> None:
    known = {*call.desk.settings().providers, *KNOWN_PROVIDERS}
    if name not in known:
        raise problems.unknown(param, "provider", name, known)


_BYOK = "/keys/{id}/byok"
_ONE_BYOK = f"{_BYOK}/{{provider}}"
OPERATIONS = (
    *operations_of(
        PROVIDER_KEYS,
        create=Operation(
            "POST",
            PROVIDER_KEYS.path,
            "Add a key for a provider",
            _create,
            ProviderKey,
            body=NewProviderKey,
            status=201,
            conflicts=True,
        ),
    ),
    Operation(
        "GET",
        _BYOK,
        "The keys that are kept for a gateway key",
        _list_stored,
        Page[CallersKey],
        query=Paging,
    ),
    Operation(
        "PUT",
        _ONE_BYOK,
        "Keep a caller's own key for a provider, in the place of the one before",
        _store,
        CallersKey,
        body=StoredKey,
        conflicts=True,
    ),
    Operation(
        "DELETE",
        _ONE_BYOK,
        "Forget a caller's own key",
        _forget,
        None,
        status=204,
        conflicts=True,
    ),
)
