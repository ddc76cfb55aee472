"""Presets at every door and before every wire, in a gateway that runs: what the provider gets, what
the client is told, and what another process changes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner

from signalbox.cli.main import main
from signalbox.persistence.record_store import Insert
from signalbox.persistence.records import PresetRecord
from signalbox.persistence.sqlite import SqliteStore
from tests import records
from tests.doors import door_client
from tests.every_door import DOORS, EveryDoor, stream_of, strings_in
from tests.gateway import KEY, NO_TLS, Gateway, Provider, eventually, gateway, simulated_provider

WIRES = {
    # api: where it is, and a model whose parameters are known
    "openai": ("/v1", "gpt-4o"),
    "anthropic": ("/v1", "claude-3-5-haiku-latest"),
    "gemini": ("/v1beta", "gemini-2.0-flash"),
}
PRESET_KEY = "key-with-a-preset-0123456789"
SYSTEM, EXAMPLE, TOOL = "Speak like a pirate.", "An example question", "look_up"
SPOKEN = ("chat", "responses", "messages", "generate", "openrouter", "azure")
each_door = pytest.mark.parametrize("door", [DOORS[name] for name in SPOKEN], ids=SPOKEN)
each_wire = pytest.mark.parametrize("wire", WIRES)


def config(root: str) -> str:
    keys = (
        f'[keys.test]\nkey = {{ value = "{KEY}" }}\n'
        f'[keys.bound]\nkey = {{ value = "{PRESET_KEY}" }}\npreset = "to-openai"\n'
    )
    return keys + "".join(
        f"""
