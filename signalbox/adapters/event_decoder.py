"""Streams of server-sent events, in whichever dialect: what is the same about reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from signalbox.adapters.protocol import Delta, StreamError, StreamEvent
from signalbox.adapters.sse import MAX_EVENT_BYTES, EventStreamDecoder, ServerSentEvent
from signalbox.errors import Failure, FailureKind, ProviderProtocolError


class SseDecoder:
    """See `StreamDecoder`. Nothing is told of what follows an error or an end mark.

    `read_event` reads an event that has data. `read_whole` is given a document that came in the
    stream's place, and says which failure it tells of, None where it is an answer; as Google sends
    errors, in plain JSON under a stream's content type. Both raise only `ProviderProtocolError`.
    """

    def __init__(
        self,
        read_event: Callable[[ServerSentEvent], Sequence[StreamEvent]],
        read_whole: Callable[[bytes], Failure | None],
    ) -> None:
        self._read_event = read_event
        self._read_whole = read_whole
        self._events = EventStreamDecoder()
        self._over = False
        self._begun = False
        self._whole: bytearray | None = None
        """The bytes, where they are no event stream but one JSON document or a page."""

    def feed(self, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        if not self._begun:
            data = data.lstrip()
            self._begun = bool(data)
            if data.startswith((b"{", b"[", b"<")):
                self._whole = bytearray()
        if self._whole is None:
            return self._read(self._events.feed(data))
        self._whole += data
        if len(self._whole) > MAX_EVENT_BYTES:
            raise ProviderProtocolError(
                f"more than {MAX_EVENT_BYTES} bytes of what is not the event stream asked for"
            )
        return []

    def end(self) -> list[StreamEvent]:
        """See `StreamDecoder.end`. A last event that was cut in its middle is no event: what is
        missing is told by the finish reason that did not come."""
        if self._over:
            return []
        if self._whole is not None:
            self._over = True
            failure = self._read_whole(bytes(self._whole))
            if failure is None:
                raise ProviderProtocolError(
                    "one whole JSON answer where an event stream was asked for"
                )
            return [StreamError(failure)]
        try:
            return self._read(self._events.end())
        except ProviderProtocolError:
            return []

    def _read(self, events: list[ServerSentEvent]) -> list[StreamEvent]:
        read: list[StreamEvent] = []
        for event in events:
            if not event.data:
                continue
            try:
                read += self._read_event(event)
            except ProviderProtocolError as error:
                if not read:
                    raise
                # What came before it in the same bytes is good, and must not be lost with it.
                read.append(StreamError(Failure(FailureKind.PROTOCOL_ERROR, str(error))))
            if read and not isinstance(read[-1], Delta):
                self._over = True
                break
        return read
