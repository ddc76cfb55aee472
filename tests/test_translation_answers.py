"""What is told to a client says everything, at every door: written down in the door's dialect and
read by the adapter of that dialect it is the same, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    Part,
    Reasoning,
    ReasoningFormat,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.doors import door_of
from signalbox.adapters.protocol import Answer, Delta
from signalbox.errors import Failure
from signalbox.types import Dialect, Request
from tests.chat_pieces import USAGE, Told, delta_of, request_of, told_streams
from tests.translation_wires import wires_of

READERS = {
    Dialect.CHAT: "compatible",
    Dialect.RESPONSES: "responses",
    Dialect.MESSAGES: "anthropic",
    Dialect.GENERATE: "gemini 3",
}


def client_of(door: Dialect) -> Request:
    """One that wants to be shown thoughts, where its dialect has it say so."""
    shown = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    return request_of(door, {"model": "m", "messages": [], "input": "t", **shown})


def other_of(door: Dialect) -> Request:
    """A request whose answers the door's adapter tells in the gateway's own model."""
    other = Dialect.MESSAGES if door is Dialect.CHAT else Dialect.CHAT
    return request_of(other, {"model": "m", "max_tokens": 1, "messages": []})


def folded(deltas: Iterable[Delta]) -> ChatAnswer:
    folder = Folder()
    for delta in deltas:
        folder.add(delta)
    return folder.answer()


def streamed(door: Dialect, deltas: Iterable[Delta]) -> ChatAnswer:
    """What the adapter reads out of the bytes of a stream."""
    request = client_of(door)
    writer, encoder = door_of(door).event_writer(request), door_of(door).encoder(request)
    data = b"".join(encoder.delta(it) for delta in deltas for it in writer.write(delta))
    data += encoder.finish("p", "0.5", USAGE)
    adapter, _ = wires_of(door)[READERS[door]]
    decoder = adapter.stream_decoder(other_of(door))
    events = [*decoder.feed(data), *decoder.end()]
    return folded(event for event in events if isinstance(event, Delta))


def whole(door: Dialect, told: ChatAnswer) -> ChatAnswer:
    request = client_of(door)
    inner = Answer(
        body={},
        content_chars=1,
        finish_reason=told.choices[0].finish,
        usage=told.usage,
        told=told,
    )
    answer = door_of(door).answer(inner, request)
    data = door_of(door).encoder(request).answer(answer, "p", "0.5")
    adapter, _ = wires_of(door)[READERS[door]]
    again = adapter.decode_answer(data, other_of(door))
    assert not isinstance(again, Failure), again
    assert isinstance(again.told, ChatAnswer)
    return again.told


def said(answer: ChatAnswer, *, refusals: bool = True) -> dict[str, Any]:
    parts = answer.choices[0].parts
    usage = answer.usage
    texts: tuple[type[Text] | type[Refusal], ...] = (Text,) if refusals else (Text, Refusal)
    return {
        "text": "".join(part.text for part in parts if isinstance(part, texts)),
        "refusal": "".join(p.text for p in parts if isinstance(p, Refusal) and refusals),
        "reasoning": "".join(part.text for part in parts if isinstance(part, Reasoning)),
        "calls": sorted(_call(part) for part in parts if isinstance(part, ToolCall)),
        "finish": answer.choices[0].finish,
        "tokens": None if usage is None else (usage.input_total, usage.cached_read),
        "spent": None if usage is None else usage.output_total,
    }


def _call(call: ToolCall) -> tuple[str, str, str]:
    return call.id, call.name, json.dumps(json.loads(call.arguments or "{}"), sort_keys=True)


@pytest.mark.parametrize("door", READERS)
@settings(max_examples=50)
@given(told=told_streams())
def test_a_stream_and_a_whole_answer_say_what_was_told(door: Dialect, told: Told) -> None:
    answer = folded(told.deltas)
    expected = said(answer)
    assert expected["text"] == told.said.text
    assert said(streamed(door, told.deltas)) == expected
    assert said(whole(door, answer)) == expected


SIGNED = Reasoning("Hm.", signature="c2ln", format=ReasoningFormat.ANTHROPIC)
CITED = Citation(url="https://a.test/", title="A", quote="a", start=0, end=3)
PICTURE = Media(MediaKind.IMAGE, mime_type="image/png", data="aGk=")


def _answer(*parts: Part, finish: str = "stop") -> ChatAnswer:
    return ChatAnswer((AnswerChoice(parts, finish),), usage=USAGE, id="a", model="their-model")


@pytest.mark.parametrize("door", READERS)
def test_a_refusal_is_told(door: Dialect) -> None:
    """As one where the dialect has it, and as text otherwise."""
    deltas = (delta_of(RefusalPiece("I will not.")), delta_of(FinishPiece("stop"), usage=USAGE))
    native = door.family == Dialect.CHAT.family
    for again in (whole(door, _answer(Refusal("I will not."))), streamed(door, deltas)):
        told = said(again, refusals=native)
        assert told["refusal" if native else "text"] == "I will not."


@pytest.mark.parametrize("door", READERS)
def test_citations_are_told(door: Dialect) -> None:
    deltas = (
        delta_of(TextPiece("Sun")),
        delta_of(CitationPiece(CITED)),
        delta_of(FinishPiece("stop"), usage=USAGE),
    )
    for again in (whole(door, _answer(Text("Sun", (CITED,)))), streamed(door, deltas)):
        found = [it for p in again.choices[0].parts if isinstance(p, Text) for it in p.citations]
        assert [(it.url, it.title) for it in found] == [(CITED.url, CITED.title)]


@pytest.mark.parametrize("door", READERS)
@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_how_it_ended_is_told(door: Dialect, finish: str) -> None:
    deltas = (delta_of(TextPiece("Sun")), delta_of(FinishPiece(finish), usage=USAGE))
    assert said(whole(door, _answer(Text("Sun"), finish=finish)))["finish"] == finish
    assert said(streamed(door, deltas))["finish"] == finish


@pytest.mark.parametrize("door", [Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES])
def test_signed_thinking_is_told(door: Dialect) -> None:
    """Gemini's door has signatures of Gemini's own alone: others are remembered by the call."""
    thought = ReasoningPiece("Hm.", signature="c2ln", format=ReasoningFormat.ANTHROPIC)
    deltas = (
        delta_of(thought),
        delta_of(TextPiece("Sun")),
        delta_of(FinishPiece("stop"), usage=USAGE),
    )
    request = client_of(door)
    inner = Answer({}, 1, "stop", USAGE, told=_answer(SIGNED, Text("Sun")))
    answer = door_of(door).answer(inner, request)
    assert "c2ln" in door_of(door).encoder(request).answer(answer, "p", None).decode()
    writer = door_of(door).event_writer(request)
    assert any(b"c2ln" in it.raw for delta in deltas for it in writer.write(delta))


@pytest.mark.parametrize("door", READERS)
@pytest.mark.parametrize("streams", [False, True])
def test_a_picture_is_told(door: Dialect, streams: bool) -> None:
    request = client_of(door)
    if streams:
        writer = door_of(door).event_writer(request)
        deltas = (delta_of(MediaPiece(PICTURE)), delta_of(FinishPiece("stop"), usage=USAGE))
        data = b"".join(it.raw for delta in deltas for it in writer.write(delta))
    else:
        inner = Answer({}, 1, "stop", USAGE, told=_answer(PICTURE))
        data = msgspec.json.encode(door_of(door).answer(inner, request).body)
    assert b"aGk=" in data
