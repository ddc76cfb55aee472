"""The doors of OpenAI's dialect: chat completions, what would become of one, the list of models.

A plain ASGI application. It stands beside Quart, not on it, because these paths carry the traffic.
One request is served by one nursery: the runner, a watcher that sees the client leave, and the loop
that ships what the runner hands over.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec
import trio

from signalbox.actors import outputs as out
from signalbox.actors.key_ring import GatewayKey, KeyRing
from signalbox.actors.runner import RequestRunner
from signalbox.actors.services import RunnerServices
from signalbox.adapters.models import ModelTable
from signalbox.adapters.openai_door import ChatEncoder, error_body
from signalbox.adapters.sse import sse_comment
from signalbox.config import Settings
from signalbox.errors import ApiError
from signalbox.http import auth, paths
from signalbox.http.asgi import (
    ClientDisconnected,
    HeaderList,
    Incoming,
    Outgoing,
    Receive,
    RequestError,
    Scope,
    Send,
    header_fields,
    header_map,
    read_body,
    send_head,
    send_whole,
)
from signalbox.http.cors import Cors
from signalbox.http.explain_api import explained, random_of
from signalbox.http.intake import Intake, take_in
from signalbox.http.models_api import model_answer, models_answer
from signalbox.http.state_pins import pin_to_state
from signalbox.machines.decisions import OWN_FAULT
from signalbox.persistence.gateway_keys import key_digest

logger = logging.getLogger(__name__)

JSON = ("content-type", "application/json")
STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)
KEEP_ALIVE = sse_comment(b"keep-alive")


@dataclass(slots=True)
class _Exchange:
    """One request and the answer to it, as far as it has gone."""

    scope: Scope
    receive: Incoming
    send: Send
    fields: HeaderList
    """The request's headers, in order."""
    headers: Mapping[str, str]
    trace_id: str
    common: tuple[tuple[str, str], ...]
    """Headers that every answer carries."""
    started: bool = False


