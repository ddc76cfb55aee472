"""`signalbox users`: who owns keys and credits, and who may sign in."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from signalbox.cli.common import (
    existing_store,
    fail,
    located,
    new_id,
    opened_store,
    read_settings,
    unix_now,
)
from signalbox.cli.key_options import user_of
from signalbox.cli.keys import told
from signalbox.cli.table import printable, table
from signalbox.persistence.auditing import COMMAND_LINE, GATEWAY, audit_of
from signalbox.persistence.key_changes import with_token, without_token
from signalbox.persistence.record_store import Change, Insert, Update
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import Store

ROLES = ("none", "viewer", "admin")
RESERVED = (COMMAND_LINE.name, GATEWAY.name, "admin token")
"""Who the audit calls so is somebody else."""


@click.group()
def users() -> None:
    """Users own keys and credits; with a role and a token they may sign in."""


@users.command("create")
@click.argument("name")
@click.option("--email")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="none",
    show_default=True,
    help="What they may do with the admin API and the pages: nothing, look, change.",
)
@located
def create(name: str, email: str | None, role: str, config: Path | None, data_dir: Path) -> None:
    """Makes a user."""
    if name in RESERVED or not name.strip():
        fail(f"the name {name!r} stands for somebody else in the audit")
    user = UserRecord(new_id(), name, unix_now(), email, role)
    with opened_store(read_settings(config), data_dir) as store:
        _write(store, Insert(user), "create", after=user)
    click.echo(user.id)


@users.command("list")
@located
def list_users(config: Path | None, data_dir: Path) -> None:
    """Lists the users."""
    with existing_store(read_settings(config), data_dir) as store:
        records = store.records(UserRecord)
        keys = store.records(GatewayKeyRecord)
    if not records:
        click.echo("There are no users. `signalbox users create NAME` makes one.")
        return
    table(
        ("name", "id", "role", "state", "token", "keys"),
        [
            (
                printable(user.name),
                user.id,
                user.role,
                "enabled" if user.enabled else "disabled",
                "none" if user.token_prefix is None else f"{user.token_prefix}…",
                str(sum(key.owner == user.id for key in keys)),
            )
            for user in records
        ],
    )


@users.command("token")
@click.argument("name_or_id")
@click.option("--remove", is_flag=True, help="Takes the token away instead.")
@located
def token(name_or_id: str, remove: bool, config: Path | None, data_dir: Path) -> None:
    """Makes a token to sign in with and prints it, once; the one before is no more."""
    with existing_store(read_settings(config), data_dir) as store:
        user = user_of(name_or_id, store.records(UserRecord))
        if remove:
            changed = without_token(user, at=unix_now())
            _write(store, Update(changed, was=user), "take_token", before=user, after=changed)
            click.echo(f"{printable(user.name)} has no token.")
            return
        if user.role == "none":
            fail(f"the user {user.name!r} has no role, so no token would let them in")
        secret, changed = with_token(user, at=unix_now())
        _write(store, Update(changed, was=user), "give_token", before=user, after=changed)
    click.echo(secret.reveal())
    click.echo("This is the only time it is shown; its SHA-256 is what is kept.", err=True)


@users.command("disable")
@click.argument("name_or_id")
@located
def disable(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Refuses a user's token and all keys of theirs, until they are enabled."""
    _set_enabled(name_or_id, config, data_dir, enabled=False)


@users.command("enable")
@click.argument("name_or_id")
@located
def enable(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Takes a disabled user's token and keys again."""
    _set_enabled(name_or_id, config, data_dir, enabled=True)


def _set_enabled(name_or_id: str, config: Path | None, data_dir: Path, *, enabled: bool) -> None:
    word = "enable" if enabled else "disable"
    with existing_store(read_settings(config), data_dir) as store:
        user = user_of(name_or_id, store.records(UserRecord))
        if user.enabled is not enabled:
            changed = replace(user, enabled=enabled, updated_at=unix_now())
            _write(store, Update(changed, was=user), word, before=user, after=changed)
    click.echo(f"{printable(user.name)} is {word}d.")


def _write(
    store: Store,
    change: Change,
    action: str,
    *,
    after: UserRecord,
    before: UserRecord | None = None,
) -> None:
    audit = audit_of(
        COMMAND_LINE,
        action,
        "user",
        after.id,
        id=new_id(),
        at=unix_now(),
        before=before,
        after=after,
    )
    with told(f"there is a user {after.name!r} already"):
        store.change([change], audit)
