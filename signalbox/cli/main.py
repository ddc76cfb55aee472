"""The group of all commands."""

from __future__ import annotations

import click

from signalbox import __version__
from signalbox.cli.keys import admin_token, keys
from signalbox.cli.look import check, diagram, trace
from signalbox.cli.serve import serve
from signalbox.cli.simulate import simulate


@click.group()
@click.version_option(__version__, prog_name="signalbox")
def main() -> None:
    """Signalbox: one OpenAI-compatible endpoint in front of every model provider."""


for command in (serve, check, keys, admin_token, diagram, trace, simulate):
    main.add_command(command)
