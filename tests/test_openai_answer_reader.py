"""Answers and streams of OpenAI's dialect in the gateway's own model.

The oracle for what a stream says is the official SDK's own reading of the same bytes.
"""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    Native,
    NativePiece,
    Piece,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_answer_reader import PieceReader
from signalbox.adapters.protocol import Answer, Delta, StreamEvent
from signalbox.adapters.told_counts import chars_of
from signalbox.errors import ProviderProtocolError
from signalbox.types import Dialect
from tests.decoding import ALL_STREAMS, OWN_STREAMS, PLAIN_JSON, deltas
from tests.folding import Folded, fold, fold_answer
from tests.garbled import garbled
from tests.openai_sdk import sdk_answer, sdk_stream
from tests.outgoing import REQUEST
from tests.recordings import Exchange, is_openai_chat, own_exchanges, recorded_exchanges

FOREIGN = replace(REQUEST, door=Dialect.MESSAGES, id="0190a0b0-0000")
EVENT_STREAMS = [stream for stream in ALL_STREAMS if stream.id != PLAIN_JSON]
ANSWERS = [
    *own_exchanges("openai/answers"),
    *recorded_exchanges(lambda e: is_openai_chat(e) and not e.streamed and e.status == 200),
]


def told(provider: str, body: bytes) -> list[StreamEvent]:
    decoder = OpenAIAdapter(provider).stream_decoder(FOREIGN)
    return [*decoder.feed(body), *decoder.end()]


def answer_of(events: list[StreamEvent]) -> ChatAnswer:
    folder = Folder()
    for delta in deltas(events):
        folder.add(delta)
    return folder.answer()


def read(provider: str, body: bytes) -> ChatAnswer:
    answer = OpenAIAdapter(provider).decode_answer(body, FOREIGN)
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, ChatAnswer)
    return answer.told


def pieces(*chunks: dict[str, Any]) -> list[Piece]:
    reader = PieceReader("0190-a0b0")
    return [piece for chunk in chunks for piece in reader.read({"choices": [chunk]})]


