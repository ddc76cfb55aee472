"""What the Responses adapter reads of answers and streams; the official SDK is the oracle."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from signalbox.adapters.chat import (
    ChatAnswer,
    FinishPiece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Answer, Delta, StreamError, StreamFinished
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.errors import Failure, ProviderProtocolError
from tests.garbled import garbled
from tests.recordings import Exchange, cut
from tests.responses_wire import (
    ANSWERS,
    EVERYTHING,
    REQUEST,
    STREAMS,
    TRANSLATED,
    decode,
    deltas,
    sdk_answer,
    sdk_stream,
    some,
)


def whole(exchange: Exchange, *, told: bool = True) -> Answer | Failure:
    request = TRANSLATED if told else REQUEST
    return ResponsesAdapter(exchange.provider).decode_answer(exchange.body, request)


def said(pieces: list[Any]) -> dict[str, Any]:
    """What pieces come to."""
    tools: dict[int, list[str]] = {}
    for piece in pieces:
        if isinstance(piece, ToolCallPiece):
            call = tools.setdefault(piece.index, ["", ""])
            call[0] += piece.name or ""
            call[1] += piece.arguments
    return {
        "text": "".join(p.text for p in pieces if isinstance(p, TextPiece)),
        "reasoning": "".join(p.text for p in pieces if isinstance(p, ReasoningPiece)),
        "refusal": "".join(p.text for p in pieces if isinstance(p, RefusalPiece)),
        "encrypted": next((p.encrypted for p in pieces if getattr(p, "encrypted", None)), None),
        "tools": list(tools.values()),
        "finish": next((p.finish for p in pieces if isinstance(p, FinishPiece)), None),
    }


def said_whole(answer: ChatAnswer) -> dict[str, Any]:
    [choice] = answer.choices
    parts = choice.parts
    return {
        "text": "".join(p.text for p in parts if isinstance(p, Text)),
        "reasoning": "".join(p.text for p in parts if isinstance(p, Reasoning)),
        "refusal": "".join(p.text for p in parts if isinstance(p, Refusal)),
        "encrypted": next(
            (p.encrypted for p in parts if isinstance(p, Reasoning) and p.encrypted), None
        ),
        "tools": [[p.name, p.arguments] for p in parts if isinstance(p, ToolCall)],
        "finish": choice.finish,
    }


def pieces_of(events: list[Delta]) -> list[Any]:
    return [piece for delta in events for piece in delta.pieces]


def of_terminal(exchange: Exchange) -> bytes | None:
    """The response that a stream's last event holds."""
    for line in reversed(exchange.body.decode().splitlines()):
        if '"response.completed"' in line or '"response.incomplete"' in line:
            event = json.loads(line.removeprefix("data:"))
            if "response" in event:
                return json.dumps(event["response"]).encode()
    return None


@pytest.mark.parametrize("exchange", some(lambda e: e.expect))
def test_own_exchanges_mean_what_is_expected(exchange: Exchange) -> None:
    expect, usage = exchange.expect, None
    if exchange.streamed:
        events = decode(exchange.provider, exchange.body)
        last = events[-1]
        failure = last.failure if isinstance(last, StreamError) else None
        found = said(pieces_of(deltas(events)))
        made = {value for delta in deltas(events) for value in delta.made}
        usage = next((d.usage for d in deltas(events) if d.usage), None)
    else:
        answer = whole(exchange)
        failure = answer if isinstance(answer, Failure) else None
        if isinstance(answer, Answer):
            assert isinstance(answer.told, ChatAnswer)
            found, made, usage = said_whole(answer.told), set(answer.made), answer.usage
    if "failure" in expect:
        assert failure is not None
        assert failure.kind == expect["failure"]
        return
    assert failure is None
    for name in ("text", "reasoning", "refusal", "encrypted", "tools", "finish"):
        if name in expect:
            assert found[name] == expect[name], name
    assert made >= set(expect.get("made", ()))
    if "encrypted" in expect:
        assert expect["encrypted"] in made
    for name, count in expect.get("usage", {}).items():
        assert getattr(usage, name) == count


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_says_what_the_sdk_reads(exchange: Exchange) -> None:
    events, sdk = decode(exchange.provider, exchange.body), sdk_stream(exchange.body)
    read = deltas(events)
    assert "".join(delta.text for delta in read) or not sdk.text
    found = said(pieces_of(read))
    if sdk.text:
        assert found["text"] == sdk.text == "".join(delta.text for delta in read)
    last = events[-1]
    if isinstance(last, StreamError):
        assert sdk.error is not None or sdk.status == "failed" or sdk.events[-1]["type"] == "error"
        return
    assert isinstance(last, StreamFinished)
    [ended] = [delta for delta in read if delta.finish_reasons]
    assert [tuple(call) for call in found["tools"]] == sdk.calls
    assert found["reasoning"].replace("\n\n", "") == sdk.reasoning or not sdk.reasoning
    assert (ended.finish_reasons[0][1] in ("length", "content_filter")) == (
        sdk.status == "incomplete"
    )
    assert ended.usage is not None
    assert (ended.usage.input_total, ended.usage.output_total) == sdk.usage


@pytest.mark.parametrize("exchange", ANSWERS)
def test_a_whole_answer_says_what_the_sdk_reads(exchange: Exchange) -> None:
    answer, sdk = whole(exchange), sdk_answer(exchange.body)
    if isinstance(answer, Failure):
        assert sdk.status == "failed"
        return
    assert isinstance(answer.told, ChatAnswer)
    found = said_whole(answer.told)
    assert found["text"] == sdk.text
    assert [tuple(call) for call in found["tools"]] == sdk.calls
    if sdk.usage is not None:
        assert answer.usage is not None
        assert (answer.usage.input_total, answer.usage.output_total) == sdk.usage
    Response.construct(None, **answer.body)


@pytest.mark.parametrize("exchange", STREAMS)
def test_folding_a_stream_equals_the_whole_answer(exchange: Exchange) -> None:
    response = of_terminal(exchange)
    if response is None:
        return
    answer = ResponsesAdapter(exchange.provider).decode_answer(response, TRANSLATED)
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, ChatAnswer)
    read = deltas(decode(exchange.provider, exchange.body))
    assert said(pieces_of(read)) == said_whole(answer.told)
    assert [d.usage for d in read if d.usage] == [answer.usage]
    assert {m for d in read for m in d.made} >= set(answer.made)


@pytest.mark.parametrize("exchange", STREAMS)
@settings(max_examples=6)
@given(
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    places=st.lists(st.integers(0, 1 << 20), max_size=12),
)
def test_however_the_bytes_are_cut_the_events_are_the_same(
    exchange: Exchange, line_end: bytes, places: list[int]
) -> None:
    body = exchange.body.replace(b"\r\n", b"\n")
    expected = decode(exchange.provider, body)
    rewritten = body.replace(b"\n", line_end)
    assert decode(exchange.provider, *cut(rewritten, places)) == expected


@pytest.mark.long
@pytest.mark.parametrize("exchange", STREAMS)
def test_byte_by_byte_the_events_are_the_same(exchange: Exchange) -> None:
    single = [exchange.body[i : i + 1] for i in range(len(exchange.body))]
    assert decode(exchange.provider, *single) == decode(exchange.provider, exchange.body)


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_that_is_cut_never_ends_as_a_success(exchange: Exchange) -> None:
    body = exchange.body.replace(b"\r\n", b"\n")
    ends = [i + 2 for i in range(len(body)) if body.startswith(b"\n\n", i)]
    whole_ones = len(deltas(decode(exchange.provider, body)))
    for end in ends:
        events = decode(exchange.provider, body[:end])
        if len(deltas(events)) < whole_ones:
            assert not any(delta.finish_reasons for delta in deltas(events))
            assert not any(isinstance(event, StreamFinished) for event in events)


@pytest.mark.parametrize("exchange", EVERYTHING)
def test_a_request_of_the_same_dialect_needs_no_pieces(exchange: Exchange) -> None:
    """And its events keep their bytes."""
    if not exchange.streamed:
        return
    read = deltas(decode(exchange.provider, exchange.body, told=False))
    assert not pieces_of(read)
    lines = exchange.body.splitlines()
    assert all(b"data: " + delta.raw in lines for delta in read)
    with_pieces = deltas(decode(exchange.provider, exchange.body))
    assert [d.content_chars for d in read] == [d.content_chars for d in with_pieces]


@settings(max_examples=150)
@given(
    garbled(
        b"data: ",
        b"\n\n",
        b'{"type":"response.output_text.delta","delta":',
        b'{"type":"response.completed","response":',
        b'{"type":"response.output_item.done","item":{"type":["reasoning"],"id":',
        b'{"type":"response.output_item.done","output_index":1,"item":',
        b'{"type":"error","error":',
        b"}",
        b"}}",
    )
)
def test_a_decoder_raises_one_kind_of_error_alone(data: bytes) -> None:
    for told in (True, False):
        with contextlib.suppress(ProviderProtocolError):
            decode("openai", data, told=told)
    with contextlib.suppress(ProviderProtocolError):
        ResponsesAdapter("openai").decode_answer(data, TRANSLATED)


NAMES = (
    "type id content summary text status output error code annotations name arguments usage "
    "incomplete_details reason"
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=14,
)
KINDS = st.sampled_from(
    ["message", "reasoning", "function_call", "web_search_call", 3, ["x"], None]
)


@settings(max_examples=150)
@given(ANY, ANY, KINDS, st.dictionaries(st.sampled_from(["content", "id", "summary"]), ANY))
def test_whatever_a_response_holds_it_is_read_or_named_wrong(
    status: object, error: object, kind: object, item: dict[str, Any]
) -> None:
    response = {
        "object": "response",
        "status": status,
        "error": error,
        "output": [{"type": kind, **item}],
        "created_at": status,
    }
    body = json.dumps(response).encode()
    adapter = ResponsesAdapter("xai")
    events = [
        {"type": "response.completed", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": response["output"][0]},  # type: ignore[index]
        {"type": "response.output_item.done", "output_index": 0, "item": response["output"][0]},  # type: ignore[index]
        {"type": "error", "error": error},
    ]
    with contextlib.suppress(ProviderProtocolError):
        adapter.decode_answer(body, TRANSLATED)
    for event in events:
        with contextlib.suppress(ProviderProtocolError):
            decode("xai", b"data: " + json.dumps(event).encode() + b"\n\n")
