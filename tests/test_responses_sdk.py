"""The official SDK at the Responses door of a gateway that runs as its own process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.gateway import KEY, Gateway, gateway
from tests.responses_provider import ResponsesProvider, responses_provider

OTHER_KEY = "another-gateway-key-0123456789"
CONFIG = """
retry = {{ attempts = 0 }}
[providers.openai]
base_url = "{url}"
keys = [{{ value = "sk-first-key" }}, {{ value = "sk-second-key" }}]
[providers.chats]
api = "openai"
base_url = "{url}"
keys = [{{ value = "sk-chats-key" }}]
[providers.asked]
api = "openai"
responses = true
base_url = "{url}"
keys = [{{ value = "sk-asked-key" }}]
[models.native]
routes = [{{ provider = "openai", model = "gpt", input = 1.0, output = 2.0 }}]
[models.translated]
routes = [{{ provider = "chats", model = "m", input = 1.0, output = 2.0 }}]
[models.option]
routes = [{{ provider = "asked", model = "m" }}]
[models.only-there]
routes = [{{ provider = "openai", model = "gpt-5-pro" }}]
[models.either]
routes = [
  {{ provider = "chats", model = "m", order = 0 }},
  {{ provider = "openai", model = "gpt", order = 1 }},
]
[keys.test]
key = {{ value = "{key}" }}
[keys.other]
key = {{ value = "{other}" }}
"""


@dataclass
class World:
    gateway: Gateway
    provider: ResponsesProvider

    def client(self, **options: Any) -> openai.OpenAI:
        return self.gateway.client(**options)


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with responses_provider() as provider:
        config = CONFIG.format(url=provider.url, key=KEY, other=OTHER_KEY)
        with gateway(config) as running:
            yield World(running, provider)


@pytest.fixture
def at(started: World) -> World:
    started.provider.received.clear()
    return started


def create(world: World, model: str = "native", **fields: Any) -> Response:
    with world.client() as client:
        answer = client.responses.create(model=model, input=fields.pop("input", "Hi"), **fields)
    assert isinstance(answer, Response)
    return answer


def refused(world: World, model: str = "native", **fields: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        create(world, model, **fields)
    return caught.value


# ── a provider of the same dialect ────────────────────────────────────────────────────────────


def test_an_answer_is_passed_through_and_priced(at: World) -> None:
    answer = create(at, extra_body={"novelty": {"a": 1}})
    assert answer.output_text.startswith("Answer ")
    [received] = at.provider.received
    assert received.path == "/v1/responses"
    assert received.body == {"model": "gpt", "input": "Hi", "novelty": {"a": 1}}
    assert answer.usage is not None
    assert answer.usage.to_dict()["cost"] == pytest.approx(20 / 1_000_000)


def test_a_stream_is_passed_through(at: World) -> None:
    with at.client() as client, client.responses.stream(model="native", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text.startswith("Answer ")
    assert [e.sequence_number for e in events if hasattr(e, "sequence_number")]
    assert events[-1].type == "response.completed"
    assert final.usage is not None
    assert final.usage.to_dict()["cost"] == pytest.approx(20 / 1_000_000)


def test_the_next_turn_goes_to_the_key_that_stored_the_last(at: World) -> None:
    answer = create(at)
    for _ in range(4):
        answer = create(at, previous_response_id=answer.id)
    assert len({received.key for received in at.provider.received}) == 1


def test_an_item_reference_goes_where_the_item_was_made(at: World) -> None:
    """As Vercel's SDK sends it."""
    first = create(at)
    items = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "?"}]
    create(at, "either", input=items)
    before, after = at.provider.received
    assert (after.path, after.key) == ("/v1/responses", before.key)
    error = refused(at, input=[{"type": "item_reference", "id": "msg_of_nobody"}])
    assert (error.status_code, error.code) == (400, "state_unavailable")
    assert error.param == "input[0].id"


