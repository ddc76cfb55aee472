"""What the Gemini adapter makes of answers and streams.

The oracle for recordings of the real API is Google's own SDK reading the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer, Reasoning, Text, ToolCall
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.gemini_wire import read_usage
from signalbox.adapters.protocol import Answer
from signalbox.adapters.told_counts import chars_of
from signalbox.errors import Failure, ProviderProtocolError
from signalbox.types import Usage
from tests.gemini_cases import (
    ADAPTER,
    EVENT_STREAMS,
    NATIVE,
    OWN_ANSWERS,
    OWN_STREAMS,
    RECORDED_ANSWERS,
    RECORDED_STREAMS,
    TRANSLATED,
    chunks,
    decode,
    deltas,
    failure,
    finish_reasons,
    last_usage,
    sdk,
    sdk_calls,
    sdk_parts,
    sdk_text,
)
from tests.recordings import Exchange

DOORS = pytest.mark.parametrize("request_", [NATIVE, TRANSLATED], ids=["native", "translated"])


def answered(exchange: Exchange, request: Any) -> Answer:
    answer = ADAPTER.decode_answer(exchange.body, request)
    assert isinstance(answer, Answer), answer
    return answer


def told(answer: Answer) -> ChatAnswer:
    assert isinstance(answer.told, ChatAnswer)
    return answer.told


def folded(exchange: Exchange) -> ChatAnswer:
    folder = Folder()
    for delta in deltas(decode(replace(TRANSLATED, stream=True), exchange.body)):
        folder.add(delta)
    return folder.answer()


def text_of(answer: ChatAnswer, kind: type[Text] | type[Reasoning] = Text) -> str:
    parts = answer.choices[0].parts if answer.choices else ()
    return "".join(part.text for part in parts if isinstance(part, kind))


def calls_of(answer: ChatAnswer) -> list[ToolCall]:
    parts = answer.choices[0].parts if answer.choices else ()
    return [part for part in parts if isinstance(part, ToolCall)]


def sums(usage: Usage | None) -> tuple[int | None, int | None]:
    assert usage is not None
    return usage.input_total, usage.output_total


def sdk_sums(response: Any) -> tuple[int, int]:
    """What the SDK's fields come to: its total is the sum of all."""
    usage = response.usage_metadata
    prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    return prompt, usage.total_token_count - prompt


# ── whole answers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", OWN_ANSWERS)
@DOORS
def test_an_answer_means_what_is_documented(exchange: Exchange, request_: Any) -> None:
    answer, expect = ADAPTER.decode_answer(exchange.body, request_), exchange.expect
    if "error" in expect:
        assert isinstance(answer, Failure)
        assert answer.kind == expect["error"]
        return
    assert isinstance(answer, Answer)
    assert answer.finish_reason == expect["finish"]
    assert answer.usage == Usage(**expect["usage"])
    assert answer.made == tuple(expect.get("made", ()))
    assert answer.body == json.loads(exchange.body)
    if request_ is NATIVE:
        assert answer.told is None
        return
    whole = told(answer)
    assert text_of(whole) == expect["text"]
    calls = [[call.name, call.arguments] for call in calls_of(whole)]
    assert calls == expect.get("tools", [])
    assert tuple(call.signature for call in calls_of(whole) if call.signature) == answer.made
    assert whole.choices[0].finish == expect["finish"]
    chars = len(expect["text"]) + sum(len("".join(call)) for call in calls)
    assert answer.content_chars == chars
    logprobs = [
        [token["token"], token["logprob"], [top["token"] for top in token["top_logprobs"]]]
        for token in whole.choices[0].logprobs or ()
    ]
    assert logprobs == expect.get("logprobs", [])


@pytest.mark.parametrize("exchange", RECORDED_ANSWERS)
def test_a_recorded_answer_says_what_the_sdk_reads(exchange: Exchange) -> None:
    answer = answered(exchange, TRANSLATED)
    whole, theirs = told(answer), sdk(json.loads(exchange.body))
    assert text_of(whole) == sdk_text([theirs])
    assert text_of(whole, Reasoning) == sdk_text([theirs], thought=True)
    assert [(c.name, json.loads(c.arguments)) for c in calls_of(whole)] == sdk_calls([theirs])
    assert sums(answer.usage) == sdk_sums(theirs)
    assert theirs.candidates is not None
    reason = theirs.candidates[0].finish_reason
    assert reason is not None
    assert whole.choices[0].native_finish == reason.name
    expected = {"STOP": "tool_calls" if calls_of(whole) else "stop", "MAX_TOKENS": "length"}
    assert answer.finish_reason == expected.get(reason.name, "content_filter")
    signatures = [part.thought_signature for part in sdk_parts(theirs) if part.thought_signature]
    assert len(answer.made) == len(signatures)
    assert (answer.id, whole.model) == (theirs.response_id, theirs.model_version)


