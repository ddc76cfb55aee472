"""Stored answers: read, deleted, cancelled by their ids.

An id means something only where it was given out. It is looked up among what was answered to the
gateway key. Some the gateway keeps itself (`kept_answers.py`); else what is asked goes to that
provider, with the key that made it, and the answer is passed through. (OpenAI API reference,
Responses: get, delete, cancel, list input items.)
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import trio
from msgspec.structs import replace

from signalbox.actors.key_pool import (
    CALLERS_KEY,
    AttemptOutcome,
    Denied,
    Lease,
    ProviderKey,
    callers_key,
)
from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.masking import masked, masked_failure, secrets_of
from signalbox.actors.ports import CredentialUnavailable, UpstreamError, UpstreamResponse
from signalbox.actors.services import RunnerServices
from signalbox.actors.stored_keys import CallersKeys
from signalbox.adapters.protocol import Adapter, WireRequest
from signalbox.config import Settings
from signalbox.errors import ApiError, Failure, StoreUnavailable, UnsupportedParameter
from signalbox.http.asgi import Incoming, RequestError, Send, send_head, send_whole
from signalbox.http.extension_fields import BadExtension
from signalbox.http.extensions import HEADER, parse_extra
from signalbox.http.kept_answers import kept_reply, not_found
from signalbox.types import Dialect, Extra, Origin, Request, Route, Secret

ACTIONS = {
    # What follows the id → the methods that it takes
    "": ("GET", "HEAD", "DELETE"),
    "input_items": ("GET", "HEAD"),
    "cancel": ("POST",),
}
NOT_STORED = frozenset({"compact", "input_tokens"})
"""Words that stand where an id does, of endpoints that are not served."""
LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""
LARGEST_ANSWER = 64 * 1024 * 1024
LEASE_SECONDS = 60.0
"""By how much a lease outlives the time in which the answer has to begin."""
_OURS = (401, 402, 403, 429)
"""Statuses that are about the gateway's own key."""
_STREAM = "text/event-stream"


class Ask(msgspec.Struct, frozen=True):
    """What a client asks about a stored answer."""

    id: str
    action: str
    """What followed the id in the path."""
    method: str
    query: str
    headers: Mapping[str, str]
    """By lower-case name."""
    trace_id: str
    stored_keys: CallersKeys
    """The caller's own, of its gateway key."""


