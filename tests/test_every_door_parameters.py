"""Parameters at every door and every wire: a model's own defaults, hints that are left out and
named, several answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

from signalbox.cli.main import main
from tests.doors import door_client
from tests.every_door import DOORS, EveryDoor, words_of
from tests.gateway import KEY, NO_TLS, Gateway, Provider, gateway, simulated_provider

WIRES: Mapping[str, tuple[str, str]] = {
    # api: where it is, and a model whose parameters are known
    "openai": ("/v1", "gpt-4o"),
    "anthropic": ("/v1", "claude-3-5-haiku-latest"),
    "gemini": ("/v1beta", "gemini-2.0-flash"),
}
DEFAULT, OWN = 0.25, 0.75
KEYS = f'[keys.test]\nkey = {{ value = "{KEY}" }}\n'
SPOKEN = ("chat", "completions", "responses", "messages", "generate", "openrouter", "azure")
each_door = pytest.mark.parametrize("door", [DOORS[name] for name in SPOKEN], ids=SPOKEN)
each_wire = pytest.mark.parametrize("wire", WIRES)


def config(root: str) -> str:
    return KEYS + "".join(
        f"""
[providers.own-{api}]
api = "{api}"
base_url = "{root}{base}"
keys = [{{ value = "sk-own-{api}" }}]
[models.to-{api}]
default_params = {{ temperature = {DEFAULT} }}
routes = [{{ provider = "own-{api}", model = "{model}" }}]
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


def ask(http: httpx.Client, door: EveryDoor, wire: str, **fields: Any) -> httpx.Response:
    """`fields` in the words of OpenAI's dialect where Gemini's are not given by `config`."""
    model = f"to-{wire}"
    body = door.body(model)
    if door.told == "google":
        body["generationConfig"] = fields
    else:
        body |= fields
    return http.post(door.path(model), json=body)


def sent(provider: Provider) -> dict[str, Any]:
    """The body that the provider got, its settings at the top."""
    url = provider.url.removesuffix("/v1") + "/_simulator/requests"
    [one] = [it for it in httpx.get(url, verify=NO_TLS).json()["requests"] if it["body"]]
    body: dict[str, Any] = one["body"]
    settings: dict[str, Any] = body.get("generationConfig", {})
    return body | settings


@each_door
@each_wire
def test_a_model_s_defaults_fill_what_the_request_leaves_open(
    http: httpx.Client, provider: Provider, door: EveryDoor, wire: str
) -> None:
    assert ask(http, door, wire).status_code == 200
    assert sent(provider)["temperature"] == DEFAULT
    provider.plays()
    assert ask(http, door, wire, temperature=OWN).status_code == 200
    assert sent(provider)["temperature"] == OWN


@pytest.mark.parametrize(
    ("name", "field", "value", "wire", "told"),
    [
        ("chat", "seed", 4, "anthropic", "seed"),
        ("completions", "logit_bias", {"1": 2}, "gemini", "logit_bias"),
        ("responses", "prompt_cache_key", "k", "gemini", "prompt_cache_key"),
        ("messages", "metadata", {"user_id": "u"}, "gemini", "user"),
        ("generate", "seed", 4, "anthropic", "seed"),
        ("openrouter", "seed", 4, "anthropic", "seed"),
        ("azure", "seed", 4, "anthropic", "seed"),
    ],
)
def test_a_hint_that_is_left_out_is_named(
    *,
    http: httpx.Client,
    running: Gateway,
    provider: Provider,
    name: str,
    field: str,
    value: Any,
    wire: str,
    told: str,
) -> None:
    door = DOORS[name]
    answer = ask(http, door, wire, **{field: value})
    assert answer.status_code == 200, answer.text
    assert told in answer.headers["x-signalbox-dropped"]
    assert field not in sent(provider)
    events = running.trace(answer.headers["x-request-id"])["events"]
    [note] = [event for event in events if event["kind"] == "note"]
    assert (note["name"], note["data"]["attempt"]) == ("parameters_dropped", 1)
    assert told in note["data"]["fields"]
    shown = command(running, "trace", answer.headers["x-request-id"])
    assert f"attempt 1: {', '.join(note['data']['fields'])}" in shown.output
    strict = ask_strictly(http, door, wire, {field: value})
    assert strict.status_code == 400
    assert told in words_of(door, strict).message


def ask_strictly(
    http: httpx.Client, door: EveryDoor, wire: str, fields: Mapping[str, Any]
) -> httpx.Response:
    http.headers["x-signalbox-extra"] = '{"unsupported": "refuse"}'
    try:
        return ask(http, door, wire, **fields)
    finally:
        del http.headers["x-signalbox-extra"]


@pytest.mark.parametrize(
    ("name", "field"),
    [("chat", "n"), ("completions", "n"), ("generate", "candidateCount"), ("openrouter", "n")],
)
def test_several_answers_come_from_those_who_give_them_or_are_refused_by_name(
    http: httpx.Client, provider: Provider, name: str, field: str
) -> None:
    door = DOORS[name]
    for wire in ("openai", "gemini"):
        answer = ask(http, door, wire, **{field: 2}).json()
        told = answer.get("choices") or answer.get("candidates")
        assert [each["index"] for each in told] == [0, 1]
    refused = ask(http, door, "anthropic", **{field: 2})
    assert refused.status_code == 400
    words = words_of(door, refused)
    assert words.kind in ("unsupported_parameter", "INVALID_ARGUMENT")
    assert words.message.endswith("cannot carry n")


@pytest.mark.parametrize(
    ("name", "wire"), [("count_tokens", "anthropic"), ("countTokens", "gemini")]
)
def test_a_count_by_a_provider_has_a_trace_without_a_price_that_replays(
    http: httpx.Client, running: Gateway, provider: Provider, name: str, wire: str
) -> None:
    door = DOORS[name]
    answer = http.post(door.path(f"to-{wire}"), json=door.body(f"to-{wire}"))
    assert "x-signalbox-estimated" not in answer.headers
    trace = running.trace(answer.headers["x-request-id"])
    assert (trace["door"], trace["state"]) == (door.dialect.value, "done")
    assert trace["cost"] is None
    told = command(running, "replay", trace["id"])
    assert told.exit_code == 0, told.output


def test_azure_s_client_finds_what_is_under_no_deployment(running: Gateway) -> None:
    options: dict[str, Any] = {"api_key": KEY, "api_version": "2025-04-01-preview"}
    client = openai.AzureOpenAI(azure_endpoint=running.url, max_retries=0, **options)
    assert client.responses.create(model="to-openai", input="hello").output_text
    assert "to-openai" in [model.id for model in client.models.list()]
    deployed = openai.AzureOpenAI(
        azure_endpoint=running.url, azure_deployment="to-openai", max_retries=0, **options
    )
    chat = deployed.chat.completions.create(
        model="whatever", messages=[{"role": "user", "content": "hello"}]
    )
    assert chat.choices[0].finish_reason == "stop"


def command(running: Gateway, *arguments: str) -> Result:
    """`signalbox`, beside the running gateway."""
    place = running.data_dir
    more = ["--data-dir", str(place), "--config", str(place.parent / "signalbox.toml")]
    return CliRunner().invoke(main, [*arguments, *more])