@pytest.mark.parametrize("exchange", [*RECORDED_ANSWERS, *OWN_ANSWERS])
def test_an_answer_of_the_same_dialect_stays_whole(exchange: Exchange) -> None:
    answer = ADAPTER.decode_answer(exchange.body, NATIVE)
    if isinstance(answer, Answer):
        assert answer.body == json.loads(exchange.body)


def test_calls_without_an_id_get_one_of_their_own_that_stays() -> None:
    body = json.dumps(
        {
            "responseId": "r",
            "candidates": [
                {
                    "content": {"parts": [{"functionCall": {"name": "f"}}] * 2},
                    "finishReason": "STOP",
                },
                {"index": 1, "content": {"parts": [{"functionCall": {"name": "f", "id": "own"}}]}},
            ],
        }
    ).encode()
    first, again = (told(answered_bytes(body, TRANSLATED)) for _ in range(2))
    ids = [part.id for choice in first.choices for part in choice.parts if hasattr(part, "id")]
    assert ids == [part.id for c in again.choices for part in c.parts if hasattr(part, "id")]
    assert len(set(ids)) == 3
    assert ids[2] == "own"
    other = told(answered_bytes(body.replace(b'"r"', b'"s"'), TRANSLATED))
    assert {part.id for part in other.choices[0].parts if hasattr(part, "id")}.isdisjoint(ids)


def answered_bytes(body: bytes, request: Any) -> Answer:
    answer = ADAPTER.decode_answer(body, request)
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt": 5}, Usage(prompt=5)),
        ({"prompt": 5, "total": 5}, Usage(prompt=5, completion=0)),
        ({"total": 5, "candidates": 5}, Usage(prompt=0, completion=5)),
        ({"total": 9, "candidates": 5}, Usage(prompt=4, completion=5)),
        ({"prompt": 5, "total": 9}, Usage(prompt=5, completion=4)),
        # Thoughts that nobody told of are in the total alone.
        (
            {"prompt": 5, "candidates": 2, "total": 10},
            Usage(prompt=5, completion=2, reasoning=3),
        ),
        # They are in the candidates' count.
        (
            {"prompt": 5, "candidates": 6, "thoughts": 4, "total": 11},
            Usage(prompt=5, completion=2, reasoning=4),
        ),
        (
            {"prompt": 5, "candidates": 2, "toolUsePrompt": 4, "total": 11},
            Usage(prompt=9, completion=2),
        ),
        # What tools gave is in the prompt's count.
        (
            {"prompt": 9, "candidates": 2, "toolUsePrompt": 4, "total": 11},
            Usage(prompt=9, completion=2),
        ),
        (
            {"prompt": 9, "candidates": 2, "cachedContent": 4, "total": 11},
            Usage(prompt=5, cached_read=4, completion=2),
        ),
        # It cannot be.
        ({"prompt": 9, "candidates": 2, "cachedContent": 10}, Usage(prompt=9, completion=2)),
        ({"prompt": 9, "candidates": -2, "total": True}, Usage(prompt=9)),
        ({"prompt": 0, "total": 0}, None),
        ({}, None),
    ],
)
def test_the_total_decides_what_was_used(counts: dict[str, int], usage: Usage | None) -> None:
    assert read_usage({f"{name}TokenCount": count for name, count in counts.items()}) == usage


def test_a_refused_prompt_ends_every_alternative() -> None:
    body = b'{"promptFeedback": {"blockReason": "OTHER"}}'
    answer = answered_bytes(body, replace(TRANSLATED, choices=3))
    assert (answer.choices, answer.finish_reason, answer.content_chars) == (3, "content_filter", 0)
    assert [choice.native_finish for choice in told(answer).choices] == ["OTHER"] * 3
    events = decode(replace(TRANSLATED, choices=3), b"data: " + body + b"\n\n")
    assert finish_reasons(events) == dict.fromkeys(range(3), "content_filter")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"7",
        b"[]",
        b"{",
        b"<html>",
        b'{"a": "\xff"}',
        b"[" * 3000,
        b'{"candidates": 1}',
        b'{"candidates": [{"index": "0"}]}',
        b'{"candidates": [{"content": []}]}',
        b'{"candidates": [{"content": {"parts": [{"text": 5}]}}]}',
    ],
)
def test_what_is_no_answer_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        ADAPTER.decode_answer(body, TRANSLATED)


