"""The chat door in OpenRouter's words: what its clients are sent."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.chat import AnswerChoice, ChatAnswer, FinishPiece
from signalbox.adapters.door import DoorEncoder
from signalbox.adapters.doors import door_of, error_door
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_door import DONE
from signalbox.adapters.protocol import Answer, Delta, StreamError
from signalbox.errors import ApiError, AttemptReport, FailureKind
from signalbox.types import Dialect, Extra, Flavour, Request, Secret, Usage
from tests.folding import fold
from tests.openai_sdk import sdk_answer, sdk_stream
from tests.recordings import Exchange, is_openai_chat, own_exchanges, recorded_exchanges

STREAMS = [
    *own_exchanges("openai/streams"),
    *recorded_exchanges(lambda e: is_openai_chat(e) and e.streamed),
]
ERROR = ApiError(
    status=502,
    type="server_error",
    code="bad_upstream",
    message="nothing is left",
    attempts=(AttemptReport("groq", "m", FailureKind.OVERLOADED, "busy", 1, 503),),
)
REQUEST = Request(
    id="t1",
    received_at=0.0,
    door=Dialect.CHAT,
    body={"model": "m", "messages": [{"role": "user", "content": "x"}]},
    model="m",
    stream=True,
    include_usage=False,
    extra=Extra(),
    key_id="k",
    key_name="k",
    flavour=Flavour.OPENROUTER,
)
USAGE = Usage(prompt=1, cached_read=2, completion=3, reasoning=4)


def encoder(request: Request = REQUEST) -> DoorEncoder:
    return door_of(Dialect.CHAT, Flavour.OPENROUTER).encoder(request)


def events(stream: bytes) -> list[Any]:
    payloads = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]
    return [json.loads(payload) for payload in payloads if payload != b"[DONE]"]


def chunk(id: str, **fields: Any) -> Delta:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None, **fields}
    raw = json.dumps({"id": id, "choices": [choice]}).encode()
    reason = choice["finish_reason"]
    return Delta(
        raw=raw, content_chars=1, text="a", finish_reasons=((0, reason),) if reason else ()
    )


@pytest.mark.parametrize("exchange", STREAMS)
def test_every_stream_says_the_same_and_tells_its_usage_unasked(exchange: Exchange) -> None:
    adapter, door = OpenAIAdapter(exchange.provider), encoder()
    decoder = adapter.stream_decoder(REQUEST)
    told = decoder.feed(exchange.body) + decoder.end()
    deltas = [event for event in told if isinstance(event, Delta)]
    failed = isinstance(told[-1], StreamError)
    sent = b"".join(map(door.delta, deltas))
    sent += door.error(ERROR) if failed else door.finish(exchange.provider, "0.00006", USAGE)
    seen = sdk_stream(sent)
    assert (seen.error is not None) == failed
    assert sent.endswith(DONE)
    before, after = fold(json.loads(delta.raw) for delta in deltas), fold(seen.chunks)
    assert (after.text, after.tools) == (before.text, before.tools)
    for each in events(sent):
        for choice in each["choices"]:
            if choice.get("finish_reason") not in (None, "error"):
                assert choice["native_finish_reason"]
    if not failed:
        usage = events(sent)[-1]["usage"]
        assert Decimal(str(usage["cost"])) == Decimal("0.00006")
        assert usage["is_byok"] is False


def test_ids_of_the_gateways_own_making_are_generations() -> None:
    door = encoder()
    own = events(door.delta(chunk("chatcmpl-t1")) + door.finish("groq", None, USAGE))
    assert [each["id"] for each in own] == ["gen-t1", "gen-t1"]
    door = encoder()
    theirs = events(door.delta(chunk("chatcmpl-abc")) + door.finish("groq", None, USAGE))
    assert [each["id"] for each in theirs] == ["chatcmpl-abc", "chatcmpl-abc"]


def test_the_last_chunk_tells_what_the_provider_called_the_end() -> None:
    ended = replace(
        chunk("chatcmpl-t1", finish_reason="stop"),
        pieces=(FinishPiece("stop", native_finish="end_turn"),),
    )
    [sent] = events(encoder().delta(ended))
    assert sent["choices"][0]["native_finish_reason"] == "end_turn"
    [plain] = events(encoder().delta(chunk("x", finish_reason="length")))
    assert plain["choices"][0]["native_finish_reason"] == "length"


def test_usage_is_told_with_its_cost_and_details() -> None:
    usage = events(encoder().finish("groq", "0.5", USAGE))[-1]["usage"]
    assert usage == {
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
        "cost": 0.5,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": 0.5},
    }
    own = encoder(replace(REQUEST, byok={"groq": Secret("caller")}))
    told = events(own.finish("groq", "0", USAGE))[-1]["usage"]
    assert (told["cost"], told["is_byok"]) == (0, True)
    assert told["cost_details"] == {"upstream_inference_cost": None}


def test_a_whole_answer_has_the_same() -> None:
    body: dict[str, object] = {
        "id": "chatcmpl-t1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
    }
    told = ChatAnswer((AnswerChoice((), "stop", native_finish="STOP"),))
    answer = Answer(body=body, content_chars=1, finish_reason="stop", usage=USAGE, told=told)
    sent = json.loads(encoder().answer(answer, "google", "0.25"))
    assert (sent["id"], sent["provider"]) == ("gen-t1", "google")
    assert sent["choices"][0]["native_finish_reason"] == "STOP"
    assert sent["usage"]["cost"] == 0.25
    assert sent["usage"]["prompt_tokens"] == 3
    assert sdk_answer(json.dumps(sent).encode()).choices[0].finish_reason == "stop"


def test_a_providers_own_words_for_cached_tokens_are_told_in_the_usual_ones() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "prompt_cache_hit_tokens": 2}
    body: dict[str, object] = {"choices": [], "usage": usage}
    answer = Answer(body=body, content_chars=1, finish_reason="stop", usage=USAGE)
    sent = json.loads(encoder().answer(answer, "deepseek", None))["usage"]
    raw = json.dumps({"choices": [], "usage": usage}).encode()
    door = encoder()
    door.delta(Delta(raw=raw, usage=USAGE, has_choices=False))
    for told in (sent, events(door.finish("deepseek", None, USAGE))[-1]["usage"]):
        assert told.items() >= usage.items()
        assert told["prompt_tokens_details"] == {"cached_tokens": 2}
        assert "cost" not in told  # clients want a number there


def test_errors_have_a_number_for_a_code() -> None:
    door = error_door(Dialect.RESPONSES, Flavour.OPENROUTER)
    told = json.loads(json.dumps(door.error_body(ERROR, "t1", Flavour.OPENROUTER)))["error"]
    assert (told["code"], told["message"]) == (502, "nothing is left")
    assert told["metadata"]["error_type"] == "bad_upstream"
    assert told["metadata"]["attempts"][0]["provider"] == "groq"
    [sent] = events(encoder().error(ERROR))
    assert sent["id"] == "gen-t1"
    assert sent["error"]["code"] == 502
    assert sent["choices"][0]["finish_reason"] == "error"


def test_a_silent_stream_is_kept_alive_as_openrouter_does() -> None:
    assert door_of(Dialect.CHAT, Flavour.OPENROUTER).keep_alive == b": OPENROUTER PROCESSING\n\n"
    assert door_of(Dialect.CHAT).keep_alive == b": keep-alive\n\n"
