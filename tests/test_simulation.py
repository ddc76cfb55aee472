"""Simulated worlds keep the rules (`tests/simulation_rules.py`).

A seed that breaks one tells the story of the request that broke it, and is run alone by
`SIGNALBOX_SEED=17 pytest tests/test_simulation.py`. `make simulate SEEDS=10000` runs more of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from signalbox.machines.lifecycle import Event
from tests import simulate
from tests.fleet import ALL_PLOTS
from tests.simulation import SMALL, Simulation
from tests.simulation_rules import check

NOT_HERE = {Event.CRASHED}  # see test_runner_crashes.py
"""Events without an occasion in the simulated world."""

chosen = os.environ.get("SIGNALBOX_SEED")
SMALL_SEEDS = [int(chosen)] if chosen else range(1, 201)
LARGE_SEED = int(chosen or 0)


@pytest.mark.parametrize("seed", SMALL_SEEDS)
def test_a_small_world_keeps_the_rules(seed: int, tmp_path: Path) -> None:
    check(Simulation(seed, SMALL, tmp_path).run())


@pytest.mark.slow
def test_two_thousand_requests_keep_the_rules(tmp_path: Path) -> None:
    simulation = Simulation(LARGE_SEED, 2000, tmp_path).run()
    check(simulation)
    if not chosen:
        everything_happened(simulation)


def everything_happened(simulation: Simulation) -> None:
    """The run is worth its time: no fault, no end and no state is missing from it."""
    assert set(simulation.fleet.plots.values()) == set(ALL_PLOTS)
    traces = simulation.rig.store.traces.values()
    names = {event.name for trace in traces for event in trace.events if event.kind == "event"}
    assert names == set(Event) - NOT_HERE
    assert not simulation.crashes_left


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    first, again = (Simulation(3, 100, tmp_path / name).run() for name in ("a", "b"))
    assert first.digest() == again.digest()


def test_a_broken_rule_is_told_as_a_dialogue_and_with_how_to_run_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(simulation: Simulation) -> None:
        raise AssertionError(simulation.story(simulation.clients[0]))

    monkeypatch.setattr(simulate, "check", broken)
    told = simulate.broken_rule(7)
    assert told is not None
    for line in ("seed 7, client 0:", "client 0 asks for", "  admitted: pending → selecting"):
        assert line in told
    assert "the request is over" in told
    assert told.endswith("alone: SIGNALBOX_SEED=7 pytest tests/test_simulation.py -k small")
