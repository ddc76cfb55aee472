"""One upstream call: sends the request, reads the answer under its clocks, reports facts.

It has no task of its own: `advance` goes on to the next thing that is to be told, and whoever calls
it decides in between.

Three clocks are kept here: `first_token` from the start of a streamed call to its first content,
`idle` between two reads of a stream, `response` over a whole answer. (`connect` is the upstream
client's, `total` the request's own.) While a piece waits for a slow client nothing is read and no
clock runs.

An attempt that goes on with another's answer reports content when it comes to what the client was
not sent yet; what it repeats before that is left out.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio
from msgspec.structs import replace

from signalbox.actors.alarms import Alarm
from signalbox.actors.attempt_tools import UPSTREAM_FAILURES, AttemptTools, Endpoint
from signalbox.actors.joint import Joint
from signalbox.actors.key_pool import Lease, ProviderKey
from signalbox.actors.masking import masked_failure, secrets_of
from signalbox.actors.ports import CredentialUnavailable, UpstreamError, UpstreamResponse
from signalbox.adapters.output_ceilings import with_ceiling
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    JoiningAdapter,
    RateLimits,
    StreamDecoder,
    StreamError,
    StreamEvent,
    StreamFinished,
    WireRequest,
    stream_types,
)
from signalbox.adapters.provider_state import request_for
from signalbox.adapters.splice import SpliceMismatch
from signalbox.adapters.tool_memory import with_own_states
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.machines import facts as f
from signalbox.machines.commands import Resume
from signalbox.types import Origin, Request, Route, Timeouts, Usage

logger = logging.getLogger(__name__)

LARGEST_ANSWER = 128 * 1024 * 1024
"""Bytes. Well above the largest documented answers: images and audio as base64, 80 MB for 2,048
vectors of 3,072 floats."""
LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read: enough for any message, too few to be a burden."""
LONGEST_PRELUDE = 1024 * 1024
"""Bytes of a stream's events before its first content: a role, usage, a filter's verdict. Some
kilobytes at most, but for a provider that never comes to the point."""
MOST_MADE = 256
"""References that one answer may give out: two for each of OpenAI's 128 choices. What comes after
them is not remembered."""

_SILENCE = {
    FailureKind.FIRST_TOKEN_TIMEOUT: "no content within",
    FailureKind.IDLE_TIMEOUT: "the stream was silent for",
    FailureKind.RESPONSE_TIMEOUT: "no whole answer within",
}


