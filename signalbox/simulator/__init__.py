"""A provider that can be broken: OpenAI's, Anthropic's and Gemini's APIs over real HTTP, with
scripted faults.

`scenario.py` documents the scenario format, `recordings.py` the recorded exchanges.
"""

from signalbox.simulator.errors import SimulatorError
from signalbox.simulator.recordings import RecordingError
from signalbox.simulator.run import run_simulator
from signalbox.simulator.scenario import (
    KeyRule,
    Match,
    RateLimit,
    Rule,
    Scenario,
    ScenarioError,
    Step,
    load_scenario,
    parse_scenario,
)
from signalbox.simulator.server import Simulator, SimulatorSettings, serve_simulator

__all__ = [
    "KeyRule",
    "Match",
    "RateLimit",
    "RecordingError",
    "Rule",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "SimulatorError",
    "SimulatorSettings",
    "Step",
    "load_scenario",
    "parse_scenario",
    "run_simulator",
    "serve_simulator",
]