# ── streams ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", OWN_STREAMS)
@DOORS
def test_a_stream_means_what_is_documented(exchange: Exchange, request_: Any) -> None:
    expect = exchange.expect
    request = replace(request_, stream=True, choices=expect.get("n", 1))
    events = decode(request, exchange.body)
    came = deltas(events)
    assert "".join(delta.text for delta in came) == expect["text"]
    assert sum(delta.reasoning_chars for delta in came) == len(expect.get("reasoning", ""))
    assert finish_reasons(events) == {int(k): v for k, v in expect["finish"].items()}
    assert last_usage(events) == (Usage(**expect["usage"]) if expect["usage"] else None)
    assert [state for delta in came for state in delta.made] == expect.get("made", [])
    failed = failure(events)
    assert (failed and failed.kind) == expect.get("error")
    assert any(delta.pieces for delta in came) == (request_ is TRANSLATED and bool(came))


@pytest.mark.parametrize("exchange", OWN_STREAMS)
def test_pieces_tell_what_a_stream_says(exchange: Exchange) -> None:
    expect, whole = exchange.expect, folded(exchange)
    assert text_of(whole) == expect["text"]
    assert text_of(whole, Reasoning) == expect.get("reasoning", "")
    calls = [[call.name, call.arguments] for call in calls_of(whole)]
    assert calls == expect.get("tools", [])
    parts = whole.choices[0].parts if whole.choices else ()
    names = [type(part).__name__ for part in parts]
    assert names.count("Media") == expect.get("media", 0)
    assert names.count("Native") == len(expect.get("natives", []))
    cited = [
        [cite.url, cite.title, expect["text"][cite.start : cite.end]]
        for part in parts
        if isinstance(part, Text)
        for cite in part.citations
    ]
    assert cited == expect.get("citations", [])


@pytest.mark.parametrize("exchange", RECORDED_STREAMS)
def test_a_recorded_stream_says_what_the_sdk_reads(exchange: Exchange) -> None:
    theirs = [sdk(chunk) for chunk in chunks(exchange.body)]
    events = decode(replace(TRANSLATED, stream=True), exchange.body)
    whole = folded(exchange)
    assert failure(events) is None
    assert "".join(delta.text for delta in deltas(events)) == sdk_text(theirs)
    assert text_of(whole) == sdk_text(theirs)
    assert text_of(whole, Reasoning) == sdk_text(theirs, thought=True)
    assert [(c.name, json.loads(c.arguments)) for c in calls_of(whole)] == sdk_calls(theirs)
    assert sums(last_usage(events)) == sdk_sums(theirs[-1])
    assert finish_reasons(events) == {0: "tool_calls" if calls_of(whole) else "stop"}


@pytest.mark.parametrize("exchange", EVENT_STREAMS)
def test_folding_a_stream_gives_the_whole_answer(exchange: Exchange) -> None:
    """All parts in one chunk are the same answer in one piece."""
    events = [json.loads(delta.raw) for delta in deltas(decode(NATIVE, exchange.body))]
    merged: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for event in events:
        merged |= {name: value for name, value in event.items() if name != "candidates"}
        for candidate in event.get("candidates", ()):
            known = candidates.setdefault(candidate.get("index", 0), {"content": {"parts": []}})
            known["content"]["parts"] += (candidate.get("content") or {}).get("parts", [])
            known |= {n: v for n, v in candidate.items() if n != "content"}
    if candidates:
        merged["candidates"] = list(candidates.values())
    answer = answered_bytes(json.dumps(merged).encode(), TRANSLATED)
    streamed, whole = folded(exchange), told(answer)
    assert streamed.choices == whole.choices
    assert (streamed.usage, streamed.id, streamed.model) == (whole.usage, whole.id, whole.model)


@pytest.mark.parametrize("exchange", [*RECORDED_STREAMS, *OWN_STREAMS])
def test_counts_are_those_of_the_pieces(exchange: Exchange) -> None:
    for delta in deltas(decode(replace(TRANSLATED, stream=True), exchange.body)):
        words = sum(map(chars_of, delta.pieces))
        assert words <= delta.content_chars
        if not delta.opaque:
            assert words == delta.content_chars
        assert delta.raw in exchange.body
