"""Bodies that the Messages door refuses, and which field it names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.anthropic_body import outline_of, read_messages_body
from signalbox.adapters.anthropic_request_reader import read_messages_request
from signalbox.adapters.door import BadRequest
from tests.test_anthropic_request_reader import ask, image, user


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        (ask(model=" "), "model"),
        (ask(max_tokens=None), "max_tokens"),
        (ask(max_tokens=1.5), "max_tokens"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "messages"),
        (ask({"role": "robot", "content": "x"}), "messages[0].role"),
        (ask({"role": "user"}), "messages[0].content"),
        (ask({"role": "user", "content": 5}), "messages[0].content"),
        (ask(user({"text": "x"})), "messages[0].content[0].type"),
        (ask(user({"type": "text"})), "messages[0].content[0].text"),
        (ask(user(image(type="base64"))), "messages[0].content[0].source.data"),
        (
            ask(user({"type": "tool_use", "id": "t", "name": "f", "input": "{}"})),
            "messages[0].content[0].input",
        ),
        (ask(system=[{"type": "image"}]), "system[0].type"),
        (ask(tools=[{"name": "f"}]), "tools[0].input_schema"),
        (ask(tools=["f"]), "tools[0]"),
        (ask(tool_choice={"type": "tool"}), "tool_choice.name"),
        (ask(tool_choice={"type": "some"}), "tool_choice.type"),
        (ask(thinking={"budget_tokens": 5}), "thinking.type"),
        (ask(output_config={"effort": 3}), "output_config.effort"),
        (ask(output_format={"type": "json_schema"}), "output_format.schema"),
        (ask(stop_sequences="END"), "stop_sequences"),
        (ask(stream="yes"), "stream"),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        read_messages_body(json.dumps(body).encode())
    assert refused.value.param == param


def test_blocks_are_not_nested_without_end() -> None:
    block: dict[str, Any] = {"type": "text", "text": "x"}
    for _ in range(200):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    with pytest.raises(BadRequest, match="too deep"):
        read_messages_body(json.dumps(ask(user(block))).encode())


NAMES = [
    "type",
    "text",
    "image",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "source",
    "data",
    "url",
    "content",
    "id",
    "name",
    "input",
    "role",
    "user",
    "system",
    "signature",
    "citations",
    "cache_control",
    "format",
    "schema",
]
FIELDS = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "stop_sequences",
    "stream",
    "cache_control",
    "service_tier",
]
WORDS = ["text", "image", "tool_use", "tool_result", "user", "base64", "url"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner | st.sampled_from(WORDS), max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), JSON)
def test_any_json_is_read_or_refused(more: dict[str, Any], content: Any) -> None:
    body = {**ask(user(content)), **more}
    try:
        read_body = read_messages_body(json.dumps(body).encode())
    except BadRequest:
        return
    outline_of(read_body)
    read_messages_request(read_body)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_messages_body(data)
