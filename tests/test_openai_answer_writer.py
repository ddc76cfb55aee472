"""What the chat door writes of answers in the gateway's own model."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
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
    Part,
    Reasoning,
    ReasoningFormat,
    ReasoningPiece,
    Refusal,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_answer_reader import PieceReader, read_completion
from signalbox.adapters.openai_answer_writer import ChunkWriter, chat_completion
from signalbox.adapters.openai_door import usage_object
from signalbox.adapters.openai_wire import read_usage
from signalbox.adapters.protocol import Delta
from signalbox.types import Dialect, Flavour, Usage
from tests.chat_pieces import (
    USAGE,
    Told,
    counts,
    delta_of,
    refusal_stream,
    request_of,
    told_streams,
)
from tests.decoding import ALL_STREAMS, PLAIN_JSON, deltas
from tests.folding import fold
from tests.recordings import Exchange
from tests.test_openai_answer_reader import told

REQUEST = request_of(Dialect.CHAT)
MINE = ReasoningFormat.ANTHROPIC
WHOLE = AnswerChoice(
    (
        Reasoning("t", signature="s", format=MINE),
        Text("x"),
        Media(MediaKind.IMAGE, "image/png", data="aGk="),
        Refusal("no"),
        ToolCall("a", "f", "{}", signature="g"),
        ToolCall("b", "c", "in", custom=True),
    ),
    "tool_calls",
    "tool_use",
    logprobs=({"token": "x"},),
)


def chunks(*written: Delta, **request: Any) -> list[dict[str, Any]]:
    writer = ChunkWriter(request_of(Dialect.CHAT, **request))
    return [json.loads(it.raw) for delta in written for it in writer.write(delta)]


def refolded(*written: Delta) -> ChatAnswer:
    """What a reader makes of the written chunks."""
    reader, folder = PieceReader("t"), Folder()
    for chunk in chunks(*written):
        folder.add(Delta(raw=b"", pieces=reader.read(chunk)))
    return folder.answer()


def plain(part: Part) -> str:
    """The part without the dialect of what it cites, which is the written one's now."""
    if isinstance(part, Text):
        cited = [replace(it, native=None, dialect=None) for it in part.citations]
        part = replace(part, citations=tuple(cited))
    return str(part)


# Whole answers


