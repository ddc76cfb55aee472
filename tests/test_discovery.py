"""What a provider says that it serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from signalbox.actors.discovery import AGAIN_SECONDS, REFRESH_SECONDS, Discoverable, Discovery
from signalbox.actors.supervisor import Supervisor
from signalbox.adapters.discovery import DiscoveredModel, list_request, read_models
from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.errors import ProviderProtocolError
from signalbox.simulator import Match, Rule, Scenario, Step
from signalbox.types import ModelPlan, Secret
from tests.catalogues import catalogue
from tests.configs import load
from tests.fakes import supervised
from tests.gateway import KEY, eventually, gateway, simulated_provider
from tests.scripted_upstream import JSON, REFUSED, Head, Script, ScriptedUpstream, Wait

OLLAMA = {"object": "list", "data": [{"id": "llama3.3:70b", "object": "model"}, {"id": "qwen3"}]}
VLLM = {"data": [{"id": "org/model", "max_model_len": 32_768, "root": "/models/x"}]}
GEMINI = {
    "models": [{"name": "models/g", "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}]
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (OLLAMA, (DiscoveredModel("llama3.3:70b"), DiscoveredModel("qwen3"))),
        (VLLM, (DiscoveredModel("org/model", 32_768),)),
        (GEMINI, (DiscoveredModel("g", 1_048_576, 65_536),)),
        ([{"id": "bare"}], (DiscoveredModel("bare"),)),
        ({"data": [1, {}, {"id": ""}, {"id": "a\nb"}, {"id": 2}, {"id": "x" * 300}]}, ()),
        ({"data": [{"id": "m", "context_length": True}]}, (DiscoveredModel("m"),)),
    ],
)
def test_every_provider_s_list_is_read(body: object, expected: tuple[DiscoveredModel, ...]) -> None:
    assert read_models(json.dumps(body).encode()) == expected


@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_other_bytes_are_an_error_by_name(body: bytes) -> None:
    try:
        read_models(body)
    except ProviderProtocolError:
        return


def test_each_api_gets_the_key_where_it_looks_for_it() -> None:
    for api, name in (
        ("openai", "authorization"),
        ("anthropic", "x-api-key"),
        ("gemini", "x-goog-api-key"),
    ):
        request = list_request(api, "http://p.test/v1/", Secret("sk-1"))
        assert request.url.startswith("http://p.test/v1/models")
        assert "sk-1" in dict(request.headers)[name]
        assert "sk-1" not in request.url


CONFIG = """
[providers.box]
base_url = "http://box.test/v1"
keys = []
[providers.other]
base_url = "http://other.test/v1"
keys = []
"""


@pytest.fixture
def table(tmp_path: Path) -> ModelTable:
    return ModelTable(load(tmp_path, CONFIG), catalogue())


def test_a_listed_model_is_shown_and_found_by_its_bare_name(table: ModelTable) -> None:
    assert isinstance(table.resolve("llama"), UnknownModel)
    table.learn("box", [DiscoveredModel("llama", 8_192)])
    assert [entry.id for entry in table.listing()] == ["box/llama"]
    plan = table.resolve("llama")
    assert isinstance(plan, ModelPlan)
    assert [(route.id, route.context_length) for route in plan.routes] == [("box:llama", 8_192)]
    table.learn("box", [])
    assert table.listing() == []
    assert isinstance(table.resolve("llama"), UnknownModel)


def test_a_name_that_two_providers_list_is_nobody_s(table: ModelTable) -> None:
    for name in ("box", "other"):
        table.learn(name, [DiscoveredModel("llama")])
    assert isinstance(table.resolve("llama"), UnknownModel)
    assert isinstance(table.resolve("other/llama"), ModelPlan)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('base_url = "http://box.test/v1"', True),
        ('base_url = "http://box.test/v1"\ndiscover = false', False),
        ('base_url = "http://box.test/v1"\napi = "anthropic"', False),
    ],
)
def test_addresses_of_one_s_own_are_asked(tmp_path: Path, fields: str, expected: bool) -> None:
    settings = load(tmp_path, f"[providers.box]\nkeys = []\n{fields}\n")
    assert settings.providers["box"].discover is expected


def test_the_usual_addresses_are_not_asked_but_for_local_ones(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "providers.ollama = {}\nproviders.groq = {}\n", {"GROQ_API_KEY": "k" * 20}
    )
    assert {name: p.discover for name, p in settings.providers.items()} == {
        "ollama": True,
        "groq": False,
    }


def listing(*ids: str) -> Script:
    body = json.dumps({"data": [{"id": name} for name in ids]}).encode()
    return [Head(200, JSON), body]


class Bench:
    """The actor with one provider, whose answers come in turn; the last one again and again."""

    def __init__(self, *answers: Script) -> None:
        self.supervisor = Supervisor()
        self.upstream = ScriptedUpstream(lambda call: answers[min(call.number, len(answers)) - 1])
        self.learnt: list[tuple[str, ...]] = []
        self.provider = Discoverable("box", "openai", "http://box.test/v1", None)
        self.discovery = Discovery(self.supervisor, self.upstream, [self.provider], self.learn)

    def learn(self, provider: str, models: Sequence[DiscoveredModel]) -> None:
        assert provider == "box"
        self.learnt.append(tuple(model.id for model in models))


async def test_a_provider_is_asked_at_the_start_and_now_and_then(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(listing("a"), listing("a", "b"))
    async with supervised(bench.supervisor):
        await trio.sleep(1)
        assert bench.learnt == [("a",)]
        await trio.sleep(REFRESH_SECONDS)
    assert bench.learnt == [("a",), ("a", "b")]
    assert [call.at for call in bench.upstream.calls] == [0, REFRESH_SECONDS]


async def test_with_another_configuration_what_is_known_is_told_and_asked_again(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(listing("a"), listing("b"))
    async with supervised(bench.supervisor):
        await trio.sleep(1)
        bench.discovery.configure([bench.provider], bench.learn)
        assert bench.learnt == [("a",), ("a",)]
        await trio.sleep(1)
        assert bench.learnt[2:] == [("b",)]
        bench.discovery.configure([], bench.learn)
        await trio.sleep(2 * REFRESH_SECONDS)
    assert len(bench.learnt) == 3


@pytest.mark.parametrize(
    "away",
    [
        [REFUSED],
        [Head(503, JSON)],
        [Head(200, JSON), b"<html>"],
        [Head(200, JSON), Wait(1000)],
        [Wait(1000)],
    ],
)
async def test_one_that_is_away_is_asked_again_and_told_of_once(
    away: Script, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(listing("a"), away, away, listing("b"))
    async with supervised(bench.supervisor):
        await trio.sleep(REFRESH_SECONDS + 10 * AGAIN_SECONDS)
    assert bench.learnt == [("a",), ("b",)]
    assert [record.getMessage()[:30] for record in caplog.records] == [
        "box does not list its models: "
    ]
    assert not bench.upstream.open_calls


def test_a_local_server_s_models_are_shown_and_answer_by_their_bare_names() -> None:
    with simulated_provider("ollama") as provider:
        provider.plays_scenario(
            Scenario(rules=(Rule(match=Match(model="llama3.3:70b"), steps=(Step(text="here"),)),))
        )
        toml = f'[providers.ollama]\nbase_url = "{provider.url}"\n[keys.test]\n'
        with gateway(f'{toml}key = {{ value = "{KEY}" }}\n') as running:
            client = running.client()

            def listed() -> list[str]:
                return [model.id for model in client.models.list()]

            assert "ollama/llama3.3:70b" in eventually(listed, lambda found: found)
            for name in ("llama3.3:70b", "ollama/llama3.3:70b"):
                asked = running.post(
                    {"model": name, "messages": [{"role": "user", "content": "hello"}]}
                )
                assert asked.headers["x-signalbox-provider"] == "ollama"
                assert asked.json()["model"] == "llama3.3:70b"
            assert [call["body"]["model"] for call in provider.received()] == ["llama3.3:70b"] * 2