[providers.own-{api}]
api = "{api}"
base_url = "{root}{base}"
keys = [{{ value = "sk-own-{api}" }}]
[models.to-{api}]
routes = [{{ provider = "own-{api}", model = "{model}" }}]
[presets.to-{api}]
model = "to-{api}"
temperature = 0.25
max_tokens = 77
stop = ["END"]
seed = 5
system = "{SYSTEM}"
messages = [
  {{ role = "user", content = "{EXAMPLE}" }},
  {{ role = "assistant", content = "An example answer" }},
]
[[presets.to-{api}.tools]]
type = "function"
function = {{ name = "{TOOL}", parameters = {{ type = "object", properties = {{}} }} }}
[presets.plain-{api}]
model = "to-{api}"
temperature = 0.25
"""
        for api, (base, model) in WIRES.items()
    )


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config(simulator.url.removesuffix("/v1"))) as started:
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client


@pytest.fixture
def provider(simulator: Provider) -> Provider:
    simulator.plays()
    return simulator


def sent(provider: Provider) -> dict[str, Any]:
    """The body that the provider got, its settings at the top."""
    url = provider.url.removesuffix("/v1") + "/_simulator/requests"
    [one] = [it for it in httpx.get(url, verify=NO_TLS).json()["requests"] if it["body"]]
    body: dict[str, Any] = one["body"]
    settings: dict[str, Any] = body.get("generationConfig", {})
    return body | settings


def ceiling(body: dict[str, Any]) -> object:
    names = ("max_tokens", "max_completion_tokens", "maxOutputTokens", "max_output_tokens")
    return next(body[name] for name in names if name in body)


def without_ceiling(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "max_tokens"}


# ── every door ────────────────────────────────────────────────────────────────────────────────


@each_door
@each_wire
def test_the_provider_gets_the_preset_in_its_own_words(
    http: httpx.Client, provider: Provider, door: EveryDoor, wire: str
) -> None:
    name = f"@preset/to-{wire}"
    answer = http.post(door.path(name), json=without_ceiling(door.body(name)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-signalbox-preset"].startswith(f"to-{wire}@config-")
    body = sent(provider)
    assert (body["temperature"], ceiling(body)) == (0.25, 77)
    texts = list(strings_in(body))
    assert {SYSTEM, EXAMPLE, TOOL, "hello"} <= set(texts)
    assert texts.index(EXAMPLE) < texts.index("hello")
    if not (wire == "openai" and door.name == "responses"):  # The API has no stop sequences.
        assert "END" in texts
    assert not any(text.startswith("@preset") for text in texts)


@pytest.mark.parametrize("name", ["completions", "embeddings", "count_tokens", "countTokens"])
def test_other_doors_have_presets_too(http: httpx.Client, provider: Provider, name: str) -> None:
    door, model = DOORS[name], "@preset/plain-openai"
    answer = http.post(door.path(model), json=door.body(model))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-signalbox-preset"].startswith("plain-openai@config-")


def test_a_count_counts_the_preset(http: httpx.Client, provider: Provider) -> None:
    door = DOORS["count_tokens"]

    def count(model: str) -> int:
        return int(http.post(door.path(model), json=door.body(model)).json()["input_tokens"])

    assert count("@preset/to-openai") > count("to-openai") + len(SYSTEM) / 8


@each_wire
def test_a_stream_has_the_preset_and_says_so_in_its_head(
    http: httpx.Client, provider: Provider, wire: str
) -> None:
    path, body = stream_of(DOORS["chat"], f"@preset/to-{wire}")
    answer = http.post(path, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-signalbox-preset"].startswith(f"to-{wire}@config-")
    assert sent(provider)["temperature"] == 0.25


def test_what_the_request_says_goes_before_the_preset(
    http: httpx.Client, provider: Provider
) -> None:
    body = {
        "model": "@preset/to-anthropic",
        "max_tokens": 5,
        "temperature": 0.75,
        "stop_sequences": ["OWN"],
        "system": "Own.",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": TOOL, "description": "own", "input_schema": {"type": "object"}}],
    }
    assert http.post("/v1/messages", json=body).status_code == 200
    got = sent(provider)
    assert (got["max_tokens"], got["temperature"], got["stop_sequences"]) == (5, 0.75, ["OWN"])
    assert (got["system"], got["tools"]) == (f"{SYSTEM}\n\nOwn.", body["tools"])


# ── clients ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"model": "@preset/to-openai"},
        {"model": "to-openai@preset/to-openai"},
        {"model": "to-openai", "extra_body": {"extra": {"preset": "to-openai"}}},
        {"model": "to-openai", "extra_body": {"preset": "to-openai"}},
        {
            "model": "to-openai",
            "extra_headers": {"x-signalbox-extra": '{"preset": "to-openai"}'},
        },
    ],
)
def test_openai_s_sdk_names_a_preset_in_every_way(
    running: Gateway, provider: Provider, options: dict[str, Any]
) -> None:
    with running.client() as client:
        answer = client.chat.completions.with_raw_response.create(
            messages=[{"role": "user", "content": "hello"}], top_p=0.5, **options
        )
    assert answer.headers["x-signalbox-preset"].startswith("to-openai@config-")
    assert answer.parse().choices[0].message.content
    body = sent(provider)
    assert (body["temperature"], body["top_p"]) == (0.25, 0.5)
    assert "preset" not in body


def test_openai_s_sdk_is_told_of_an_unknown_preset(running: Gateway, provider: Provider) -> None:
    with running.client() as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(
            model="@preset/to-opnai", messages=[{"role": "user", "content": "hello"}]
        )
    assert caught.value.code == "preset_not_found"
    assert "near it: to-openai" in caught.value.message


def test_a_key_s_own_preset_holds_where_the_request_names_none(
    running: Gateway, provider: Provider
) -> None:
    with running.client(api_key=PRESET_KEY) as client:
        client.chat.completions.create(
            model="to-openai", messages=[{"role": "user", "content": "hello"}]
        )
    assert sent(provider)["messages"][0] == {"role": "system", "content": SYSTEM}


# ── what is told of it ────────────────────────────────────────────────────────────────────────


def test_the_trace_says_which_version_was_applied_and_can_be_replayed(
    running: Gateway, http: httpx.Client, provider: Provider
) -> None:
    answer = http.post("/v1/chat/completions", json=DOORS["chat"].body("@preset/to-openai"))
    trace_id, label = answer.headers["x-request-id"], answer.headers["x-signalbox-preset"]
    trace = running.trace(trace_id)
    assert trace["labels"]["preset"] == label
    place = ("--data-dir", str(running.data_dir))
    config = ("--config", str(running.data_dir.parent / "signalbox.toml"))
    shown = CliRunner().invoke(main, ["trace", trace_id, *place, *config])
    assert f"preset {label}" in shown.output
    replayed = CliRunner().invoke(main, ["replay", trace_id, *place, *config])
    assert replayed.exit_code == 0, replayed.output


def test_an_explanation_has_the_preset(http: httpx.Client) -> None:
    told = http.post("/v1/explain", json=DOORS["chat"].body("@preset/to-gemini")).json()
    assert told["model"] == "to-gemini"
    assert told["preset"].startswith("to-gemini@config-")


def test_a_preset_of_the_database_is_in_force_as_soon_as_it_is_written(
    running: Gateway, http: httpx.Client, provider: Provider
) -> None:
    def save(version: int, temperature: float) -> None:
        document = {"model": "to-openai", "temperature": temperature}
        with closing(SqliteStore.open(running.data_dir / "signalbox.db")) as store:
            record = PresetRecord("live", version, document, 0.0)
            store.change([Insert(record)], records.audit("create"))

    def answer() -> httpx.Response:
        return http.post("/v1/chat/completions", json=DOORS["chat"].body("@preset/live"))

    assert answer().status_code == 404
    save(1, 0.5)
    assert eventually(answer, lambda it: it.status_code == 200).headers["x-signalbox-preset"] == (
        "live@1"
    )
    save(2, 0.625)
    eventually(answer, lambda it: it.headers["x-signalbox-preset"] == "live@2")
    provider.plays()
    answer()
    assert sent(provider)["temperature"] == 0.625
