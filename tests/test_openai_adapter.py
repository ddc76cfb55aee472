"""The OpenAI adapter: what it makes of what providers answer.

The oracle for recordings of real providers is the official SDK's own reading of the same bytes.
"""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    StreamError,
    StreamEvent,
    StreamFinished,
)
from signalbox.adapters.registry import adapters_of
from signalbox.config import ProviderSettings
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Usage
from tests.decoding import ALL_STREAMS, OWN_STREAMS, PLAIN_JSON, RECORDED_STREAMS, decode, deltas
from tests.folding import Folded, fold, fold_answer
from tests.garbled import JSON, garbled
from tests.openai_sdk import sdk_answer, sdk_stream
from tests.outgoing import REQUEST
from tests.recordings import Exchange, cut, is_openai_chat, own_exchanges, recorded_exchanges

EVENT_STREAMS = [stream for stream in ALL_STREAMS if stream.id != PLAIN_JSON]
RECORDED_ANSWERS = recorded_exchanges(
    lambda e: is_openai_chat(e) and not e.streamed and e.status == 200
)


def failure(events: list[StreamEvent]) -> Failure | None:
    return next((event.failure for event in events if isinstance(event, StreamError)), None)


def last_usage(events: list[StreamEvent]) -> Usage | None:
    return next((d.usage for d in reversed(deltas(events)) if d.usage is not None), None)


def folded(events: list[StreamEvent]) -> Folded:
    return fold(json.loads(delta.raw) for delta in deltas(events))


def finish_reasons(events: list[StreamEvent]) -> dict[str, str]:
    return {str(index): reason for d in deltas(events) for index, reason in d.finish_reasons}


# Streams


@pytest.mark.parametrize("exchange", OWN_STREAMS)
def test_own_stream_means_what_it_was_written_to_mean(exchange: Exchange) -> None:
    events = decode(exchange.provider, exchange.body)
    expect, said = exchange.expect, folded(events)
    assert (said.text, said.reasoning, said.refusal, said.transcript) == tuple(
        expect.get(field, "") for field in ("text", "reasoning", "refusal", "transcript")
    )
    assert list(said.tools.values()) == expect.get("tools", [])
    assert finish_reasons(events) == expect["finish"]
    assert last_usage(events) == (Usage(**expect["usage"]) if expect["usage"] else None)
    error = failure(events)
    assert (error and error.kind) == expect.get("error")


@pytest.mark.parametrize("exchange", EVENT_STREAMS)
def test_a_stream_is_read_as_the_sdk_reads_it(exchange: Exchange) -> None:
    events, sdk = decode(exchange.provider, exchange.body), sdk_stream(exchange.body)
    error = failure(events)
    if error is None:
        assert sdk.error is None
        assert folded(events) == fold(sdk.chunks)
    else:
        # OpenRouter's error in a chunk with choices is an error to the SDK too.
        assert sdk.error is not None
        assert sdk.error.message in error.message


@pytest.mark.parametrize("exchange", ALL_STREAMS)
def test_facts_agree_with_the_folded_stream(exchange: Exchange) -> None:
    events = decode(exchange.provider, exchange.body)
    said = folded(events)
    assert sum(delta.content_chars for delta in deltas(events)) == said.chars
    assert set(finish_reasons(events)) == {str(index) for index in said.finish}
    for delta in deltas(events):
        assert delta.has_choices == bool(json.loads(delta.raw).get("choices"))


@pytest.mark.parametrize("exchange", RECORDED_STREAMS)
def test_recorded_usage_adds_up_to_the_provider_s_total(exchange: Exchange) -> None:
    events = decode(exchange.provider, exchange.body)
    reported = folded(events).usage
    usage = last_usage(events)
    assert (usage is None) == (not reported)
    if usage is not None:
        assert usage.input_total is not None
        assert usage.output_total is not None
        assert usage.input_total + usage.output_total == reported[-1]["total_tokens"]


@pytest.mark.parametrize("exchange", ALL_STREAMS)
def test_where_a_stream_is_cut_changes_nothing(exchange: Exchange) -> None:
    whole = decode(exchange.provider, exchange.body)
    single = (bytes([byte]) for byte in exchange.body)
    assert decode(exchange.provider, *single) == whole
    starts = [sum(exchange.reads[:count]) for count in range(len(exchange.reads))]
    assert decode(exchange.provider, *cut(exchange.body, starts)) == whole

    @settings(max_examples=20)
    @given(st.lists(st.integers(0, len(exchange.body)), max_size=30))
    def rechunked(places: list[int]) -> None:
        assert decode(exchange.provider, *cut(exchange.body, places)) == whole

    rechunked()


