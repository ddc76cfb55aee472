"""A provider of one dialect behind a door of another.

To everything behind it this looks like a provider of the door's own dialect: what the inner adapter
read in the gateway's model, the door writes down in its words, delta by delta.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer
from signalbox.adapters.door import Door, EventWriter
from signalbox.adapters.protocol import (
    Adapter,
    Answer,
    Delta,
    Headers,
    JoiningAdapter,
    RateLimits,
    StreamDecoder,
    StreamEvent,
    WireRequest,
    stream_types,
)
from signalbox.adapters.tool_memory import SIGNING, ToolMemory, states_of
from signalbox.errors import Failure
from signalbox.types import Dialect, Request, Route, Secret


class TranslatedAdapter(msgspec.Struct, frozen=True):
    """`Adapter` of a door's dialect, made of one of another."""

    inner: Adapter
    door: Door

    @property
    def dialect(self) -> Dialect:
        return self.door.dialect

    @property
    def stream_types(self) -> frozenset[str]:
        return stream_types(self.inner)

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self.inner.unsupported(request, route)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self.inner.dropped(request, route)

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        return self.inner.build(request, route, base_url, key, prefill=prefill)

    def prefills(self, route: Route) -> bool:
        return self.inner.prefills(route)

    def echoes_prefill(self, route: Route) -> bool:
        return self.inner.echoes_prefill(route)

    def retold(self, delta: Delta, text: str) -> Delta:
        return self.door.retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        answer = self.inner.decode_answer(body, request)
        if isinstance(answer, Failure):
            return answer
        if isinstance(answer.told, ChatAnswer) and self._wants_states:
            answer = replace(answer, tool_states=states_of(answer.told))
        return self.door.answer(answer, request)

    def decode_answers(self, bodies: Sequence[bytes], request: Request) -> Answer | Failure:
        """See `JoiningAdapter.decode_answers`."""
        assert isinstance(self.inner, JoiningAdapter)
        answer = self.inner.decode_answers(bodies, request)
        return answer if isinstance(answer, Failure) else self.door.answer(answer, request)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        return _TranslatingDecoder(
            self.inner.stream_decoder(request),
            self.door.event_writer(request),
            ToolMemory() if self._wants_states else None,
        )

    @property
    def _wants_states(self) -> bool:
        return self.inner.dialect in SIGNING

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return self.inner.decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return self.inner.rate_limits(headers, now)


class _TranslatingDecoder:
    """See `StreamDecoder`."""

    def __init__(
        self, inner: StreamDecoder, writer: EventWriter, memory: ToolMemory | None
    ) -> None:
        self._inner = inner
        self._writer = writer
        self._memory = memory

    def feed(self, data: bytes) -> list[StreamEvent]:
        return self._written(self._inner.feed(data))

    def end(self) -> list[StreamEvent]:
        return self._written(self._inner.end())

    def _written(self, events: list[StreamEvent]) -> list[StreamEvent]:
        written: list[StreamEvent] = []
        for event in events:
            written += self._rewritten(event) if isinstance(event, Delta) else [event]
        return written

    def _rewritten(self, delta: Delta) -> list[Delta]:
        states = self._memory.add(delta) if self._memory is not None else ()
        deltas = self._writer.write(delta)
        if states and deltas:
            deltas[-1] = replace(deltas[-1], tool_states=states)
        return deltas