@dataclass(slots=True, eq=False)
class Attempt:
    """One upstream call and what is known of it so far."""

    number: int
    route: Route
    key: ProviderKey
    lease: Lease | None
    """None: the key is the caller's own."""
    endpoint: Endpoint
    started_at: float
    timeouts: Timeouts
    resume: Resume | None = None
    sent_before: str = ""
    """The text that the client was sent before, where this attempt goes on with it."""
    committed: bool = False
    """Its content may go to the client."""
    max_tokens: int | None = None
    """The longest answer that is paid for, where the provider has to be told."""
    cut: bool = False
    """It was ended where the request's budgets ended."""
    over: bool = False
    """There is nothing more to tell of it."""
    answer: Answer | None = None
    usage: Usage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)
    content_chars: int = 0
    """Characters of content that the provider sent, also of what was left out."""
    new_chars: int = 0
    """Those of them that are for the client."""
    first_token_at: float | None = None
    last_content_at: float | None = None
    held: list[Delta] = field(default_factory=list)
    """What came before the first content; it goes out with it, or with the end."""
    dropped: tuple[str, ...] = ()
    answer_id: str | None = None
    made: dict[str, None] = field(default_factory=dict)
    """What the answer gave out that only this route, on this key, will understand."""
    tool_states: dict[str, bytes] = field(default_factory=dict)
    """What the provider wants back with the answer's tool calls, by their ids."""
    rate_limits: RateLimits | None = None
    settled: bool = False
    never_sent: bool = False
    """It is settled, and failed before the provider had it."""
    sent: bytes = b""
    received: bytearray = field(default_factory=bytearray)
    status: int | None = None
    head_at: float | None = None
    """When the answer's head came."""
    health_number: int | None = None
    _joint: Joint | None = None
    _further: deque[WireRequest] = field(default_factory=deque)
    """What of a whole request is still to be sent, after its first call."""
    _prelude: int = 0
    _ended: bool = False
    _failure: Failure | None = None
    _response: UpstreamResponse | None = None
    _decoder: StreamDecoder | None = None
    _scope: trio.CancelScope | None = None
    """While it waits for the provider, or for the client to take what came."""
    _clock: Alarm | None = None
    _late: Failure | None = None
    """What to tell of a clock that rang."""
    _change: trio.Event | None = None
    _has_news: bool = False
    """Its first content is there, and not told yet."""

    @property
    def callers_own(self) -> bool:
        return self.lease is None

    async def advance(
        self, request: Request, tools: AttemptTools, scope: trio.CancelScope
    ) -> f.Fact | None:
        """Makes the call, as far as the next fact. It runs in `scope`, which the clocks cancel.

        After `ContentArrived` it is called again when the content is committed.
        """
        self._scope = scope
        try:
            failure = await self._guarded(request, tools)
        except BaseException:
            self._close()
            raise
        finally:
            self._scope = None
        if self._has_news:
            self._has_news = False
            return f.ContentArrived(tools.clock(), self.number)
        return self._ending(request, failure, tools)

    def cut_short(self, request: Request, tools: AttemptTools) -> f.Fact | None:
        """What to tell when `advance` was cancelled: of the clock that rang; else nothing."""
        self.over = True
        if self._late is None or self.settled:
            return None
        return self._ending(request, self._late, tools)

    def _ending(self, request: Request, failure: Failure | None, tools: AttemptTools) -> f.Fact:
        self.over = True
        if self._ended and self._response is not None:
            # What is still to come of it is the end of its body, and nobody waits for that.
            self._response.leave()
        self._close()
        if failure is not None:
            failure = masked_failure(failure, secrets_of(self.key, self.route))
        return self._outcome(request, failure, tools)

    def commit(self) -> None:
        self.committed = True
        self._has_changed()

    def abandon(self) -> None:
        """Nobody wants the answer any more. Never waits; again, nothing happens."""
        if self._scope is not None:
            self._scope.cancel()
        else:
            self.over = True
            self._close()
            self._has_changed()

    async def changed(self) -> None:
        """Until it is committed or abandoned."""
        self._change = trio.Event()
        await self._change.wait()

    def _has_changed(self) -> None:
        if self._change is not None:
            self._change.set()

    def _close(self) -> None:
        self._stop_clock()
        if self._response is not None:
            self._response.close()
            self._response = None

    # ── clocks ────────────────────────────────────────────────────────────────────────────────

    def _start_clock(self, tools: AttemptTools, seconds: float, kind: FailureKind) -> None:
        def ring() -> None:
            self._late = Failure(kind, f"{_SILENCE[kind]} {seconds:g} s")
            if self._scope is not None:
                self._scope.cancel()

        self._clock = tools.alarms.set(seconds, ring)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    async def _guarded(self, request: Request, tools: AttemptTools) -> Failure | None:
        try:
            if not request.stream:
                return await self._whole(request, tools)
            if self._decoder is None:
                return await self._begin_stream(request, tools)
            return await self._go_on(request, tools)
        except UpstreamError as error:
            return Failure(UPSTREAM_FAILURES[error.kind], str(error))
        except CredentialUnavailable as error:
            return error.failure
        except ProviderProtocolError as error:
            return Failure(FailureKind.PROTOCOL_ERROR, str(error), status=self.status)
        except SpliceMismatch as error:
            return Failure(FailureKind.SPLICE_MISMATCH, str(error))
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
        may_retry, delivered = tools.may_retry(self.route.id), tools.delivered()
        reason = self.finish_reason(request)
        # What goes wrong after a stream's finish reason takes nothing from the answer.
        whole = request.stream and self.new_chars > 0 and reason is not None
        if failure is not None and not whole:
            return f.UpstreamFailed(at, self.number, failure, chance, may_retry, delivered)
        return f.UpstreamEnded(
            at, self.number, reason, self.new_chars, chance, may_retry, delivered, self.cut
        )

    def finish_reason(self, request: Request) -> str | None:
        """The first choice's reason, once every choice that was asked for has one."""
        if len(self.finish_reasons) < request.choices:
            return None
        return self.finish_reasons[min(self.finish_reasons)]

    # ── whole answers ─────────────────────────────────────────────────────────────────────────

    async def _whole(self, request: Request, tools: AttemptTools) -> Failure | None:
        self._start_clock(tools, self.timeouts.response, FailureKind.RESPONSE_TIMEOUT)
        response = await self._send(request, tools)
        bodies: list[bytes] = []
        while response.status < 300:
            bodies.append(await self._read_whole(response, LARGEST_ANSWER, tools))
            if not self._further:
                break
            full = await tools.further_call()
            if full is not None:
                return full
            response.close()
            self._response = None
            response = await self._call(self._further.popleft(), tools)
        else:
            return await self._refused(response, tools)
        answer = self._decoded(bodies, request)
        if isinstance(answer, Failure):
            return answer
        self.answer = answer
        self.usage = answer.usage
        self._note_state(answer)
        self.content_chars = self.new_chars = answer.content_chars
        if answer.finish_reason is not None:
            # The decoder vouches for the other choices: a whole body has them all or none.
            self.finish_reasons = dict.fromkeys(range(answer.choices), answer.finish_reason)
        return None

    def _decoded(self, bodies: list[bytes], request: Request) -> Answer | Failure:
        adapter = self.endpoint.adapter
        if len(bodies) == 1:
            return adapter.decode_answer(bodies[0], request)
        assert isinstance(adapter, JoiningAdapter), "it made more than one call of the request"
        return adapter.decode_answers(bodies, request)

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    async def _begin_stream(self, request: Request, tools: AttemptTools) -> Failure | None:
        """As far as the first content for the client, or the end."""
        self._start_clock(tools, self.timeouts.first_token, FailureKind.FIRST_TOKEN_TIMEOUT)
        response = await self._send(request, tools)
        if response.status >= 300:
            return await self._refused(response, tools)
        if not _is_event_stream(response, stream_types(self.endpoint.adapter)):
            return await self._not_a_stream(response, request, tools)
        self._decoder = self.endpoint.adapter.stream_decoder(request)
        while not self.content_chars and not self._ended:
            self.held += await self._read_deltas(response, self._decoder, tools)
        self._stop_clock()
        if self.content_chars:
            self.first_token_at = self.last_content_at = tools.clock()
        if not self.new_chars and not self._ended:
            await self._read_what_is_repeated(response, self._decoder, tools)
        # An error that came with the first content, in one read: nothing was sent yet.
        self._has_news = self.new_chars > 0 and self._failure is None
        return self._failure

    async def _read_what_is_repeated(
        self, response: UpstreamResponse, decoder: StreamDecoder, tools: AttemptTools
    ) -> None:
        self._start_clock(tools, self.timeouts.idle, FailureKind.IDLE_TIMEOUT)
        assert self._clock is not None
        while not self.new_chars and not self._ended:
            self.held += await self._read_deltas(response, decoder, tools)
            self._clock.restart(tools.clock())
        self._stop_clock()
        self.last_content_at = tools.clock()

    def _cut_off(self, left: Sequence[Delta], request: Request) -> None:
        """The answer ends before `left`, as one does that has come to its ceiling."""
        self.cut = self._ended = True
        for delta in left:
            self.content_chars -= delta.content_chars
        for choice in range(request.choices):
            self.finish_reasons.setdefault(choice, "length")
        self._close()

    async def _go_on(self, request: Request, tools: AttemptTools) -> Failure | None:
        """To the end, piece by piece as they come."""
        response, decoder = self._response, self._decoder
        assert response is not None
        assert decoder is not None
        held, self.held = self.held, []
        taken = await tools.deliver(held)
        if taken < len(held):
            self._cut_off(held[taken:], request)
            return None
        self._start_clock(tools, self.timeouts.idle, FailureKind.IDLE_TIMEOUT)
        clock = self._clock
        assert clock is not None
        while not self._ended:
            deltas = await self._read_deltas(response, decoder, tools)
            if not deltas:
                clock.restart(tools.clock())
                continue
            clock.pause()
            taken = await tools.deliver(deltas)
            if taken < len(deltas):
                self._cut_off(deltas[taken:], request)
                return None
            now = tools.clock()
            clock.restart(now)
            for delta in deltas:
                if delta.content_chars:
                    self.last_content_at = now
        return self._failure

    async def _read_deltas(
        self, response: UpstreamResponse, decoder: StreamDecoder, tools: AttemptTools
    ) -> list[Delta]:
        data = await response.receive()
        if len(self.received) <= tools.payload_limit:
            self._keep(data, tools)
        if data:
            return self._absorb(decoder.feed(data))
        self._ended = True
        return self._absorb(decoder.end())

    def _absorb(self, events: list[StreamEvent]) -> list[Delta]:
        """Notes what the events say; the deltas among them are for the client."""
        deltas: list[Delta] = []
        for event in events:
            match event:
                case Delta():
                    self.content_chars += event.content_chars
                    if event.usage is not None:
                        self.usage = event.usage
                    if event.id is not None or event.made or event.tool_states:
                        self._note_state(event)
                    for index, reason in event.finish_reasons:
                        self.finish_reasons.setdefault(index, reason)
                    new = event if self._joint is None else self._joint.admit(event)
                    self.new_chars += new.content_chars
                    if self._is_kept(new):
                        deltas.append(new)
                case StreamError():
                    self._failure = event.failure
                    self._ended = True
                    break
                case StreamFinished():
                    self._ended = True
                    break
        return deltas

    def _is_kept(self, delta: Delta) -> bool:
        """After a seam the client gets content and the end alone, so what is only repeated is not
        held until the joint is reached."""
        if delta.content_chars or delta.opaque or delta.finish_reasons:
            return True
        if self.resume is not None:
            return False
        if not self.new_chars:
            self._prelude += len(delta.raw)
            if self._prelude > LONGEST_PRELUDE:
                raise ProviderProtocolError(f"{LONGEST_PRELUDE} bytes of a stream without content")
        return True

    def _note_state(self, told: Answer | Delta) -> None:
        self.answer_id = self.answer_id or told.id
        if told.tool_states:
            self.tool_states.update(told.tool_states)
        if told.made and len(self.made) < MOST_MADE:
            self.made.update(dict.fromkeys(told.made))

    async def _not_a_stream(
        self, response: UpstreamResponse, request: Request, tools: AttemptTools
    ) -> Failure:
        body = await self._read_whole(response, LARGEST_ERROR, tools)
        answer = self.endpoint.adapter.decode_answer(body, request)
        if isinstance(answer, Failure):
            return answer
        raise ProviderProtocolError("a whole answer came where a stream was asked for")

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def _send(self, request: Request, tools: AttemptTools) -> UpstreamResponse:
        adapter = self.endpoint.adapter
        if self.resume in (Resume.PREFILL, Resume.SPLICE):
            self._joint = Joint(adapter, self.route, self.resume, self.sent_before)
        ours = Origin(self.route.id, self.key.id)
        fitting, stripped = request_for(with_own_states(request, ours), ours)
        self.key = await tools.credentials.ready(self.key)
        route = self.route
        if self.max_tokens is not None:
            translated = isinstance(adapter, TranslatedAdapter)
            fitting, route = with_ceiling(fitting, route, self.max_tokens, translated=translated)
        wire = adapter.build(
            fitting,
            route,
            self.endpoint.base_url,
            self.key.secret,
            prefill=self.sent_before if self.resume is Resume.PREFILL else None,
        )
        self.sent = wire.body
        self.dropped = (*wire.dropped, *stripped)
        self._further = deque(replace(wire, body=body, more=()) for body in wire.more)
        return await self._call(wire, tools)

    async def _call(self, wire: WireRequest, tools: AttemptTools) -> UpstreamResponse:
        wire = await tools.credentials.signed(wire, self.key)
        response = self._response = await tools.upstream.send(wire, self.timeouts.connect)
        self.status = response.status
        self.head_at = tools.clock()
        limits = self.endpoint.adapter.rate_limits(response.headers, tools.wall_clock())
        self.rate_limits = limits
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


def _is_event_stream(response: UpstreamResponse, types: frozenset[str]) -> bool:
    """A stream that is not labelled at all is read as one."""
    for name, value in response.headers:
        if name == "content-type":
            return value.partition(";")[0].strip().lower() in types
    return True
