"""What all resources have in common: records that are listed, read, made, changed and deleted.

A resource is a declaration; `operations_of` makes its operations. What the configuration declares
is listed with the rest, before it, and is not changed here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from signalbox.http.admin import problems
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import NO_PLACE, as_kept, cursor_of, place_of, version_of
from signalbox.http.admin.operations import Body, Call, Operation, Query
from signalbox.persistence.record_store import Delete, Insert, Update
from signalbox.persistence.record_tables import MANAGED
from signalbox.persistence.stores import M

MOST, USUAL = 500, 50
"""Entries of a page."""

View = msgspec.Struct
Source = Literal["database", "configuration"]

ViewT = TypeVar("ViewT", bound=msgspec.Struct)
ItemT = TypeVar("ItemT")
AnyCall = Call[Any, Any]
Place = tuple[str | int, ...]
"""Of an entry among all: whether it is declared or a record, and where among those."""


class Paging(Query, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST)] = USUAL
    after: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    """What `next` said in the page before."""


class Page(msgspec.Struct, Generic[ItemT], frozen=True):
    data: list[ItemT]
    next: str | None
    """For `after`; null: this was the last page."""


async def as_given(call: AnyCall, given: dict[str, Any]) -> dict[str, Any]:
    return given


async def nobody(call: AnyCall, record: Any) -> list[str]:
    return []


class Resource(msgspec.Struct, Generic[M], frozen=True):
    kind: str
    """As messages call it, and the audit."""
    path: str
    record: type[M]
    view: type[msgspec.Struct]
    """Has `id` and `version`."""
    show: Callable[[Desk, M], View]
    new: type[Body]
    """What one is made of: fields of the record."""
    change: type[Body]
    filters: type[Paging] = Paging
    """Its parameters are fields of the record, and of the view."""
    checked: Callable[[AnyCall, dict[str, Any]], Awaitable[dict[str, Any]]] = as_given
    """Given fields as the record has them. Raises `RequestError` where one refers to nothing."""
    declared: Callable[[Desk], Mapping[str, View]] = lambda _: {}
    """Those of the configuration, by id."""
    declaration: Callable[[Desk, str], str] = lambda _, id: id
    """Where the configuration declares the one of this id."""
    used_by: Callable[[AnyCall, M], Awaitable[list[str]]] = nobody
    """What refers to one, and would do so to nothing if it were deleted."""


def changes_of(name: str, new: type[Body]) -> type[Body]:
    """A body with the same fields, of which those that are not given stay as they are."""
    fields = [(f.name, f.type | UnsetType, UNSET) for f in msgspec.structs.fields(new)]
    made: Any = msgspec.defstruct(
        name, fields, bases=(Body,), frozen=True, forbid_unknown_fields=True, kw_only=True
    )
    return cast(type[Body], made)


def filled(view: type[ViewT], source: object, /, **more: Any) -> ViewT:
    """A view whose fields are those of the same names of `source`, but for `more`."""
    return view(
        **{
            name: more[name] if name in more else getattr(source, name)
            for name in view.__struct_fields__
        }
    )


def given_fields(body: Body | Query) -> dict[str, Any]:
    """Those that are not left out."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}


# The operations


def operations_of(
    resource: Resource[M], *, create: Operation | None = None, read: Operation | None = None
) -> tuple[Operation, ...]:
    """List, create and read (where that is not done otherwise), update, delete."""
    kind, path = resource.kind, resource.path
    one, view = f"{path}/{{id}}", resource.view
    return (
        listing(resource),
        create
        or Operation(
            "POST",
            path,
            f"Make a {kind}",
            partial(created, resource),
            view,
            body=resource.new,
            status=201,
            conflicts=True,
            versioned=True,
        ),
        read
        or Operation("GET", one, f"One {kind}", partial(shown, resource), view, versioned=True),
        updating(resource),
        Operation(
            "DELETE",
            one,
            f"Delete a {kind}",
            partial(deleted, resource),
            None,
            status=204,
            versioned=True,
        ),
    )


def listing(resource: Resource[M]) -> Operation:
    return Operation(
        "GET",
        resource.path,
        f"All {resource.kind}s, page by page",
        partial(listed, resource),
        Page[resource.view],  # type: ignore[name-defined]  # a type that is made here
        query=resource.filters,
    )


def updating(resource: Resource[M]) -> Operation:
    return Operation(
        "PATCH",
        f"{resource.path}/{{id}}",
        f"Change a {resource.kind}: what is not named stays",
        partial(updated, resource),
        resource.view,
        body=resource.change,
        versioned=True,
    )


def paged(views: Mapping[str, ItemT], query: Paging) -> Page[ItemT]:
    """A page of what is in memory, in the order of its keys."""
    keys = sorted(views)
    if query.after is not UNSET:
        last = place_of(query.after, str)
        keys = [key for key in keys if key > last]
    shown = keys[: query.limit]
    return Page(
        [views[key] for key in shown], cursor_of(shown[-1]) if len(keys) > len(shown) else None
    )


