"""The completions endpoint: its door, its providers, and chats in a completion's words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    FinishPiece,
    Native,
    Reasoning,
    ReasoningPiece,
    Text,
    TextPiece,
)
from signalbox.adapters.completions import CompletionsAdapter
from signalbox.adapters.completions_door import CompletionsDoor
from signalbox.adapters.completions_providers import completions_endpoint, serves, serves_only
from signalbox.adapters.door import BadRequest
from signalbox.adapters.protocol import Answer, Delta, StreamError, StreamEvent, StreamFinished
from signalbox.errors import Failure, ProviderProtocolError, UnsupportedParameter
from signalbox.machines.decisions import OWN_FAULT
from signalbox.types import Dialect, Extra, Request, Route, Secret, Usage
from tests.recordings import Exchange, cut, own_exchanges
from tests.test_embeddings_door import JSON

DOOR = CompletionsDoor()
ROUTE = Route("openai", "gpt-3.5-turbo-instruct")
EXCHANGES = own_exchanges("completions")
STREAMS = [it for it in EXCHANGES if it.values[0].streamed]
WHOLES = [it for it in EXCHANGES if not it.values[0].streamed]


def request_of(**fields: Any) -> Request:
    body = DOOR.read_body(msgspec.json.encode({"model": "m", "prompt": "Once"} | fields))
    outline = DOOR.outline(body)
    return Request(
        id="0190a0b0-0000-7000-8000-000000000000",
        received_at=1_700_000_000.5,
        door=Dialect.COMPLETIONS,
        body=body,
        model="m",
        stream=outline.stream,
        include_usage=outline.include_usage,
        extra=Extra(),
        key_id="k",
        key_name="k",
        choices=outline.choices,
    )


def adapter(provider: str, base_url: str = "http://p.test/v1") -> CompletionsAdapter:
    endpoint = completions_endpoint("openai", provider, base_url, declared=True)
    assert endpoint is not None
    return CompletionsAdapter(provider, endpoint)


def built(provider: str, prefill: str | None = None, **fields: Any) -> dict[str, Any]:
    wire = adapter(provider).build(
        request_of(**fields), ROUTE, "http://p.test/v1/", Secret("sk"), prefill=prefill
    )
    assert wire.url == "http://p.test/v1/completions"
    body: dict[str, Any] = msgspec.json.decode(wire.body)
    return body


# ── the door ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 7}, "model"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a", 7]}, "prompt[1]"),
        ({"prompt": [[1], [2.5]]}, "prompt[1][0]"),
        ({"suffix": 1}, "suffix"),
        ({"echo": "yes"}, "echo"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 0}, "best_of"),
        ({"n": 129}, "n"),
        ({"stop": [1]}, "stop"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
    ],
)
def test_a_mistake_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        request_of(**fields)
    assert refused.value.param == param


@given(st.binary(max_size=40) | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        DOOR.outline(DOOR.read_body(data))
    except BadRequest:
        return


@given(
    st.fixed_dictionaries(
        {"prompt": JSON | st.text()},
        optional=dict.fromkeys(("n", "stop", "logprobs", "top_k", "min_p", "best_of"), JSON),
    )
)
def test_what_is_read_has_an_outline_a_form_and_goes_out(body: dict[str, Any]) -> None:
    try:
        request = request_of(**body)
    except BadRequest:
        return
    assert DOOR.form(request).messages
    assert adapter("openai").build(request, ROUTE, "http://p.test", None).body


@pytest.mark.parametrize(
    ("fields", "choices", "plain"),
    [
        ({}, 1, True),
        ({"n": 2}, 2, False),
        ({"prompt": ["a", "b"], "n": 2}, 4, False),
        ({"prompt": ["a"]}, 1, True),
        ({"prompt": [1, 2]}, 1, False),
        ({"echo": True}, 1, False),
        ({"suffix": "end"}, 1, False),
        ({"logprobs": 0}, 1, False),
        ({"best_of": 3}, 1, False),
    ],
)
def test_the_outline(fields: dict[str, Any], choices: int, plain: bool) -> None:
    outline = DOOR.outline(request_of(**fields).body)
    assert (outline.choices, outline.plain) == (choices, plain)


def test_for_a_chat_the_prompt_is_the_message_of_a_user() -> None:
    form = DOOR.form(request_of(prompt=["Once"], max_tokens=9, stop="x", best_of=1, echo=False))
    [message] = form.messages
    assert message.parts == (Text("Once"),)
    assert (form.max_tokens, form.stop, form.native, form.unknown) == (9, ("x",), (), {})


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"suffix": "end"}, ["suffix"]),
        ({"echo": True}, ["echo"]),
        ({"best_of": 3, "n": 2}, ["best_of"]),
        ({"logprobs": 0}, ["logprobs"]),
        ({"prompt": [1, 2]}, ["prompt"]),
        ({"prompt": ["a", "b"]}, ["prompt"]),
    ],
)
def test_what_a_chat_cannot_say_is_named(fields: dict[str, Any], names: list[str]) -> None:
    natives = DOOR.form(request_of(**fields)).native
    assert [native.name for native in natives] == names
    assert all(isinstance(native, Native) and native.meaning for native in natives)


# ── requests to providers ─────────────────────────────────────────────────────────────────────


def test_a_request_goes_out_as_it_came() -> None:
    body = built("openai", echo=True, logprobs=5, best_of=2, suffix="s", future=[1], models=["x"])
    assert body == {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": "Once",
        "echo": True,
        "logprobs": 5,
        "best_of": 2,
        "suffix": "s",
        "future": [1],
    }


def test_a_stream_is_asked_for_its_usage() -> None:
    assert built("openai", stream=True)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("provider", "fields", "field"),
    [
        ("vllm", {"suffix": "s"}, "suffix"),
        ("together", {"best_of": 2}, "best_of"),
        ("ollama", {"prompt": ["a", "b"]}, "prompt"),
        ("openrouter", {"prompt": [1]}, "prompt"),
        ("cerebras", {"n": 2}, "n"),
    ],
)
def test_what_a_provider_does_not_take_rules_it_out(
    provider: str, fields: dict[str, Any], field: str
) -> None:
    assert adapter(provider).unsupported(request_of(**fields), ROUTE) == (field,)
    with pytest.raises(UnsupportedParameter):
        built(provider, **fields)


def test_a_begun_answer_is_gone_on_from_by_a_longer_prompt() -> None:
    body = built("vllm", prefill=" upon a time ", max_tokens=100)
    assert body["prompt"] == "Once upon a time"
    assert body["max_tokens"] == 96
    assert adapter("vllm").prefills(ROUTE)
    assert not adapter("openrouter").prefills(ROUTE)


def test_which_models_have_the_endpoint() -> None:
    url = "https://api.openai.com/v1"
    openai = completions_endpoint("openai", "openai", url)
    assert openai is not None
    assert serves_only(openai, "gpt-3.5-turbo-instruct")
    assert serves_only(openai, "davinci-002")
    assert not serves(openai, "gpt-4o")
    vllm = completions_endpoint("openai", "vllm", url)
    assert vllm is not None
    assert serves(vllm, "org/any")
    assert not serves_only(vllm, "org/any")
    assert completions_endpoint("openai", "groq", url) is None
    assert completions_endpoint("openai", "groq", url, declared=True) is not None
    assert completions_endpoint("openai", "vllm", url, declared=False) is None
    assert completions_endpoint("openai", "deepseek", "https://api.deepseek.com/v1") is None
    assert completions_endpoint("openai", "deepseek", "https://api.deepseek.com/beta") is not None


# ── answers of providers ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", WHOLES)
def test_a_whole_answer_is_read(exchange: Exchange) -> None:
    answer = adapter(exchange.provider).decode_answer(exchange.body, request_of())
    assert isinstance(answer, Answer)
    assert answer.finish_reason == exchange.expect["finish"]["0"]
    assert answer.choices == len(exchange.expect["finish"])
    assert answer.usage == Usage(**exchange.expect["usage"])
    assert answer.content_chars >= len(exchange.expect["text"])


def events_of(exchange: Exchange, *pieces: bytes) -> list[StreamEvent]:
    decoder = adapter(exchange.provider).stream_decoder(request_of(stream=True))
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_is_read_and_its_client_gets_one_end_and_one_usage(exchange: Exchange) -> None:
    events = events_of(exchange, exchange.body)
    deltas = [event for event in events if isinstance(event, Delta)]
    assert "".join(delta.text for delta in deltas) == exchange.expect["text"]
    finishes = {str(i): reason for delta in deltas for i, reason in delta.finish_reasons}
    assert finishes == exchange.expect["finish"]
    if exchange.expect.get("error"):
        assert isinstance(events[-1], StreamError)
        return
    assert isinstance(events[-1], StreamFinished)
    usage = [delta.usage for delta in deltas if delta.usage][-1]
    assert usage == Usage(**exchange.expect["usage"])
    for wanted in (True, False):
        request = request_of(stream=True, stream_options={"include_usage": wanted})
        encoder = DOOR.encoder(request)
        out = b"".join(map(encoder.delta, deltas)) + encoder.finish("p", "0.1", usage)
        chunks = [json.loads(it[6:]) for it in out.split(b"\n\n") if it.startswith(b"data: {")]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert "".join(choice["text"] for choice in choices) == exchange.expect["text"]
        assert len([it for it in choices if it.get("finish_reason")]) == 1
        assert len([it for it in chunks if it.get("usage")]) == wanted
        assert out.endswith(b"data: [DONE]\n\n")


@given(places=st.lists(st.integers(0, 10_000), max_size=6), crlf=st.booleans())
@settings(max_examples=20)
@pytest.mark.parametrize("exchange", STREAMS)
def test_how_the_bytes_are_cut_changes_nothing(
    exchange: Exchange, places: list[int], crlf: bool
) -> None:
    body = exchange.body.replace(b"\n", b"\r\n") if crlf else exchange.body
    assert events_of(exchange, *cut(body, places)) == events_of(exchange, exchange.body)


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_any_bytes_are_events_or_the_providers_fault(data: bytes) -> None:
    chunk = b'data: {"choices": [{"text": ' + data.replace(b"\n", b"") + b"}]}\n\n"
    for body in (data, chunk):
        decoder = adapter("openai").stream_decoder(request_of(stream=True))
        with suppress(ProviderProtocolError):
            decoder.feed(body)
            decoder.end()
        with suppress(ProviderProtocolError):
            adapter("openai").decode_answer(body, request_of())


def test_an_error_inside_a_200_is_a_failure() -> None:
    told = adapter("openai").decode_answer(b'{"error": {"message": "no"}}', request_of())
    empty = adapter("openai").decode_answer(b'{"choices": []}', request_of())
    assert isinstance(told, Failure)
    assert isinstance(empty, Failure)


def test_a_chunk_is_retold_with_other_words() -> None:
    chunk = {
        "id": "c",
        "choices": [
            {"index": 0, "text": "Once upon", "reasoning": "hm", "finish_reason": None},
            {"index": 1, "text": "other"},
        ],
    }
    delta = adapter("openai").decode_chunk(json.dumps(chunk).encode())
    assert isinstance(delta, Delta)
    assert (delta.text, delta.reasoning_chars, delta.content_chars) == ("Once upon", 2, 16)
    told = adapter("openai").retold(delta, " upon")
    assert adapter("openai").decode_chunk(told.raw) == told
    assert (told.text, told.content_chars) == (" upon", 10)


# ── a chat's answers in a completion's words ──────────────────────────────────────────────────


def test_a_chats_answer_is_told_as_a_completion() -> None:
    choice = AnswerChoice((Reasoning("hm"), Text("upon a time")), "length")
    told = ChatAnswer((choice,), Usage(prompt=3, completion=4), model="theirs", created=7)
    request = request_of()
    answer = DOOR.answer(Answer({}, 11, "length", told.usage, told=told), request)
    body = json.loads(DOOR.encoder(request).answer(answer, "anthropic", "0.5"))
    assert body == {
        "id": f"cmpl-{request.id}",
        "object": "text_completion",
        "created": 7,
        "model": "theirs",
        "choices": [
            {
                "index": 0,
                "text": "upon a time",
                "logprobs": None,
                "finish_reason": "length",
                "reasoning": "hm",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": 0.5},
        "provider": "anthropic",
    }


def test_a_chats_stream_is_told_as_chunks_that_read_back_the_same() -> None:
    writer = DOOR.event_writer(request_of(stream=True))
    given_deltas = [
        Delta(b"", model="theirs", has_choices=False),
        Delta(b"", content_chars=2, reasoning_chars=2, pieces=(ReasoningPiece("hm"),)),
        Delta(b"", content_chars=4, text="upon", pieces=(TextPiece("upon"),)),
        Delta(b"", finish_reasons=((0, "stop"),), pieces=(FinishPiece("stop"),)),
        Delta(b"", usage=Usage(prompt=1, completion=1), has_choices=False),
    ]
    for delta in given_deltas:
        [written] = writer.write(delta)
        read = adapter("openai").decode_chunk(written.raw)
        assert isinstance(read, Delta)
        for name in ("content_chars", "text", "reasoning_chars", "finish_reasons", "has_choices"):
            assert getattr(read, name) == getattr(delta, name) == getattr(written, name)
        assert json.loads(written.raw)["object"] == "text_completion"
        assert json.loads(written.raw)["model"] == "theirs"


def test_an_error_in_a_stream_is_told_in_a_completions_words() -> None:

    out = DOOR.encoder(request_of(stream=True)).error(OWN_FAULT)
    chunk = json.loads(out.split(b"\n\n")[0][6:])
    assert chunk["object"] == "text_completion"
    assert chunk["choices"][0]["finish_reason"] == "error"
    assert chunk["choices"][0]["text"] == ""
    assert chunk["error"]["message"]
