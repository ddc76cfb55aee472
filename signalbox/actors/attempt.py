"""One upstream call: sends the request, reads the answer under its clocks, reports facts.

Three clocks are kept here: `first_token` from the start of a streamed call to its first content,
`idle` between two reads of a stream, `response` over a whole answer. (`connect` is the upstream
client's, `total` the request's own.) While a piece waits for a slow client nothing is read and no
clock runs.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio

from signalbox.actors.key_pool import Lease
from signalbox.actors.ports import Upstream, UpstreamError, UpstreamErrorKind, UpstreamResponse
from signalbox.adapters.protocol import (
    Adapter,
    Answer,
    Delta,
    RateLimits,
    StreamDecoder,
    StreamError,
    StreamEvent,
    StreamFinished,
)
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.machines import facts as f
from signalbox.types import Request, Route, Timeouts, Usage

logger = logging.getLogger(__name__)

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes. Well above the largest documented answers (images and audio as base64)."""
LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read: enough for any message, too few to be a burden."""
SHORTEST_SECRET = 8
"""Characters. A shorter value of a secret header is a word that occurs by chance."""
DRAIN_SECONDS = 0.25
"""How long the end of a finished stream's body may take before its connection is given up."""

_FAILURES = {
    UpstreamErrorKind.CONNECT_FAILED: FailureKind.CONNECT_FAILED,
    UpstreamErrorKind.CONNECT_TIMEOUT: FailureKind.CONNECT_TIMEOUT,
    UpstreamErrorKind.CONNECTION_LOST: FailureKind.CONNECTION_LOST,
    UpstreamErrorKind.PROTOCOL_ERROR: FailureKind.PROTOCOL_ERROR,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is, and the adapter that speaks its wire format."""

    adapter: Adapter
    base_url: str


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """What an attempt works with. `emit` reports a fact, `deliver` hands a delta to the client."""

    upstream: Upstream
    emit: Callable[[f.Fact], Awaitable[None]]
    deliver: Callable[[Delta], Awaitable[None]]
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: random.Random
    payload_limit: int
    """Bytes of each body that are kept for the trace; 0 keeps none."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One upstream call and what is known of it so far."""

    number: int
    route: Route
    lease: Lease
    endpoint: Endpoint
    started_at: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    committed: trio.Event = field(default_factory=trio.Event)
    answer: Answer | None = None
    usage: Usage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)
    content_chars: int = 0
    first_token_at: float | None = None
    last_content_at: float | None = None
    held: list[Delta] = field(default_factory=list)
    """What came before the first content; it goes out with it, or with the end."""
    dropped: tuple[str, ...] = ()
    rate_limits: RateLimits | None = None
    settled: bool = False
    sent: bytes = b""
    received: bytearray = field(default_factory=bytearray)
    status: int | None = None
    head_at: float | None = None
    """When the answer's head came."""
    health_number: int | None = None
    _ended: bool = False
    _failure: Failure | None = None
    _response: UpstreamResponse | None = None

    async def run(self, request: Request, timeouts: Timeouts, tools: AttemptTools) -> None:
        """Makes the call and emits how it went; emits nothing once it was cancelled."""
        with self.scope:
            try:
                failure = self._masked(await self._guarded(request, timeouts, tools))
                await tools.emit(self._outcome(request, failure, tools))
                await self._drain()
            finally:
                if self._response is not None:
                    self._response.close()

    def without_secrets(self, text: str) -> str:
        """`text` with the key and the route's secret headers masked: some providers echo them."""
        secrets = [value for _, value in self.route.headers]
        if self.lease.key.secret is not None:
            secrets.append(self.lease.key.secret)
        for secret in secrets:
            if len(secret.reveal()) >= SHORTEST_SECRET:
                text = text.replace(secret.reveal(), "[key]")
        return text

    def _masked(self, failure: Failure | None) -> Failure | None:
        if failure is None:
            return None
        return replace(
            failure,
            message=self.without_secrets(failure.message),
            code=failure.code and self.without_secrets(failure.code),
            param=failure.param and self.without_secrets(failure.param),
        )

    async def _guarded(
        self, request: Request, timeouts: Timeouts, tools: AttemptTools
    ) -> Failure | None:
        try:
            if request.stream:
                return await self._stream(request, timeouts, tools)
            return await self._whole(request, timeouts, tools)
        except UpstreamError as error:
            return Failure(_FAILURES[error.kind], str(error))
        except ProviderProtocolError as error:
            return Failure(FailureKind.PROTOCOL_ERROR, str(error), status=self.status)
        except UnsupportedParameter as error:
            return Failure(FailureKind.UNSUPPORTED_PARAMETER, str(error), param=error.param)
        except Exception as error:
            # A fault of this program in one route must not cost the client the other routes.
            logger.exception("attempt %d of request %s crashed", self.number, request.id)
            return Failure(FailureKind.INTERNAL, f"{type(error).__name__} in the gateway")

    def _outcome(
        self, request: Request, failure: Failure | None, tools: AttemptTools
    ) -> f.UpstreamEnded | f.UpstreamFailed:
        at, chance = tools.clock(), tools.rng.random()
        if failure is not None:
            return f.UpstreamFailed(at, self.number, failure, chance)
        return f.UpstreamEnded(
            at, self.number, self.finish_reason(request), self.content_chars, chance
        )

    def finish_reason(self, request: Request) -> str | None:
        """The first choice's reason, once every choice that was asked for has one."""
        wanted = request.body.get("n")
        choices = wanted if isinstance(wanted, int) else 1
        if len(self.finish_reasons) < choices:
            return None
        return self.finish_reasons[min(self.finish_reasons)]

    # ── whole answers ─────────────────────────────────────────────────────────────────────────

    async def _whole(
        self, request: Request, timeouts: Timeouts, tools: AttemptTools
    ) -> Failure | None:
        with trio.move_on_after(timeouts.response):
            response = await self._send(request, timeouts, tools)
            if response.status >= 300:
                return await self._refused(response, tools)
            body = await self._read_whole(response, LARGEST_ANSWER, tools)
            answer = self.endpoint.adapter.decode_answer(body)
            if isinstance(answer, Failure):
                return answer
            self.answer = answer
            self.usage = answer.usage
            self.content_chars = answer.content_chars
            if answer.finish_reason is not None:
                # The decoder vouches for the other choices: a whole body has them all or none.
                self.finish_reasons = dict.fromkeys(
                    range(len(_choices(answer.body))), answer.finish_reason
                )
            return None
        return Failure(
            FailureKind.RESPONSE_TIMEOUT, f"no whole answer within {timeouts.response:g} s"
        )

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    async def _stream(
        self, request: Request, timeouts: Timeouts, tools: AttemptTools
    ) -> Failure | None:
        with trio.move_on_after(timeouts.first_token) as clock:
            response = await self._send(request, timeouts, tools)
            if response.status >= 300:
                return await self._refused(response, tools)
            if not _is_event_stream(response):
                return await self._not_a_stream(response, tools)
            decoder = self.endpoint.adapter.stream_decoder()
            while not self.content_chars and not self._ended:
                self.held += await self._read_deltas(response, decoder, tools)
        if clock.cancelled_caught:
            return Failure(
                FailureKind.FIRST_TOKEN_TIMEOUT, f"no content within {timeouts.first_token:g} s"
            )
        if not self.content_chars or self._failure is not None:
            # An error that came with the first content, in one read: nothing was sent yet.
            return self._failure
        self.first_token_at = self.last_content_at = tools.clock()
        await tools.emit(f.ContentArrived(self.first_token_at, self.number))
        await self.committed.wait()
        for delta in self.held:
            await tools.deliver(delta)
        self.held.clear()
        return await self._follow(response, decoder, timeouts.idle, tools)

    async def _follow(
        self, response: UpstreamResponse, decoder: StreamDecoder, idle: float, tools: AttemptTools
    ) -> Failure | None:
        """Passes on what comes until the stream ends, fails or falls silent."""
        while not self._ended:
            with trio.move_on_after(idle) as clock:
                deltas = await self._read_deltas(response, decoder, tools)
            if clock.cancelled_caught:
                return Failure(FailureKind.IDLE_TIMEOUT, f"the stream was silent for {idle:g} s")
            for delta in deltas:
                if delta.content_chars:
                    self.last_content_at = tools.clock()
                await tools.deliver(delta)
        return self._failure

    async def _read_deltas(
        self, response: UpstreamResponse, decoder: StreamDecoder, tools: AttemptTools
    ) -> list[Delta]:
        data = await response.receive()
        self._keep(data, tools)
        events = decoder.feed(data) if data else decoder.end()
        deltas = self._absorb(events)
        if not data:
            self._ended = True
        return deltas

    def _absorb(self, events: list[StreamEvent]) -> list[Delta]:
        """Notes what the events say; the deltas among them are for the client."""
        deltas: list[Delta] = []
        for event in events:
            match event:
                case Delta():
                    self.content_chars += event.content_chars
                    self.usage = event.usage or self.usage
                    for index, reason in event.finish_reasons:
                        self.finish_reasons.setdefault(index, reason)
                    deltas.append(event)
                case StreamError():
                    self._failure = event.failure
                    self._ended = True
                    break
                case StreamFinished():
                    self._ended = True
                    break
        return deltas

    async def _not_a_stream(self, response: UpstreamResponse, tools: AttemptTools) -> Failure:
        body = await self._read_whole(response, LARGEST_ERROR, tools)
        answer = self.endpoint.adapter.decode_answer(body)
        if isinstance(answer, Failure):
            return answer
        raise ProviderProtocolError("a whole answer came where a stream was asked for")

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def _send(
        self, request: Request, timeouts: Timeouts, tools: AttemptTools
    ) -> UpstreamResponse:
        adapter = self.endpoint.adapter
        wire = adapter.build(request, self.route, self.endpoint.base_url, self.lease.key.secret)
        self.sent = wire.body
        self.dropped = wire.dropped
        response = self._response = await tools.upstream.send(wire, timeouts.connect)
        self.status = response.status
        self.head_at = tools.clock()
        self.rate_limits = adapter.rate_limits(response.headers, tools.wall_clock())
        return response

    async def _refused(self, response: UpstreamResponse, tools: AttemptTools) -> Failure:
        body = await self._read_whole(response, LARGEST_ERROR, tools, cut=True)
        if response.status < 400:
            raise ProviderProtocolError(f"status {response.status}: redirects are not followed")
        return self.endpoint.adapter.decode_error(
            response.status, response.headers, body, tools.wall_clock()
        )

    async def _read_whole(
        self, response: UpstreamResponse, limit: int, tools: AttemptTools, *, cut: bool = False
    ) -> bytes:
        body = bytearray()
        while data := await response.receive():
            self._keep(data, tools)
            body += data
            if len(body) > limit:
                if cut:
                    return bytes(body[:limit])
                raise ProviderProtocolError(f"the answer is larger than {limit} bytes")
        return bytes(body)

    def _keep(self, data: bytes, tools: AttemptTools) -> None:
        room = tools.payload_limit + 1 - len(self.received)
        if room > 0:
            self.received += data[:room]

    async def _drain(self) -> None:
        """Reads a finished body to its very end, so that its connection can serve again."""
        if self._response is None:
            return
        with trio.move_on_after(DRAIN_SECONDS):
            try:
                while await self._response.receive():
                    pass
            except UpstreamError:
                return


def _choices(body: dict[str, object]) -> list[object]:
    choices = body.get("choices")
    return choices if isinstance(choices, list) else []


def _is_event_stream(response: UpstreamResponse) -> bool:
    """A stream that is not labelled at all is read as one."""
    for name, value in response.headers:
        if name == "content-type":
            return value.partition(";")[0].strip().lower() == "text/event-stream"
    return True