@pytest.mark.parametrize("exchange", ALL_STREAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_line_ends_change_nothing(exchange: Exchange, line_end: bytes) -> None:
    rewritten = exchange.body.replace(b"\r\n", b"\n").replace(b"\n", line_end)
    assert decode(exchange.provider, rewritten) == decode(exchange.provider, exchange.body)


@pytest.mark.parametrize("exchange", ALL_STREAMS)
def test_a_stream_that_ends_early_never_says_more_than_the_whole(exchange: Exchange) -> None:
    """A truncated stream must not look finished: no finish reason but those that really came."""
    whole = decode(exchange.provider, exchange.body)
    # Each event's end, and each place around it, is where proxies cut.
    ends = [at for at in range(len(exchange.body)) if exchange.body[at] in b"\n\r}]"]
    for end in ends:
        try:
            events = decode(exchange.provider, exchange.body[:end])
        except ProviderProtocolError:
            assert exchange.id == PLAIN_JSON
            continue
        told = deltas(events)
        assert told == deltas(whole)[: len(told)]


def test_nothing_is_told_after_an_error_or_the_end_mark() -> None:
    after = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    decoder = OpenAIAdapter("openai").stream_decoder(REQUEST)
    assert decoder.feed(b"data: [DONE]\n\n" + after) == [StreamFinished()]
    assert decoder.feed(after) == []
    decoder = OpenAIAdapter("openai").stream_decoder(REQUEST)
    assert len(decoder.feed(b'data: {"error":{"message":"x"}}\n\n' + after)) == 1
    assert decoder.feed(after) + decoder.end() == []


def test_an_event_named_error_is_an_error_whatever_it_holds() -> None:
    error = failure(decode("groq", b"event: error\ndata: upstream went away\n\n"))
    assert error == Failure(FailureKind.STREAM_ERROR, "upstream went away")


def test_raw_is_what_the_provider_sent() -> None:
    payload = b'{ "choices" : [{"index":0,"delta":{"content":"\\u00e9"}}], "x":1e-05}'
    (delta,) = deltas(decode("openai", b"data: " + payload + b"\n\n"))
    assert delta.raw == payload
    assert delta.content_chars == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b"[]",
        b"1",
        b'"x"',
        b'{"choices":{}}',
        b'{"choices":[{"delta":{"content":1}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{}}}]}}]}',
        b'{"choices":[],"x":"\xff"}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_chunk_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        OpenAIAdapter("openai").stream_decoder(REQUEST).feed(b"data: " + payload + b"\n\n")


def test_what_came_before_a_bad_chunk_in_the_same_bytes_is_told() -> None:
    good = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    [told, error] = OpenAIAdapter("openai").stream_decoder(REQUEST).feed(good + b'data: {"choi\n\n')
    assert isinstance(told, Delta)
    assert isinstance(error, StreamError)
    assert error.failure.kind is FailureKind.PROTOCOL_ERROR


def test_a_whole_answer_or_a_page_in_place_of_a_stream_is_a_protocol_error() -> None:
    answer = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
    for body in (answer, b"\n <html><title>Sign in</title></html>"):
        with pytest.raises(ProviderProtocolError):
            decode("openai", body)


@given(st.data())
def test_a_stream_decoder_raises_nothing_but_protocol_errors(data: st.DataObject) -> None:
    body = data.draw(garbled(b"data: ", b"\n\n", b"event: error\n", b"[DONE]"))
    provider = data.draw(st.sampled_from(["openai", "xai", "mistral"]))
    pieces = cut(body, data.draw(st.lists(st.integers(0, 200))))
    with contextlib.suppress(ProviderProtocolError):
        decode(provider, *pieces)


# Whole answers


@pytest.mark.parametrize("exchange", own_exchanges("openai/answers"))
def test_own_answer_means_what_it_was_written_to_mean(exchange: Exchange) -> None:
    answer, expect = (
        OpenAIAdapter(exchange.provider).decode_answer(exchange.body, REQUEST),
        exchange.expect,
    )
    if "error" in expect:
        assert isinstance(answer, Failure)
        assert answer.kind == expect["error"]
        return
    assert isinstance(answer, Answer)
    assert answer.body == json.loads(exchange.body)
    assert (answer.content_chars, answer.finish_reason) == (expect["chars"], expect["finish"])
    assert answer.usage == (Usage(**expect["usage"]) if expect["usage"] else None)


@pytest.mark.parametrize("exchange", RECORDED_ANSWERS)
def test_a_recorded_answer_is_read_as_the_sdk_reads_it(exchange: Exchange) -> None:
    answer, sdk = (
        OpenAIAdapter(exchange.provider).decode_answer(exchange.body, REQUEST),
        sdk_answer(exchange.body),
    )
    assert isinstance(answer, Answer)
    said = fold_answer(sdk.to_dict())
    assert answer.content_chars == said.chars
    assert answer.finish_reason == sdk.choices[0].finish_reason
    assert sdk.usage is not None
    assert answer.usage is not None
    assert answer.usage.input_total == sdk.usage.prompt_tokens
    assert answer.usage.output_total == sdk.usage.completion_tokens


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"1", b'{"choices":1}', b"\xff", b"{"])
def test_what_is_no_answer_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        OpenAIAdapter("openai").decode_answer(body, REQUEST)