def delta(**fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": fields}


def message(**fields: Any) -> tuple[Any, ...]:
    choice = {"index": 0, "message": fields, "finish_reason": "stop"}
    return read("any", json.dumps({"choices": [choice]}).encode()).choices[0].parts


def as_folded(answer: ChatAnswer) -> Folded:
    """The answer in the words of the oracle."""
    said = Folded()
    for index, choice in enumerate(answer.choices):
        calls = 0
        for part in choice.parts:
            match part:
                case Text(text=text):
                    said.text += text
                case Reasoning(text=text):
                    said.reasoning += text
                case Refusal(text=text):
                    said.refusal += text
                case Media(transcript=transcript):
                    said.transcript += transcript or ""
                case ToolCall():
                    said.tools[index, calls] = [part.name, part.arguments]
                    calls += 1
    return said


def same(answer: ChatAnswer, oracle: Folded) -> None:
    said = as_folded(answer)
    for name in ("text", "reasoning", "refusal", "transcript"):
        assert sorted(getattr(said, name)) == sorted(getattr(oracle, name))
    assert [it[0] for it in said.tools.values()] == [it[0] for it in oracle.tools.values()]
    assert [it[1] for it in said.tools.values()] == [it[1] or "{}" for it in oracle.tools.values()]


# Streams


@pytest.mark.parametrize("exchange", EVENT_STREAMS)
def test_a_stream_is_told_as_the_sdk_reads_it(exchange: Exchange) -> None:
    events, sdk = told(exchange.provider, exchange.body), sdk_stream(exchange.body)
    answer = answer_of(events)
    same(answer, fold(sdk.chunks))
    finishes = [choice.finish for choice in answer.choices if choice.finish is not None]
    assert bool(finishes) == any(each.finish_reasons for each in deltas(events))
    assert set(finishes) <= {"stop", "length", "tool_calls", "content_filter"}


@pytest.mark.parametrize("exchange", EVENT_STREAMS)
def test_pieces_are_what_their_delta_counts(exchange: Exchange) -> None:
    for each in deltas(told(exchange.provider, exchange.body)):
        media = [it.media for it in each.pieces if isinstance(it, MediaPiece)]
        chars = sum(map(chars_of, each.pieces)) + sum(
            len(it.transcript or "") + bool(it.data) for it in media
        )
        assert chars == each.content_chars
        first = [it for it in each.pieces if it.choice == 0]
        assert each.text == "".join(it.text for it in first if isinstance(it, TextPiece))


@pytest.mark.parametrize("exchange", OWN_STREAMS)
def test_where_a_stream_is_cut_changes_nothing(exchange: Exchange) -> None:
    whole = told(exchange.provider, exchange.body)
    decoder = OpenAIAdapter(exchange.provider).stream_decoder(FOREIGN)
    cut = [event for byte in exchange.body for event in decoder.feed(bytes([byte]))]
    assert cut + decoder.end() == whole


def test_the_chat_door_s_own_stream_has_no_pieces() -> None:
    body = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    [own] = OpenAIAdapter("openai").stream_decoder(REQUEST).feed(body)
    [foreign] = OpenAIAdapter("openai").stream_decoder(FOREIGN).feed(body)
    assert isinstance(own, Delta)
    assert isinstance(foreign, Delta)
    assert (own.pieces, own.model) == ((), None)
    assert (foreign.pieces, foreign.model) == ((TextPiece("x"),), "m")


def call(index: int | None, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": index, "id": id, "function": function}])


def told_calls(*chunks: dict[str, Any]) -> list[tuple[int, str]]:
    """(index, id and name or arguments) of every piece."""
    return [
        (it.index, f"{it.id} {it.name}" if it.name is not None else it.arguments)
        for it in pieces(*chunks)
        if isinstance(it, ToolCallPiece)
    ]


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        # OpenAI: the id and the name once, the index always.
        (
            [call(0, "a", "f", ""), call(0, None, None, "1"), call(1, "b", "f", "")],
            [(0, "a f"), (0, "1"), (1, "b f")],
        ),
        # Mistral: whole, and without an index.
        ([call(None, "a", "f", "1"), call(None, "b", "g", "2")], [(0, "a f"), (1, "b g")]),
        # Google: the same index for all.
        ([call(0, "a", "f", "1"), call(0, "b", "f", "2")], [(0, "a f"), (1, "b f")]),
        # The id repeated with every fragment, or a new one made up.
        ([call(0, "a", "f", ""), call(0, "a", None, "1")], [(0, "a f"), (0, "1")]),
        ([call(0, "a", "f", ""), call(0, "z", "", "1")], [(0, "a f"), (0, "1")]),
        ([call(0, "a", "f", ""), call(0, "a", "f", "1")], [(0, "a f"), (0, "1")]),
        # Indexes with gaps.
        ([call(3, "a", "f", ""), call(7, "b", "g", "")], [(0, "a f"), (1, "b g")]),
        # No id at all.
        (
            [call(0, None, "f", ""), call(0, None, None, "1"), call(1, "", "g", "")],
            [(0, "call_0190a0b0_0_0 f"), (0, "1"), (1, "call_0190a0b0_0_1 g")],
        ),
        # The name comes after the id.
        ([call(0, "a", None, "{"), call(0, None, "f", "}")], [(0, "a f")]),
        ([delta(function_call={"name": "f", "arguments": "1"})], [(0, "call_0190a0b0_0_0 f")]),
    ],
)
def test_calls_are_told_apart(chunks: list[dict[str, Any]], calls: list[tuple[int, str]]) -> None:
    assert told_calls(*chunks) == calls


def test_arguments_that_came_before_the_name_are_not_lost() -> None:
    late = pieces(call(0, "a", None, "{"), call(0, None, "f", "}"))
    assert late == [ToolCallPiece(0, "{}", id="a", name="f")]
    never = pieces(call(0, "a", None, "{"), {**delta(), "finish_reason": "stop"})
    assert never[0] == ToolCallPiece(0, "{", id="a", name="")


def test_a_custom_tool_and_a_signature() -> None:
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "g", "input": "x"}}
    signed = {"index": 0, "extra_content": {"google": {"thought_signature": "s"}}}
    assert pieces(delta(tool_calls=[custom]), delta(tool_calls=[signed])) == [
        ToolCallPiece(0, "x", id="a", name="g", custom=True),
        ToolCallPiece(0, signature="s"),
    ]


def test_calls_that_finish_with_stop_finish_with_their_own_word() -> None:
    ends = {**delta(), "finish_reason": "stop", "native_finish_reason": "STOP", "stop_reason": "x"}
    *_, end = pieces(call(0, "a", "f", ""), {**ends, "content_filter_results": {"a": 1}})
    extra = {"content_filter_results": {"a": 1}}
    assert end == FinishPiece("tool_calls", 0, "STOP", stop_sequence="x", extra=extra)
    for word, finish in (("eos", "stop"), ("model_length", "length"), ("odd", "stop")):
        [end] = pieces({**delta(), "finish_reason": word})
        assert end == FinishPiece(finish, 0, word)


