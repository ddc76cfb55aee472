"""Amazon Bedrock's Converse: what is sent, what comes back, and what its errors mean."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatRequest,
    Media,
    MediaKind,
    Message,
    Reasoning,
    ReasoningFormat,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.converse import ConverseAdapter
from signalbox.adapters.doors import door_of
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    StreamError,
    StreamEvent,
    StreamFinished,
    stream_types,
)
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Request, Route, Secret, Usage
from tests.aws_events import encoded, event, exception
from tests.garbled import JSON
from tests.outgoing import REQUEST
from tests.recordings import cut

ADAPTER = ConverseAdapter("bedrock")
CLAUDE = Route(provider="bedrock", model="us.anthropic.claude-sonnet-4-5-20250929-v1:0")
NOVA = Route(provider="bedrock", model="us.amazon.nova-2-lite-v1:0")
LLAMA = Route(provider="bedrock", model="meta.llama3-3-70b-instruct-v1:0")
BASE = "https://bedrock-runtime.us-east-1.amazonaws.com/"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PNG = "iVBORw0KGgo="


def request(**body: Any) -> Request:
    return replace(REQUEST, body={**REQUEST.body, **body}, stream=body.get("stream", False))


def asked(*messages: Message, **fields: Any) -> Request:
    """A request whose form is this."""
    made = replace(REQUEST, door=Dialect.MESSAGES)
    made.memo["form"] = ChatRequest(
        dialect=Dialect.MESSAGES, model="m", messages=messages, **fields
    )
    return made


def sent(made: Request, route: Route = CLAUDE) -> dict[str, Any]:
    wire = ADAPTER.build(made, route, BASE, None)
    decoded: dict[str, Any] = msgspec.json.decode(wire.body)
    return decoded


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def test_address_key_and_settings() -> None:
    made = request(max_tokens=9, temperature=0.5, stop=["x"], top_k=3)
    wire = ADAPTER.build(made, CLAUDE, BASE, Secret("k-1"))
    assert wire.url == f"{BASE}model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    assert dict(wire.headers)["authorization"] == "Bearer k-1"
    assert msgspec.json.decode(wire.body) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["x"]},
        "additionalModelRequestFields": {"top_k": 3},
    }
    streamed = ADAPTER.build(replace(made, stream=True), CLAUDE, BASE, None)
    assert streamed.url.endswith("/converse-stream")
    assert dict(streamed.headers)["accept"] == "application/vnd.amazon.eventstream"


def test_an_arn_is_one_part_of_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x"
    url = ADAPTER.build(request(), replace(CLAUDE, model=arn), BASE, None).url
    assert "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus" in url


def test_a_conversation_with_thinking_and_tools() -> None:
    thought = Reasoning("hm", signature="sig", format=ReasoningFormat.ANTHROPIC)
    body = sent(
        asked(
            Message(Role.SYSTEM, (Text("be brief", cache={"type": "ephemeral"}),)),
            Message(Role.USER, (Text("look"), Media(MediaKind.IMAGE, "image/png", data=PNG))),
            Message(Role.ASSISTANT, (thought, ToolCall("t1", "f", '{"a":1}'))),
            Message(Role.TOOL, (ToolResult("t1", (Text("42"),), is_error=False),)),
        )
    )
    assert body["system"] == [{"text": "be brief"}, {"cachePoint": {"type": "default"}}]
    signed = {"reasoningText": {"text": "hm", "signature": "sig"}}
    result = {"toolUseId": "t1", "content": [{"text": "42"}], "status": "success"}
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"text": "look"},
                {"image": {"format": "png", "source": {"bytes": PNG}}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": signed},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": result}]},
    ]


def test_documents_and_videos() -> None:
    pdf = Media(MediaKind.FILE, "application/pdf", data="JVBERi0=", name="a_b.pdf")
    table = Media(MediaKind.FILE, "text/csv", data="YSxi", name="t")
    film = Media(MediaKind.VIDEO, "video/mp4", data="AAAA")
    made = asked(Message(Role.USER, (pdf, table, film)))
    assert sent(made, NOVA)["messages"][0]["content"] == [
        {"document": {"format": "pdf", "name": "a b pdf 1", "source": {"bytes": "JVBERi0="}}},
        {"document": {"format": "csv", "name": "t 2", "source": {"bytes": "YSxi"}}},
        {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
        {"text": "a b pdf 1"},
    ]
    assert ADAPTER.unsupported(made, CLAUDE) == ("messages",)
    linked = asked(Message(Role.USER, (Media(MediaKind.IMAGE, url="https://a.test/b.png"),)))
    assert ADAPTER.unsupported(linked, NOVA) == ("messages",)


def test_tools_and_their_choice() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    config = sent(request(tools=[TOOL], tool_choice=named))["toolConfig"]
    spec = {"name": "f", "inputSchema": {"json": {"type": "object"}}}
    assert config == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "f"}}}
    assert sent(request(tools=[TOOL], tool_choice="required"))["toolConfig"]["toolChoice"] == {
        "any": {}
    }
    assert "toolConfig" not in sent(request(tools=[TOOL], tool_choice="none"))


def test_how_much_it_thinks() -> None:
    low = request(reasoning_effort="low", max_tokens=10_000)
    claude = sent(low)["additionalModelRequestFields"]["thinking"]
    assert (claude["type"], claude["budget_tokens"]) == ("enabled", 2000)
    assert sent(low, NOVA)["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}
    }
    assert "additionalModelRequestFields" not in sent(low, LLAMA)
    assert ADAPTER.dropped(low, LLAMA) == ("reasoning_effort",)


def test_structured_outputs() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
    }
    schema["additionalProperties"] = False
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    told = sent(request(response_format=wanted))["outputConfig"]["textFormat"]
    assert told["type"] == "json_schema"
    assert json.loads(told["structure"]["jsonSchema"]["schema"]) == schema
    assert ADAPTER.unsupported(request(response_format=wanted), LLAMA) == ("response_format",)


def test_hints_are_named() -> None:
    dropped = ADAPTER.dropped(request(user="u", seed=1, temperature=1.5), LLAMA)
    assert set(dropped) == {"user", "seed", "temperature"}


# ── answers ───────────────────────────────────────────────────────────────────────────────────

CALL = {"toolUseId": "t1", "name": "f", "input": {"a": 1}}
USAGE = {
    "inputTokens": 5,
    "outputTokens": 7,
    "totalTokens": 32,
    "cacheReadInputTokens": 8,
    "cacheWriteInputTokens": 12,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 10}],
}
COUNTED = Usage(prompt=5, cached_read=8, cache_write=2, cache_write_1h=10, completion=7)
WHOLE = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"text": "Once"},
                {"toolUse": CALL},
                {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": USAGE,
}


def delta(index: int, **told: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=told)


def start(index: int, **call: Any) -> bytes:
    return event("contentBlockStart", contentBlockIndex=index, start={"toolUse": call})


BEGUN = [
    event("messageStart", role="assistant"),
    delta(0, reasoningContent={"text": "h"}),
    delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "sig"}),
    event("contentBlockStop", contentBlockIndex=0),
    delta(1, text="On"),
    delta(1, text="ce"),
    event("contentBlockStop", contentBlockIndex=1),
    start(2, toolUseId="t1", name="f"),
    delta(2, toolUse={"input": '{"a"'}),
    delta(2, toolUse={"input": ":1}"}),
    event("contentBlockStop", contentBlockIndex=2),
    start(3, toolUseId="t2", name="g"),
    event("contentBlockStop", contentBlockIndex=3),
]
ENDED = [event("messageStop", stopReason="tool_use"), event("metadata", usage=USAGE)]
STREAM = b"".join([*BEGUN, *ENDED])


def decode(*pieces: bytes) -> list[StreamEvent]:
    decoder = ADAPTER.stream_decoder(REQUEST)
    events = [each for piece in pieces for each in decoder.feed(piece)]
    return events + decoder.end()


def folded(events: list[StreamEvent]) -> Any:
    folder = Folder()
    for each in events:
        if isinstance(each, Delta):
            folder.add(each)
    return folder.answer()


def test_a_stream_folds_to_the_whole_answer() -> None:
    answer = ADAPTER.decode_answer(json.dumps(WHOLE).encode(), REQUEST)
    assert isinstance(answer, Answer)
    assert answer.usage == COUNTED
    assert answer.made == ("sig",)
    assert answer.told is not None
    assert answer.told.choices[0].parts == (  # type: ignore[union-attr]  # a chat's
        Reasoning("hm", signature="sig", format=ReasoningFormat.ANTHROPIC),
        Text("Once"),
        ToolCall("t1", "f", '{"a":1}'),
        ToolCall("t2", "g", "{}"),
    )
    events = decode(STREAM)
    assert isinstance(events[-1], StreamFinished)
    assert folded(events) == answer.told
    assert sum(e.content_chars for e in events if isinstance(e, Delta)) == 2 + 4 + 8 + 1


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_change_nothing(places: list[int]) -> None:
    assert decode(*cut(STREAM, places)) == decode(STREAM)


@pytest.mark.parametrize("count", range(len(BEGUN) + 1))
def test_a_stream_cut_short_has_no_finish_reason(count: int) -> None:
    begun = b"".join(BEGUN[:count])
    for data in (begun, begun + ENDED[0][:-1]):
        assert not any(e.finish_reasons for e in decode(data) if isinstance(e, Delta))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", FailureKind.RATE_LIMITED),
        ("serviceUnavailableException", FailureKind.OVERLOADED),
        ("modelStreamErrorException", FailureKind.SERVER_ERROR),
        ("internalServerException", FailureKind.SERVER_ERROR),
        ("validationException", FailureKind.INVALID_REQUEST),
        ("newfangledException", FailureKind.STREAM_ERROR),
    ],
)
def test_an_exception_ends_the_stream(name: str, kind: FailureKind) -> None:
    events = decode(BEGUN[0] + exception(name, "no luck") + STREAM)
    assert len(events) == 2
    assert isinstance(events[1], StreamError)
    failure = events[1].failure
    assert (failure.kind, failure.message, failure.code) == (kind, "no luck", name)


def test_an_error_without_a_model_and_damage_in_the_middle() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "no"}
    (failed,) = decode(encoded(headers, b""))
    assert isinstance(failed, StreamError)
    assert failed.failure.kind is FailureKind.SERVER_ERROR
    decoder = ADAPTER.stream_decoder(REQUEST)
    assert len(decoder.feed(BEGUN[0] + b"\x00" * 12)) == 1
    with pytest.raises(ProviderProtocolError):
        decoder.end()
    malformed = decode(BEGUN[5] + event("messageStop", stopReason="malformed_tool_use"))
    assert isinstance(malformed[-1], StreamError)


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException:http://x.test/", "bad", FailureKind.INVALID_REQUEST),
        (400, "ValidationException", "Input is too long for requested model.", "context_length"),
        (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            FailureKind.MODEL_UNKNOWN,
        ),
        (403, "AccessDeniedException", "You don't have access to the model", "model_forbidden"),
        (403, "UnrecognizedClientException", "The security token is invalid", "key_rejected"),
        (403, "AccessDeniedException", "Authentication failed: check your API key", "key_rejected"),
        (404, "ResourceNotFoundException", "no such", FailureKind.MODEL_UNKNOWN),
        (408, "ModelTimeoutException", "slow", FailureKind.SERVER_ERROR),
        (424, "ModelErrorException", "broke", FailureKind.SERVER_ERROR),
        (429, "ThrottlingException", "Too many requests", FailureKind.RATE_LIMITED),
        (429, "ThrottlingException", "Too many tokens per day", FailureKind.QUOTA_EXHAUSTED),
        (429, "ModelNotReadyException", "wait", FailureKind.OVERLOADED),
        (503, "ServiceUnavailableException", "busy", FailureKind.OVERLOADED),
        (500, "", "x", FailureKind.SERVER_ERROR),
    ],
)
def test_errors(status: int, name: str, message: str, kind: str) -> None:
    body = json.dumps({"message": message}).encode()
    failure = ADAPTER.decode_error(status, (("x-amzn-errortype", name),), body, 0.0)
    assert (failure.kind, failure.message) == (kind, message)
    assert (failure.code or "") == name.partition(":")[0]


def test_its_streams_are_labelled_their_own_way() -> None:
    assert stream_types(ADAPTER) == {"application/vnd.amazon.eventstream"}
    assert stream_types(TranslatedAdapter(ADAPTER, door_of(Dialect.CHAT))) == stream_types(ADAPTER)


# ── hostile bytes ─────────────────────────────────────────────────────────────────────────────

_KINDS = st.sampled_from(
    ["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "new"]
)
_BLOCK = st.fixed_dictionaries(
    {"text": JSON, "toolUse": JSON, "reasoningContent": JSON, "citation": JSON}
)
_PAYLOADS = JSON | st.fixed_dictionaries(
    {
        "contentBlockIndex": JSON,
        "delta": _BLOCK | JSON,
        "start": st.fixed_dictionaries({"toolUse": st.just({"name": "f"}) | JSON}) | JSON,
        "usage": JSON,
        "stopReason": JSON,
    }
)


@settings(max_examples=150, deadline=None)
@given(events=st.lists(st.tuples(_KINDS, _PAYLOADS | st.binary(max_size=9)), max_size=5))
def test_a_stream_raises_only_its_own_error(events: list[tuple[str, Any]]) -> None:
    data = b"".join(
        encoded(
            {":event-type": kind},
            payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
        )
        for kind, payload in events
    )
    with contextlib.suppress(ProviderProtocolError):
        folded(decode(data))


@settings(max_examples=150, deadline=None)
@given(content=st.lists(_BLOCK | JSON, max_size=3) | JSON, rest=JSON, data=st.binary(max_size=30))
def test_an_answer_raises_only_its_own_error(content: Any, rest: Any, data: bytes) -> None:
    whole = {"output": {"message": {"content": content}}, "usage": rest, "stopReason": rest}
    for body in (json.dumps(whole).encode(), json.dumps(rest).encode(), data):
        with contextlib.suppress(ProviderProtocolError):
            ADAPTER.decode_answer(body, REQUEST)
        assert isinstance(ADAPTER.decode_error(400, (), body, 0.0), Failure)
