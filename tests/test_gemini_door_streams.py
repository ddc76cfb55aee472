"""Streams and answers at Gemini's door: what other dialects tell, and what goes out as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
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
    Reasoning,
    ReasoningPiece,
    Refusal,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.gemini_door import GenerateDoor
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.errors import ApiError
from signalbox.types import Dialect, Usage
from tests.chat_pieces import (
    USAGE,
    Told,
    counts,
    delta_of,
    refusal_stream,
    request_of,
    told_streams,
)
from tests.google_sdk import sdk_answer, sdk_stream

DOOR = GenerateDoor()
SHOWN = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
REQUEST = request_of(Dialect.GENERATE, SHOWN)
REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
ERROR = ApiError(status=503, type="server_error", code="all_routes_failed", message="nothing left")
SEAM = Seam("p2", "m2", "prefill", 3)


def written(*deltas: Delta) -> list[Delta]:
    writer = DOOR.event_writer(REQUEST)
    return [event for delta in deltas for event in writer.write(delta)]


def sent(*deltas: Delta, usage: Usage | None = USAGE) -> bytes:
    encoder = DOOR.encoder(REQUEST)
    return b"".join(map(encoder.delta, deltas)) + encoder.finish("p", "0.5", usage)


def chunks(stream: bytes) -> list[Any]:
    return [json.loads(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n") if event]


def words(parts: list[types.Part], *, thought: bool = False) -> str:
    return "".join(part.text or "" for part in parts if bool(part.thought) is thought)


def calls_of(parts: list[types.Part]) -> list[tuple[str | None, str | None, Any]]:
    return [(c.id, c.name, c.args) for c in (p.function_call for p in parts) if c is not None]


@settings(max_examples=60, deadline=None)
@given(told_streams())
def test_the_sdk_reads_what_was_told(told: Told) -> None:
    stream = sent(*written(*told.deltas))
    seen = sdk_stream(stream)
    parts = seen.parts()
    assert words(parts) == told.said.text
    assert words(parts, thought=True) == told.said.reasoning
    assert sorted(calls_of(parts), key=str) == sorted(told.said.calls, key=str)
    assert seen.finish() == [REASONS[told.said.finish]]
    usage = seen.chunks[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (13, 3)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (7, 2)
    assert usage.total_token_count == 22
    assert {chunk.response_id for chunk in seen.chunks} == {"t1"}
    assert chunks(stream)[-1]["x_signalbox"] == {"provider": "p", "cost": 0.5}


@settings(max_examples=60, deadline=None)
@given(told_streams())
def test_events_count_what_the_deltas_count(told: Told) -> None:
    assert counts(written(*told.deltas)) == counts(told.deltas)


def test_a_call_is_told_when_it_is_whole() -> None:
    first, second, more, end = written(
        delta_of(ToolCallPiece(0, '{"a": "}', id="c0", name="f")),
        delta_of(ToolCallPiece(0, '\\""}')),
        delta_of(ToolCallPiece(0, "\n"), ToolCallPiece(1, '{"b', id="c1", name="g")),
        delta_of(FinishPiece("length"), usage=USAGE),
    )
    assert (first.raw, first.content_chars, first.opaque) == (b"", 0, False)
    assert (second.content_chars, second.opaque) == (1 + 8 + 4, True)
    assert json.loads(second.raw)["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"id": "c0", "name": "f", "args": {"a": '}"'}}}
    ]
    assert (more.raw, more.content_chars) == (b"", 1)
    [cut_off] = json.loads(end.raw)["candidates"][0]["content"]["parts"]
    assert cut_off["functionCall"]["args"] == {"arguments": '{"b'}


def test_thoughts_are_shown_to_whom_asks_for_them() -> None:
    told = ChatAnswer((AnswerChoice((Reasoning("Hm"), Text("So")), "stop"),))
    for body, thought in ((SHOWN, "Hm"), ({}, "")):
        request = request_of(Dialect.GENERATE, body)
        answer = DOOR.answer(Answer({}, 4, "stop", None, told=told), request)
        seen = sdk_answer(DOOR.encoder(request).answer(answer, "p", None))
        assert seen.candidates is not None
        content = seen.candidates[0].content
        assert content is not None
        assert words(content.parts or [], thought=True) == thought
        assert seen.text == "So"
        assert seen.usage_metadata is not None
        assert seen.usage_metadata.prompt_token_count == 5, "an estimate"
    silent = DOOR.event_writer(request_of(Dialect.GENERATE)).write(delta_of(ReasoningPiece("Hm")))
    assert [(d.raw, d.content_chars, d.reasoning_chars) for d in silent] == [(b"", 2, 2)]


def test_an_answer_with_everything() -> None:
    picture = Media(MediaKind.IMAGE, "image/png", data="QQ==")
    parts = (
        Text("So", citations=(Citation(url="https://a.test", title="A", start=0, end=2),)),
        ToolCall("c", "f", '{"a": 1}', signature="c2ln"),
        picture,
    )
    logprobs = ({"token": "So", "logprob": -0.5, "top_logprobs": [{"token": "S", "logprob": -1}]},)
    told = ChatAnswer(
        (
            AnswerChoice(parts, "tool_calls", logprobs=logprobs),
            AnswerChoice((Refusal("No."),), "stop"),
        ),
        usage=USAGE,
        model="theirs",
    )
    answer = DOOR.answer(Answer({}, 9, "tool_calls", USAGE, told=told), REQUEST)
    seen = sdk_answer(DOOR.encoder(REQUEST).answer(answer, "p", "0.1"))
    assert seen.candidates is not None
    first, second = seen.candidates
    assert first.content is not None
    assert first.content.parts is not None
    text, call, image = first.content.parts
    assert (text.text, call.thought_signature) == ("So", b"sig")
    assert call.function_call is not None
    assert (call.function_call.id, call.function_call.args) == ("c", {"a": 1})
    assert image.inline_data is not None
    assert image.inline_data.data == b"A"
    assert first.citation_metadata is not None
    assert [c.uri for c in first.citation_metadata.citations or ()] == ["https://a.test"]
    assert first.logprobs_result is not None
    [chosen] = first.logprobs_result.chosen_candidates or [types.LogprobsResultCandidate()]
    assert (chosen.token, chosen.log_probability) == ("So", -0.5)
    assert second.finish_reason == types.FinishReason.SAFETY
    assert (seen.model_version, seen.response_id) == ("theirs", "t1")


def test_pictures_citations_and_refusals_in_a_stream() -> None:
    picture = MediaPiece(Media(MediaKind.IMAGE, "image/png", data="QQ=="))
    source = CitationPiece(Citation(url="https://a.test"))
    seen = sdk_stream(sent(*written(delta_of(picture, source), *refusal_stream())))
    image, refusal = seen.parts()
    assert image.inline_data is not None
    assert (refusal.text, seen.finish()) == ("I will not.", ["SAFETY"])
    [cited] = [c for chunk in seen.chunks for c in chunk.candidates or () if c.citation_metadata]
    assert cited.citation_metadata is not None


def test_each_choice_is_a_candidate() -> None:
    seen = sdk_stream(
        sent(
            *written(
                delta_of(TextPiece("a"), TextPiece("b", choice=1)),
                delta_of(FinishPiece("stop")),
                delta_of(TextPiece("c", choice=1)),
                delta_of(FinishPiece("length", choice=1), usage=USAGE),
            )
        )
    )
    assert (words(seen.parts(0)), words(seen.parts(1))) == ("a", "bc")
    assert (seen.finish(0), seen.finish(1)) == (["STOP"], ["MAX_TOKENS"])


# A provider of the same dialect


def own(text: str, finish: str | None = None, **more: Any) -> Delta:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    chunk = {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
        "modelVersion": "theirs",
        "responseId": "r1",
        **more,
    }
    reasons = ((0, "stop"),) if finish else ()
    raw = json.dumps(chunk).encode()
    return Delta(raw, content_chars=len(text), text=text, finish_reasons=reasons)


def test_chunks_of_the_same_dialect_keep_their_bytes() -> None:
    encoder = DOOR.encoder(REQUEST)
    chunk, last = own("Hi", newField={"a": 1e-7}), own("!", "STOP", safetyRatings=[])
    assert encoder.delta(chunk) == b"data: " + chunk.raw + b"\n\n"
    assert encoder.delta(last) == b""
    [end] = chunks(encoder.finish("p", None, USAGE))
    assert end == {**json.loads(last.raw), "x_signalbox": {"provider": "p"}}


@pytest.mark.parametrize("estimated", [True, False])
def test_an_estimate_replaces_what_the_provider_could_not_say(estimated: bool) -> None:
    usage = Usage(prompt=1, completion=2, estimated=estimated)
    end = chunks(sent(own("!", "STOP"), usage=usage))[-1]
    assert end["usageMetadata"]["promptTokenCount"] == (1 if estimated else 4)


def test_the_end_is_held_until_it_is_certain() -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = encoder.delta(own("Hi")) + encoder.delta(own("!", "STOP"))
    seen = sdk_stream(stream + encoder.error(ERROR))
    assert (words(seen.parts()), seen.finish()) == ("Hi!", [])
    assert seen.error is not None
    assert (seen.error.code, seen.error.status) == (503, "UNAVAILABLE")


def test_after_a_seam_all_chunks_are_one_answer_s() -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = encoder.delta(own("One ")) + encoder.resumed(SEAM)
    other = {"responseId": "r2", "modelVersion": "other"}
    stream += encoder.delta(own("two", **other)) + encoder.delta(own("", "STOP", **other))
    stream += encoder.finish("p2", None, USAGE)
    seen = sdk_stream(stream)
    assert words(seen.parts()) == "One two"
    assert {(c.response_id, c.model_version) for c in seen.chunks} == {("r1", "theirs")}
    assert ["usageMetadata" in chunk for chunk in chunks(stream)] == [True, False, True]
    last = chunks(stream)[-1]
    assert last["x_signalbox"]["resumed"][0]["provider"] == "p2"
    assert last["usageMetadata"]["promptTokenCount"] == 13


def test_a_stream_without_any_chunk_has_an_end() -> None:
    [end] = chunks(sent())
    assert (end["candidates"], end["usageMetadata"]["totalTokenCount"]) == ([], 22)


def test_events_that_only_count_can_be_retold() -> None:
    silent = Delta(raw=b"", content_chars=3, reasoning_chars=3)
    assert DOOR.retold(silent, "") == Delta(raw=b"")