def test_a_completion() -> None:
    answer = ChatAnswer((AnswerChoice((Text("x"),), "stop"),), USAGE, "theirs", "their-model", 3)
    assert chat_completion(answer, replace(REQUEST, received_at=9.7)) == {
        "id": "chatcmpl-t1",
        "object": "chat.completion",
        "created": 9,
        "model": "their-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 13,
            "completion_tokens": 9,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    own = replace(REQUEST, flavour=Flavour.OPENROUTER)
    assert chat_completion(replace(answer, model=None), own)["id"] == "gen-t1"


def test_an_answer_is_read_as_it_was_written() -> None:
    completion = json.loads(json.dumps(chat_completion(ChatAnswer((WHOLE,)), REQUEST)))
    [choice] = read_completion(completion, None, "t").choices
    assert choice == replace(WHOLE, native_finish="tool_calls")


def test_reasoning_leaves_under_all_of_its_names() -> None:
    message = chat_completion(ChatAnswer((WHOLE,)), REQUEST)["choices"][0]["message"]  # type: ignore[index]
    assert message["reasoning_content"] == message["reasoning"] == "t"
    detail = {"type": "reasoning.text", "text": "t", "format": MINE.value, "index": 0}
    assert message["reasoning_details"] == [{**detail, "signature": "s"}]


def test_citations_audio_and_what_else_was_said() -> None:
    audio = Media(MediaKind.AUDIO, data="aGk=", id="a", transcript="hi")
    text = Text("x", (Citation("https://a.test", start=0, end=1),), signature="s")
    choice = AnswerChoice((text, audio), "stop", extra={"groundingMetadata": {"a": 1}})
    message = chat_completion(ChatAnswer((choice,)), REQUEST)["choices"][0]["message"]  # type: ignore[index]
    place = {"start_index": 0, "end_index": 1, "url": "https://a.test"}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": place}]
    assert message["audio"] == {"id": "a", "data": "aGk=", "transcript": "hi"}
    signed = {"google": {"thought_signature": "s"}}
    assert message["extra_content"] == {"groundingMetadata": {"a": 1}, **signed}


# Streams


@settings(max_examples=80)
@given(told_streams())
def test_chunks_say_and_count_what_the_pieces_do(stream: Told) -> None:
    writer = ChunkWriter(REQUEST)
    written = [it for delta in stream.deltas for it in writer.write(delta)]
    assert counts(written) == counts(stream.deltas)
    said = fold(json.loads(it.raw) for it in written)
    assert (said.text, said.reasoning) == (stream.said.text, stream.said.reasoning)
    calls = [(name, json.loads(arguments)) for name, arguments in said.tools.values()]
    assert calls == [(name, arguments) for _, name, arguments in stream.said.calls]
    assert said.finish == {0: [stream.said.finish]}


@settings(max_examples=80)
@given(told_streams())
def test_the_adapter_counts_the_chunks_as_their_deltas(stream: Told) -> None:
    """What goes on from a stream counts either."""
    adapter, writer = OpenAIAdapter("any"), ChunkWriter(REQUEST)
    for delta in stream.deltas:
        for it in writer.write(delta):
            again = adapter.decode_chunk(it.raw)
            assert isinstance(again, Delta)
            for name in ("content_chars", "text", "reasoning_chars", "opaque", "has_choices"):
                assert getattr(again, name) == getattr(it, name), name
            assert again.finish_reasons == it.finish_reasons
            assert again.usage == it.usage


@pytest.mark.parametrize("exchange", [it for it in ALL_STREAMS if it.id != PLAIN_JSON])
def test_a_written_stream_is_read_as_the_first_one(exchange: Exchange) -> None:
    stream = deltas(told(exchange.provider, exchange.body))
    folder = Folder()
    for delta in stream:
        folder.add(delta)
    before, after = folder.answer().choices, refolded(*stream).choices
    for one, other in zip(before, after, strict=True):
        assert sorted(map(plain, one.parts)) == sorted(map(plain, other.parts))
        assert (one.finish, one.logprobs) == (other.finish, other.logprobs)


def test_the_first_chunk_of_a_choice_has_its_role() -> None:
    told_chunks = chunks(
        delta_of(TextPiece("x")), delta_of(TextPiece("y"), TextPiece("z", choice=1))
    )
    roles = [[it["delta"].get("role") for it in chunk["choices"]] for chunk in told_chunks]
    assert roles == [["assistant"], [None, "assistant"]]
    assert {chunk["id"] for chunk in told_chunks} == {"chatcmpl-t1"}
    assert {chunk["model"] for chunk in told_chunks} == {"their-model"}


def test_a_call_without_arguments_ends_as_an_empty_object() -> None:
    call = delta_of(ToolCallPiece(0, id="a", name="f", signature="s"))
    first, last = chunks(call, delta_of(FinishPiece("tool_calls")))
    assert first["choices"][0]["delta"]["tool_calls"] == [
        {
            "index": 0,
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": ""},
            "extra_content": {"google": {"thought_signature": "s"}},
        }
    ]
    [more] = last["choices"][0]["delta"]["tool_calls"]
    assert more == {"index": 0, "function": {"arguments": "{}"}}


def test_blocks_of_reasoning_have_indexes() -> None:
    stream = (
        delta_of(ReasoningPiece("a", format=MINE)),
        delta_of(ReasoningPiece("b", format=MINE)),
        delta_of(ReasoningPiece(signature="s", format=MINE, closes=True)),
        delta_of(ReasoningPiece(encrypted="e", format=MINE, closes=True)),
        delta_of(ReasoningPiece("c", summary=True)),
    )
    details = [it["choices"][0]["delta"]["reasoning_details"] for it in chunks(*stream)]
    assert [[(it["type"][10:], it["index"]) for it in each] for each in details] == [
        [("text", 0)],
        [("text", 0)],
        [("text", 0)],
        [("encrypted", 1)],
        [("summary", 2)],
    ]
    assert refolded(*stream).choices[0].parts == (
        Reasoning("ab", signature="s", format=MINE),
        Reasoning(encrypted="e", format=MINE),
        Reasoning("c", summary=True),
    )


def test_the_other_kinds_of_pieces() -> None:
    audio = Media(MediaKind.AUDIO, data="aGk=", id="a", transcript="h")
    image = Media(MediaKind.IMAGE, url="https://a.test/p")
    citation = Citation("https://a.test", native={"type": "own"}, dialect=Dialect.CHAT)
    pieces = delta_of(
        MediaPiece(audio), MediaPiece(image), MediaPiece(image), CitationPiece(citation)
    )
    [chunk] = chunks(pieces)
    said = chunk["choices"][0]["delta"]
    assert said["audio"] == {"id": "a", "data": "aGk=", "transcript": "h"}
    assert [it["index"] for it in said["images"]] == [0, 1]
    assert said["annotations"] == [{"type": "own"}]
    assert refolded(*refusal_stream()).choices[0].parts == (Refusal("I will not."),)
    [nothing] = chunks(delta_of(NativePiece(Native(Dialect.MESSAGES, {}))))
    assert nothing["choices"] == []


# Usage


def test_classes_of_tokens_are_told_and_read_again() -> None:
    usage = Usage(
        prompt=10,
        cached_read=1,
        cache_write=2,
        completion=20,
        reasoning=3,
        audio_input=4,
        image_input=5,
        audio_output=6,
        image_output=7,
    )
    told_usage = usage_object(usage)
    assert (told_usage["prompt_tokens"], told_usage["completion_tokens"]) == (22, 36)
    assert read_usage(told_usage, reasoning_apart=False) == usage
    hour = usage_object(Usage(prompt=1, completion=1, cache_write=2, cache_write_1h=3))
    assert hour["prompt_tokens_details"] == {"cache_write_tokens": 5}