class StoredAnswers:
    """Passes what is asked of stored answers on to where they are."""

    def __init__(self, settings: Settings, services: RunnerServices) -> None:
        self._settings = settings
        self._services = services

    async def serve(
        self,
        ask: Ask,
        gateway_key: GatewayKey,
        receive: Incoming,
        send: Send,
        common: tuple[tuple[str, str], ...],
    ) -> None:
        """Answers; `common` are headers that every answer carries. Raises `RequestError`."""
        if ask.action not in ACTIONS or ask.id in NOT_STORED or not ask.id:
            raise RequestError(_unsupported(ask))
        if ask.method not in ACTIONS[ask.action]:
            raise RequestError(_wrong_method(ask))
        state = self._services.provider_state
        own = await kept_reply(state, gateway_key.id, ask.id, ask.action, ask.method, ask.query)
        if own is not None:
            fields = (("content-type", "application/json"), *common)
            await send_whole(send, receive, 200, fields, own)
            return
        origin = await self._origin(ask, gateway_key)
        route = self._route(origin)
        adapter, base_url = self._endpoint(origin, route, ask)
        key, lease = await self._key(origin, route, ask)
        failure: Failure | None = None
        response: UpstreamResponse | None = None
        try:
            try:
                key = await self._services.credentials.ready(key)
                wire = _wire(adapter, route, base_url, key, ask)
                wire = await self._services.credentials.signed(wire, key)
            except CredentialUnavailable as error:
                failure = error.failure
                raise RequestError(_upstream(502, "bad_upstream", str(error))) from None
            response = await self._send(wire)
            if response.status >= 300:
                told = await self._refused(response, adapter, key, route)
                failure = told if response.status in _OURS else None
                raise RequestError(_told(told, response.status))
            fields = (*common, ("x-signalbox-provider", route.provider))
            await self._pass_on(response, key, route, receive, send, fields)
        finally:
            if response is not None:
                response.close()
            if lease is not None:
                left = response is None and failure is None
                outcome = AttemptOutcome(failure, 0, None, cancelled=left)
                self._services.key_pool.settle(lease, outcome)

    # ── where it is ───────────────────────────────────────────────────────────────────────────

    async def _origin(self, ask: Ask, gateway_key: GatewayKey) -> Origin:
        try:
            origins = await self._services.provider_state.origins(gateway_key.id, [ask.id])
        except StoreUnavailable:
            raise RequestError(_nobody_can_tell()) from None
        if ask.id not in origins:
            raise RequestError(not_found(ask.id))
        return origins[ask.id]

    def _route(self, origin: Origin) -> Route:
        """As it is configured, with its headers; else what its id says."""
        for plan in self._settings.models.values():
            for route in plan.routes:
                if route.id == origin.route_id:
                    return route
        provider, _, model = origin.route_id.partition(":")
        return Route(provider, model)

    def _endpoint(self, origin: Origin, route: Route, ask: Ask) -> tuple[Adapter, str]:
        provider = self._services.providers.get(route.provider)
        if provider is None:
            raise RequestError(not_found(ask.id))
        adapter = provider.adapters.native(Dialect.RESPONSES, route.model)
        if adapter is None:
            raise RequestError(not_found(ask.id))
        return adapter, provider.base_url

    async def _key(
        self, origin: Origin, route: Route, ask: Ask
    ) -> tuple[ProviderKey, Lease | None]:
        if origin.key_id == CALLERS_KEY:
            return callers_key(route.provider, _callers_own(ask, route.provider)), None
        lease = await self._services.key_pool.lease(
            route.provider,
            route.model,
            0,
            owner=ask.trace_id,
            ttl=self._settings.timeouts.total + LEASE_SECONDS,
            only=origin.key_id,
        )
        if isinstance(lease, Denied):
            now = trio.current_time()
            at = lease.available_at
            raise RequestError(_no_room(None if at is None else max(0.0, at - now)))
        return lease.key, lease

    # ── the call ──────────────────────────────────────────────────────────────────────────────

    async def _send(self, wire: WireRequest) -> UpstreamResponse:
        timeouts = self._settings.timeouts
        try:
            with trio.fail_after(timeouts.response):
                return await self._services.upstream.send(wire, timeouts.connect)
        except trio.TooSlowError:
            raise RequestError(_upstream(504, "timeout", "The provider did not answer.")) from None
        except UpstreamError as error:
            raise RequestError(_upstream(502, "bad_upstream", str(error))) from None

    async def _refused(
        self, response: UpstreamResponse, adapter: Adapter, key: ProviderKey, route: Route
    ) -> Failure:
        body = await self._read(response, LARGEST_ERROR)
        if response.status < 400:
            raise RequestError(_upstream(502, "bad_upstream", "Redirects are not followed."))
        now = self._services.wall_clock()
        failure = adapter.decode_error(response.status, response.headers, body, now)
        return masked_failure(failure, secrets_of(key, route))

    async def _pass_on(
        self,
        response: UpstreamResponse,
        key: ProviderKey,
        route: Route,
        receive: Incoming,
        send: Send,
        common: tuple[tuple[str, str], ...],
    ) -> None:
        kind = dict(response.headers).get("content-type", "application/json")
        fields = (("content-type", kind), *common)
        if not kind.startswith(_STREAM):
            body = await self._read(response, LARGEST_ANSWER)
            text = masked(body.decode("latin-1"), secrets_of(key, route))
            await send_whole(send, receive, response.status, fields, text.encode("latin-1"))
            return
        streamed = ("cache-control", "no-cache"), ("x-accel-buffering", "no")
        await send_head(send, response.status, (*fields, *streamed))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, receive, nursery.cancel_scope)
            while data := await self._next(response):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            nursery.cancel_scope.cancel()

    async def _next(self, response: UpstreamResponse) -> bytes:
        """The head is gone: a stream that breaks now ends without its last event, as it does at the
        provider itself, and may be asked for again from where it was."""
        try:
            with trio.move_on_after(self._settings.timeouts.idle):
                return await response.receive()
        except UpstreamError:
            pass
        return b""

    async def _read(self, response: UpstreamResponse, limit: int) -> bytes:
        body = bytearray()
        try:
            with trio.fail_after(self._settings.timeouts.response):
                while data := await response.receive():
                    body += data
                    if len(body) > limit:
                        message = f"The answer is larger than {limit} bytes."
                        raise RequestError(_upstream(502, "bad_upstream", message))
        except trio.TooSlowError:
            raise RequestError(_upstream(504, "timeout", "The provider fell silent.")) from None
        except UpstreamError as error:
            raise RequestError(_upstream(502, "bad_upstream", str(error))) from None
        return bytes(body)


