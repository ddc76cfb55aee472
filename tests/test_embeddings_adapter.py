"""OpenAI's embeddings endpoint as a provider's: what is sent, and what its answers mean."""

from __future__ import annotations

import array
import base64
import json
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.doors import door_of
from signalbox.adapters.embeddings import EmbeddingsAdapter
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.adapters.protocol import Answer, WireRequest
from signalbox.adapters.vectors import to_base64
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Extra, Request, Route, Secret, Usage
from tests.embedding_requests import embed_request, embeddings_request
from tests.recordings import Exchange, own_exchanges, recorded_exchanges

ROUTE = Route("openai", "text-embedding-3-small")
OWN = own_exchanges("embeddings")
RECORDED = recorded_exchanges(lambda it: it.id.startswith("openai-embeddings"))


def build(provider: str, request: Request, route: Route = ROUTE) -> tuple[WireRequest, Any]:
    wire = EmbeddingsAdapter(provider).build(request, route, "http://p.test/v1/", Secret("sk-1"))
    return wire, msgspec.json.decode(wire.body)


def answered(provider: str, request: Request, *bodies: bytes) -> Answer:
    answer = EmbeddingsAdapter(provider).decode_answers(bodies, request)
    assert isinstance(answer, Answer)
    return answer


def page(*vectors: object, **fields: Any) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return json.dumps(
        {"object": "list", "data": data, "model": "e", "usage": usage} | fields
    ).encode()


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def test_a_request_goes_out_as_it_came_but_for_its_model_and_the_gateways_fields() -> None:
    request = embeddings_request(
        input=["a", "b"], encoding_format="base64", dimensions=7, provider={}, future=[1]
    )
    wire, body = build("openai", request)
    assert (wire.method, wire.url) == ("POST", "http://p.test/v1/embeddings")
    assert dict(wire.headers)["authorization"] == "Bearer sk-1"
    assert body == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "encoding_format": "base64",
        "dimensions": 7,
        "future": [1],
    }
    assert (wire.more, wire.dropped) == ((), ())


@pytest.mark.parametrize("provider", ["openai", "vllm", "somebody"])
def test_token_ids_go_to_providers_that_take_them(provider: str) -> None:
    _, body = build(provider, embeddings_request(input=[[1, 2], [3]]))
    assert body["input"] == [[1, 2], [3]]


@pytest.mark.parametrize("provider", ["mistral", "cohere", "google", "ollama", "together"])
def test_token_ids_rule_other_providers_out(provider: str) -> None:
    request = embeddings_request(input=[1, 2])
    assert EmbeddingsAdapter(provider).unsupported(request, ROUTE) == ("input",)
    with pytest.raises(UnsupportedParameter, match="input"):
        build(provider, request)


def test_what_a_provider_does_not_take_is_renamed_left_out_or_rules_it_out() -> None:
    request = embeddings_request(dimensions=8, user="u", encoding_format="base64")
    wire, body = build("mistral", request)
    assert (body["output_dimension"], "dimensions" in body) == (8, False)
    assert wire.dropped == ("user",)
    assert EmbeddingsAdapter("together").unsupported(request, ROUTE) == ("dimensions",)
    _, body = build("together", embeddings_request(encoding_format="base64"))
    assert "encoding_format" not in body
    _, body = build("voyage", embeddings_request(encoding_format="float"))
    assert "encoding_format" not in body


def test_hints_count_as_meaning_where_the_request_says_so() -> None:
    request = embeddings_request(Extra(refuse_unsupported=True), user="u")
    assert EmbeddingsAdapter("mistral").unsupported(request, ROUTE) == ("user",)


def test_a_routes_params_fill_what_the_client_left_open() -> None:
    route = Route("openai", "e", params={"dimensions": 256})
    assert build("openai", embeddings_request(), route)[1]["dimensions"] == 256
    assert build("openai", embeddings_request(dimensions=8), route)[1]["dimensions"] == 8


def test_geminis_request_is_written_in_openais_words() -> None:
    request = embed_request(
        {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8},
        {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8, "autoTruncate": True},
    )
    wire, body = build("openai", request)
    assert body == {
        "model": "text-embedding-3-small",
        "input": ["hello", "hello"],
        "dimensions": 8,
    }
    assert wire.dropped == ("taskType", "autoTruncate")


def test_what_only_gemini_understands_rules_others_out_in_its_words() -> None:
    adapter = EmbeddingsAdapter("together")
    lengths = embed_request({"outputDimensionality": 8}, {})
    assert adapter.unsupported(lengths, ROUTE) == ("outputDimensionality",)
    assert adapter.unsupported(embed_request({"outputDimensionality": 8}), ROUTE) == (
        "outputDimensionality",
    )
    picture = embed_request({"content": {"parts": [{"inlineData": {"data": "AA=="}}]}})
    assert adapter.unsupported(picture, ROUTE) == ("content.parts",)


def test_more_inputs_than_a_call_takes_go_out_in_several() -> None:
    texts = [f"text {i}" for i in range(230)]
    wire, first = build("cohere", embeddings_request(input=texts, encoding_format="float"))
    bodies = [first, *map(msgspec.json.decode, wire.more)]
    assert [len(body["input"]) for body in bodies] == [96, 96, 38]
    assert [text for body in bodies for text in body["input"]] == texts
    assert all(body["encoding_format"] == "float" for body in bodies)
    wire, _ = build("openai", embeddings_request(input=[[7] * 8000] * 60))
    assert [len(msgspec.json.decode(it)["input"]) for it in (wire.body, *wire.more)] == [37, 23]


