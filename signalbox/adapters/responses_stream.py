"""The bytes of a provider's stream of the Responses API → its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.protocol import Answer, Delta, StreamEvent, StreamFinished
from signalbox.adapters.responses_event_reader import EventReader
from signalbox.adapters.sse import ServerSentEvent
from signalbox.errors import Failure


def response_decoder(
    reader: EventReader, read_answer: Callable[[bytes], Answer | Failure]
) -> SseDecoder:
    """The event with the whole response is the last one that counts."""

    def read_event(event: ServerSentEvent) -> Sequence[StreamEvent]:
        if event.data.startswith(b"[DONE]"):
            return [StreamFinished()]
        told = reader.read(event.data)
        ends = isinstance(told, Delta) and told.finish_reasons
        return [told, StreamFinished()] if ends else [told]

    def failure_in(body: bytes) -> Failure | None:
        answer = read_answer(body)
        return answer if isinstance(answer, Failure) else None

    return SseDecoder(read_event, failure_in)
