"""Cohere's embeddings: the kind of input, batches, and what comes back."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.cohere_embeddings import CohereEmbeddingsAdapter
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.adapters.protocol import Answer, JoiningAdapter
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Extra, Request, Route, Usage
from tests.embedding_requests import embed_request, embeddings_request
from tests.garbled import JSON

ADAPTER = CohereEmbeddingsAdapter("cohere")
V4 = Route(provider="cohere", model="embed-v4.0")
V3 = Route(provider="cohere", model="embed-english-v3.0")


def bodies(request: Request, route: Route = V4) -> list[dict[str, Any]]:
    wire = ADAPTER.build(request, route, "http://c.test/v2", None)
    assert wire.url == "http://c.test/v2/embed"
    return [json.loads(body) for body in (wire.body, *wire.more)]


def page(count: int, tokens: object = 3, start: int = 0) -> bytes:
    vectors = [[float(start + i), 0.5] for i in range(count)]
    meta = {"billed_units": {"input_tokens": tokens}}
    return json.dumps({"id": "e", "embeddings": {"float": vectors}, "meta": meta}).encode()


def test_texts_are_documents_unless_somebody_says_otherwise() -> None:
    assert bodies(embeddings_request(input=["a", "b"])) == [
        {
            "model": "embed-v4.0",
            "embedding_types": ["float"],
            "input_type": "search_document",
            "truncate": "NONE",
            "texts": ["a", "b"],
        }
    ]
    said = embeddings_request(input_type="search_query")
    assert bodies(said)[0]["input_type"] == "search_query"
    assert ADAPTER.dropped(said, V4) == ()
    asked = embed_request(taskType="CLASSIFICATION")
    assert bodies(asked)[0]["input_type"] == "classification"
    configured = replace(V4, params={"input_type": "clustering", "truncate": "END"})
    filled = bodies(embeddings_request(), configured)[0]
    assert (filled["input_type"], filled["truncate"]) == ("clustering", "END")
    assert bodies(said, configured)[0]["input_type"] == "search_query"


def test_dimensions_are_for_models_that_choose_them() -> None:
    shorter = embeddings_request(dimensions=256)
    assert bodies(shorter)[0]["output_dimension"] == 256
    assert ADAPTER.unsupported(shorter, V3) == ("dimensions",)
    assert ADAPTER.unsupported(embeddings_request(input=[1, 2]), V4) == ("input",)


def test_what_it_does_not_know_is_named() -> None:
    asked = embeddings_request(user="u", newfangled=1)
    assert set(ADAPTER.dropped(asked, V4)) == {"user", "newfangled"}
    refusing = replace(asked, extra=Extra(refuse_unsupported=True))
    assert set(ADAPTER.unsupported(refusing, V4)) == {"user", "newfangled"}
    assert ADAPTER.dropped(embed_request(taskType="SEMANTIC_SIMILARITY"), V4) == ("taskType",)


@pytest.mark.parametrize("count", [1, 96, 97, 200])
def test_a_longer_list_goes_in_several_calls(count: int) -> None:
    assert isinstance(ADAPTER, JoiningAdapter)
    request = embeddings_request(input=[f"t{i}" for i in range(count)])
    calls = bodies(request)
    sizes = [len(call["texts"]) for call in calls]
    assert sizes == [96] * (count // 96) + [count % 96] * bool(count % 96)
    assert [text for call in calls for text in call["texts"]] == [f"t{i}" for i in range(count)]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    pages = [page(size, 2.0, start) for size, start in zip(sizes, starts, strict=True)]
    answer = ADAPTER.decode_answers(pages, request)
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, EmbeddingsAnswer)
    assert [vector[0] for vector in answer.told.vectors] == [float(i) for i in range(count)]
    assert answer.usage == Usage(prompt=2 * len(sizes), completion=0)


def test_usage_is_estimated_where_it_is_not_said() -> None:
    answer = ADAPTER.decode_answer(page(1, None), embeddings_request())
    assert isinstance(answer, Answer)
    assert answer.usage is not None
    assert answer.usage.estimated


def test_answers_that_are_none() -> None:
    request = embeddings_request()
    failed = ADAPTER.decode_answer(b'{"id": "e", "message": "internal error"}', request)
    assert isinstance(failed, Failure)
    empty = ADAPTER.decode_answer(b'{"embeddings": {"float": []}}', request)
    assert isinstance(empty, Failure)
    assert empty.kind is FailureKind.EMPTY_ANSWER
    with pytest.raises(ProviderProtocolError):
        ADAPTER.decode_answer(page(2), request)


@settings(max_examples=100, deadline=None)
@given(vectors=JSON | st.lists(JSON, max_size=2), rest=JSON, data=st.binary(max_size=30))
def test_an_answer_raises_only_its_own_error(vectors: Any, rest: Any, data: bytes) -> None:
    whole = {"embeddings": {"float": vectors}, "meta": rest, "id": rest}
    for body in (json.dumps(whole).encode(), json.dumps(rest).encode(), data):
        with contextlib.suppress(ProviderProtocolError):
            ADAPTER.decode_answer(body, embeddings_request())
