"""Users: who owns keys and credits, and who may sign in."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from signalbox.http.admin import problems
from signalbox.http.admin.access import ADMIN_TOKEN, ROLES
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import Name, version_of
from signalbox.http.admin.operations import Body, Operation
from signalbox.http.admin.resources import (
    AnyCall,
    Paging,
    Resource,
    changes_of,
    filled,
    operations_of,
    to_change,
    write,
)
from signalbox.persistence.auditing import COMMAND_LINE, GATEWAY
from signalbox.persistence.key_changes import with_token, without_token
from signalbox.persistence.records import BudgetRecord, GatewayKeyRecord, UserRecord

RESERVED = (ADMIN_TOKEN, COMMAND_LINE.name, GATEWAY.name)
"""Names that stand for others in the audit."""

Role = Literal["none", "viewer", "admin"]


class NewUser(Body, frozen=True):
    name: Name
    email: Name | None = None
    role: Role = "none"
    """What a token of theirs lets them do here: nothing, look, change."""
    enabled: bool = True


UserChange = changes_of("UserChange", NewUser)


class UserQuery(Paging, frozen=True):
    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET


class User(NewUser, frozen=True, kw_only=True):
    id: str
    token_prefix: str | None
    """What the token that they sign in with is recognised by; null: they have none."""
    created_at: float
    updated_at: float | None
    version: str


class UserToken(User, frozen=True, kw_only=True):
    token: str
    """Is shown this once."""


def _show(_: Desk, record: UserRecord) -> User:
    return filled(User, record, version=version_of(record))


async def _checked(call: AnyCall, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("name") in RESERVED:
        raise problems.invalid("name", "the audit calls somebody else so")
    return given


async def _used_by(call: AnyCall, user: UserRecord) -> list[str]:
    desk = call.desk
    keys = await desk.readers.run(desk.store.records, GatewayKeyRecord, {"owner": user.id})
    account = {"scope": "account", "subject": user.id}
    budgets = await desk.readers.run(desk.store.records, BudgetRecord, account)
    return [f"the key {key.name!r}" for key in keys] + [
        f"the budget {budget.name!r}" for budget in budgets
    ]


USERS = Resource(
    kind="user",
    path="/users",
    record=UserRecord,
    view=User,
    show=_show,
    new=NewUser,
    change=UserChange,
    filters=UserQuery,
    checked=_checked,
    used_by=_used_by,
)


async def _give_token(call: AnyCall) -> UserToken:
    user = await to_change(USERS, call)
    if user.role not in ROLES:
        message = "The user has no role, so no token would let them in."
        raise problems.not_possible_now("no_role", message)
    token, changed = with_token(user, at=call.desk.now())
    user = await write(USERS, call, "give_token", user, changed)
    return filled(UserToken, _show(call.desk, user), token=token.reveal())


async def _take_token(call: AnyCall) -> User:
    user = await to_change(USERS, call)
    if user.token_digest is not None:
        changed = without_token(user, at=call.desk.now())
        user = await write(USERS, call, "take_token", user, changed)
    return _show(call.desk, user)


_TOKEN = f"{USERS.path}/{{id}}/token"
OPERATIONS = (
    *operations_of(USERS),
    Operation(
        "POST",
        _TOKEN,
        "Give a user a token to sign in with, in the place of the one before",
        _give_token,
        UserToken,
        versioned=True,
    ),
    Operation(
        "DELETE",
        _TOKEN,
        "Take a user's token away, which ends their sessions",
        _take_token,
        User,
        versioned=True,
    ),
)