class ModelDoors:
    """Serves every path of a model API; `paths.find_door` says which those are."""

    def __init__(
        self, settings: Settings, models: ModelTable, keys: KeyRing, services: RunnerServices
    ) -> None:
        self._settings = settings
        self._models = models
        self._keys = keys
        self._services = services
        self._config_version = settings.version
        self._cors = Cors(settings.server.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, door: paths.Door) -> None:
        fields = header_fields(scope)
        headers = header_map(fields)
        trace_id = self._services.new_id()
        exchange = _Exchange(
            scope,
            Incoming(receive),
            Outgoing(send),
            fields,
            headers,
            trace_id,
            common=(
                ("x-request-id", trace_id),
                ("x-signalbox-trace-id", trace_id),
                *self._cors.headers(headers.get("origin")),
            ),
        )
        try:
            await self._serve(exchange, door)
        except RequestError as refused:
            await self._refuse(exchange, refused.error)
        except ClientDisconnected:
            return
        except Exception:
            logger.exception("request %s crashed at the door", trace_id)
            if exchange.started:
                raise
            await self._refuse(exchange, OWN_FAULT)

    async def _serve(self, exchange: _Exchange, door: paths.Door) -> None:
        method = exchange.scope["method"]
        if method == "OPTIONS":
            allowed = paths.METHODS.get(door.endpoint or "", ("GET", "HEAD", "POST"))
            headers = (*exchange.common, *self._cors.preflight(exchange.headers, allowed))
            await _answer(exchange, 204, headers)
            return
        if door.endpoint is None:
            raise RequestError(_unsupported_endpoint(exchange.scope["path"]))
        allowed = paths.METHODS[door.endpoint]
        if method not in allowed:
            raise RequestError(_method_not_allowed(method, allowed))
        key = self._authenticate(exchange)
        if door.endpoint == paths.CHAT:
            await self._chat(exchange, key)
        elif door.endpoint == paths.EXPLAIN:
            await self._explain(exchange, key)
        elif door.endpoint == paths.MODELS:
            everything = _asks_for_all(exchange.scope)
            await _json(exchange, models_answer(self._models, key, everything=everything))
        else:
            assert door.model is not None
            everything = _asks_for_all(exchange.scope)
            found = model_answer(self._models, key, door.model, everything=everything)
            await _json(exchange, found)

    def _authenticate(self, exchange: _Exchange) -> GatewayKey:
        presented = auth.presented_keys(exchange.fields, _query(exchange.scope))
        if not presented:
            raise RequestError(auth.api_key_error("No API key: send Authorization: Bearer KEY."))
        if len(presented) > 1:
            raise RequestError(auth.api_key_error("Two different API keys were sent."))
        key = self._keys.find(key_digest(presented.pop()))
        if key is None:
            raise RequestError(auth.api_key_error("The API key is unknown, revoked or expired."))
        return key

    # ── chat completions ──────────────────────────────────────────────────────────────────────

    async def _take_in(self, exchange: _Exchange, key: GatewayKey) -> Intake:
        """What the client asks for, and where state pins it to."""
        server = self._settings.server
        received_at = self._services.wall_clock()
        data = await read_body(
            exchange.receive,
            exchange.headers,
            limit=server.max_body_bytes,
            patience=server.body_timeout,
        )
        intake = take_in(
            data,
            exchange.headers,
            key,
            settings=self._settings,
            models=self._models,
            config_version=self._config_version,
            request_id=exchange.trace_id,
            received_at=received_at,
        )
        return await pin_to_state(intake, self._services.provider_state)

    async def _chat(self, exchange: _Exchange, key: GatewayKey) -> None:
        intake = await self._take_in(exchange, key)
        encoder = ChatEncoder(
            include_usage=intake.request.include_usage, trace_id=exchange.trace_id
        )
        pieces_in, pieces = trio.open_memory_channel[out.Output](out.CAPACITY)
        runner = RequestRunner(
            intake.request,
            intake.plan,
            key.limits,
            encoder,
            self._services,
            pieces_in,
            intake.payloads,
            body=intake.recorded_body,
        )
        async with trio.open_nursery() as nursery:
            watcher = trio.CancelScope()
            nursery.start_soon(_watch, exchange.receive, runner, watcher)
            nursery.start_soon(runner.run)
            async with pieces:
                await self._ship(exchange, pieces, encoder, runner, stream=intake.request.stream)
            watcher.cancel()

    async def _ship(
        self,
        exchange: _Exchange,
        pieces: trio.MemoryReceiveChannel[out.Output],
        encoder: ChatEncoder,
        runner: RequestRunner,
        *,
        stream: bool,
    ) -> None:
        """Sends what the runner hands over, and comments while a stream's runner is silent."""
        patience = self._settings.server.keepalive if stream else math.inf
        while True:
            piece: out.Output | None = None
            try:
                with trio.move_on_after(patience):
                    piece = await pieces.receive()
            except trio.EndOfChannel:
                break
            match piece:
                case None:
                    runner.stream_begun()
                    await self._begin(exchange, ())
                    await _more(exchange, KEEP_ALIVE)
                case out.StreamHead():
                    await self._begin(exchange, piece.headers)
                case out.StreamBytes():
                    await _more(exchange, piece.data)
                case out.WholeAnswer():
                    fields = (JSON, *exchange.common, *piece.headers)
                    await _answer(exchange, 200, fields, piece.body)
                    return
                case out.Refusal():
                    if not exchange.started:
                        await self._refuse(exchange, piece.error, piece.headers)
                        return
                    await _more(exchange, encoder.error(piece.error))
        if exchange.started:
            await exchange.send({"type": "http.response.body", "body": b""})

    async def _begin(self, exchange: _Exchange, headers: Iterable[tuple[str, str]]) -> None:
        if not exchange.started:
            exchange.started = True
            await send_head(exchange.send, 200, (*STREAM_HEADERS, *exchange.common, *headers))

    async def _explain(self, exchange: _Exchange, key: GatewayKey) -> None:
        services = self._services
        intake = await self._take_in(exchange, key)
        random = random_of(_query(exchange.scope), otherwise=services.rng.random())
        answer = await explained(
            services,
            intake,
            at=trio.current_time(),
            unix_time=services.wall_clock(),
            random=random,
        )
        await _json(exchange, answer)

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    async def _refuse(
        self, exchange: _Exchange, error: ApiError, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        fields = (JSON, *exchange.common, *headers, *error.headers, *_retry_headers(error))
        body = msgspec.json.encode(error_body(error, exchange.trace_id))
        await _answer(exchange, error.status, fields, body)


async def _answer(
    exchange: _Exchange, status: int, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> None:
    exchange.started = True
    await send_whole(exchange.send, exchange.receive, status, headers, body)


async def _json(exchange: _Exchange, body: object) -> None:
    await _answer(exchange, 200, (JSON, *exchange.common), msgspec.json.encode(body))


def _query(scope: Scope) -> str:
    return bytes(scope["query_string"]).decode("latin-1")


def _asks_for_all(scope: Scope) -> bool:
    return parse_qs(_query(scope)).get("all") == ["true"]


async def _watch(receive: Receive, runner: RequestRunner, scope: trio.CancelScope) -> None:
    """Tells the runner when the client leaves."""
    with scope:
        while (await receive())["type"] != "http.disconnect":
            """A client may still send; what it sends after its request has no meaning."""
        runner.client_gone()


async def _more(exchange: _Exchange, data: bytes) -> None:
    await exchange.send({"type": "http.response.body", "body": data, "more_body": True})


def _retry_headers(error: ApiError) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    if error.should_retry is not None:
        headers.append(("x-should-retry", "true" if error.should_retry else "false"))
    if error.retry_after is not None and math.isfinite(error.retry_after):
        headers.append(("retry-after", str(math.ceil(error.retry_after))))
        headers.append(("retry-after-ms", str(math.ceil(error.retry_after * 1000))))
    return tuple(headers)


def _unsupported_endpoint(path: str) -> ApiError:
    return ApiError(
        status=404,
        type="invalid_request_error",
        code="unsupported_endpoint",
        message=f"This gateway does not serve {path}.",
        should_retry=False,
    )


def _method_not_allowed(method: str, allowed: tuple[str, ...]) -> ApiError:
    return ApiError(
        status=405,
        type="invalid_request_error",
        code="method_not_allowed",
        message=f"{method} is not possible here; expected {' or '.join(allowed)}.",
        should_retry=False,
        headers=(("allow", ", ".join((*allowed, "OPTIONS"))),),
    )
