"""Requests to Anthropic's API as they go out, its errors, its limits, its token counts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.anthropic_count import AnthropicCountAdapter
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.registry import adapters_of
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.config import ProviderSettings
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Extra, Route, Secret, Usage
from tests.anthropic_wire import ADAPTER, MESSAGES, OWN, RECORDED, build, decode, deltas
from tests.outgoing import REQUEST
from tests.recordings import RECORDED as FOLDER
from tests.recordings import Exchange

NOW = 1_795_392_000.0
"""2026-11-23T00:00:00Z."""
COUNT = AnthropicCountAdapter("anthropic")
ROUTE = Route("anthropic", "claude-sonnet-4-5")


def asked(**body: Any) -> Any:
    return replace(MESSAGES, body={**MESSAGES.body, **body}, stream=bool(body.get("stream")))


# ── going through ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", RECORDED)
def test_a_body_of_the_dialect_goes_through(exchange: Exchange) -> None:
    stored = json.loads((FOLDER / "open" / f"{exchange.id}.json").read_text())
    original = stored["request"]["body"]
    wire, body = build(asked(**original), model=original["model"])
    sent = {name: value for name, value in original.items() if value is not False}
    assert body == sent
    assert wire.dropped == ()
    assert wire.url == "http://p.test/v1/messages"


def test_what_is_changed_of_a_body_of_the_dialect() -> None:
    request = replace(
        asked(extra={"tags": ["x"]}, stream=True, top_k=None, odd={"a": [1]}),
        defaults={"temperature": 0.5, "max_tokens": 9, "top_k": 4, "seed": 1},
    )
    route = Route("anthropic", "claude-sonnet-4-5", params={"max_tokens": 3, "speed": "fast"})
    _, body = build(request, route=route)
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "odd": {"a": [1]},
        "temperature": 0.5,
        "top_k": 4,
        "speed": "fast",
    }


@pytest.mark.parametrize(
    ("model", "given", "sent", "dropped"),
    [
        ("claude-opus-5", {"temperature": 0.1, "top_p": 1}, {"top_p": 1}, ("temperature",)),
        (
            "claude-opus-5",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"thinking": {"type": "adaptive"}},
            ("thinking.budget_tokens",),
        ),
        (
            "claude-haiku-4-5",
            {
                "thinking": {"type": "adaptive"},
                "max_tokens": 4000,
                "output_config": {"effort": "max"},
            },
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
            ("thinking.type", "output_config.effort"),
        ),
        ("claude-3-haiku", {"thinking": {"type": "adaptive"}}, {}, ("thinking",)),
        (
            "claude-sonnet-5-5",
            {"thinking": {"type": "disabled"}},
            {"thinking": {"type": "between_tools"}},
            ("thinking.type",),
        ),
        ("claude-opus-4-6", {"output_config": {"effort": "xhigh", "format": {}}},
         {"output_config": {"effort": "high", "format": {}}}, ("output_config.effort",)),
        ("glm-5", {"temperature": 0.1, "thinking": {"type": "adaptive"}},
         {"temperature": 0.1, "thinking": {"type": "adaptive"}}, ()),
        ("claude-opus-5", {"thinking": {"type": "psychic"}}, {"thinking": {"type": "psychic"}}, ()),
    ],
)  # fmt: skip
def test_what_another_model_refuses_is_changed_and_named(
    model: str, given: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    wire, body = build(asked(**given), model=model)
    plain = {"max_tokens": 100, "messages": MESSAGES.body["messages"]}
    assert body == {**plain, "model": model, **sent}
    assert wire.dropped == dropped
    assert ADAPTER.dropped(asked(**given), Route("anthropic", model)) == dropped


def test_another_models_thinking_which_has_no_signature_does_not_go_out() -> None:
    """This door tells the thinking of any model; Anthropic takes back its own alone."""
    own = {"type": "thinking", "thinking": "mine", "signature": "s"}
    foreign = {"type": "thinking", "thinking": "other", "signature": ""}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    asked_for = {"role": "user", "content": "Look."}

    def sent(*turns: list[dict[str, Any]]) -> tuple[dict[str, Any], tuple[str, ...]]:
        messages = [
            message
            for content in turns
            for message in (asked_for, {"role": "assistant", "content": content})
        ]
        thinking = {"type": "enabled", "budget_tokens": 2000}
        request = asked(messages=[*messages, asked_for], thinking=thinking, max_tokens=4000)
        wire, body = build(request, model="claude-sonnet-4-5")
        return body, wire.dropped

    body, dropped = sent([own, use])
    assert body["messages"][1]["content"] == [own, use]
    assert dropped == ()
    body, dropped = sent([foreign], [own, use])
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "user", "assistant", "user"]
    assert "thinking" in body
    assert dropped == ("messages.thinking",)
    body, dropped = sent([foreign, use])
    assert body["messages"][1]["content"] == [use]
    assert "thinking" not in body
    assert dropped == ("messages.thinking", "thinking")


def test_headers() -> None:
    request = replace(
        MESSAGES,
        forward_headers=(
            ("anthropic-beta", "a-1, b-2"),
            ("Anthropic-Version", "2024-01-01"),
            ("openai-beta", "x"),
        ),
    )
    headers = (("anthropic-beta", Secret("b-2,c-3")), ("x-api-key", Secret("route's")))
    route = Route("anthropic", "claude-x", headers=headers)
    wire, _ = build(request, route=route)
    fields = dict(wire.headers)
    assert fields["anthropic-beta"] == "a-1,b-2,c-3"
    assert fields["anthropic-version"] == "2024-01-01"
    assert fields["x-api-key"] == "route's"
    assert not {"authorization", "openai-beta"} & set(fields)
    assert dict(build()[0].headers)["anthropic-version"] == "2023-06-01"
    byok = replace(request, byok={"anthropic": Secret("own")})
    assert dict(build(byok, route=route)[0].headers)["x-api-key"] == "sk-ant-1"


# ── from other doors ──────────────────────────────────────────────────────────────────────────


def test_hints_count_as_meaning_where_the_client_says_so() -> None:
    chat = replace(REQUEST, body={**REQUEST.body, "seed": 7})
    assert ADAPTER.dropped(chat, ROUTE) == ("seed",)
    assert build(chat)[0].dropped == ("seed",)
    strict = replace(chat, extra=Extra(refuse_unsupported=True))
    assert ADAPTER.unsupported(strict, ROUTE) == ("seed",)
    with pytest.raises(UnsupportedParameter, match="seed"):
        build(strict)


def test_the_registry_speaks_to_it_from_every_chat_door() -> None:
    provider = ProviderSettings(name="anthropic", api="anthropic", base_url="http://p", keys=())
    family = adapters_of(provider)
    assert isinstance(family.for_door(Dialect.MESSAGES, "m"), AnthropicAdapter)
    assert isinstance(family.for_door(Dialect.MESSAGES_COUNT, "m"), AnthropicCountAdapter)
    assert isinstance(family.for_door(Dialect.CHAT, "m"), TranslatedAdapter)
    assert family.for_door(Dialect.EMBEDDINGS, "m") is None


# ── begun answers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("request_", [MESSAGES, REQUEST], ids=["messages", "chat"])
def test_a_prefill_is_the_assistants_last_message(request_: Any) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "reasoning_effort": "high"}
    request = replace(request_, body={**request_.body, "max_tokens": 50, **thinking})
    _, body = build(request, prefill="It is four \n")
    assert body["messages"][-1] == {"role": "assistant", "content": "It is four"}
    assert body["max_tokens"] == 47
    assert "thinking" not in body
    begun = [*request.body["messages"], {"role": "assistant", "content": "So: "}]
    continued = replace(request, body={**request.body, "messages": begun})
    last = build(continued, prefill="Well")[1]["messages"][-1]["content"]
    assert last == "So: Well" if request_ is MESSAGES else [{"type": "text", "text": "So:Well"}]
    assert len(build(request, prefill=" \n")[1]["messages"]) == 1


def test_which_models_take_a_prefill() -> None:
    taking = {
        "claude-sonnet-4-5": True,
        "claude-3-opus-20240229": True,
        "claude-opus-4-6": False,
        "claude-haiku-5-5": False,
        "unheard-of": False,
    }
    assert {m: ADAPTER.prefills(Route("anthropic", m)) for m in taking} == taking
    assert ADAPTER.prefills(Route("anthropic", "unheard-of", prefill=True))
    assert not ADAPTER.prefills(Route("anthropic", "claude-3-opus", prefill=False))
    assert not ADAPTER.echoes_prefill(ROUTE)


@pytest.mark.parametrize(
    "exchange", [p for p in [*OWN, *RECORDED] if p.values[0] and p.values[0].streamed]
)
def test_a_retold_stream_has_other_text_and_no_thinking(exchange: Exchange) -> None:
    for delta in deltas(decode(exchange.body)):
        after = ADAPTER.retold(delta, "Hé")
        assert (after.text, after.reasoning_chars) == ("Hé", 0)
        kept = len(delta.text) + delta.reasoning_chars
        assert after.content_chars == delta.content_chars - kept + 2
        assert (after.usage, after.made, after.finish_reasons, after.opaque) == (
            delta.usage,
            delta.made,
            delta.finish_reasons,
            delta.opaque,
        )
        before, now = json.loads(delta.raw), json.loads(after.raw)
        if "thinking" in before.get("delta", {}).get("type", "") or "signature" in before.get(
            "delta", {}
        ):
            assert now == {"type": "ping"}
        elif before.get("delta", {}).get("type") == "text_delta":
            before["delta"]["text"] = "Hé"
            assert now == before
        elif before["type"] != "content_block_start":
            assert after.raw == delta.raw


def test_thinking_that_is_taken_out_keeps_its_block() -> None:
    block = {"type": "redacted_thinking", "data": "x"}
    raw = json.dumps({"type": "content_block_start", "index": 0, "content_block": block}).encode()
    after = ADAPTER.retold(Delta(raw, "content_block_start", 1, reasoning_chars=1), "")
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    assert json.loads(after.raw)["content_block"] == empty
    assert after.content_chars == 0


# ── errors ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", [p for p in OWN if p.values[0].status != 200])
def test_errors_by_what_follows_from_them(exchange: Exchange) -> None:
    failure = ADAPTER.decode_error(exchange.status, exchange.headers, exchange.body, NOW)
    error = json.loads(exchange.body)["error"]
    assert failure.kind.value == exchange.expect["kind"]
    assert failure.retry_after == exchange.expect.get("retry_after")
    if "param" in exchange.expect:
        assert failure.param == exchange.expect["param"]
    assert (failure.message, failure.code) == (error["message"], error["type"])


KINDS = {
    "anthropic-400-bad-param": FailureKind.INVALID_REQUEST,
    "anthropic-400-prompt-too-long": FailureKind.CONTEXT_LENGTH,
    "anthropic-401": FailureKind.KEY_REJECTED,
    "anthropic-404-model": FailureKind.MODEL_UNKNOWN,
    "anthropic-429-input-tokens": FailureKind.RATE_LIMITED,
    "anthropic-429-requests": FailureKind.RATE_LIMITED,
    "anthropic-500": FailureKind.SERVER_ERROR,
    "anthropic-529-overloaded": FailureKind.OVERLOADED,
}


@pytest.mark.parametrize(
    "exchange", [p for p in RECORDED if p.values[0] is None or p.values[0].status != 200]
)
def test_recorded_errors(exchange: Exchange) -> None:
    failure = ADAPTER.decode_error(exchange.status, exchange.headers, exchange.body, NOW)
    assert failure.kind is KINDS[exchange.id]
    waits = dict(exchange.headers).get("retry-after")
    assert failure.retry_after == (None if waits is None else float(waits))


@given(st.binary(max_size=60), st.integers(400, 599))
def test_no_error_body_raises(body: bytes, status: int) -> None:
    for data in (body, b'{"error": ' + json.dumps(body.decode("latin-1")).encode() + b"}"):
        assert isinstance(ADAPTER.decode_error(status, (), data, NOW), Failure)


def test_an_error_in_a_200() -> None:
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    failure = ADAPTER.decode_answer(body, MESSAGES)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.OVERLOADED
    [event] = decode(body)
    assert not isinstance(event, Delta)
    with pytest.raises(ProviderProtocolError, match="event stream"):
        decode(b'{"type": "message", "content": []}')


def test_limits_of_a_key() -> None:
    headers = [
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2026-11-23T00:00:20Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "7"),
        ("anthropic-ratelimit-tokens-remaining", "9"),
        ("retry-after", "55"),
    ]
    limits = ADAPTER.rate_limits(headers, NOW)
    assert (limits.limit_requests, limits.remaining_requests) == (50, 49)
    assert (limits.reset_requests, limits.remaining_tokens) == (20.0, 7)


# ── counting ──────────────────────────────────────────────────────────────────────────────────


def test_a_count_goes_through_and_costs_nothing() -> None:
    request = replace(MESSAGES, door=Dialect.MESSAGES_COUNT, body={**MESSAGES.body, "extra": {}})
    route = Route("anthropic", "claude-x", params={"temperature": 1, "system": "S"})
    wire = COUNT.build(request, route, "http://p.test/v1", Secret("k"))
    assert wire.url == "http://p.test/v1/messages/count_tokens"
    body = {name: value for name, value in MESSAGES.body.items() if name != "model"}
    assert json.loads(wire.body) == {**body, "model": "claude-x", "system": "S"}
    answer = COUNT.decode_answer(b'{"input_tokens": 14}', request)
    assert isinstance(answer, Answer)
    assert answer.body == {"input_tokens": 14}
    assert (answer.content_chars, answer.usage) == (1, Usage(prompt=0, completion=0))
    for bad in (b"{}", b'{"input_tokens": true}', b"[]", b"<html>"):
        with pytest.raises(ProviderProtocolError):
            COUNT.decode_answer(bad, request)


def test_a_count_of_another_dialects_request_holds_what_is_counted() -> None:
    chat = replace(REQUEST, body={**REQUEST.body, "temperature": 0.5, "max_tokens": 4})
    wire = COUNT.build(chat, ROUTE, "http://p.test/v1", None)
    assert json.loads(wire.body) == {
        "model": ROUTE.model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }
