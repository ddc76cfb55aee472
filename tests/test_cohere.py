"""Cohere's chat, v2: what is sent, what comes back, and what its errors mean."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.chat import Reasoning, Text, ToolCall
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.cohere import CohereAdapter
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_parameters import MEDIA
from signalbox.adapters.protocol import Answer, Delta, StreamError, StreamEvent, StreamFinished
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Extra, Request, Route, Secret, Usage
from tests.garbled import JSON
from tests.outgoing import REQUEST
from tests.recordings import Exchange, cut, own_exchanges, recorded_exchanges

ADAPTER = CohereAdapter("cohere")
PLAIN = Route(provider="cohere", model="command-a-03-2025")
THINKING = Route(provider="cohere", model="command-a-reasoning-08-2025")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
OWN = own_exchanges("cohere")
RECORDED = recorded_exchanges(lambda e: e.provider == "cohere" and e.status == 200)
STREAMS = [p for p in [*OWN, *RECORDED] if p.values[0] is not None and p.values[0].streamed]
by_stream = pytest.mark.parametrize("exchange", STREAMS)


def request(**body: Any) -> Request:
    return replace(REQUEST, body={**REQUEST.body, **body}, stream=body.get("stream", False))


def sent(route: Route = PLAIN, /, **body: Any) -> dict[str, Any]:
    wire = ADAPTER.build(request(**body), route, "http://c.test/v2/", Secret("k-1"))
    decoded: dict[str, Any] = msgspec.json.decode(wire.body)
    return decoded


def decode(*pieces: bytes) -> list[StreamEvent]:
    decoder = ADAPTER.stream_decoder(REQUEST)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def folded(events: list[StreamEvent]) -> Any:
    folder = Folder()
    for event in events:
        if isinstance(event, Delta):
            folder.add(event)
    return folder.answer()


def finishes(events: list[StreamEvent]) -> list[str]:
    return [r for e in events if isinstance(e, Delta) for _, r in e.finish_reasons]


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def test_address_key_and_names_of_the_settings() -> None:
    asked = request(
        max_completion_tokens=9, temperature=0.5, top_p=1, top_k=3, stop="x", seed=4, stream=True
    )
    wire = ADAPTER.build(asked, PLAIN, "http://c.test/v2/", Secret("k-1"))
    assert wire.url == "http://c.test/v2/chat"
    assert dict(wire.headers)["authorization"] == "Bearer k-1"
    assert msgspec.json.decode(wire.body) == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "p": 0.99,
        "k": 3,
        "stop_sequences": ["x"],
        "seed": 4,
        "stream": True,
    }
    assert wire.dropped == ()


def test_a_conversation_with_tools() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "reasoning_content": "I will look"},
        {"role": "assistant", "reasoning_content": "plan", "content": "x", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "developer", "content": "be brief"},
    ]
    plain = sent(messages=messages, tools=[TOOL])["messages"]
    assert plain == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_plan": "plan\nx", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    thinking = sent(THINKING, messages=messages, tools=[TOOL])["messages"]
    assert thinking[2]["content"] == [{"type": "thinking", "thinking": "I will look"}]
    assert thinking[3]["content"] == [
        {"type": "thinking", "thinking": "plan"},
        {"type": "text", "text": "x"},
    ]


def test_a_tool_that_must_be_called_is_offered_alone() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    body = sent(tools=[TOOL, OTHER], tool_choice=named)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == "REQUIRED"
    assert "tool_choice" not in sent(tools=[TOOL], tool_choice="auto")
    assert sent(tools=[TOOL], tool_choice="none")["tool_choice"] == "NONE"
    old = Route(provider="cohere", model="command-r-08-2024")
    assert ADAPTER.unsupported(request(tools=[TOOL], tool_choice=named), old) == ("tool_choice",)


def test_strict_tools_are_strict_together() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    assert sent(tools=[strict, OTHER])["strict_tools"] is True
    assert "strict_tools" not in sent(tools=[OTHER])


def test_structured_outputs_and_tools_exclude_each_other() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    expected = {"type": "json_object", "json_schema": schema}
    assert sent(response_format=wanted)["response_format"] == expected
    assert sent(response_format={"type": "json_object"})["response_format"] == {
        "type": "json_object"
    }
    both = request(response_format=wanted, tools=[TOOL])
    assert ADAPTER.unsupported(both, PLAIN) == ("response_format",)


@pytest.mark.parametrize(
    ("wish", "thinking"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "low"}, {"type": "enabled", "token_budget": 2048}),
        (
            {"reasoning_effort": "low", "max_tokens": 100},
            {"type": "enabled", "token_budget": 20},
        ),
        ({"reasoning_effort": "high"}, {"type": "enabled"}),
        ({"reasoning": {"max_tokens": 77}}, {"type": "enabled", "token_budget": 77}),
        ({"reasoning": {"enabled": False}}, {"type": "disabled"}),
    ],
)
def test_how_much_it_thinks(wish: dict[str, Any], thinking: dict[str, Any]) -> None:
    assert sent(THINKING, **wish)["thinking"] == thinking
    assert "thinking" not in sent(PLAIN, **wish)
    assert ADAPTER.dropped(request(**wish), PLAIN)


def test_penalties_and_temperatures_outside_of_its_ranges_are_named() -> None:
    wire = ADAPTER.build(
        request(frequency_penalty=1.5, presence_penalty=0.5, temperature=1.7),
        PLAIN,
        "http://c.test",
        None,
    )
    body = msgspec.json.decode(wire.body)
    assert (body["frequency_penalty"], body["temperature"]) == (1.0, 1)
    assert "presence_penalty" not in body
    assert set(wire.dropped) == {"frequency_penalty", "presence_penalty", "temperature"}


def test_hints_are_named_and_what_matters_rules_the_route_out() -> None:
    asked = request(user="u", logit_bias={"1": 2}, newfangled=1, top_p=0.5)
    assert set(ADAPTER.dropped(asked, PLAIN)) == {"user", "logit_bias", "newfangled"}
    refused = replace(asked, extra=Extra(refuse_unsupported=True))
    assert set(ADAPTER.unsupported(refused, PLAIN)) == {"user", "logit_bias", "newfangled"}
    with pytest.raises(UnsupportedParameter):
        ADAPTER.build(request(n=2), PLAIN, "http://c.test", None)
    assert ADAPTER.unsupported(request(stop=list("abcdef")), PLAIN) == ("stop",)


def test_an_image_goes_to_models_that_see() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}]
    sees = Route(provider="cohere", model="command-a-vision-07-2025")
    assert sent(sees, messages=messages)["messages"] == messages
    assert ADAPTER.unsupported(request(messages=messages), PLAIN) == ("messages",)
    assert differences_for("cohere", "any", sees.model).lacks & MEDIA == MEDIA - {
        "images in messages"
    }


def test_a_begun_answer_needs_a_route_that_says_it_goes_on() -> None:
    begun = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert ADAPTER.unsupported(request(messages=begun), PLAIN) == ("messages",)
    willing = replace(PLAIN, prefill=True)
    assert ADAPTER.prefills(willing)
    assert not ADAPTER.prefills(PLAIN)
    wire = ADAPTER.build(request(), willing, "http://c.test", None, prefill="Once ")
    assert msgspec.json.decode(wire.body)["messages"][-1] == {
        "role": "assistant",
        "content": "Once",
    }


# ── answers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", OWN)
def test_own_exchanges_say_what_they_say(exchange: Exchange) -> None:
    expect = exchange.expect
    if exchange.status >= 400:
        failed = ADAPTER.decode_error(exchange.status, exchange.headers, exchange.body, 0.0)
        assert failed.kind == expect["kind"]
        return
    if exchange.streamed:
        events = decode(exchange.body)
        failures = [e.failure for e in events if isinstance(e, StreamError)]
        assert [str(failure.kind) for failure in failures] == expect.get("failures", [])
        answer, reasons = folded(events), finishes(events)
        assert reasons == expect["finish"]
    else:
        read = ADAPTER.decode_answer(exchange.body, REQUEST)
        if isinstance(read, Failure):
            assert read.kind == expect["kind"]
            return
        answer = read.told
    parts = [part for choice in answer.choices for part in choice.parts]
    assert "".join(p.text for p in parts if isinstance(p, Text)) == expect["text"]
    assert "".join(p.text for p in parts if isinstance(p, Reasoning)) == expect["reasoning"]
    calls = [[p.id, p.name, json.loads(p.arguments)] for p in parts if isinstance(p, ToolCall)]
    assert calls == expect["calls"]
    cited = [c for p in parts if isinstance(p, Text) for c in p.citations]
    assert [[c.title, c.start, c.end] for c in cited] == expect["citations"]
    assert answer.usage == (Usage(**expect["usage"]) if expect["usage"] else None)


@pytest.mark.parametrize("exchange", RECORDED)
def test_a_recorded_answer_is_read_whole(exchange: Exchange) -> None:
    if not exchange.streamed:
        answer = ADAPTER.decode_answer(exchange.body, REQUEST)
        assert isinstance(answer, Answer)
        assert (answer.finish_reason, answer.usage) == (
            "stop",
            Usage(prompt=10, completion=104),
        )
        assert answer.content_chars > 400
        return
    events = decode(exchange.body)
    assert isinstance(events[-1], StreamFinished)
    answer = folded(events)
    told = [json.loads(line[6:]) for line in exchange.body.splitlines() if line[:7] == b"data: {"]
    parts = answer.choices[0].parts
    text = "".join(
        it["delta"]["message"]["content"].get("text", "")
        for it in told
        if it["type"] == "content-delta"
    )
    assert "".join(part.text for part in parts if isinstance(part, Text)) == text
    names = [
        it["delta"]["message"]["tool_calls"]["function"]["name"]
        for it in told
        if it["type"] == "tool-call-start"
    ]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert [call.name for call in calls] == names
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)
    counted = told[-1]["delta"]["usage"]["billed_units"]
    assert answer.usage is not None
    assert answer.usage.input_total == counted["input_tokens"]
    assert (answer.usage.completion or 0) + (answer.usage.reasoning or 0) == counted[
        "output_tokens"
    ]
    assert answer.choices[0].finish == ("tool_calls" if names else "stop")
    assert any(isinstance(part, Reasoning) for part in parts)


@by_stream
@settings(max_examples=8, deadline=None)
@given(places=st.lists(st.integers(0, 100_000), max_size=12), crlf=st.booleans())
def test_cuts_and_line_ends_change_nothing(
    exchange: Exchange, places: list[int], crlf: bool
) -> None:
    body = exchange.body.replace(b"\n", b"\r\n") if crlf else exchange.body
    assert decode(*cut(body, places)) == decode(exchange.body)


@by_stream
def test_a_stream_cut_short_has_no_finish_reason(exchange: Exchange) -> None:
    end = exchange.body.find(b'"finish_reason"')
    places = [i for i in range(end) if exchange.body[i : i + 2] == b"\n\n"]
    for place in [*places, *(place - 7 for place in places[1:])]:
        assert not finishes(decode(exchange.body[:place]))


# ── hostile bytes ─────────────────────────────────────────────────────────────────────────────

_KINDS = st.sampled_from(
    [
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "message-end",
        "debug",
    ]
)
_BLOCK = st.fixed_dictionaries({"text": JSON, "thinking": JSON, "type": JSON})
_MESSAGE = st.fixed_dictionaries(
    {
        "content": _BLOCK | st.lists(_BLOCK, max_size=2) | JSON,
        "tool_calls": st.fixed_dictionaries({"id": JSON, "function": JSON}) | JSON,
        "citations": st.lists(st.fixed_dictionaries({"start": JSON, "sources": JSON})) | JSON,
        "tool_plan": JSON,
    }
)
_DELTA = st.fixed_dictionaries({"message": _MESSAGE | JSON, "usage": JSON, "finish_reason": JSON})
_EVENTS = st.fixed_dictionaries({"type": _KINDS, "index": JSON, "delta": _DELTA | JSON}) | JSON


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(_EVENTS | st.binary(max_size=30), max_size=5),
    places=st.lists(st.integers(0, 5000), max_size=6),
)
def test_a_stream_raises_only_its_own_error(events: list[Any], places: list[int]) -> None:
    lines = (e if isinstance(e, bytes) else json.dumps(e).encode() for e in events)
    body = b"".join(b"data: " + line + b"\n\n" for line in lines)
    with contextlib.suppress(ProviderProtocolError):
        folded(decode(*cut(body, places)))


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.fixed_dictionaries({"message": _MESSAGE, "usage": JSON, "finish_reason": JSON}).map(
        lambda value: json.dumps(value).encode()
    )
    | JSON.map(lambda value: json.dumps(value).encode())
)
def test_an_answer_raises_only_its_own_error(body: bytes) -> None:
    with contextlib.suppress(ProviderProtocolError):
        ADAPTER.decode_answer(body, REQUEST)
    assert isinstance(ADAPTER.decode_error(400, (), body, 0.0), Failure)


def test_a_recorded_error_of_a_prompt_that_is_too_long() -> None:
    for parameter in recorded_exchanges(lambda e: e.provider == "cohere" and e.status >= 400):
        exchange: Exchange | None = parameter.values[0]
        if exchange is not None:
            failed = ADAPTER.decode_error(exchange.status, exchange.headers, exchange.body, 0.0)
            assert failed.kind is FailureKind.CONTEXT_LENGTH
