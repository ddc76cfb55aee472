"""The group of all commands."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from signalbox import __version__

COMMANDS = {
    "serve": "signalbox.cli.serve",
    "check": "signalbox.cli.check",
    "explain": "signalbox.cli.explain",
    "keys": "signalbox.cli.keys",
    "admin-token": "signalbox.cli.admin_token",
    "trace": "signalbox.cli.trace",
    "replay": "signalbox.cli.replay",
    "diagram": "signalbox.cli.diagram",
    "simulate": "signalbox.cli.simulate",
}
"""Each command's module, in the order of the help text."""


class Commands(click.Group):
    """Imports a command when it is asked for: the server's libraries cost half a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            nearest = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            ctx.fail(f"There is no command '{cmd_name}'.{hint}")
        module = import_module(COMMANDS[cmd_name])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="signalbox")
def main() -> None:
    """Signalbox: one OpenAI-compatible endpoint in front of every model provider."""
