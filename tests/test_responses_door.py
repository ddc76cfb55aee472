"""What a client of the Responses API is sent: as it came, translated, joined, failed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from openai.types.responses import Response

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Piece,
    Reasoning,
    ReasoningFormat,
    ReasoningPiece,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Answer, Delta, StreamError
from signalbox.adapters.responses_door import ResponsesDoor
from signalbox.types import Request, Usage
from tests.recordings import Exchange
from tests.responses_wire import (
    REQUEST,
    STREAMS,
    SdkResponse,
    decode,
    deltas,
    events_of,
    sdk_answer,
    sdk_stream,
)

DOOR = ResponsesDoor()
USAGE = Usage(prompt=5, cached_read=4, completion=3, reasoning=2)


def translated(*told: Delta, request: Request = REQUEST) -> list[Delta]:
    """What a provider of another dialect said, in this one."""
    writer = DOOR.event_writer(request)
    return [written for delta in told for written in writer.write(delta)]


def piece(*pieces: Piece, **counts: Any) -> Delta:
    text = "".join(p.text for p in pieces if isinstance(p, TextPiece))
    reasoning = sum(len(p.text) for p in pieces if isinstance(p, ReasoningPiece))
    counts = {"content_chars": len(text) + reasoning, **counts}
    ends = tuple((p.choice, p.finish) for p in pieces if isinstance(p, FinishPiece))
    return Delta(
        b"{}",
        text=text,
        reasoning_chars=reasoning,
        pieces=pieces,
        model="theirs",
        finish_reasons=ends,
        **counts,
    )


def sent(events: list[Delta], *, cost: str | None = "0.01", usage: Usage | None = USAGE) -> bytes:
    encoder = DOOR.encoder(REQUEST)
    return b"".join(map(encoder.delta, events)) + encoder.finish("acme", cost, usage)


def check_sequence(stream: bytes) -> None:
    """What every stream must hold to, whoever made it."""
    events = events_of(stream)
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    names = [line[7:] for line in stream.decode().splitlines() if line.startswith("event: ")]
    assert names == [e["type"] for e in events]
    assert [names.count(n) for n in ("response.created", "response.in_progress")] == [1, 1]
    begun: dict[int, str] = {}
    ended: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(begun)
            begun[event["output_index"]] = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            assert event["item"]["id"] == begun[event["output_index"]]
            ended[event["output_index"]] = event["item"]
        elif "item_id" in event:
            assert event["item_id"] == begun[event["output_index"]]
            assert event["output_index"] not in ended
    last = events[-1]
    assert last["type"] in ("response.completed", "response.incomplete")
    assert last["response"]["output"] == [ended[place] for place in sorted(ended)]
    assert len(ended) == len(begun)
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    done = "".join(e["text"] for e in events if e["type"] == "response.output_text.done")
    parts = [p for item in ended.values() for p in item.get("content") or () if "text" in p]
    whole = "".join(p["text"] for p in parts if p["type"] == "output_text")
    assert text == done == whole
    Response.model_validate(last["response"], strict=False)


TEXT = (piece(TextPiece("Gre")), piece(TextPiece("en.")), piece(FinishPiece("stop")))


def test_a_translated_text_is_a_whole_stream() -> None:
    stream = sent(translated(*TEXT))
    check_sequence(stream)
    sdk = sdk_stream(stream)
    assert (sdk.text, sdk.status, sdk.usage) == ("Green.", "completed", (9, 5))
    assert sdk.response is not None
    assert sdk.response["id"] == "resp_" + REQUEST.id.replace("-", "")
    assert sdk.response["store"] is False
    assert sdk.response["model"] == "theirs"
    assert sdk.response["usage"]["cost"] == 0.01
    assert sdk.response["usage"]["input_tokens_details"]["cached_tokens"] == 4
    assert sdk.response["provider"] == "acme"


def test_counts_are_those_of_the_deltas() -> None:
    told = [
        piece(ReasoningPiece("Hm. ", signature="sig", closes=True), made=("sig",), id="theirs-1"),
        piece(TextPiece("Gre"), TextPiece("en."), content_chars=6),
        piece(ToolCallPiece(0, "{}", id="c1", name="lamp"), content_chars=6, opaque=True),
        piece(FinishPiece("tool_calls"), usage=USAGE),
    ]
    written = translated(*told)
    for name in ("content_chars", "reasoning_chars"):
        assert sum(getattr(d, name) for d in written) == sum(getattr(d, name) for d in told)
    assert "".join(d.text for d in written) == "Green."
    assert [d.finish_reasons for d in written if d.finish_reasons] == [((0, "tool_calls"),)]
    assert [d.usage for d in written if d.usage] == [USAGE]
    assert [d.id for d in written if d.id] == ["theirs-1"]
    assert any(d.opaque for d in written)
    assert "sig" in {m for d in written for m in d.made}


def test_reasoning_tools_and_refusals_are_items_in_their_order() -> None:
    told = [
        piece(ReasoningPiece("Which ")),
        piece(ReasoningPiece("lamp?")),
        piece(ReasoningPiece(encrypted="blob", format=ReasoningFormat.OPENAI, closes=True)),
        piece(TextPiece("Look:")),
        piece(CitationPiece(Citation(url="https://a.test/", title="A"))),
        piece(ToolCallPiece(0, "", id="c1", name="lamp"), opaque=True, content_chars=4),
        piece(ToolCallPiece(1, '{"a"', id="c2", name="bell"), opaque=True, content_chars=8),
        piece(ToolCallPiece(1, ":1}"), opaque=True, content_chars=3),
        piece(FinishPiece("tool_calls")),
        Delta(b"{}", usage=USAGE, has_choices=False),
    ]
    stream = sent(translated(*told))
    check_sequence(stream)
    sdk = sdk_stream(stream)
    assert (sdk.text, sdk.reasoning) == ("Look:", "Which lamp?")
    assert sdk.calls == [("lamp", "{}"), ("bell", '{"a":1}')]
    assert sdk.response is not None
    output = sdk.response["output"]
    assert [i["type"] for i in output] == ["reasoning", "message", "function_call", "function_call"]
    assert output[0]["encrypted_content"] == "blob"
    assert [i["call_id"] for i in output[2:]] == ["c1", "c2"]
    [annotation] = output[1]["content"][0]["annotations"]
    assert (annotation["url"], annotation["end_index"]) == ("https://a.test/", 5)


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended_is_told(finish: str, status: str, reason: str | None) -> None:
    told = [piece(RefusalPiece("No."), opaque=True, content_chars=3), piece(FinishPiece(finish))]
    stream = sent(translated(*told))
    check_sequence(stream)
    response = sdk_stream(stream).response
    assert response is not None
    assert response["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_another_provider_s_signature_comes_back_as_it_was() -> None:
    told = piece(
        ReasoningPiece("Hm.", signature="sig", format=ReasoningFormat.ANTHROPIC, closes=True),
        made=("sig",),
    )
    written = translated(told, *TEXT)
    response = sdk_stream(sent(written)).response
    assert response is not None
    [item, *_] = response["output"]
    assert {item["encrypted_content"], item["id"]} <= {m for d in written for m in d.made}
    body = {"model": "m", "input": [item, {"role": "user", "content": "Go on"}]}
    read = DOOR.read_body(msgspec.json.encode(body))
    [turn, _] = DOOR.form(replace(REQUEST, body=read)).messages
    [part] = turn.parts
    assert isinstance(part, Reasoning)
    assert (part.text, part.signature, part.format) == ("Hm.", "sig", ReasoningFormat.ANTHROPIC)


def test_a_whole_answer_says_what_the_stream_says() -> None:
    parts = (Reasoning("Hm."), Text("Green."), ToolCall("c1", "lamp", "{}"))
    told = ChatAnswer((AnswerChoice(parts, "tool_calls"),), USAGE, model="theirs")
    answer = DOOR.answer(Answer({}, 9, "tool_calls", USAGE, told=told), REQUEST)
    whole = sdk_answer(DOOR.encoder(REQUEST).answer(answer, "acme", "0.01"))
    pieces = [
        piece(ReasoningPiece("Hm.", closes=True)),
        piece(TextPiece("Green.")),
        piece(ToolCallPiece(0, "{}", id="c1", name="lamp")),
        piece(FinishPiece("tool_calls"), usage=USAGE),
    ]
    streamed = sdk_stream(sent(translated(*pieces)))
    assert whole.response == streamed.response
    assert set(answer.made) == {whole.response["output"][0]["id"]}  # type: ignore[index]  # is there


# ── as it came, and translated there and back ─────────────────────────────────────────────────


def of(exchange: Exchange, *, told: bool) -> list[Delta]:
    return deltas(decode(exchange.provider, exchange.body, told=told))


def failed(exchange: Exchange) -> bool:
    return isinstance(decode(exchange.provider, exchange.body)[-1], StreamError)


def same(found: SdkResponse, expected: SdkResponse) -> None:
    assert (found.text, found.calls, found.status, found.usage) == (
        expected.text,
        expected.calls,
        expected.status,
        expected.usage,
    )


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_of_the_same_dialect_goes_out_as_it_came(exchange: Exchange) -> None:
    if failed(exchange):
        return
    stream = sent(of(exchange, told=False))
    came = [e for e in events_of(exchange.body) if e.get("type")]
    gone = events_of(stream)
    assert gone[:-1] == came[:-1]
    usage = came[-1]["response"]["usage"]
    assert gone[-1]["response"] == {
        **came[-1]["response"],
        "provider": "acme",
        "usage": {**usage, "cost": 0.01},
    }
    same(sdk_stream(stream), sdk_stream(exchange.body))


@pytest.mark.parametrize("exchange", STREAMS)
def test_translated_it_says_the_same(exchange: Exchange) -> None:
    if failed(exchange):
        return
    read = of(exchange, told=True)
    usage = next(d.usage for d in reversed(read) if d.usage)
    stream = sent(translated(*read), usage=usage)
    check_sequence(stream)
    expected = sdk_stream(exchange.body)
    if not expected.text:
        expected.text = exchange.expect.get("text", "")
    same(sdk_stream(stream), expected)