@given(garbled(b"") | JSON.map(lambda value: json.dumps(value).encode()))
def test_decode_answer_raises_nothing_but_protocol_errors(body: bytes) -> None:
    with contextlib.suppress(ProviderProtocolError):
        OpenAIAdapter("openai").decode_answer(body, REQUEST)


COUNT = st.integers(0, 9) | st.sampled_from([None, -1, "3", True, 1.5])


COUNTS = st.fixed_dictionaries(
    {
        "cached_tokens": COUNT,
        "cache_write_tokens": COUNT,
        "reasoning_tokens": COUNT,
        "audio_tokens": COUNT,
        "image_tokens": COUNT,
        "accepted_prediction_tokens": COUNT,
    }
)
CLASSES = (
    *("prompt", "cached_read", "cache_write", "audio_input", "image_input"),
    *("completion", "reasoning", "audio_output", "image_output"),
)


@given(COUNT, COUNT, COUNT, COUNTS, COUNTS, st.sampled_from(["openai", "xai"]))
def test_usage_is_disjoint_and_never_negative(
    prompt: Any, completion: Any, total: Any, inputs: Any, outputs: Any, who: str
) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
    }
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    answer = OpenAIAdapter(who).decode_answer(body, REQUEST)
    assert isinstance(answer, Answer)
    if answer.usage is None:
        return
    for name in CLASSES:
        count = getattr(answer.usage, name)
        assert count is None or count >= 0
    if answer.usage.input_total is not None:
        assert answer.usage.input_total == prompt
    if answer.usage.output_total is not None:
        assert answer.usage.output_total in (completion, completion + (answer.usage.reasoning or 0))


def test_audio_and_pictures_are_classes_of_their_own() -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "prompt_tokens_details": {"audio_tokens": 4, "image_tokens": 5, "cached_tokens": 1},
        "completion_tokens_details": {
            "audio_tokens": 6,
            "reasoning_tokens": 1,
            "accepted_prediction_tokens": 2,
        },
    }
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    answer = OpenAIAdapter("openai").decode_answer(body, REQUEST)
    assert isinstance(answer, Answer)
    assert answer.usage == Usage(
        prompt=10,
        cached_read=1,
        audio_input=4,
        image_input=5,
        completion=3,
        reasoning=1,
        audio_output=6,
    )
    usage["completion_tokens_details"] = {"audio_tokens": 11}
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    answer = OpenAIAdapter("openai").decode_answer(body, REQUEST)
    assert isinstance(answer, Answer)
    assert answer.usage is not None
    assert (answer.usage.completion, answer.usage.audio_output) == (10, None)


@pytest.mark.parametrize(
    ("provider", "total", "completion"),
    [("openai", None, 6), ("xai", None, 10), ("unknown", 34, 10), ("xai", 30, 6)],
)
def test_reasoning_is_counted_once(provider: str, total: int | None, completion: int) -> None:
    """xAI leaves reasoning out of `completion_tokens`; a total says it of anyone."""
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    answer = OpenAIAdapter(provider).decode_answer(body, REQUEST)
    assert isinstance(answer, Answer)
    assert answer.usage == Usage(prompt=20, completion=completion, reasoning=4)


def test_usage_that_cannot_be_true_is_not_said() -> None:
    def usage(**said: Any) -> Usage | None:
        body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": said}).encode()
        answer = OpenAIAdapter("openai").decode_answer(body, REQUEST)
        assert isinstance(answer, Answer)
        return answer.usage

    assert usage(prompt_tokens=0, completion_tokens=0, total_tokens=0) is None
    assert usage(total_tokens=3) is None
    assert usage(prompt_tokens=10**30, completion_tokens=10**30) is None
    assert usage(
        prompt_tokens=5, completion_tokens=1, prompt_tokens_details={"cached_tokens": 6}
    ) == Usage(prompt=5, completion=1)


def test_an_answer_without_choices_is_empty() -> None:
    answer = OpenAIAdapter("openai").decode_answer(b'{"choices":[]}', REQUEST)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.EMPTY_ANSWER


def test_the_registry_names_what_it_knows() -> None:
    anyone = ProviderSettings(name="anyone", api="openai", base_url="http://p.test/v1", keys=())
    adapter = adapters_of(anyone).for_door(Dialect.CHAT, "m")
    assert adapter is not None
    assert adapter.dialect is Dialect.CHAT
    with pytest.raises(ValueError, match=r"api = 'smoke': expected one of .*openai"):
        adapters_of(replace(anyone, api="smoke"))
