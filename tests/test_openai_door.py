"""The door of OpenAI's dialect: what its clients are sent."""

import json
from typing import Any

import msgspec
import pytest

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_door import (
    DONE,
    ChatEncoder,
    encode_answer,
    error_body,
    usage_object,
)
from signalbox.adapters.protocol import Delta, StreamError
from signalbox.errors import ApiError, AttemptReport, FailureKind
from signalbox.types import Usage
from tests.folding import fold
from tests.openai_sdk import sdk_answer, sdk_stream
from tests.outgoing import REQUEST
from tests.recordings import Exchange, is_openai_chat, own_exchanges, recorded_exchanges

STREAMS = [
    *own_exchanges("openai/streams"),
    *recorded_exchanges(lambda e: is_openai_chat(e) and e.streamed),
]
ERROR = ApiError(
    status=503,
    type="server_error",
    code="all_routes_failed",
    message="nothing is left",
    attempts=(AttemptReport("groq", "m", FailureKind.OVERLOADED, "busy", 1, 503),),
)


def chunk(**fields: Any) -> bytes:
    return msgspec.json.encode({"id": "c", "object": "chat.completion.chunk", **fields})


def encoder(include_usage: bool = False) -> ChatEncoder:
    return ChatEncoder(include_usage=include_usage, trace_id="t1")


def events(stream: bytes) -> list[Any]:
    payloads = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]
    return [payload if payload == b"[DONE]" else json.loads(payload) for payload in payloads]


# Streams


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("exchange", STREAMS)
def test_the_sdk_reads_the_same_from_the_gateway_as_from_the_provider(
    exchange: Exchange, include_usage: bool
) -> None:
    decoder, door = OpenAIAdapter(exchange.provider).stream_decoder(REQUEST), encoder(include_usage)
    told = decoder.feed(exchange.body) + decoder.end()
    deltas = [event for event in told if isinstance(event, Delta)]
    usage = next((d.usage for d in reversed(deltas) if d.usage), Usage(prompt=1, completion=2))
    failed = isinstance(told[-1], StreamError)
    sent = b"".join(map(door.delta, deltas))
    sent += door.error(ERROR) if failed else door.finish(exchange.provider, "0.00006", usage)
    seen = sdk_stream(sent)
    assert (seen.error is not None) == failed
    assert sent.endswith(DONE)

    before, after = fold(json.loads(delta.raw) for delta in deltas), fold(seen.chunks)
    assert (after.text, after.reasoning, after.tools) == (
        before.text,
        before.reasoning,
        before.tools,
    )
    assert after.finish == {index: reasons[:1] for index, reasons in before.finish.items()}
    usage_sent = include_usage and not failed
    if usage_sent:
        assert seen.chunks[-1]["choices"] == []
        assert seen.chunks[-1]["provider"] == exchange.provider
        reported = before.usage[-1] if before.usage else usage_object(usage)
        assert after.usage == [{**reported, "cost": 0.00006}]
    else:
        assert after.usage == []
    with_choices = seen.chunks[:-1] if usage_sent else seen.chunks
    assert all(chunk["choices"] for chunk in with_choices)


def test_bytes_go_out_as_they_came_where_nothing_must_change() -> None:
    for raw in (
        b'{ "choices":[{"index":0,"delta":{"content":"\\u00e9"}}],"x":1e-05}',
        b'{"choices":[{"index":0,"delta":{}}],"usage":null}',
        b'{"choices":[{"index":0,"delta":{"content":"\\"usage\\":{}"}}]}',
    ):
        assert encoder().delta(Delta(raw)) == b"data: " + raw + b"\n\n"
    door = encoder()
    finish = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    assert door.delta(Delta(finish, finish_reasons=((0, "stop"),))) == b""
    assert door.finish("p", None, None) == b"data: " + finish + b"\n\n" + DONE


def ending(index: int, text: str = "") -> Delta:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": "stop"}
    return Delta(
        chunk(choices=[choice]), content_chars=len(text), finish_reasons=((index, "stop"),)
    )


def reasons(sent: bytes) -> list[Any]:
    return [
        choice["finish_reason"]
        for event in events(sent)
        if isinstance(event, dict)
        for choice in event["choices"]
    ]


def test_an_end_is_held_until_it_is_certain() -> None:
    """What follows it takes it along; where the request fails, the error is the end."""
    door = encoder()
    assert door.delta(ending(0)) == b""
    assert reasons(door.delta(ending(1))) == ["stop"]
    assert reasons(door.error(ERROR)) == [None], "one of the ends went out"
    door = encoder()
    assert door.delta(ending(0)) == b""
    assert reasons(door.error(ERROR)) == ["error"]


