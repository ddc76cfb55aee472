"""The doors of all dialects: requests to models, what would become of one, the list of models.

A plain ASGI application. It stands beside Quart, not on it, because these paths carry the traffic.
One request is served by one nursery: the runner, a watcher that sees the client leave, and the loop
that ships what the runner hands over.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from urllib.parse import parse_qsl

import msgspec
import trio
from msgspec.structs import replace

from signalbox.actors import outputs as out
from signalbox.actors.directory import Directory
from signalbox.actors.key_ring import GatewayKey, KeyRing
from signalbox.actors.runner import RequestRunner
from signalbox.actors.services import RunnerServices
from signalbox.actors.stored_keys import CallersKeys
from signalbox.adapters.doors import door_of, error_door
from signalbox.adapters.models import ModelTable
from signalbox.config import Settings
from signalbox.errors import ApiError
from signalbox.http import auth, paths
from signalbox.http.account_api import AccountApi
from signalbox.http.answer_states import keeping, with_answers
from signalbox.http.asgi import (
    BODY_IS_THERE,
    DISCONNECT,
    ClientDisconnected,
    Incoming,
    Outgoing,
    Receive,
    RequestError,
    Scope,
    Send,
    header_fields,
    header_map,
    read_body,
)
from signalbox.http.client_port import ClientPort
from signalbox.http.cors import Cors
from signalbox.http.count_api import estimated_count, is_counted, without_tokens
from signalbox.http.exchanges import JSON, Exchange
from signalbox.http.explain_api import explained, left_of, place_of, random_of
from signalbox.http.intake import PRESET, Intake, take_in
from signalbox.http.models_api import models_reply, place_of_client
from signalbox.http.request_budgets import with_budgets
from signalbox.http.state_pins import pin_to_state
from signalbox.http.stored_answers import Ask, StoredAnswers
from signalbox.http.tool_states import with_tool_states
from signalbox.machines.decisions import OWN_FAULT
from signalbox.persistence.gateway_keys import key_digest

logger = logging.getLogger(__name__)

PRESET_HEADER = "x-signalbox-preset"
"""Which preset, in which version, is in the request that was answered."""


class ModelDoors:
    """Serves every path of a model API; `paths.find_place` says which those are."""

    def __init__(
        self,
        settings: Settings,
        models: ModelTable,
        keys: KeyRing,
        services: RunnerServices,
        account: AccountApi,
        directory: Directory,
    ) -> None:
        self._settings = settings
        self._models = models
        self._keys = keys
        self._services = services
        self._account = account
        self._directory = directory
        self._config_version = settings.version
        self._stored = StoredAnswers(settings, services)
        self._cors = Cors(settings.server.cors_origins)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, place: paths.Place
    ) -> None:
        fields = header_fields(scope)
        headers = header_map(fields)
        trace_id = self._services.new_id()
        exchange = Exchange(
            scope,
            Incoming(receive),
            Outgoing(send),
            fields,
            headers,
            trace_id,
            place_of_client(place, headers),
            common=(
                ("x-request-id", trace_id),
                ("x-signalbox-trace-id", trace_id),
                # The header that Anthropic's SDKs look for.
                *((("request-id", trace_id),) if place.dialect.family == "anthropic" else ()),
                *self._cors.headers(headers.get("origin")),
            ),
        )
        try:
            await self._serve(exchange)
        except RequestError as refused:
            await self._refuse(exchange, refused.error)
        except ClientDisconnected:
            return
        except Exception:
            logger.exception("request %s crashed at the door", trace_id)
            if exchange.started:
                raise
            await self._refuse(exchange, OWN_FAULT)

    async def _serve(self, exchange: Exchange) -> None:
        place, method = exchange.place, exchange.scope["method"]
        if method == "OPTIONS":
            allowed = _methods(place)
            headers = (*exchange.common, *self._cors.preflight(exchange.headers, allowed))
            await exchange.answer(204, headers)
            return
        if place.endpoint is None:
            raise RequestError(_unsupported_endpoint(exchange.scope["path"]))
        allowed = _methods(place)
        if method not in allowed:
            raise RequestError(_method_not_allowed(method, allowed))
        key = self._authenticate(exchange)
        match place.endpoint:
            case paths.Endpoint.ASK:
                await self._ask(exchange, key)
            case paths.Endpoint.COUNT:
                await self._count(exchange, key)
            case paths.Endpoint.STORED:
                ask = _ask_of(exchange, self._services.stored_keys(key.id))
                await self._stored.serve(ask, key, exchange.receive, exchange.send, exchange.common)
            case paths.Endpoint.EXPLAIN:
                await self._explain(exchange, key)
            case paths.Endpoint.MODELS | paths.Endpoint.MODEL | paths.Endpoint.MODEL_ENDPOINTS:
                query = _parameters(exchange.scope)
                await exchange.answer_json(
                    models_reply(
                        place, query, self._models, self._settings, key, self._directory.presets
                    )
                )
            case paths.Endpoint.KEY | paths.Endpoint.CREDITS | paths.Endpoint.GENERATION:
                query = _parameters(exchange.scope)
                await exchange.answer_json(await self._account.reply(place.endpoint, key, query))
            case _:
                raise RequestError(_unsupported_endpoint(exchange.scope["path"]))

    def _authenticate(self, exchange: Exchange) -> GatewayKey:
        presented = auth.presented_keys(exchange.fields, _query(exchange.scope))
        if not presented:
            raise RequestError(auth.api_key_error("No API key: send Authorization: Bearer KEY."))
        if len(presented) > 1:
            raise RequestError(auth.api_key_error("Two different API keys were sent."))
        key = self._keys.find(key_digest(presented.pop()))
        if key is None:
            raise RequestError(auth.api_key_error("The API key is unknown, revoked or expired."))
        return key

    # ── requests to models ────────────────────────────────────────────────────────────────────

    async def _take_in(self, exchange: Exchange, key: GatewayKey) -> Intake:
        """What the client asks for, and where state pins it to."""
        server = self._settings.server
        received_at = self._services.wall_clock()
        data = await read_body(
            exchange.receive,
            exchange.headers,
            limit=server.max_body_bytes,
            patience=server.body_timeout,
            is_there=exchange.scope["extensions"].get(BODY_IS_THERE, False),
        )
        place = exchange.place
        intake = take_in(
            door_of(place.dialect, place.flavour),
            data,
            exchange.headers,
            key,
            settings=self._settings,
            models=self._models,
            config_version=self._config_version,
            request_id=exchange.trace_id,
            received_at=received_at,
            presets=self._directory,
            target=place.target,
            flavour=place.flavour,
            stored_keys=self._services.stored_keys(key.id),
        )
        if (preset := intake.request.labels.get(PRESET)) is not None:
            exchange.common += ((PRESET_HEADER, preset),)
        services, state = self._services, self._services.provider_state
        intake = await with_answers(
            intake, services, state, exchange.headers, limit=server.max_body_bytes
        )
        intake = await pin_to_state(intake, state)
        intake = await with_tool_states(intake, services)
        usual = self._settings.limits.default_max_tokens
        return with_budgets(intake, key, services.budgets_of, services.sizes, usual)

    async def _ask(self, exchange: Exchange, key: GatewayKey) -> None:
        await self._run(exchange, key, await self._take_in(exchange, key))

    async def _count(self, exchange: Exchange, key: GatewayKey) -> None:
        intake = without_tokens(await self._take_in(exchange, key))
        if is_counted(intake, self._services):
            await self._run(exchange, key, intake)
            return
        headers, body = estimated_count(intake)
        fields = (JSON, *exchange.common, *headers)
        await exchange.answer(200, fields, msgspec.json.encode(body))

    async def _run(self, exchange: Exchange, key: GatewayKey, intake: Intake) -> None:
        request, services = intake.request, self._services
        door = door_of(request.door, request.flavour)
        encoder = keeping(door.encoder(request), request, services.provider_state)
        port = ClientPort(exchange, encoder, self._refuse_piece)
        runner = RequestRunner(
            request,
            intake.plan,
            key.limits,
            encoder,
            services,
            port,
            intake.payloads,
            body=intake.recorded_body,
            budgets=intake.budgets,
        )
        if request.stream and door.keep_alive is not None:
            seconds = self._settings.server.keepalive
            port.keep_alive(door.keep_alive, services.alarms, seconds, runner.stream_begun)
        on_disconnect = exchange.scope["extensions"][DISCONNECT]
        on_disconnect(runner.client_gone)
        try:
            await runner.run()
        finally:
            on_disconnect(None)
        await port.end()

    async def _explain(self, exchange: Exchange, key: GatewayKey) -> None:
        services = self._services
        query = _query(exchange.scope)
        asked = replace(exchange, place=place_of(query, exchange.place))
        intake = await self._take_in(asked, key)
        random = random_of(query, otherwise=services.rng.random())
        answer = await explained(
            services,
            intake,
            at=trio.current_time(),
            unix_time=services.wall_clock(),
            random=random,
            left=await left_of(intake, services.money),
        )
        await exchange.answer_json(answer)

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    async def _refuse_piece(self, exchange: Exchange, piece: out.Refusal) -> None:
        await self._refuse(exchange, piece.error, piece.headers)

    async def _refuse(
        self, exchange: Exchange, error: ApiError, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        fields = (JSON, *exchange.common, *headers, *error.headers, *_retry_headers(error))
        place = exchange.place
        door = error_door(place.dialect, place.flavour)
        told = door.error_body(error, exchange.trace_id, place.flavour)
        body = msgspec.json.encode(told)
        await exchange.answer(error.status, fields, body)


def _query(scope: Scope) -> str:
    return bytes(scope["query_string"]).decode("latin-1")


def _methods(place: paths.Place) -> tuple[str, ...]:
    if place.endpoint is None:
        return ("GET", "HEAD", "POST")
    return paths.METHODS[place.endpoint]


def _ask_of(exchange: Exchange, stored_keys: CallersKeys) -> Ask:
    scope, place = exchange.scope, exchange.place
    return Ask(
        place.id,
        place.rest,
        scope["method"],
        _query(scope),
        exchange.headers,
        exchange.trace_id,
        stored_keys,
    )


def _parameters(scope: Scope) -> dict[str, str]:
    """The query's parameters by name, of several alike the last."""
    return dict(parse_qsl(_query(scope)))


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
