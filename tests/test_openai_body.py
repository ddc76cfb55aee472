"""The door of OpenAI's dialect: what it takes and what it refuses."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest
from signalbox.adapters.openai_body import read_chat_body, validate_chat_body
from tests.garbled import JSON, garbled


def test_a_usual_request_passes() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": None,
        "stop": ["x"],
        "unknown": {"a": 1},
    }
    validate_chat_body(body)


USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: expected the name of a model, got nothing"),
        ({"model": " "}, "model: expected the name of a model, got the string ' '"),
        ({"messages": []}, "messages: expected a list of at least one message, got a list ([])"),
        ({"messages": {}}, "messages: expected a list of at least one message, got an object ({})"),
        ({"messages": [USER, 3]}, "messages[1]: expected an object, got the number 3"),
        ({"messages": [USER, USER, {}]}, "messages[2].role: expected one of assistant, developer"),
        ({"messages": [{**USER, "role": "boss"}]}, "messages[0].role: expected one of"),
        ({"messages": [{**USER, "role": []}]}, "messages[0].role: expected one of"),
        (
            {"messages": [{**USER, "content": 1}]},
            "messages[0].content: expected a string or a list",
        ),
        (
            {"messages": [{**USER, "content": ["x"]}]},
            "messages[0].content[0]: expected an object with a `type`",
        ),
        ({"messages": [{**USER, "tool_calls": {}}]}, "messages[0].tool_calls: expected a list"),
        ({"stream": "true"}, "stream: expected true or false, got the string 'true'"),
        ({"n": 0}, "n: expected a whole number from 1 to 128, got the number 0"),
        ({"n": True}, "n: expected a whole number from 1 to 128, got a boolean"),
        ({"n": 10**30}, "n: expected a whole number from 1 to 128, got the number 1000"),
        ({"max_tokens": 1.5}, "max_tokens: expected a whole number of 1 or more"),
        ({"temperature": "hot"}, "temperature: expected a number"),
        ({"tools": [1]}, "tools: expected a list of objects"),
        ({"stop": [1]}, "stop: expected a string or a list of strings"),
        ({"stream_options": []}, "stream_options: expected an object"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        validate_chat_body({"model": "m", "messages": [USER], **change})
    assert str(caught.value).startswith(message)
    assert caught.value.param == message.partition(":")[0]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000, b'{"n":1e999}', b'{"model":"\\ud800"}'],
)
def test_a_body_that_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_chat_body(data)
    assert "the body" in str(caught.value)
    assert caught.value.param is None


@given(garbled(b"") | JSON.map(lambda value: json.dumps(value).encode()))
def test_reading_a_body_raises_nothing_else(data: bytes) -> None:
    with contextlib.suppress(BadRequest):
        read_chat_body(data)


@given(st.dictionaries(st.text(), JSON))
def test_what_was_read_can_be_sent(fields: dict[str, Any]) -> None:
    data = json.dumps({**fields, "model": "m", "messages": [USER]}).encode()
    with contextlib.suppress(BadRequest):
        msgspec.json.encode(read_chat_body(data))
