"""`signalbox diagram`: the state machines, drawn."""

from __future__ import annotations

import click

from signalbox.machines.diagram import FORMATS, MACHINES, render


@click.command()
@click.argument("machine", type=click.Choice(list(MACHINES)))
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="mermaid", show_default=True
)
def diagram(machine: str, form: str) -> None:
    """Prints a state machine as a diagram or a table."""
    click.echo(render(machine, form), nl=False)
