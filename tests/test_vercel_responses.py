"""Vercel's AI SDK at its defaults: the Responses API, and references to what was answered before.

`node/vercel_responses.mjs` talks with the models of `test_answer_memory_sdk.py`.
"""

from __future__ import annotations

import pytest

from signalbox.simulator import Rule, Scenario, Step
from tests.dialect_world import everything_received
from tests.gateway import KEY, gateway, simulated_provider
from tests.node_env import run_node
from tests.sdk_cases import World
from tests.test_answer_memory_sdk import TRANSLATED, config_at, texts_in

pytestmark = pytest.mark.npm

PROMPTS = ["What is the weather in Rome? Call the tool.", "And what did I ask before?"]
THOUGHT = Scenario(rules=(Rule(steps=(Step(reasoning="It is about the weather."),) * 99),))


def test_loops_of_tool_calls_go_on_with_any_model() -> None:
    with simulated_provider() as provider, gateway(config_at(provider)) as running:
        provider.plays_scenario(THOUGHT)
        conversations = [
            {"model": model, "prompts": PROMPTS, "streamed": streamed}
            for model in TRANSLATED
            for streamed in (False, True)
        ]
        given = {"baseURL": f"{running.url}/v1", "apiKey": KEY, "conversations": conversations}
        outcomes = run_node("vercel_responses.mjs", given)
        received = [each["body"] for each in everything_received(World(running, provider))]
    assert len(outcomes) == len(conversations)
    assert len(received) == 3 * len(conversations)
    for (first, second), last in zip(outcomes, received[2::3], strict=True):
        assert first["calls"] == ["get_weather"]
        assert second["references"] > 0
        said = texts_in(last)
        assert first["text"] in said
        assert said[-1] == PROMPTS[1]
        assert "Sunny, 21 degrees." in str(last)
        assert second["text"]
