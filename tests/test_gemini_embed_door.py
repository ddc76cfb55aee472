"""What clients may send to Gemini's embedding methods, and what they are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.adapters.gemini_embed_door import GeminiEmbedDoor
from signalbox.adapters.protocol import Answer
from signalbox.adapters.vectors import to_base64
from signalbox.types import Request, Usage
from tests.embedding_requests import embed_request
from tests.recordings import RECORDED
from tests.test_embeddings_door import JSON

DOOR = GeminiEmbedDoor()
ONE, MANY = Target("m", False, many=False), Target("m", False, many=True)


def read(body: object, target: Target = ONE) -> dict[str, Any]:
    return DOOR.read_body(json.dumps(body).encode(), target)


def text(*texts: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": each} for each in texts]}}


def test_one_content_is_one_input() -> None:
    request = embed_request(**text("a", "b"), taskType="CLUSTERING", outputDimensionality=8)
    form = DOOR.form(request)
    assert (form.inputs, form.single) == (("ab",), True)
    assert (form.task, form.dimensions) == ("CLUSTERING", 8)
    assert DOOR.outline(request.body, ONE).model == "m"


def test_a_batch_is_several() -> None:
    request = embed_request(text("a"), text("b") | {"title": "T"})
    form = DOOR.form(request)
    assert (form.inputs, form.single, form.title) == (("a", "b"), False, "T")


def test_names_in_snake_case_mean_the_same() -> None:
    form = DOOR.form(embed_request(**text("a"), task_type="X", output_dimensionality=8))
    assert (form.task, form.dimensions) == ("X", 8)


@pytest.mark.parametrize(
    ("body", "target", "param"),
    [
        ({}, ONE, "content"),
        ({"content": "a"}, ONE, "content"),
        ({"content": {}}, ONE, "content.parts"),
        ({"content": {"parts": []}}, ONE, "content.parts"),
        ({"content": {"parts": ["a"]}}, ONE, "content.parts[0]"),
        ({"content": {"parts": [{"text": 7}]}}, ONE, "content.parts[0].text"),
        (text("a") | {"outputDimensionality": 0}, ONE, "outputDimensionality"),
        (text("a") | {"taskType": 1}, ONE, "taskType"),
        ({}, MANY, "requests"),
        ({"requests": []}, MANY, "requests"),
        ({"requests": ["a"]}, MANY, "requests[0]"),
        ({"requests": [text("a"), {}]}, MANY, "requests[1].content"),
        ({"requests": [text("a")] * 2049}, MANY, "requests"),
    ],
)
def test_a_mistake_is_named_by_its_path(body: object, target: Target, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(body, target)
    assert refused.value.param == param


@given(
    st.binary(max_size=40)
    | JSON.map(lambda it: json.dumps(it).encode())
    | JSON.map(lambda it: json.dumps({"requests": [{"content": it}]}).encode())
    | JSON.map(lambda it: json.dumps({"content": {"parts": it}, "taskType": it}).encode()),
    st.sampled_from([ONE, MANY]),
)
def test_any_bytes_are_read_or_refused_and_what_is_read_has_a_form(
    data: bytes, target: Target
) -> None:
    try:
        body = DOOR.read_body(data, target)
    except BadRequest:
        return
    request = embed_request(text("a"))
    form = DOOR.form(Request(**{**_fields(request), "body": body}))
    assert len(form.inputs) >= 1


def _fields(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__struct_fields__ if name != "memo"}


def answered(request: Request, *vectors: Any) -> dict[str, Any]:
    answer = Answer({}, 1, "stop", Usage(prompt=1, completion=0), told=EmbeddingsAnswer(vectors))
    told = DOOR.answer(answer, request)
    body: dict[str, Any] = json.loads(DOOR.encoder(request).answer(told, "openai", "0.1"))
    return body


def test_an_answer_is_told_in_geminis_words_with_nothing_added() -> None:
    assert answered(embed_request(**text("a")), (0.5, 1.0)) == {"embedding": {"values": [0.5, 1.0]}}
    many = embed_request(text("a"), text("b"))
    assert answered(many, (0.5,), to_base64([2.0])) == {
        "embeddings": [{"values": [0.5]}, {"values": [2.0]}]
    }


def test_the_sdk_reads_the_recorded_answer_and_ours_alike() -> None:
    path = RECORDED / "open" / "gemini-embeddings.json"
    if not path.exists():
        pytest.skip("no recordings of real providers")
    recorded = json.loads(path.read_text())
    theirs = types.EmbedContentResponse.model_validate(recorded["response"]["body"])
    request = embed_request(*recorded["request"]["body"]["requests"])
    assert theirs.embeddings is not None
    vectors = [tuple(each.values or ()) for each in theirs.embeddings]
    ours = types.EmbedContentResponse.model_validate(answered(request, *vectors))
    assert ours.embeddings == theirs.embeddings
    form = DOOR.form(request)
    assert (form.dimensions, len(form.inputs)) == (768, len(vectors))
