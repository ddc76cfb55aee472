"""Presets: bundles with versions that are never changed. The newest one is in force."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from signalbox.config_lines import dotted
from signalbox.http.admin import problems
from signalbox.http.admin.fields import Line, as_kept
from signalbox.http.admin.operations import Body, Operation, View
from signalbox.http.admin.resources import AnyCall, Page, Paging, Source, filled, paged
from signalbox.http.preset_checks import mistakes
from signalbox.persistence.key_changes import new_version
from signalbox.persistence.record_store import Delete, Insert
from signalbox.persistence.records import GatewayKeyRecord, PresetRecord
from signalbox.types import Preset as PresetInForce

MAX_SLUG_CHARS = 100


class NewPreset(Body, frozen=True, kw_only=True):
    document: dict[str, Any]
    """As `[presets.slug]` of the configuration file would say it."""
    note: Line | None = None


class Preset(View, frozen=True, kw_only=True):
    slug: str
    version: str
    """A number, or `config-` and a digest where the configuration declares it."""
    document: dict[str, Any]
    source: Source
    author: str
    note: str
    created_at: float | None


def _show(record: PresetRecord) -> Preset:
    document = dict(record.document)
    return filled(Preset, record, version=str(record.version), document=document, source="database")


def _declared(call: AnyCall) -> dict[str, Preset]:
    return {
        slug: Preset(
            slug=slug,
            version=preset.version,
            document=dict(preset.document),
            source="configuration",
            author="",
            note="",
            created_at=None,
        )
        for slug, preset in call.desk.settings().presets.items()
    }


async def _versions(call: AnyCall, **where: str) -> list[PresetRecord]:
    """In the order of their slugs, and the oldest first."""
    return await call.desk.readers.run(call.desk.store.records, PresetRecord, where)


async def _list(call: AnyCall) -> Page[Preset]:
    newest = {record.slug: _show(record) for record in await _versions(call)}
    return paged({**newest, **_declared(call)}, call.query)


async def _read(call: AnyCall) -> Preset:
    slug = call.path["slug"]
    return _declared(call).get(slug) or _show((await _there(call))[-1])


async def _list_versions(call: AnyCall) -> Page[Preset]:
    slug = call.path["slug"]
    declared = _declared(call).get(slug)
    found = await _versions(call, slug=slug) if declared else await _there(call)
    views = {f"{record.version:020}": _show(record) for record in found}
    return paged({**views, "config": declared} if declared else views, call.query)


async def _read_version(call: AnyCall) -> Preset:
    declared = _declared(call).get(call.path["slug"])
    if declared is not None and declared.version == call.path["version"]:
        return declared
    return _show(await _one_version(call))


async def _create(call: AnyCall) -> Preset:
    slug, desk = call.path["slug"], call.desk
    if not _is_slug(slug):
        raise problems.invalid("slug", "expected letters, digits, `_`, `.` and `-`")
    _refuse_declared(call)
    for path, mistake in mistakes(PresetInForce(slug, "new", call.body.document)):
        where = dotted(path)
        place = f"document.{where}" if where else "document"
        raise problems.invalid(place, mistake)
    record = new_version(
        slug,
        call.body.document,
        await _versions(call, slug=slug),
        at=desk.now(),
        author=call.caller.name,
        note=call.body.note or "",
    )
    record = as_kept(replace(record, version=max(record.version, await _last(call) + 1)))
    await desk.change(
        Insert(record), by=call.actor, action="create", kind="preset", target=slug, after=record
    )
    return _show(record)


async def _last(call: AnyCall) -> int:
    """The newest version that was ever made here: one that is withdrawn keeps its number, which
    traces tell."""
    where = {"kind": "preset", "action": "create", "target": call.path["slug"]}
    read = partial(call.desk.store.audit, limit=1, where=where)
    found = await call.desk.readers.run(read)
    return int(found[0].after["version"]) if found else 0


async def _withdraw(call: AnyCall) -> None:
    _refuse_declared(call)
    record = await _one_version(call)
    if len(await _versions(call, slug=record.slug)) == 1:
        await _refuse_used(call)
    await _delete(call, [record])


async def _withdraw_all(call: AnyCall) -> None:
    _refuse_declared(call)
    found = await _there(call)
    await _refuse_used(call)
    await _delete(call, found)


async def _delete(call: AnyCall, records: Sequence[PresetRecord]) -> None:
    await call.desk.change(
        *[Delete(record) for record in records],
        by=call.actor,
        action="delete",
        kind="preset",
        target=call.path["slug"],
        before=records[-1],
    )


async def _there(call: AnyCall) -> list[PresetRecord]:
    """Raises `RequestError` (404) where there is no version."""
    found = await _versions(call, slug=call.path["slug"])
    if not found:
        raise problems.not_found("preset", call.path["slug"])
    return found


async def _one_version(call: AnyCall) -> PresetRecord:
    for record in await _there(call):
        if str(record.version) == call.path["version"]:
            return record
    raise problems.not_found("preset version", call.path["version"])


async def _refuse_used(call: AnyCall) -> None:
    where = {"preset": call.path["slug"]}
    keys = await call.desk.readers.run(call.desk.store.records, GatewayKeyRecord, where)
    if keys:
        raise problems.in_use("preset", [f"the key {key.name!r}" for key in keys])


def _refuse_declared(call: AnyCall) -> None:
    settings, slug = call.desk.settings(), call.path["slug"]
    if slug in settings.presets:
        raise problems.declared(settings.origins.describe(("presets", slug)))


def _is_slug(slug: str) -> bool:
    plain = slug.replace("_", "").replace("-", "").replace(".", "")
    return plain.isascii() and plain.isalnum() and len(slug) <= MAX_SLUG_CHARS


_ALL = "/presets"
_ONE = f"{_ALL}/{{slug}}"
_VERSIONS = f"{_ONE}/versions"
_VERSION = f"{_VERSIONS}/{{version}}"
OPERATIONS = (
    Operation("GET", _ALL, "All presets, as they are in force", _list, Page[Preset], query=Paging),
    Operation("GET", _ONE, "One preset, as it is in force", _read, Preset),
    Operation("DELETE", _ONE, "Withdraw a preset", _withdraw_all, None, status=204, conflicts=True),
    Operation("GET", _VERSIONS, "A preset's versions", _list_versions, Page[Preset], query=Paging),
    Operation(
        "POST",
        _VERSIONS,
        "Make a version, which is in force from now on",
        _create,
        Preset,
        body=NewPreset,
        status=201,
        conflicts=True,
    ),
    Operation("GET", _VERSION, "One version", _read_version, Preset),
    Operation(
        "DELETE",
        _VERSION,
        "Withdraw a version: the one before is in force again",
        _withdraw,
        None,
        status=204,
        conflicts=True,
    ),
)
