"""Providers, models and aliases: documents in the form of the configuration file's tables.

A document is checked with the whole configuration before it is written, and told of in the same
words as the file's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from signalbox.config import ConfigError, Overlay, Settings
from signalbox.http.admin import problems
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import Line, Usd, as_kept, version_of
from signalbox.http.admin.operations import Body, Operation, View
from signalbox.http.admin.resources import AnyCall, Page, Paging, Source, paged
from signalbox.persistence.record_store import Change, Delete, Insert, Update
from signalbox.persistence.records import ConfigEntryRecord, ProviderKeyRecord
from signalbox.types import Route

Section = Literal["providers", "models", "aliases"]


class ProviderKeyShown(View, frozen=True, kw_only=True):
    id: str
    label: str
    rpm: int | None
    tpm: int | None


class ProviderInForce(View, frozen=True, kw_only=True):
    """What a provider comes to. Null: it is not in force."""

    api: str
    base_url: str
    discover: bool
    usable: bool
    keys: list[ProviderKeyShown]


class RouteInForce(View, frozen=True, kw_only=True):
    provider: str
    model: str
    input: Usd | None
    """US dollars per million tokens; null: unknown here."""
    output: Usd | None
    weight: float
    order: int | None
    rpm: int | None
    tpm: int | None


class ModelInForce(View, frozen=True, kw_only=True):
    """What a model comes to. Null: it is not in force."""

    routes: list[RouteInForce]
    strategy: str | None
    fallbacks: list[str]
    context_fallbacks: list[str]
    content_fallbacks: list[str]


class Entry(View, frozen=True, kw_only=True):
    name: str
    source: Source
    place: str | None
    """Where the configuration declares it."""
    created_at: float | None
    updated_at: float | None
    version: str


class Provider(Entry, frozen=True, kw_only=True):
    document: Any
    """As it was given; null: the configuration declares it."""
    in_force: ProviderInForce | None


class Model(Entry, frozen=True, kw_only=True):
    document: Any
    """As it was given; null: the configuration declares it."""
    in_force: ModelInForce | None


class Alias(Entry, frozen=True, kw_only=True):
    document: str | None
    """The name that it stands for; null: the configuration declares it."""
    in_force: str | None
    """The name that it stands for."""


class ProviderDocument(Body, frozen=True, kw_only=True):
    document: dict[str, Any]
    """As `[providers.NAME]` would say it, without keys: those are added on their own."""


class ModelDocument(Body, frozen=True, kw_only=True):
    document: dict[str, Any]
    """As `[models."NAME"]` would say it."""


class AliasDocument(Body, frozen=True, kw_only=True):
    document: Line
    """The name that it stands for."""


def _provider(settings: Settings, name: str) -> ProviderInForce | None:
    found = settings.providers.get(name)
    if found is None:
        return None
    keys = [
        ProviderKeyShown(id=key.id, label=key.label, rpm=key.rpm, tpm=key.tpm) for key in found.keys
    ]
    return ProviderInForce(
        api=found.api,
        base_url=found.base_url,
        discover=found.discover,
        usable=found.usable,
        keys=keys,
    )


def _model(settings: Settings, name: str) -> ModelInForce | None:
    found = settings.models.get(name)
    if found is None:
        return None
    return ModelInForce(
        routes=[_route(route) for route in found.routes],
        strategy=found.strategy,
        fallbacks=list(found.fallbacks),
        context_fallbacks=list(found.context_fallbacks),
        content_fallbacks=list(found.content_fallbacks),
    )


def _route(route: Route) -> RouteInForce:
    input_price, output_price = route.price.input, route.price.output
    return RouteInForce(
        provider=route.provider,
        model=route.model,
        input=None if input_price is None else format(input_price, "f"),
        output=None if output_price is None else format(output_price, "f"),
        weight=route.weight,
        order=route.order,
        rpm=route.rpm,
        tpm=route.tpm,
    )


def _alias(settings: Settings, name: str) -> str | None:
    return settings.aliases.get(name)


class Kind(msgspec.Struct, frozen=True):
    """One section."""

    section: Section
    kind: str
    body: type[Body]
    view: type[Entry]
    in_force: Callable[[Settings, str], Any]

    def show(self, desk: Desk, name: str, record: ConfigEntryRecord | None) -> Entry:
        settings = desk.settings()
        make: Callable[..., Entry] = self.view
        return make(
            name=name,
            source="configuration" if record is None else "database",
            place=settings.origins.describe((self.section, name)) if record is None else None,
            document=None if record is None else record.document,
            in_force=self.in_force(settings, name),
            created_at=None if record is None else record.created_at,
            updated_at=None if record is None else record.updated_at,
            version="" if record is None else version_of(record),
        )


KINDS = (
    Kind("providers", "provider", ProviderDocument, Provider, _provider),
    Kind("models", "model", ModelDocument, Model, _model),
    Kind("aliases", "alias", AliasDocument, Alias, _alias),
)


async def _list(kind: Kind, call: AnyCall) -> Page[Entry]:
    desk = call.desk
    where = {"section": kind.section}
    records = await desk.readers.run(desk.store.records, ConfigEntryRecord, where)
    kept: dict[str, ConfigEntryRecord | None] = {record.name: record for record in records}
    every = dict.fromkeys(getattr(desk.settings(), kind.section)) | kept
    return paged({name: kind.show(desk, name, found) for name, found in every.items()}, call.query)


async def _read(kind: Kind, call: AnyCall) -> Entry:
    name, record = call.path["name"], await _record(kind, call)
    if record is None and name not in getattr(call.desk.settings(), kind.section):
        raise problems.not_found(kind.kind, name)
    return kind.show(call.desk, name, record)


async def _put(kind: Kind, call: AnyCall) -> Entry:
    name, desk, document = call.path["name"], call.desk, call.body.document
    before = await _to_change(kind, call)
    try:
        await desk.check(lambda overlay: overlay.with_entry(kind.section, name, document))
    except ConfigError as error:
        raise problems.invalid("document", str(error)) from None
    now = desk.now()
    if before is None:
        after = as_kept(ConfigEntryRecord(kind.section, name, document, 1, now))
        change: Change = Insert(after)
        action = "create"
    else:
        fields: dict[str, Any] = {"document": document, "updated_at": now}
        after = as_kept(replace(before, version=before.version + 1, **fields))
        change, action = Update(after, was=before), "update"
    await desk.change(
        change,
        by=call.actor,
        action=action,
        kind=kind.kind,
        target=name,
        before=before,
        after=after,
    )
    return kind.show(desk, name, after)


async def _delete(kind: Kind, call: AnyCall) -> None:
    name, desk = call.path["name"], call.desk
    before = await _to_change(kind, call)
    if before is None:
        raise problems.not_found(kind.kind, name)

    if kind.section == "providers":
        keys = await desk.readers.run(desk.store.records, ProviderKeyRecord, {"provider": name})
        if keys:
            raise problems.in_use(kind.kind, [f"the provider key {key.label}" for key in keys])

    def without(overlay: Overlay) -> Overlay:
        return overlay.without_entry(kind.section, name)

    try:
        await desk.check(without)
    except ConfigError as error:
        raise problems.in_use(kind.kind, error.mistakes) from None
    await desk.change(
        Delete(before), by=call.actor, action="delete", kind=kind.kind, target=name, before=before
    )


async def _record(kind: Kind, call: AnyCall) -> ConfigEntryRecord | None:
    read = partial(call.desk.store.record, ConfigEntryRecord, kind.section, call.path["name"])
    return await call.desk.readers.run(read)


async def _to_change(kind: Kind, call: AnyCall) -> ConfigEntryRecord | None:
    """The entry as it is; None: there is none. Raises `RequestError` (400, 409)."""
    name, origins = call.path["name"], call.desk.settings().origins
    record = await _record(kind, call)
    if record is None and (kind.section, name) in {*origins.lines, *origins.variables}:
        raise problems.declared(origins.describe((kind.section, name)))
    wanted = call.if_match
    if wanted is not None and (
        record is None or wanted not in ("*", version_of(record), f'"{version_of(record)}"')
    ):
        raise problems.changed_meanwhile(kind.kind)
    return record


def _operations(kind: Kind) -> tuple[Operation, ...]:
    path, view = f"/{kind.section}", kind.view
    one = f"{path}/{{name...}}"
    return (
        Operation(
            "GET",
            path,
            f"All {kind.section}, page by page",
            partial(_list, kind),
            Page[view],  # type: ignore[valid-type]  # a type that is looked up
            query=Paging,
        ),
        Operation("GET", one, f"One {kind.kind}", partial(_read, kind), view, versioned=True),
        Operation(
            "PUT",
            one,
            f"Make a {kind.kind}, or put another document in its place",
            partial(_put, kind),
            view,
            body=kind.body,
            versioned=True,
        ),
        Operation(
            "DELETE",
            one,
            f"Delete a {kind.kind}",
            partial(_delete, kind),
            None,
            status=204,
            versioned=True,
        ),
    )


OPERATIONS = tuple(operation for kind in KINDS for operation in _operations(kind))
