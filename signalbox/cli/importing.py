"""`signalbox import`: configurations and keys of other gateways."""

from __future__ import annotations

import click

from signalbox.cli.import_litellm import litellm


@click.group("import")
def importing() -> None:
    """Takes over what another gateway was configured with."""


importing.add_command(litellm)