async def listed(resource: Resource[M], call: AnyCall) -> Page[View]:
    query = call.query
    where = given_fields(query)
    limit, after = where.pop("limit"), where.pop("after", None)
    first, behind = _place(resource, after)
    entries: list[tuple[View, tuple[object, ...]]] = []
    if behind is None:
        declared = [
            view
            for view in resource.declared(call.desk).values()
            if all(getattr(view, name) == value for name, value in where.items())
        ]
        entries += [(view, ("declared", n)) for n, view in enumerate(declared, 1)][first:]
    if len(entries) <= limit:
        table, more = MANAGED[resource.record], limit + 1 - len(entries)
        read = partial(call.desk.store.page, resource.record, limit=more, after=behind, where=where)
        entries += [
            (resource.show(call.desk, each), ("record", *table.place_of(each)))
            for each in await call.desk.readers.run(read)
        ]
    return Page(
        [view for view, _ in entries[:limit]],
        cursor_of(entries[limit - 1][1]) if len(entries) > limit else None,
    )


def _place(resource: Resource[M], after: str | None) -> tuple[int, Place | None]:
    """How many of the declared ones a page leaves out, and the record that it comes behind; None:
    it begins before them. Raises `RequestError`."""
    if after is None:
        return 0, None
    match place_of(after, Place):
        case ("declared", int(number)) if number >= 0:
            return number, None
        case ("record", *place) if MANAGED[resource.record].is_place(place):
            return 0, tuple(place)
    raise problems.invalid("after", NO_PLACE)


async def shown(resource: Resource[M], call: AnyCall) -> View:
    declared = resource.declared(call.desk).get(call.path["id"])
    return declared or resource.show(call.desk, await found(resource, call))


async def created(resource: Resource[M], call: AnyCall) -> View:
    return resource.show(call.desk, await made(resource, call))


async def updated(resource: Resource[M], call: AnyCall) -> View:
    record = await to_change(resource, call)
    given = await resource.checked(call, given_fields(call.body))
    if any(getattr(record, name) != value for name, value in given.items()):
        given["updated_at"] = call.desk.now()
        record = await write(resource, call, "update", record, replace(record, **given))
    return resource.show(call.desk, record)


async def deleted(resource: Resource[M], call: AnyCall) -> None:
    record = await to_change(resource, call)
    users = await resource.used_by(call, record)
    if users:
        raise problems.in_use(resource.kind, users)
    await call.desk.change(
        Delete(record),
        by=call.actor,
        action="delete",
        kind=resource.kind,
        target=call.path["id"],
        before=record,
    )


async def found(resource: Resource[M], call: AnyCall) -> M:
    """The record that the path names. Raises `RequestError` (404)."""
    id = call.path["id"]
    record = await call.desk.readers.run(call.desk.store.record, resource.record, id)
    if record is None:
        raise problems.not_found(resource.kind, id)
    return record


async def to_change(resource: Resource[M], call: AnyCall) -> M:
    """The record that the path names, which may be changed and is of the version that was asked
    for. Raises `RequestError` (404, 409)."""
    id = call.path["id"]
    if id in resource.declared(call.desk):
        raise problems.declared(resource.declaration(call.desk, id))
    record = await found(resource, call)
    wanted = call.if_match
    if wanted not in (None, "*") and wanted.strip('"') != version_of(record):
        raise problems.changed_meanwhile(resource.kind)
    return record


async def made(resource: Resource[M], call: AnyCall, **more: Any) -> M:
    """A new record with the fields of the body, and more. Raises `RequestError` (400, 409)."""
    desk = call.desk
    given = await resource.checked(call, given_fields(call.body))
    make = cast(Callable[..., M], resource.record)
    record = as_kept(make(id=desk.new_id(), created_at=desk.now(), **given, **more))
    await desk.change(
        Insert(record),
        by=call.actor,
        action="create",
        kind=resource.kind,
        target=str(MANAGED[resource.record].key_of(record)[0]),
        after=record,
    )
    return record


async def write(resource: Resource[M], call: AnyCall, action: str, before: M, after: M) -> M:
    """The record, as it is kept, in the place of the one before.

    Raises `RequestError` (400, 409).
    """
    after = as_kept(after)
    await call.desk.change(
        Update(after, was=before),
        by=call.actor,
        action=action,
        kind=resource.kind,
        target=call.path["id"],
        before=before,
        after=after,
    )
    return after


async def must_exist(call: AnyCall, param: str, kind: str, record: type[M], *key: object) -> None:
    """Raises `RequestError` (400) where a field names a record that is not there."""
    if await call.desk.readers.run(call.desk.store.record, record, *key) is None:
        raise problems.unknown(param, kind, str(key[-1]))
