"""The group of all commands."""

from __future__ import annotations

from importlib import import_module

import click

from signalbox import __version__

COMMANDS = {
    "serve": "Runs the gateway until SIGINT or SIGTERM; a second signal ends it at once.",
    "config": "Providers, models and aliases that were configured while the gateway ran.",
    "check": "Checks the configuration and shows every model's routes.",
    "explain": "Shows what the chat completion request in FILE would do.",
    "keys": "Gateway keys: what clients present.",
    "users": "Users own keys and credits; with a role and a token they may sign in.",
    "presets": "Presets: what requests may leave open.",
    "ledger": "What was charged, and whether everything agrees with it.",
    "credits": "Prepaid balances: what was paid in, and what is left of it.",
    "admin-token": "The token that opens the traces.",
    "master-key": "The keys that stored secrets are sealed under.",
    "trace": "Shows a saved request: what was decided, when, and why.",
    "traces": "Saved traces: deletes those of a user, with a tag, or from before a day.",
    "replay": "Feeds the recorded facts of a request to today's machine and configuration.",
    "diagram": "Prints a state machine as a diagram or a table.",
    "import": "Takes over what another gateway was configured with.",
    "simulate": "A provider that you can break.",
}
"""What the help says of each command, in its order. They stand here so that the help imports none
of them: the server's libraries take half a second. `admin-token` is in `cli/admin_token.py`."""

_OTHER_NAMES = {"import": "importing"}
"""What Python takes for a word of its own."""


class Commands(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            # Imported here: a tenth of the time that `signalbox --version` takes.
            from difflib import get_close_matches  # noqa: PLC0415 - as said above

            nearest = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            ctx.fail(f"There is no command '{cmd_name}'.{hint}")
        name = _OTHER_NAMES.get(cmd_name, cmd_name.replace("-", "_"))
        command = getattr(import_module(f"signalbox.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="signalbox")
def main() -> None:
    """Signalbox: one OpenAI-compatible endpoint in front of every model provider."""