def test_blocks_of_reasoning_are_told_apart() -> None:
    def detail(index: int, **fields: Any) -> dict[str, Any]:
        each = {"type": "reasoning.text", "index": index, "format": "anthropic-claude-v1", **fields}
        return delta(reasoning_details=[each], reasoning=fields.get("text", ""))

    folder = Folder()
    said = pieces(
        detail(0, text="a"), detail(0, text="b"), detail(0, signature="s"), detail(1, text="c")
    )
    folder.add(Delta(raw=b"", pieces=tuple(said)))
    mine = ReasoningFormat.ANTHROPIC
    assert folder.answer().choices[0].parts == (
        Reasoning("ab", signature="s", format=mine),
        Reasoning("c", format=mine),
    )


def test_citations_at_the_top_are_told_once() -> None:
    reader = PieceReader("t")
    results = [{"url": "https://a.test", "title": "A", "snippet": "x"}]
    first = {"choices": [delta(content="x")], "search_results": results}
    citation = Citation("https://a.test", "A", "x")
    assert reader.read(first) == (TextPiece("x"), CitationPiece(citation))
    assert reader.read(first) == (TextPiece("x"),)
    plain = {"choices": [delta(content="x")], "citations": ["https://b.test"]}
    assert reader.read(plain)[1] == CitationPiece(Citation("https://b.test"))


def test_log_probabilities_go_with_the_text() -> None:
    token = {"token": "x", "logprob": -1.0}
    chunk = {**delta(content="x"), "logprobs": {"content": [token]}}
    assert pieces(chunk) == [TextPiece("x", logprobs=(token,))]
    chunk["delta"] = {}
    assert pieces(chunk) == [TextPiece("", logprobs=(token,))]


@settings(max_examples=150)
@given(st.data())
def test_a_told_stream_raises_nothing_but_protocol_errors(data: st.DataObject) -> None:
    body = data.draw(garbled(b"data: ", b"\n\n", b'data: {"choices":[{"delta":', b"}]}\n\n"))
    with contextlib.suppress(ProviderProtocolError):
        told("openai", body)


NESTED = b"[" * 100_000 + b"]" * 100_000


def test_nesting_in_a_field_that_is_not_read_is_a_protocol_error() -> None:
    with pytest.raises(ProviderProtocolError):
        told("openai", b'data: {"choices":[],"x":' + NESTED + b"}\n\n")


# Whole answers


@pytest.mark.parametrize("exchange", ANSWERS)
def test_an_answer_is_told_as_the_sdk_reads_it(exchange: Exchange) -> None:
    answer = OpenAIAdapter(exchange.provider).decode_answer(exchange.body, FOREIGN)
    if not isinstance(answer, Answer):
        assert "error" in exchange.expect
        return
    assert isinstance(answer.told, ChatAnswer)
    same(answer.told, fold_answer(sdk_answer(exchange.body).to_dict(warnings=False)))
    assert answer.told.usage == answer.usage
    assert len(answer.told.choices) == answer.choices


def test_what_a_message_holds() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}, "index": 0}
    cited = {"type": "url_citation", "url_citation": {"url": "https://a.test", "start_index": 0}}
    told_parts = message(
        content="x", images=[image], annotations=[cited], audio={"id": "a", "data": "aGk="}
    )
    citation = Citation("https://a.test", start=0, dialect=Dialect.CHAT, native=cited)
    assert told_parts == (
        Text("x", citations=(citation,)),
        Media(MediaKind.IMAGE, "image/png", data="aGk="),
        Media(MediaKind.AUDIO, data="aGk=", id="a"),
    )


def test_parts_of_mistral_s() -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
        {"type": "text", "text": "x"},
        reference,
    ]
    assert message(content=content) == (
        Reasoning("t"),
        Text("x"),
        Native(Dialect.CHAT, reference, name="reference"),
    )
    assert isinstance(pieces(delta(content=[reference]))[0], NativePiece)


def test_every_choice_is_there() -> None:
    choices = [{"message": {"content": "x"}}, {"message": {"content": None}}, {"message": None}]
    body = {"id": "i", "model": "m", "created": 7, "choices": choices}
    nothing = AnswerChoice((), None)
    assert read("any", json.dumps(body).encode()) == ChatAnswer(
        choices=(AnswerChoice((Text("x"),), None), nothing, nothing), id="i", model="m", created=7
    )