def test_an_end_that_comes_with_content_is_not_held() -> None:
    door = encoder()
    assert reasons(door.delta(ending(0, "a"))) == ["stop"]
    assert reasons(door.error(ERROR)) == [None]


def test_usage_leaves_a_chunk_with_choices_and_the_rest_keeps_its_bytes() -> None:
    raw = (
        b'{"x":1e-05,"choices":[{ "index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3}}'
    )
    sent = encoder().delta(Delta(raw, content_chars=1, usage=Usage(prompt=3)))
    assert sent == b'data: {"x":1e-05,"choices":[{ "index":0,"delta":{"content":"a"}}]}\n\n'


def test_usage_that_says_nothing_does_not_reach_the_client() -> None:
    raw = chunk(choices=[{"index": 0, "delta": {}}], usage={"prompt_tokens": 0})
    door = encoder(include_usage=True)
    assert "usage" not in events(door.delta(Delta(raw)))[0]
    (last, _) = events(door.finish("p", None, Usage(prompt=4, completion=2, estimated=True)))
    assert last["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def test_the_last_usage_counts_and_an_estimate_replaces_it() -> None:
    def finished(usage: Usage | None) -> Any:
        door = encoder(include_usage=True)
        for count in (1, 2):
            raw = chunk(choices=[], usage={"prompt_tokens": 5, "completion_tokens": count})
            assert door.delta(Delta(raw, usage=Usage(5), has_choices=False)) == b""
        return events(door.finish("p", "0.1", usage))[0]["usage"]

    assert finished(None) == {"prompt_tokens": 5, "completion_tokens": 2, "cost": 0.1}
    estimate = Usage(prompt=5, completion=9, estimated=True)
    assert finished(estimate)["completion_tokens"] == 9


def test_unknown_usage_is_not_zero() -> None:
    (last, done) = events(encoder(include_usage=True).finish("p", None, None))
    assert (last["usage"], last["choices"], done) == (None, [], b"[DONE]")


def test_one_finish_reason_for_each_choice() -> None:
    door = encoder()
    sent = b"".join(door.delta(ending(index)) for index in (0, 1, 0, 1))
    assert reasons(sent + door.finish("p", None, None)) == ["stop", "stop", None, None]


def test_a_chunk_without_choices_is_not_sent() -> None:
    raw = chunk(choices=[], prompt_filter_results=[])
    assert encoder(include_usage=True).delta(Delta(raw, has_choices=False)) == b""


def test_an_error_in_the_stream_is_what_the_sdks_raise() -> None:
    door = encoder()
    raw = chunk(model="m", choices=[{"index": 0, "delta": {"content": "One"}}])
    sent = door.delta(Delta(raw, content_chars=3)) + door.error(ERROR)
    seen = sdk_stream(sent)
    assert fold(seen.chunks).text == "One"
    assert seen.error is not None
    assert (seen.error.message, seen.error.code) == ("nothing is left", "all_routes_failed")
    (_, last, done) = events(sent)
    assert (last["id"], last["model"], done) == ("c", "m", b"[DONE]")
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "error"}]


def test_an_error_before_any_chunk_has_an_id_of_the_gateway_s() -> None:
    assert events(encoder().error(ERROR))[0]["id"] == "chatcmpl-t1"


# Whole bodies


def test_the_error_body_is_openai_s_with_trace_and_attempts() -> None:
    assert error_body(ERROR, "t1") == {
        "error": {
            "message": "nothing is left",
            "type": "server_error",
            "code": "all_routes_failed",
            "param": None,
            "metadata": {
                "trace_id": "t1",
                "attempts": [
                    {
                        "provider": "groq",
                        "model": "m",
                        "kind": "overloaded",
                        "message": "busy",
                        "attempt": 1,
                        "status": 503,
                    }
                ],
            },
        }
    }


@pytest.mark.parametrize(
    "exchange",
    recorded_exchanges(lambda e: is_openai_chat(e) and not e.streamed and e.status == 200),
)
def test_an_answer_changes_in_provider_and_cost_alone(exchange: Exchange) -> None:
    original = json.loads(exchange.body)
    sent = json.loads(encode_answer(original, "p", "0.000123"))
    assert (sent["provider"], sent["usage"]["cost"]) == ("p", 0.000123)
    expected = {**original, "provider": "p", "usage": {**original["usage"], "cost": 0.000123}}
    assert sent == expected
    assert sdk_answer(json.dumps(sent).encode()).choices[0].finish_reason


def test_an_unknown_cost_is_left_out() -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 1}}
    assert json.loads(encode_answer(body, "p", None))["usage"] == {"prompt_tokens": 1}
    assert "usage" not in json.loads(encode_answer({"choices": []}, "p", "1"))
