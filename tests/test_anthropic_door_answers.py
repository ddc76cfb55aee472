"""Whole answers and errors at the Messages door, in the words of its clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from signalbox.adapters.anthropic_door import MessagesCountDoor, MessagesDoor
from signalbox.adapters.anthropic_encoder import PING
from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    Media,
    MediaKind,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Text,
    ToolCall,
)
from signalbox.adapters.protocol import Answer
from signalbox.errors import ApiError, AttemptReport, FailureKind
from signalbox.types import Dialect, Usage
from tests.anthropic_sdk import sdk_answer, sdk_stream
from tests.chat_pieces import USAGE, request_of

DOOR = MessagesDoor()
REQUEST = request_of(Dialect.MESSAGES, stream=False)


def told(*parts: Any, finish: str = "stop", usage: Usage | None = USAGE, **more: Any) -> Any:
    answer = ChatAnswer((AnswerChoice(parts, finish, **more),), usage=usage, model="theirs")
    written = DOOR.answer(Answer({}, 10, finish, usage, told=answer), REQUEST)
    return sdk_answer(DOOR.encoder(REQUEST).answer(written, "p", "0.5"))


def test_an_answer_with_everything() -> None:
    seen = told(
        Reasoning("Hm", signature="sig", format=ReasoningFormat.ANTHROPIC),
        Reasoning(encrypted="xyz", format=ReasoningFormat.ANTHROPIC),
        Reasoning(encrypted="foreign", format=ReasoningFormat.OPENAI),
        Text("So", citations=(Citation(url="https://a.test", quote="q"),)),
        Media(MediaKind.IMAGE, "image/png", data="QQ=="),
        ToolCall("c", "f", '{"a": 1}'),
        ToolCall("d", "g", '{"cut'),
        finish="tool_calls",
    )
    thinking, redacted, text, picture, call, cut = seen.content
    assert (thinking.thinking, thinking.signature, redacted.data) == ("Hm", "sig", "xyz")
    assert (text.text, text.citations[0].url) == ("So", "https://a.test")
    assert picture.text == "![image](data:image/png;base64,QQ==)"
    assert (call.id, call.name, call.input) == ("c", "f", {"a": 1})
    assert cut.input == {"arguments": '{"cut'}
    assert (seen.stop_reason, seen.model, seen.id) == ("tool_use", "theirs", "msg_t1")
    assert seen.usage.to_dict() == {
        "input_tokens": 10,
        "output_tokens": 9,
        "cache_read_input_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 2},
        "cost": 0.5,
    }


@pytest.mark.parametrize(
    ("finish", "sequence", "expected"),
    [
        ("stop", None, "end_turn"),
        ("stop", "END", "stop_sequence"),
        ("length", None, "max_tokens"),
        ("content_filter", None, "refusal"),
        ("something new", None, "end_turn"),
    ],
)
def test_stop_reasons(finish: str, sequence: str | None, expected: str) -> None:
    seen = told(Text("x"), finish=finish, stop_sequence=sequence)
    assert (seen.stop_reason, seen.stop_sequence) == (expected, sequence)


def test_a_refusal_is_text() -> None:
    seen = told(Refusal("No."))
    assert (seen.content[0].text, seen.stop_reason) == ("No.", "refusal")


def test_tokens_that_nobody_counted_are_estimated() -> None:
    seen = told(Text("x"), usage=None)
    assert (seen.usage.input_tokens, seen.usage.output_tokens) == (5, 3)


def test_cache_writes_by_their_lifetime() -> None:
    seen = told(Text("x"), usage=Usage(1, cache_write=9, completion=1, cache_write_1h=4))
    assert seen.usage.cache_creation_input_tokens == 9
    assert seen.usage.cache_creation.ephemeral_1h_input_tokens == 4
    assert seen.usage.cache_creation.ephemeral_5m_input_tokens == 5


def test_an_answer_of_the_same_dialect_changes_in_its_cost_alone() -> None:
    encoder = DOOR.encoder(REQUEST)
    usage: dict[str, object] = {"input_tokens": 1, "output_tokens": 2}
    body: dict[str, object] = {"id": "msg_own", "new": [1], "usage": usage}
    sent = encoder.answer(Answer(body, 1, "stop", None), "p", "1")
    assert msgspec.json.decode(sent) == {**body, "usage": {**usage, "cost": 1}}
    count: dict[str, object] = {"input_tokens": 3}
    counting = MessagesCountDoor().encoder(REQUEST)
    assert msgspec.json.decode(counting.answer(Answer(count, 1, "stop", None), "p", "0")) == count


def error(status: int, code: str = "c", **more: Any) -> Any:
    told = ApiError(status=status, type="server_error", code=code, message="its words", **more)
    return DOOR.error_body(told, "t1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
    ],
)
def test_types_of_errors(status: int, expected: str) -> None:
    assert error(status)["error"]["type"] == expected


def test_an_error_tells_what_was_tried() -> None:
    attempt = AttemptReport("groq", "m", FailureKind.OVERLOADED, "busy", 1, 503)
    body = error(503, param="model", attempts=(attempt,))
    assert body["error"]["type"] == "overloaded_error"
    details = body["error"]["details"]
    assert (details["error_code"], details["param"], details["trace_id"]) == ("c", "model", "t1")
    assert details["attempts"][0]["kind"] == "overloaded"


def test_a_long_prompt_is_told_in_the_words_that_clients_look_for() -> None:
    message = error(400, "context_length_exceeded")["error"]["message"]
    assert message == "prompt is too long: its words"


def test_pings_keep_a_stream_alive_before_and_in_it() -> None:
    encoder = DOOR.encoder(REQUEST)
    seen = sdk_stream(PING + PING + encoder.finish("p", None, USAGE))
    assert seen.message is not None
    assert DOOR.keep_alive == PING
