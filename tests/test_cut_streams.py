"""A stream that is cut ends in each dialect as one that has come to its ceiling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.door import DoorEncoder
from signalbox.adapters.doors import door_of
from signalbox.adapters.protocol import Delta, Seam
from signalbox.types import Dialect, Flavour, Request, Usage
from tests.chat_pieces import request_of
from tests.dialect_streams import APIS, BODIES, MESSAGES, RESPONSES, Api, told_by

ENDS = {
    Dialect.CHAT: "length",
    Dialect.RESPONSES: "response.incomplete",
    Dialect.MESSAGES: "max_tokens",
    Dialect.GENERATE: "MAX_TOKENS",
}
USAGE = Usage(prompt=10, completion=5, estimated=True)
SEAM = Seam("p", "m", "splice", 10)


def asked(door: Dialect, **fields: Any) -> Request:
    return replace(request_of(door, {**BODIES.get(door, {})}), **fields)


def deltas(api: Api, request: Request, reads: Sequence[bytes]) -> list[Delta]:
    adapter = api.provider.adapters.for_door(request.door, api.model)
    assert adapter is not None
    decoder = adapter.stream_decoder(request)
    numbered = (
        data.replace(b'{"type"', b'{"sequence_number": %d, "type"' % place, 1)
        for place, data in enumerate(reads)
    )
    events = [event for data in numbered for event in decoder.feed(data)]
    return [event for event in events if isinstance(event, Delta)]


def cut_after(encoder: DoorEncoder, told: Sequence[Delta], choices: int = 1) -> bytes:
    sent = b"".join(map(encoder.delta, told))
    return sent + encoder.cut(choices) + encoder.finish("p", "0.5", USAGE)


def said(api: Api) -> list[bytes]:
    return [*api.begin, *api.opening, api.text("The "), api.text("signal")]


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
@pytest.mark.parametrize("door", BODIES)
def test_what_was_said_and_a_finish_reason_and_no_error(door: Dialect, api: Api) -> None:
    request = asked(door)
    stream = cut_after(door_of(door).encoder(request), deltas(api, request, said(api)))
    told = told_by(door, stream)
    assert (told.text, told.ends, told.error) == ("The signal", [ENDS[door]], None)


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
@pytest.mark.parametrize("door", BODIES)
def test_after_a_seam_as_well(door: Dialect, api: Api) -> None:
    request = asked(door)
    encoder = door_of(door).encoder(request)
    first = b"".join(map(encoder.delta, deltas(api, request, said(api))))
    seam = encoder.resumed(SEAM)
    more = [*api.begin, *api.opening, api.text(" is at danger.")]
    stream = first + seam + cut_after(encoder, deltas(api, request, more))
    told = told_by(door, stream)
    assert (told.text, told.ends) == ("The signal is at danger.", [ENDS[door]])


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
@pytest.mark.parametrize("door", BODIES)
def test_in_the_middle_of_a_tool_call_or_a_thought(door: Dialect, api: Api) -> None:
    before = api.begin if api is RESPONSES else said(api)  # items come one after the other
    for reads in ([*before, *api.call], [*api.begin, *api.thought("hm")]):
        request = asked(door)
        stream = cut_after(door_of(door).encoder(request), deltas(api, request, reads))
        told = told_by(door, stream)
        assert (told.ends, told.error) == ([ENDS[door]], None)


@pytest.mark.parametrize("door", BODIES)
def test_before_anything_was_said(door: Dialect) -> None:
    stream = cut_after(door_of(door).encoder(asked(door)), [])
    assert told_by(door, stream).ends == [ENDS[door]]


def test_each_choice_that_has_not_ended_ends() -> None:
    request = asked(Dialect.CHAT, choices=3)
    stop = {"index": 1, "delta": {}, "finish_reason": "stop"}
    raw = json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [stop]}).encode()
    encoder = door_of(Dialect.CHAT).encoder(request)
    stream = cut_after(encoder, [Delta(raw, finish_reasons=((1, "stop"),))], choices=3)
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: {")]
    reasons = {it["index"]: it["finish_reason"] for chunk in chunks for it in chunk["choices"]}
    assert reasons == {0: "length", 1: "stop", 2: "length"}


def test_an_item_that_only_openai_knows_ends_incomplete() -> None:
    request = asked(Dialect.RESPONSES)
    reads = [*said(RESPONSES), *RESPONSES.call]
    stream = cut_after(
        door_of(Dialect.RESPONSES).encoder(request), deltas(RESPONSES, request, reads)
    )
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]
    [response] = [it["response"] for it in events if it["type"] == "response.incomplete"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"
    assert response["usage"]["cost"] == 0.5


def test_blocks_that_are_open_are_stopped() -> None:
    request = asked(Dialect.MESSAGES)
    encoder = door_of(Dialect.MESSAGES).encoder(request)
    stream = cut_after(encoder, deltas(MESSAGES, request, said(MESSAGES)))
    assert stream.count(b"event: content_block_stop") == 1
    assert stream.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_legacy_completions_and_openrouters_words() -> None:
    request = asked(Dialect.COMPLETIONS)
    stream = cut_after(door_of(Dialect.COMPLETIONS).encoder(request), [])
    assert b'"text":""' in stream
    assert b'"finish_reason":"length"' in stream
    openrouter = door_of(Dialect.CHAT, Flavour.OPENROUTER)
    stream = cut_after(openrouter.encoder(asked(Dialect.CHAT)), [])
    assert b'"native_finish_reason":"length"' in stream
