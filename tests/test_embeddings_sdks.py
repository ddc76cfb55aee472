"""Embeddings and completions with the vendors' own SDKs, against a gateway that runs as its own
process."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.gateway import KEY, Gateway, gateway
from tests.node_env import run_node
from tests.small_provider import STORY, SmallProvider, small_provider, vector_of

CONFIG = """
[providers.openai]
base_url = "{url}"
keys = [{{ value = "sk-1" }}]
[providers.cohere]
api = "openai"
base_url = "{url}"
keys = [{{ value = "sk-2" }}]
[models.m]
routes = [{{ provider = "openai", model = "text-embedding-3-small", input = 1.0, output = 0.0 }}]
[models.limited]
routes = [{{ provider = "cohere", model = "embed", input = 1.0, output = 0.0 }}]
fallbacks = ["other"]
[models.other]
routes = [{{ provider = "openai", model = "other", input = 1.0, output = 0.0 }}]
[models.instruct]
routes = [{{ provider = "openai", model = "gpt-3.5-turbo-instruct", input = 1.0, output = 2.0 }}]
[keys.test]
key = {{ value = "{key}" }}
"""


@dataclass
class World:
    gateway: Gateway
    provider: SmallProvider

    @property
    def sdk(self) -> openai.OpenAI:
        return self.gateway.client()


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with (
        small_provider() as provider,
        gateway(CONFIG.format(url=provider.url, key=KEY)) as running,
    ):
        yield World(running, provider)


@pytest.fixture
def at(started: World) -> World:
    started.provider.bodies.clear()
    return started


# ── embeddings with OpenAI's SDK ──────────────────────────────────────────────────────────────


def test_floats_and_base64(at: World) -> None:
    texts = ["one", "three"]
    with at.sdk as client:
        usual = client.embeddings.create(model="m", input=texts)
        floats = client.embeddings.create(model="m", input=texts, encoding_format="float")
        raw = client.embeddings.create(model="m", input="one", encoding_format="base64")
    wanted = [vector_of(text) for text in texts]
    assert [item.embedding for item in usual.data] == wanted
    assert [item.embedding for item in floats.data] == wanted
    [item] = raw.data
    assert struct.unpack("<3f", base64.b64decode(str(item.embedding))) == tuple(vector_of("one"))
    assert [body["encoding_format"] for body in at.provider.bodies] == ["base64", "float", "base64"]
    assert usual.usage.prompt_tokens == 3
    assert usual.to_dict()["provider"] == "openai"
    assert usual.usage.to_dict()["cost"] == 0.000003


def test_token_ids_as_langchain_sends_them(at: World) -> None:
    with at.sdk as client:
        answer = client.embeddings.create(model="m", input=[[1, 2, 3], [40]])
    assert [item.embedding for item in answer.data] == [vector_of([1, 2, 3]), vector_of([40])]
    assert at.provider.bodies[0]["input"] == [[1, 2, 3], [40]]


def test_token_ids_where_no_route_takes_them(at: World) -> None:
    with at.sdk as client, pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="limited", input=[1, 2])
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "input")
    assert at.provider.bodies == []


def test_a_large_batch_is_split(at: World) -> None:
    texts = ["x" * (i % 7) for i in range(200)]
    with at.sdk as client:
        answer = client.embeddings.create(model="limited", input=texts)
    assert [item.embedding for item in answer.data] == [vector_of(text) for text in texts]
    assert [item.index for item in answer.data] == list(range(200))
    assert [len(body["input"]) for body in at.provider.bodies] == [96, 96, 8]
    assert answer.usage.total_tokens == 9


@pytest.mark.parametrize(
    ("extra_body", "param"),
    [
        ({"extra": {"fallback_models": ["other"]}}, "extra.fallback_models"),
        ({"models": ["other"]}, "models"),
    ],
)
def test_another_model_never_stands_in(
    at: World, extra_body: dict[str, object], param: str
) -> None:
    with at.sdk as client, pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="m", input="x", extra_body=extra_body)
    assert refused.value.param == param
    # Nor does one of the configuration's.
    with at.sdk as client, pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="limited", input="x", dimensions=8)
    assert at.provider.bodies == []


def test_a_mistake_is_named(at: World) -> None:
    with at.sdk as client, pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="m", input=["a", 7])  # type: ignore[arg-type]  # a mistake
    assert (refused.value.code, refused.value.param) == ("invalid_value", "input[1]")


@pytest.mark.npm
def test_nodes_sdk_asks_for_base64(at: World) -> None:
    client = {"baseURL": f"{at.gateway.url}/v1", "apiKey": KEY, "maxRetries": 0}
    params = {"model": "m", "input": ["one", "three"]}
    [outcome] = run_node(
        "openai_sdk.mjs", [{"method": "embed", "params": params, "client": client}]
    )
    assert [item["embedding"] for item in outcome["answer"]["data"]] == [
        vector_of("one"),
        vector_of("three"),
    ]
    assert at.provider.bodies[0]["encoding_format"] == "base64"


# ── and with Google's ─────────────────────────────────────────────────────────────────────────


def google(at: World) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=at.gateway.url))


def test_googles_sdk_at_a_provider_of_openais_dialect(at: World) -> None:
    with google(at) as client:
        answer = client.models.embed_content(
            model="m",
            contents=["one", "three"],
            config=types.EmbedContentConfig(task_type="CLUSTERING", output_dimensionality=8),
        )
    assert answer.embeddings is not None
    assert [each.values for each in answer.embeddings] == [vector_of("one"), vector_of("three")]
    [body] = at.provider.bodies
    assert body == {
        "path": "/v1/embeddings",
        "model": "text-embedding-3-small",
        "input": ["one", "three"],
        "dimensions": 8,
    }


def test_googles_sdk_is_refused_in_its_words(at: World) -> None:
    with google(at) as client, pytest.raises(genai_errors.ClientError) as refused:
        client.models.embed_content(model="nobody", contents="one")
    assert refused.value.code == 404


# ── completions ───────────────────────────────────────────────────────────────────────────────


def test_a_completion(at: World) -> None:
    with at.sdk as client:
        answer = client.completions.create(
            model="instruct", prompt="Tell", suffix=".", echo=True, logprobs=2, best_of=2
        )
    assert answer.choices[0].text == "".join(STORY)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.to_dict()["cost"] == 0.000008
    [body] = at.provider.bodies
    assert body["path"] == "/v1/completions"
    assert (body["suffix"], body["echo"], body["logprobs"], body["best_of"]) == (".", True, 2, 2)


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_streamed_completion(at: World, include_usage: bool) -> None:
    options = {"include_usage": True} if include_usage else None
    with at.sdk as client:
        stream = client.completions.create(
            model="instruct",
            prompt="Tell",
            stream=True,
            **({"stream_options": options} if options else {}),  # type: ignore[call-overload]  # the same call
        )
        chunks = list(stream)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices) == "".join(STORY)
    assert [it.finish_reason for it in choices if it.finish_reason] == ["stop"]
    assert len([chunk for chunk in chunks if chunk.usage]) == include_usage
    assert at.provider.bodies[0]["stream_options"] == {"include_usage": True}


def test_a_chat_does_not_go_to_a_model_that_only_completes(at: World) -> None:
    with at.sdk as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="instruct", messages=[{"role": "user", "content": "Hi"}]
        )
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "messages")
    assert at.provider.bodies == []
