"""Streams of OpenAI's dialect, and what the adapter makes of them."""

from __future__ import annotations

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Delta, StreamEvent
from tests.outgoing import REQUEST
from tests.recordings import is_openai_chat, own_exchanges, recorded_exchanges

OWN_STREAMS = own_exchanges("openai/streams")
RECORDED_STREAMS = recorded_exchanges(lambda e: is_openai_chat(e) and e.streamed)
ALL_STREAMS = [*OWN_STREAMS, *RECORDED_STREAMS]
PLAIN_JSON = "google-stream-plain-json-error"
"""An error under a stream's content type that is no event stream."""


def decode(provider: str, *pieces: bytes) -> list[StreamEvent]:
    decoder = OpenAIAdapter(provider).stream_decoder(REQUEST)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def deltas(events: list[StreamEvent]) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta)]
