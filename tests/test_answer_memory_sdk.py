"""Answers that no provider keeps, referred to by the official SDK: the gateway keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseCompletedEvent, ResponseFunctionToolCall

from signalbox.simulator import Rule, Scenario, Step
from tests.dialect_world import everything_received
from tests.gateway import KEY, Gateway, Provider, gateway, simulated_provider
from tests.sdk_cases import World

OTHER_KEY = "another-gateway-key-0123456789"
TRANSLATED = ("chats", "claudes", "geminis")
CONFIG = """
retry = {{ attempts = 0 }}
[providers.chats]
api = "openai"
base_url = "{root}/v1"
keys = [{{ value = "sk-chats" }}]
[providers.claudes]
api = "anthropic"
base_url = "{root}/v1"
keys = [{{ value = "sk-claudes" }}]
[providers.geminis]
api = "gemini"
base_url = "{root}/v1beta"
keys = [{{ value = "sk-geminis" }}]
[providers.natives]
api = "openai"
responses = true
base_url = "{root}/v1"
keys = [{{ value = "sk-natives" }}]
[models.chats]
routes = [{{ provider = "chats", model = "m" }}]
[models.claudes]
routes = [{{ provider = "claudes", model = "m" }}]
[models.geminis]
routes = [{{ provider = "geminis", model = "m" }}]
[models.natives]
routes = [{{ provider = "natives", model = "m" }}]
[models.either]
routes = [
  {{ provider = "chats", model = "m", order = 0 }},
  {{ provider = "natives", model = "m", order = 1 }},
]
[keys.test]
key = {{ value = "{key}" }}
[keys.other]
key = {{ value = "{other}" }}
"""
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def config_at(provider: Provider) -> str:
    root = provider.url.removesuffix("/v1")
    return CONFIG.format(root=root, key=KEY, other=OTHER_KEY)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as running:
        yield running


@pytest.fixture(scope="module")
def started(provider: Provider) -> Iterator[Gateway]:
    with gateway(config_at(provider)) as running:
        yield running


@pytest.fixture
def at(started: Gateway, provider: Provider) -> World:
    provider.plays()
    return World(started, provider)


def create(world: World, model: str, input: Any, *, streamed: bool = False, **f: Any) -> Response:
    key = f.pop("key", KEY)
    with world.gateway.client(api_key=key) as client:
        if not streamed:
            answer = client.responses.create(model=model, input=input, **f)
            assert isinstance(answer, Response)
            return answer
        with client.responses.create(model=model, input=input, stream=True, **f) as stream:
            *_, last = stream
            assert isinstance(last, ResponseCompletedEvent)
            return last.response


def refused(world: World, model: str, input: Any, **fields: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        create(world, model, input, **fields)
    return caught.value


def last_body(world: World) -> dict[str, Any]:
    body: dict[str, Any] = everything_received(world)[-1]["body"]
    return body


def texts_in(value: object) -> list[str]:
    """All texts of a request in its order, whatever the dialect."""
    if isinstance(value, dict):
        own = [v for n, v in value.items() if n in ("text", "content", "input") and type(v) is str]
        return own + [text for each in value.values() for text in texts_in(each)]
    return [text for each in value for text in texts_in(each)] if isinstance(value, list) else []


def reference(id: str | None) -> dict[str, Any]:
    return {"type": "item_reference", "id": id}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", [*TRANSLATED, "either"])
def test_a_conversation_goes_on_from_the_answer_before(
    at: World, model: str, streamed: bool
) -> None:
    first = create(at, model, "One?", streamed=streamed, instructions="Be the first.")
    assert first.to_dict()["store"] is True
    second = create(at, model, "Two?", streamed=streamed, previous_response_id=first.id)
    third = create(at, model, "Three?", streamed=streamed, previous_response_id=second.id)
    said = texts_in(last_body(at))
    assert said == ["One?", first.output_text, "Two?", second.output_text, "Three?"]
    assert third.previous_response_id == second.id
    assert first.previous_response_id is None
    assert "Be the first." not in said


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", TRANSLATED)
def test_a_loop_of_tool_calls_refers_to_its_items(at: World, model: str, streamed: bool) -> None:
    at.provider.plays(Step(reasoning="It is about the weather."))
    asked = {"role": "user", "content": "What is the weather in Rome? Call the tool."}
    first = create(at, model, [asked], streamed=streamed, tools=[WEATHER])
    [called] = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "Sunny."}
    items = [asked, *(reference(item.id) for item in first.output), output]
    second = create(at, model, items, streamed=streamed, tools=[WEATHER])
    assert second.output_text
    told = str(last_body(at))
    # Who made it gets its own proof of it back.
    assert ("signature" in told) is (model == "claudes")
    assert "get_weather" in told
    assert "Sunny." in told


def test_another_provider_goes_on_with_it_without_the_gateway_s_ids(at: World) -> None:
    first = create(at, "chats", "One?")
    create(at, "natives", "Two?", previous_response_id=first.id)
    body = last_body(at)
    assert "previous_response_id" not in body
    assert [item.get("id") for item in body["input"]] == [None, None, None]
    assert texts_in(body) == ["One?", first.output_text, "Two?"]
    again = create(at, "natives", [reference(first.output[0].id), {"role": "user", "content": "?"}])
    assert texts_in(last_body(at)) == [first.output_text, "?"]
    create(at, "natives", [reference(first.output[0].id)], previous_response_id=again.id)
    body = last_body(at)
    assert body["previous_response_id"] == again.id
    assert texts_in(body) == [first.output_text]


def test_a_restart_and_other_keys(provider: Provider, tmp_path: Path) -> None:
    provider.plays()
    with gateway(config_at(provider), data_dir=tmp_path) as running:
        before = create(World(running, provider), "chats", "One?")
    with gateway(config_at(provider), data_dir=tmp_path) as running:
        world = World(running, provider)
        create(world, "geminis", "Two?", previous_response_id=before.id)
        assert texts_in(last_body(world)) == ["One?", before.output_text, "Two?"]
        item = reference(before.output[0].id)
        for model in ("chats", "either"):
            error = refused(world, model, "?", key=OTHER_KEY, previous_response_id=before.id)
            assert (error.code, error.param) == ("state_unavailable", "previous_response_id")
            error = refused(world, model, [item], key=OTHER_KEY)
            assert (error.code, error.param) == ("state_unavailable", "input[0].id")
        with running.client(api_key=OTHER_KEY) as client, pytest.raises(openai.NotFoundError):
            client.responses.retrieve(before.id)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"store": False}, "store: false"),
        ({"extra_body": {"extra": {"payloads": "off"}}}, "payloads: off"),
    ],
)
def test_what_is_not_to_be_kept_is_told_as_the_reason(
    at: World, fields: dict[str, Any], why: str
) -> None:
    first = create(at, "chats", "One?", **fields)
    assert not first.to_dict()["store"]
    for named in (
        refused(at, "chats", "?", previous_response_id=first.id),
        refused(at, "natives", [{"role": "user", "content": "?"}, reference(first.output[0].id)]),
    ):
        assert (named.status_code, named.code) == (400, "state_unavailable")
        assert why in named.message
        assert named.param in ("previous_response_id", "input[1].id")
    with at.gateway.client() as client, pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_an_input_that_is_too_large_is_not_kept_but_its_answer_is(at: World) -> None:
    first = create(at, "chats", "a" * 1_100_000)
    error = refused(at, "chats", "?", previous_response_id=first.id)
    assert "1 MB" in error.message
    create(at, "chats", [reference(first.output[0].id), {"role": "user", "content": "?"}])
    assert texts_in(last_body(at)) == [first.output_text, "?"]
    at.provider.plays_scenario(Scenario(rules=(Rule(steps=(Step(text="b" * 1_100_000),)),)))
    large = create(at, "chats", "One?")
    for fields in ({"previous_response_id": large.id}, {}):
        error = refused(at, "chats", [reference(large.output[0].id)], **fields)
        assert "1 MB" in error.message


def test_a_kept_answer_is_read_and_its_input_listed(at: World) -> None:
    first = create(at, "claudes", "One?", metadata={"a": "b"})
    second = create(at, "chats", "Two?", streamed=True, previous_response_id=first.id)
    with at.gateway.client() as client:
        assert client.responses.retrieve(first.id).to_dict() == first.to_dict()
        assert client.responses.retrieve(second.id).to_dict() == second.to_dict()
        items = [item.to_dict() for item in client.responses.input_items.list(second.id, limit=2)]
        assert texts_in(items) == ["Two?", first.output_text, "One?"]
        rising = client.responses.input_items.list(second.id, order="asc", limit=1)
        assert (texts_in(rising.data[0].to_dict()), rising.has_more) == (["One?"], True)
        for ask in (
            lambda: client.responses.cancel(first.id),
            lambda: list(client.responses.retrieve(first.id, stream=True)),
            lambda: client.responses.input_items.list(first.id, after="item_of_nobody"),
            lambda: client.responses.input_items.list(first.id, limit=101),
        ):
            with pytest.raises(openai.BadRequestError):
                ask()
    assert [r["method"] for r in everything_received(at)] == ["POST", "POST"]


def test_a_deleted_answer_is_gone(at: World) -> None:
    first = create(at, "chats", "One?")
    with at.gateway.client(api_key=OTHER_KEY) as client, pytest.raises(openai.NotFoundError):
        client.responses.delete(first.id)
    with at.gateway.client() as client:
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(first.id)
    assert "deleted" in refused(at, "chats", [reference(first.output[0].id)]).message
    assert "deleted" in refused(at, "chats", "?", previous_response_id=first.id).message