def test_an_option_makes_any_provider_one_of_the_dialect(at: World) -> None:
    create(at, "option")
    assert [received.path for received in at.provider.received] == ["/v1/responses"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [{"role": "bard", "content": "Hi"}]}, "input[0].role"),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id",
        ),
        ({"extra_body": {"text": {"format": {"type": 3}}}}, "text.format"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_is_wrong_is_named(at: World, fields: dict[str, Any], param: str) -> None:
    error = refused(at, **fields)
    assert (error.status_code, error.code, error.param) == (400, "invalid_value", param)
    assert at.provider.received == []


# ── stored answers ────────────────────────────────────────────────────────────────────────────


def test_a_stored_answer_is_read_where_it_was_made(at: World) -> None:
    made = [create(at) for _ in range(3)]
    with at.client() as client:
        for answer in made:
            assert client.responses.retrieve(answer.id).output_text == answer.output_text
            assert client.responses.input_items.list(answer.id).data == []
    assert all(r.body is None for r in at.provider.received if r.method == "GET")


def test_a_stored_answer_is_streamed_from_where_it_was_left(at: World) -> None:
    answer = create(at, stream=False)
    with at.client() as client:
        events = list(client.responses.retrieve(answer.id, stream=True, starting_after=3))
    assert [event.sequence_number for event in events] == [4, 5, 6, 7]
    assert at.provider.received[-1].query == {"stream": ["true"], "starting_after": ["3"]}


def test_a_stored_answer_is_deleted_once(at: World) -> None:
    answer = create(at)
    with at.client() as client:
        client.responses.delete(answer.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(answer.id)
    assert [r.method for r in at.provider.received] == ["POST", "DELETE", "GET"]


def test_a_cancellation_is_answered_as_the_provider_does(at: World) -> None:
    answer = create(at)
    with at.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.responses.cancel(answer.id)
    assert "background" in caught.value.message
    assert at.provider.received[-1].path == f"/v1/responses/{answer.id}/cancel"


def test_what_was_not_answered_to_a_key_is_not_there_for_it(at: World) -> None:
    answer = create(at)
    with at.client(api_key=OTHER_KEY) as client, pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve(answer.id)
    assert (caught.value.code, caught.value.param) == ("not_found", "id")
    with at.client() as client, pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unheard_of")
    assert [received.method for received in at.provider.received] == ["POST"]


def test_an_answer_that_is_not_to_be_stored_is_not_known(at: World) -> None:
    answer = create(at, store=False)
    with at.client() as client, pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    assert len(at.provider.received) == 1


# ── a provider of chat completions ────────────────────────────────────────────────────────────


def test_a_chat_is_answered_as_a_response(at: World) -> None:
    answer = create(at, "translated", instructions="Be short.", max_output_tokens=50)
    assert answer.output_text == "From a chat."
    assert answer.status == "completed"
    assert answer.id.startswith("resp_")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)
    [received] = at.provider.received
    assert received.path == "/v1/chat/completions"
    roles = [message["role"] for message in received.body["messages"]]
    assert roles in (["system", "user"], ["developer", "user"])
    assert {received.body.get("max_tokens"), received.body.get("max_completion_tokens")} >= {50}


def test_a_chat_s_stream_is_one_of_responses(at: World) -> None:
    with at.client() as client, client.responses.stream(model="translated", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "From a chat."
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert numbers == sorted(numbers)
    assert final.usage is not None
    assert final.usage.to_dict()["cost"] == pytest.approx(20 / 1_000_000)


@pytest.mark.parametrize(("payloads", "kept"), [("full", True), ("off", False)])
def test_what_is_translated_is_stored_unless_payloads_are_off(
    at: World, payloads: str, kept: bool
) -> None:
    with at.client() as client:
        raw = client.responses.with_raw_response.create(
            model="translated", input="Hi", store=True, extra_body={"extra": {"payloads": payloads}}
        )
        assert ("store" in raw.headers.get("x-signalbox-dropped", "")) is not kept
        if kept:
            assert client.responses.retrieve(raw.parse().id).output_text == "From a chat."
        else:
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(raw.parse().id)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"previous_response_id": "resp_unheard_of"}, "previous_response_id"),
        ({"background": True}, "background"),
    ],
)
def test_what_only_the_dialect_has_is_refused_by_name(
    at: World, fields: dict[str, Any], param: str
) -> None:
    error = refused(at, "translated", **fields)
    assert error.status_code == 400
    assert param in f"{error.param} {error.message}"
    assert at.provider.received == []


def test_a_model_without_chat_completions_answers_chats(at: World) -> None:
    with at.client() as client:
        answer = client.chat.completions.create(
            model="only-there", messages=[{"role": "user", "content": "Hi"}], stop=None, seed=3
        )
    assert (answer.choices[0].message.content or "").startswith("Answer ")
    [received] = at.provider.received
    assert received.path == "/v1/responses"
    assert received.body["store"] is False
    assert received.body["include"] == ["reasoning.encrypted_content"]
    assert "seed" not in received.body
