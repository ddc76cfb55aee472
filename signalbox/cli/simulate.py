"""`signalbox simulate`: a provider that can be broken."""

from __future__ import annotations

from pathlib import Path

import click

from signalbox.cli.common import MISUSED, fail
from signalbox.simulator import (
    Scenario,
    SimulatorError,
    SimulatorSettings,
    load_scenario,
    run_simulator,
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8081,
    show_default=True,
    help="0: any free port.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds answer equally.")
@click.option(
    "--tokens-per-second",
    type=click.FloatRange(0, min_open=True),
    help="The speed of streams; as fast as can be without it.",
)
@click.option(
    "--recordings",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder of recorded exchanges to answer from.",
)
@click.option(
    "--scenario",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of scripted faults (TOML or JSON).",
)
@click.option(
    "--until-stdin-closes",
    is_flag=True,
    help="End when standard input does: for whoever starts it as a child.",
)
def simulate(
    host: str,
    port: int,
    seed: int,
    tokens_per_second: float | None,
    recordings: Path | None,
    scenario: Path | None,
    until_stdin_closes: bool,
) -> None:
    """A provider that you can break: OpenAI's, Anthropic's and Gemini's APIs over real HTTP."""
    try:
        settings = SimulatorSettings(
            host=host,
            port=port,
            seed=seed,
            scenario=Scenario() if scenario is None else load_scenario(scenario),
            recordings=recordings,
            tokens_per_second=tokens_per_second,
        )
        run_simulator(settings, until_stdin_closes=until_stdin_closes)
    except SimulatorError as error:
        fail(str(error), MISUSED)
