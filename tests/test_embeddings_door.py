"""What clients may send to `/v1/embeddings`, and what they are sent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.embeddings_door import EmbeddingsDoor
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.adapters.protocol import Answer
from signalbox.adapters.vectors import to_base64
from signalbox.errors import ProviderProtocolError
from signalbox.types import Usage
from tests.embedding_requests import embeddings_request

DOOR = EmbeddingsDoor()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


def read(**fields: Any) -> dict[str, Any]:
    return DOOR.read_body(json.dumps({"model": "m", "input": "x"} | fields).encode())


@pytest.mark.parametrize(
    ("given_input", "inputs", "single"),
    [
        ("one", ("one",), True),
        (["one"], ("one",), False),
        (["one", "two"], ("one", "two"), False),
        ([1, 2], ((1, 2),), True),
        ([[1, 2], [3]], ((1, 2), (3,)), False),
    ],
)
def test_the_forms_of_an_input(given_input: object, inputs: object, single: bool) -> None:
    form = DOOR.form(embeddings_request(input=given_input))
    assert (form.inputs, form.single) == (inputs, single)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": " "}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [1, -1]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[1], [2, 2.5]]}, "input[1][1]"),
        ({"input": [None]}, "input[0]"),
        ({"input": ["x"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "7"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"encoding_format": ["float"]}, "encoding_format"),
        ({"user": 7}, "user"),
    ],
)
def test_a_mistake_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**fields)
    assert refused.value.param == param


def test_as_many_inputs_as_openai_takes_and_token_ids_without_number_are_read() -> None:
    assert len(read(input=["x"] * 2048)["input"]) == 2048
    assert len(read(input=[7] * 5000)["input"]) == 5000


def test_a_path_may_name_the_model() -> None:
    body = DOOR.read_body(b'{"input": "x"}', Target("deployed"))
    assert DOOR.outline(body, Target("deployed")).model == "deployed"


@given(st.binary(max_size=40) | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        DOOR.outline(DOOR.read_body(data))
    except BadRequest:
        return


@given(st.fixed_dictionaries({"model": st.just("m"), "input": JSON, "dimensions": JSON}))
def test_what_is_read_has_a_form(body: dict[str, Any]) -> None:
    try:
        request = embeddings_request(**body)
    except BadRequest:
        return
    form = DOOR.form(request)
    assert len(form.inputs) >= 1
    assert msgspec.json.encode(request.body)


def answered(vectors: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    told = EmbeddingsAnswer(vectors, model="theirs")
    answer = Answer({}, len(vectors), "stop", Usage(prompt=3, completion=0), told=told)
    request = embeddings_request(**fields)
    told_answer = DOOR.answer(answer, request)
    encoded = DOOR.encoder(request).answer(told_answer, "google", "0.00002")
    decoded: dict[str, Any] = json.loads(encoded)
    return decoded


def test_an_answer_of_another_dialect() -> None:
    assert answered(((0.5, 1.0), (2.0,)), input=["a", "b"]) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [2.0]},
        ],
        "model": "theirs",
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "cost": 0.00002},
        "provider": "google",
    }


def test_another_dialects_floats_are_told_as_base64() -> None:
    [item] = answered(((0.5, 1.0),), encoding_format="base64")["data"]
    assert item["embedding"] == to_base64([0.5, 1.0])


def test_another_dialects_base64_is_told_as_floats() -> None:
    [item] = answered((to_base64([0.5, 1.0]),), encoding_format="float")["data"]
    assert item["embedding"] == [0.5, 1.0]


def test_vectors_that_are_none_are_the_providers_fault() -> None:
    with pytest.raises(ProviderProtocolError):
        answered(("nonsense",))
