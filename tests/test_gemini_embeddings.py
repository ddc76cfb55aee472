"""Gemini's embeddings and its counts of tokens."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.chat import (
    Native,
)
from signalbox.adapters.embeddings_form import EmbeddingsAnswer, EmbeddingsRequest
from signalbox.adapters.gemini_count import GeminiCountAdapter
from signalbox.adapters.gemini_embeddings import GeminiEmbeddingsAdapter
from signalbox.adapters.protocol import Answer, JoiningAdapter
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Extra, Request, Usage
from tests.garbled import JSON
from tests.gemini_cases import BASE, CONTENTS, KEY, NATIVE, TRANSLATED, recorded_requests, route
from tests.recordings import Exchange, recorded_exchanges

ADAPTER = GeminiEmbeddingsAdapter("google")
COUNTER = GeminiCountAdapter("google")
MODEL = "models/gemini-embedding-001"
WHERE = route("gemini-embedding-001")
ONE = {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY", "new": 1}


def asked(*inputs: Any, **fields: Any) -> Request:
    form = EmbeddingsRequest(
        **{"dialect": Dialect.EMBEDDINGS, "model": "m", "inputs": inputs, **fields}
    )
    request = replace(TRANSLATED, door=Dialect.EMBEDDINGS)
    request.memo["form"] = form
    return request


def native(body: dict[str, Any]) -> Request:
    return replace(NATIVE, door=Dialect.EMBED, body=body)


def bodies(request: Request, where: Any = WHERE) -> tuple[str, list[dict[str, Any]]]:
    wire = ADAPTER.build(request, where, BASE, KEY)
    return wire.url, [json.loads(body) for body in (wire.body, *wire.more)]


def page(count: int, start: int = 0, **rest: Any) -> bytes:
    vectors = [{"values": [float(start + i), 0.5]} for i in range(count)]
    return json.dumps({"embeddings": vectors, **rest}).encode()


def test_inputs_become_a_batch() -> None:
    request = asked("a", "b", dimensions=8, task="CLUSTERING", title="t")
    url, (body,) = bodies(request)
    shared = {"taskType": "CLUSTERING", "title": "t", "outputDimensionality": 8, "model": MODEL}
    assert url == f"{BASE}{MODEL}:batchEmbedContents"
    assert body == {
        "requests": [{**shared, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    }


@pytest.mark.parametrize("count", [1, 100, 101, 250])
def test_a_longer_list_goes_in_several_calls(count: int) -> None:
    assert isinstance(ADAPTER, JoiningAdapter)
    texts = [f"t{i}" for i in range(count)]
    batch = native({"requests": [{"content": {"parts": [{"text": text}]}} for text in texts]})
    for request in (asked(*texts), batch):
        _, calls = bodies(request)
        sizes = [len(call["requests"]) for call in calls]
        assert sizes == [100] * (count // 100) + [count % 100] * bool(count % 100)
        said = [each["content"]["parts"][0]["text"] for call in calls for each in call["requests"]]
        assert said == texts
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        pages = [page(size, start) for size, start in zip(sizes, starts, strict=True)]
        answer = ADAPTER.decode_answers(pages, request)
        assert isinstance(answer, Answer)
        if request is batch:
            vectors = json.loads(json_of(answer.body))["embeddings"]
            assert [vector["values"][0] for vector in vectors] == [*range(count)]
        else:
            assert isinstance(answer.told, EmbeddingsAnswer)
            assert [vector[0] for vector in answer.told.vectors] == [*range(count)]
        assert answer.usage is not None
        assert answer.usage.estimated


def json_of(body: Any) -> bytes:
    return msgspec.json.encode(body)


def test_its_own_bodies_go_through() -> None:
    url, (body,) = bodies(native({**ONE, "model": "models/client", "extra": {}}))
    assert url == f"{BASE}{MODEL}:embedContent"
    assert body == {**ONE, "model": MODEL}
    url, (body,) = bodies(native({"requests": [{**ONE, "model": "models/x"}], "more": 1}))
    assert url == f"{BASE}{MODEL}:batchEmbedContents"
    assert body == {"requests": [{**ONE, "model": MODEL}], "more": 1}


def test_a_route_adds_what_is_left_open() -> None:
    where = route("gemini-embedding-001", params={"dimensions": 4, "taskType": "X"})
    _, (body,) = bodies(native({"content": ONE["content"], "task_type": "Y"}), where)
    assert body == {
        "content": ONE["content"],
        "task_type": "Y",
        "outputDimensionality": 4,
        "model": MODEL,
    }
    _, (body,) = bodies(asked("a", dimensions=2), where)
    assert body["requests"][0]["outputDimensionality"] == 2


def test_what_it_does_not_take_is_named() -> None:
    tokens = asked((1, 2), "a")
    assert ADAPTER.unsupported(tokens, WHERE) == ("input",)
    with pytest.raises(UnsupportedParameter, match="input"):
        ADAPTER.build(tokens, WHERE, BASE, KEY)
    hints = asked("a", user="u", unknown={"x": 1})
    assert ADAPTER.dropped(hints, WHERE) == ("user", "x")
    refusing = replace(hints, extra=Extra(refuse_unsupported=True))
    refusing.memo["form"] = hints.memo["form"]
    assert ADAPTER.unsupported(refusing, WHERE) == ("user", "x")
    image = asked("a", native=(Native(Dialect.COHERE_EMBED, [], name="images"),))
    assert ADAPTER.unsupported(image, WHERE) == ("images",)


def test_usage_is_the_providers_where_it_says_so() -> None:
    counted = {"promptTokenCount": 9, "totalTokenCount": 9}
    answer = ADAPTER.decode_answer(page(1, usageMetadata=counted), asked("a"))
    assert isinstance(answer, Answer)
    assert answer.usage == Usage(prompt=9, completion=0)


def test_a_single_answer() -> None:
    body = b'{"embedding": {"values": [0.25, 1], "shape": 2}, "x": 1}'
    answer = ADAPTER.decode_answer(body, native(ONE))
    assert isinstance(answer, Answer)
    assert json.loads(json_of(answer.body)) == json.loads(body)
    told = ADAPTER.decode_answer(body, asked("a"))
    assert isinstance(told, Answer)
    assert isinstance(told.told, EmbeddingsAnswer)
    assert told.told.vectors == ((0.25, 1.0),)


def test_errors_and_what_is_no_answer() -> None:
    error = b'{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID"}}'
    for body in (error, b"[" + error + b"]"):
        failure = ADAPTER.decode_answer(body, asked("a"))
        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.KEY_REJECTED
    empty = ADAPTER.decode_answer(b"{}", asked("a"))
    assert isinstance(empty, Failure)
    assert empty.kind is FailureKind.EMPTY_ANSWER
    for body in (page(2), b"[]", b"7", b"", b"\xff", b'{"embeddings": [{"values": "a"}]}'):
        with pytest.raises(ProviderProtocolError):
            ADAPTER.decode_answer(body, asked("a"))


@pytest.mark.parametrize(
    "exchange", recorded_exchanges(lambda e: e.provider == "gemini" and "mbedContent" in e.path)
)
def test_a_recorded_answer_is_what_the_sdk_reads(exchange: Exchange) -> None:
    theirs = types.EmbedContentResponse.model_validate(json.loads(exchange.body)).embeddings or []
    answer = ADAPTER.decode_answer(exchange.body, asked(*(["a"] * len(theirs))))
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, EmbeddingsAnswer)
    assert list(map(list, answer.told.vectors)) == [vector.values for vector in theirs]


def test_recorded_requests_go_through() -> None:
    for _, path, body in recorded_requests():
        if "mbedContent" in path:
            assert bodies(native(body))[1] == [body]


@settings(max_examples=100, deadline=None)
@given(
    body=st.binary(max_size=12)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"embeddings": value}).encode())
    | JSON.map(lambda value: json.dumps({"embedding": {"values": value}}).encode())
    | JSON.map(lambda value: json.dumps({"totalTokens": value}).encode()),
    own=st.booleans(),
)
def test_any_bytes_are_read_or_a_protocol_error(body: bytes, own: bool) -> None:
    for decode in (ADAPTER.decode_answer, COUNTER.decode_answer):
        try:
            decode(body, native(ONE) if own else asked("a"))
        except ProviderProtocolError:
            continue


# ── counts ────────────────────────────────────────────────────────────────────────────────────


def counted(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    request = replace(NATIVE, door=Dialect.GENERATE_COUNT, body=body)
    wire = COUNTER.build(request, route("gemini-3-flash"), BASE, KEY)
    assert wire.dropped == COUNTER.dropped(request, WHERE) == COUNTER.unsupported(request, WHERE)
    return wire.url, json.loads(wire.body)


def test_a_count_goes_through_with_the_routes_model() -> None:
    url, body = counted({"contents": CONTENTS, "extra": {}})
    assert url == f"{BASE}models/gemini-3-flash:countTokens"
    assert body == {"contents": CONTENTS}
    whole = {"model": "models/client", "contents": CONTENTS, "tools": []}
    _, body = counted({"generate_content_request": whole})
    assert body == {"generate_content_request": {**whole, "model": "models/gemini-3-flash"}}


def test_a_count_costs_nothing() -> None:
    body = {"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}]}
    answer = COUNTER.decode_answer(json.dumps(body).encode(), NATIVE)
    assert isinstance(answer, Answer)
    assert (answer.body, answer.usage) == (body, Usage(prompt=0, completion=0))
    assert answer.content_chars == 1


def test_a_count_that_is_none() -> None:
    for body in (b"", b"[]", b'{"totalTokens": "many"}', b'{"totalTokens": -1}'):
        with pytest.raises(ProviderProtocolError):
            COUNTER.decode_answer(body, NATIVE)
    failure = COUNTER.decode_answer(b'{"error": {"code": 500, "message": "no"}}', NATIVE)
    assert isinstance(failure, Failure)