async def _watch(receive: Incoming, scope: trio.CancelScope) -> None:
    """Ends the stream when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        """What a client still sends has no meaning."""
    scope.cancel()


def _wire(adapter: Adapter, route: Route, base_url: str, key: ProviderKey, ask: Ask) -> WireRequest:
    """What the adapter would ask of the endpoint, changed into what is asked of one answer."""
    bare = Request(
        id=ask.trace_id,
        received_at=0.0,
        door=Dialect.RESPONSES,
        body={"model": route.model, "input": ""},
        model=route.model,
        stream=False,
        include_usage=False,
        extra=Extra(),
        key_id="",
        key_name="",
    )
    if key.id == CALLERS_KEY and key.secret is not None:
        bare = replace(bare, byok={route.provider: key.secret})
    try:
        wire = adapter.build(bare, replace(route, params={}), base_url, key.secret)
    except UnsupportedParameter as error:  # pragma: no cover - a bare request asks for nothing
        raise RequestError(_upstream(502, "bad_upstream", str(error))) from None
    address, _, fixed = wire.url.partition("?")
    path = "/".join(quote(part, safe="") for part in (ask.id, ask.action) if part)
    query = [(name, value) for name, value in parse_qsl(ask.query) if name != "key"]
    parameters = "&".join(part for part in (fixed, urlencode(query)) if part)
    method = "GET" if ask.method == "HEAD" else ask.method
    kept = (field for field in wire.headers if field[0] not in ("content-type", "accept"))
    accept = _STREAM if ("stream", "true") in query else "application/json"
    return WireRequest(
        method=method,
        url=f"{address}/{path}" + (f"?{parameters}" if parameters else ""),
        headers=(*kept, ("accept", accept)),
        body=b"",
    )


def _callers_own(ask: Ask, provider: str) -> Secret:
    """The key that came in the header, else the stored one: it made the answer."""
    try:
        byok = parse_extra(None, ask.headers.get(HEADER), {}).byok
    except BadExtension as error:
        raise RequestError(error.error) from None
    brought = byok if isinstance(byok, Secret) else byok.get(provider)
    own = brought or ask.stored_keys.get(provider)
    if own is None:
        message = (
            f"The answer {ask.id!r} was made with a key from extra.byok, which this request does "
            f"not bring: send it in the header {HEADER}."
        )
        raise RequestError(_error(400, "invalid_request_error", "state_unavailable", message, "id"))
    return own


# ── what a client is told ─────────────────────────────────────────────────────────────────────


def _told(failure: Failure, status: int) -> ApiError:
    """Of the gateway's keys a client knows nothing, so it is told nothing of them."""
    if status == 429:
        return _no_room(failure.retry_after)
    if status in _OURS:
        return _upstream(503, "all_routes_failed", "The provider refuses the key that made it.")
    if status >= 500:
        return _upstream(502, "bad_upstream", failure.message)
    # A conflict is told as what it is to the caller: official SDKs would ask again.
    told = 400 if status == 409 else status
    code = failure.code or ("not_found" if status == 404 else "invalid_value")
    return _error(told, "invalid_request_error", code, failure.message, failure.param)


def _unsupported(ask: Ask) -> ApiError:
    path = "/".join(part for part in ("responses", ask.id, ask.action) if part)
    message = f"This gateway does not serve /{path}."
    return _error(404, "invalid_request_error", "unsupported_endpoint", message)


def _wrong_method(ask: Ask) -> ApiError:
    allowed = ACTIONS[ask.action]
    message = f"{ask.method} is not possible here; expected {' or '.join(allowed)}."
    error = _error(405, "invalid_request_error", "method_not_allowed", message)
    return replace(error, headers=(("allow", ", ".join((*allowed, "OPTIONS"))),))


def _nobody_can_tell() -> ApiError:
    message = "Where the answer is kept cannot be looked up just now."
    error = _error(503, "server_error", "shared_state_unavailable", message, "id")
    return replace(error, should_retry=True)


def _no_room(wait: float | None) -> ApiError:
    message = "The provider's key that made the answer is used up for now."
    error = _error(429, "requests", "rate_limit_exceeded", message)
    return replace(error, retry_after=wait, should_retry=wait is not None and wait <= 60)


def _upstream(status: int, code: str, message: str) -> ApiError:
    return _error(status, "server_error", code, message)


def _error(status: int, type_: str, code: str, message: str, param: str | None = None) -> ApiError:
    return ApiError(status, type_, code, message, param, should_retry=False)
