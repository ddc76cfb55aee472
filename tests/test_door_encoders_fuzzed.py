"""Whatever a provider's stream holds that its decoder lets through, the door of the same dialect
sends on without a fault, before a seam and after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.door import Door
from signalbox.adapters.doors import door_of
from signalbox.adapters.gemini import GeminiAdapter
from signalbox.adapters.protocol import Delta, Seam, StreamDecoder
from signalbox.errors import ApiError, ProviderProtocolError
from signalbox.types import Dialect, Usage
from tests.chat_pieces import request_of

SEAM = Seam("p", "m", "splice", 1)
ERROR = ApiError(status=502, type="server_error", code="bad_upstream", message="its words")
SMALL = st.none() | st.booleans() | st.integers(-1, 3) | st.text("ab", max_size=2)
EVENTS = [
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop", "ping", "new_event"),
]
KINDS = ["text", "thinking", "tool_use", "text_delta", "thinking_delta", "input_json_delta", "new"]


def some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these fields, right or now and then wrong; a type is always there."""
    mostly = {name: st.one_of(value, value, value, SMALL) for name, value in fields.items()}
    kind = {"type": fields["type"]} if "type" in fields else {}
    return st.fixed_dictionaries(kind, optional={n: v for n, v in mostly.items() if n not in kind})


BLOCK = some(type=st.sampled_from(KINDS), text=SMALL, id=SMALL, name=SMALL, input=some(a=SMALL))
MESSAGE_EVENT = some(
    type=st.sampled_from(EVENTS),
    index=st.integers(0, 3),
    message=some(id=SMALL, usage=some(input_tokens=SMALL)),
    content_block=BLOCK,
    delta=some(
        type=st.sampled_from(KINDS),
        text=SMALL,
        thinking=SMALL,
        partial_json=SMALL,
        stop_reason=st.sampled_from(["end_turn", "tool_use"]),
    ),
    usage=some(output_tokens=SMALL),
)
NAMED_EVENT = MESSAGE_EVENT.flatmap(
    lambda event: st.tuples(st.sampled_from([event["type"]] * 3 + EVENTS[:5]), st.just(event))
)
PART = some(text=SMALL, thought=st.booleans(), functionCall=some(name=st.text("ab"), args=some()))
CHUNK = some(
    candidates=st.lists(
        some(
            content=some(parts=st.lists(PART, max_size=2)),
            finishReason=st.sampled_from(["STOP", "NEW"]),
            index=st.integers(0, 1),
        ),
        max_size=2,
    ),
    usageMetadata=some(promptTokenCount=SMALL),
    responseId=SMALL,
)


def deltas_of(made: Callable[[], StreamDecoder], events: list[tuple[str, Any]]) -> list[Delta]:
    """What gets through; after what does not, a new stream goes on."""
    decoder, told = made(), list[Delta]()
    for name, event in events:
        data = f"event: {name}\ndata: {json.dumps(event)}\n\n".encode()
        try:
            told += [each for each in decoder.feed(data) if isinstance(each, Delta)]
        except ProviderProtocolError:
            decoder = made()
    return told


def send(door: Door, first: list[Delta], second: list[Delta]) -> None:
    request = request_of(door.dialect)
    encoder = door.encoder(request)
    for delta in first:
        encoder.delta(delta)
    encoder.resumed(SEAM)
    for delta in second:
        encoder.delta(door.retold(delta, delta.text + "more"))
        encoder.delta(delta)
    encoder.error(ERROR)
    assert encoder.finish("p", "0.1", Usage(prompt=1, completion=1)).endswith(b"\n\n")


@settings(max_examples=100)
@given(*(st.lists(NAMED_EVENT, max_size=8) for _ in "ab"))
def test_messages(first: list[Any], second: list[Any]) -> None:
    decoder = partial(AnthropicAdapter("anthropic").stream_decoder, request_of(Dialect.MESSAGES))
    told = [deltas_of(decoder, events) for events in (first, second)]
    send(door_of(Dialect.MESSAGES), *told)


@settings(max_examples=100)
@given(*(st.lists(st.tuples(st.just("message"), CHUNK), max_size=6) for _ in "ab"))
def test_generate(first: list[Any], second: list[Any]) -> None:
    request = request_of(Dialect.GENERATE)
    made = partial(GeminiAdapter("g").stream_decoder, request)
    told = [deltas_of(made, events) for events in (first, second)]
    send(door_of(Dialect.GENERATE), *told)