# ── answers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", OWN)
def test_an_answer_is_read(exchange: Exchange) -> None:
    vectors = exchange.expect["vectors"]
    request = embeddings_request(input=["some text"] * len(vectors))
    answer = answered(exchange.provider, request, exchange.body)
    assert [item["embedding"] for item in decoded(answer)["data"]] == vectors
    assert (answer.finish_reason, answer.choices) == ("stop", 1)
    assert answer.content_chars > 0
    assert answer.usage is not None
    if exchange.expect.get("estimated"):
        assert answer.usage == Usage(prompt=3, completion=0, estimated=True)
        assert decoded(answer)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    else:
        assert answer.usage == Usage(prompt=exchange.expect["prompt"], completion=0)


@pytest.mark.parametrize("wanted", ["float", "base64"])
@pytest.mark.parametrize("exchange", [*OWN, *RECORDED])
def test_the_sdk_reads_the_same_vectors_as_from_the_provider(
    exchange: Exchange, wanted: str
) -> None:
    theirs = sdk_vectors(exchange.body)
    request = embeddings_request(input=["x"] * len(theirs), encoding_format=wanted)
    answer = answered(exchange.provider, request, exchange.body)
    for item in decoded(answer)["data"]:
        assert isinstance(item["embedding"], str) == (wanted == "base64")
    ours = sdk_vectors(sent(answer, request))
    assert list(map(bits, ours)) == list(map(bits, theirs))
    foreign = EmbeddingsAdapter(exchange.provider).decode_answer(
        exchange.body, embed_request(*({} for _ in theirs))
    )
    assert isinstance(foreign, Answer)
    assert isinstance(foreign.told, EmbeddingsAnswer)
    assert len(foreign.told.vectors) == len(theirs)


def sent(answer: Answer, request: Request) -> bytes:
    """The bytes that the client gets."""
    return door_of(request.door).encoder(request).answer(answer, "openai", "0.001")


def test_unknown_fields_reach_the_client() -> None:
    body = page([1.5], future={"a": 1}).replace(b'"index"', b'"more": "x", "index"')
    answer = decoded(answered("openai", embeddings_request(), body))
    assert answer["future"] == {"a": 1}
    assert answer["data"][0]["more"] == "x"


def test_the_answers_to_several_calls_are_one() -> None:
    request = embeddings_request(input=["x"] * 98)
    answer = answered(
        "cohere", request, page(*[[float(i)] for i in range(96)]), page([96.0], [97.0])
    )
    body = decoded(answer)
    assert [item["embedding"] for item in body["data"]] == [[float(i)] for i in range(98)]
    assert [item["index"] for item in body["data"]] == list(range(98))
    assert body["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert answer.usage == Usage(prompt=10, completion=0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"message": "slow down", "code": 429}}', FailureKind.RATE_LIMITED),
        (b'[{"error": {"message": "overloaded", "code": 503}}]', FailureKind.OVERLOADED),
        (b'{"object": "error", "message": "no"}', FailureKind.SERVER_ERROR),
        (b'{"detail": "no"}', FailureKind.SERVER_ERROR),
        (b'{"data": []}', FailureKind.EMPTY_ANSWER),
    ],
)
def test_an_error_inside_a_200_is_a_failure(body: bytes, kind: FailureKind) -> None:
    failure = EmbeddingsAdapter("openai").decode_answer(body, embeddings_request())
    assert isinstance(failure, Failure)
    assert failure.kind == kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b"<html>",
        b"{}",
        b'{"data": 7}',
        b'{"data": [7]}',
        b'{"data": [{}]}',
        b'{"data": [{"embedding": null}]}',
        page([1.0], [2.0]),
        page("no base64"),
        page([1e39]),
        page(["a"]),
        b'{"data": [{"embedding": "\xff"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_the_providers_fault(body: bytes) -> None:
    """Floats are asked for where base64 came and the other way round, so that vectors are read."""
    wanted = "float" if b'"embedding": "' in body else "base64"
    with pytest.raises(ProviderProtocolError):
        EmbeddingsAdapter("openai").decode_answer(body, embeddings_request(encoding_format=wanted))


@given(st.binary(max_size=60), st.sampled_from(["float", "base64"]))
@settings(max_examples=60)
def test_any_bytes_are_an_answer_a_failure_or_the_providers_fault(data: bytes, wanted: str) -> None:
    request = embeddings_request(encoding_format=wanted)
    for body in (data, page([1.0]).replace(b"1.0", data, 1), page("A").replace(b'"A"', data)):
        try:
            EmbeddingsAdapter("openai").decode_answer(body, request)
        except ProviderProtocolError:
            continue


# ── the SDK as the oracle ─────────────────────────────────────────────────────────────────────


def decoded(answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer.body))
    return body


def sdk_vectors(body: bytes) -> list[list[float]]:
    """As `client.embeddings.create` gives them, by their index. It asks for base64 by itself."""
    http = httpx2.Client(
        transport=httpx2.MockTransport(
            lambda _: httpx2.Response(
                200, headers={"content-type": "application/json"}, content=body
            )
        )
    )
    with openai.OpenAI(api_key="k", base_url="http://p.test/v1", http_client=http) as client:
        answer = client.embeddings.create(model="m", input="x")
    data = sorted(answer.data, key=lambda item: item.index or 0)
    return [item.embedding for item in data]


def bits(vector: list[float]) -> bytes:
    return array.array("f", vector).tobytes()


def test_the_oracle_reads_base64() -> None:
    assert base64.b64decode(to_base64([0.5])) == bits([0.5])
    assert sdk_vectors(page(to_base64([0.5, 2.0]))) == [[0.5, 2.0]]
