"""`signalbox admin-token`: the token that opens traces."""

from __future__ import annotations

from pathlib import Path

import click

from signalbox.cli.common import MISUSED, environment, fail, located
from signalbox.persistence.gateway_keys import (
    TOKEN_FORM,
    BadTokenFile,
    is_token,
    new_admin_token,
    read_token,
)
from signalbox.types import Secret

ADMIN_TOKEN_FILE = "admin-token"
VARIABLE = "SIGNALBOX_ADMIN_TOKEN"


@click.group()
def admin_token() -> None:
    """The token that opens the traces."""


@admin_token.command("show")
@located
def show(config: Path | None, data_dir: Path) -> None:
    """Prints the token that a gateway started here takes."""
    path = data_dir / ADMIN_TOKEN_FILE
    try:
        token = given_admin_token() or read_token(path)
    except BadTokenFile as error:
        fail(str(error))
    if token is None:
        fail(f"{path} is not there; the first start of the gateway makes it")
    click.echo(token.reveal())


@admin_token.command("reset")
@located
def reset(config: Path | None, data_dir: Path) -> None:
    """Makes a new token; a running gateway takes it after its next start."""
    if given_admin_token() is not None:
        fail(f"{VARIABLE} is the token as long as it is set, here or in .env; change it there")
    try:
        click.echo(new_admin_token(data_dir / ADMIN_TOKEN_FILE).reveal())
    except BadTokenFile as error:
        fail(str(error))


def given_admin_token() -> Secret | None:
    """The token of the environment or of `.env`; one that is too weak ends the command."""
    text = environment().get(VARIABLE, "").strip()
    if text and not is_token(text):
        fail(f"{VARIABLE}: expected {TOKEN_FORM}", MISUSED)
    return Secret(text) if text else None
