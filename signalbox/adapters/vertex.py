"""Google's Vertex AI: Gemini's and Anthropic's dialects at other addresses, with a bearer token.

Sources: Vertex AI REST reference, `projects.locations.publishers.models` (`generateContent`,
`streamGenerateContent`, `countTokens`, `rawPredict`, `streamRawPredict`); Anthropic, "Claude on
Vertex AI": the model stands in the address alone, and the API's version in the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from signalbox.adapters import gemini_errors
from signalbox.adapters.gemini_fields import as_list, given, spelled
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import (
    Adapter,
    Answer,
    Delta,
    Headers,
    RateLimits,
    StreamDecoder,
    WireRequest,
)
from signalbox.errors import Failure, UnsupportedParameter
from signalbox.types import AccessToken, Dialect, Request, Route, Secret

CLAUDE_VERSION = "vertex-2023-10-16"
_BASE = "https://vertex.invalid"
"""Stands for the address in what an inner adapter builds."""
_GOOGLE_KEYS = ("AIza", "AQ.")
"""How Google's API keys begin; any other configured string is an access token."""
_ELSEWHERE = ("store", "webhookConfig")
"""Settings of a Gemini request that only Google's other API has."""
_WHOLE = "generateContentRequest"

_Fields = dict[str, msgspec.Raw]
_envelopes = msgspec.json.Decoder(_Fields)


def is_claude(model: str) -> bool:
    """Whose publisher a route's model is: `claude-…`, also with its resource's path before it."""
    return model.rpartition("/")[2].startswith("claude")


class VertexGemini(msgspec.Struct, frozen=True):
    """`Adapter` for one method of Google's own models, made of Gemini's for the same method."""

    inner: Adapter
    project: str
    location: str

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        lacking = self.inner.unsupported(request, route)
        if request.door is self.dialect:
            if any("fileSearch" in tool or "file_search" in tool for tool in _tools(request.body)):
                lacking = (*lacking, "tools")
            if _refuses(request):
                lacking = (*lacking, *_elsewhere(request))
        return tuple(dict.fromkeys(lacking))

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return (*self.inner.dropped(request, route), *_left_out(request, self.dialect))

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. `base_url`: with the API's version (`…googleapis.com/v1`)."""
        if lacking := self.unsupported(request, route):
            raise UnsupportedParameter(lacking[0], "Vertex AI does not take it")
        wire = self.inner.build(request, route, _BASE, key, prefill=prefill)
        _, _, method = wire.url.rpartition(":")
        place = _place(base_url, self.project, self.location)
        left_out = _left_out(request, self.dialect)
        body = wire.body
        if request.door is self.dialect:
            body = _gemini_body(body, request, left_out)
        return replace(
            wire,
            url=f"{place}/{_gemini_resource(route.model)}:{method}",
            headers=_authorised(wire.headers, key),
            body=body,
            dropped=(*wire.dropped, *left_out),
        )

    def prefills(self, route: Route) -> bool:
        return self.inner.prefills(route)

    def echoes_prefill(self, route: Route) -> bool:
        return self.inner.echoes_prefill(route)

    def retold(self, delta: Delta, text: str) -> Delta:
        return self.inner.retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        return self.inner.decode_answer(body, request)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        return self.inner.stream_decoder(request)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return self.inner.decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return self.inner.rate_limits(headers, now)


class VertexClaude(msgspec.Struct, frozen=True):
    """`Adapter` for Anthropic's models there, made of Anthropic's own (Messages, counting)."""

    inner: Adapter
    project: str
    location: str

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

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
        """See `Adapter.build`. `base_url`: with the API's version (`…googleapis.com/v1`)."""
        wire = self.inner.build(request, route, _BASE, key, prefill=prefill)
        fields = _envelopes.decode(wire.body)
        model = route.model.rpartition("/")[2]
        if self.dialect is Dialect.MESSAGES_COUNT:
            # It has one address for all models, and there the body names the model.
            fields["model"] = msgspec.Raw(msgspec.json.encode(model))
            model = "count-tokens"
        else:
            fields.pop("model", None)
        fields["anthropic_version"] = msgspec.Raw(msgspec.json.encode(CLAUDE_VERSION))
        streams = request.stream and self.dialect is Dialect.MESSAGES
        method = "streamRawPredict" if streams else "rawPredict"
        place = _place(base_url, self.project, self.location)
        headers = tuple(header for header in wire.headers if header[0] != "anthropic-version")
        return replace(
            wire,
            url=f"{place}/publishers/anthropic/models/{quote(model, safe='@')}:{method}",
            headers=_authorised(headers, key),
            body=msgspec.json.encode(fields),
        )

    def prefills(self, route: Route) -> bool:
        return self.inner.prefills(route)

    def echoes_prefill(self, route: Route) -> bool:
        return self.inner.echoes_prefill(route)

    def retold(self, delta: Delta, text: str) -> Delta:
        return self.inner.retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        return self.inner.decode_answer(body, request)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        return self.inner.stream_decoder(request)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        """See `Adapter.decode_error`. Google speaks where the request never came to the model."""
        if _is_googles(body):
            return gemini_errors.decode_error(status, headers, body, now)
        return self.inner.decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return self.inner.rate_limits(headers, now)


def _place(base_url: str, project: str, location: str) -> str:
    return f"{base_url.rstrip('/')}/projects/{quote(project)}/locations/{quote(location)}"


def _gemini_resource(model: str) -> str:
    """A tuned model is an endpoint of the project's own; others have a publisher."""
    if model.startswith(("endpoints/", "publishers/")):
        return quote(model, safe="/@")
    return f"publishers/google/models/{quote(model.removeprefix('models/'), safe='@')}"


def _authorised(
    headers: tuple[tuple[str, str], ...], key: Secret | None
) -> tuple[tuple[str, str], ...]:
    """A bearer token where the inner adapter put a key. A route's own credentials stay."""
    if key is None:
        return headers
    ours = {("x-goog-api-key", key.reveal()), ("x-api-key", key.reveal())}
    kept = tuple(header for header in headers if header not in ours)
    if any(name in ("authorization", "x-goog-api-key") for name, _ in kept):
        return kept
    if not isinstance(key, AccessToken) and key.reveal().startswith(_GOOGLE_KEYS):
        return (*kept, ("x-goog-api-key", key.reveal()))
    return (*kept, ("authorization", f"Bearer {key.reveal()}"))


def _gemini_body(body: bytes, request: Request, left_out: tuple[str, ...]) -> bytes:
    """The client's own body: what stands in for a whole request is one here, and every turn has
    its role, which the other API can do without."""
    whole = given(request.body, _WHOLE)
    turns = as_list(given(whole if isinstance(whole, dict) else request.body, "contents"))
    roleless = any(isinstance(turn, dict) and not turn.get("role") for turn in turns)
    if not isinstance(whole, dict) and not roleless and not left_out:
        return body
    fields: dict[str, Any] = msgspec.json.decode(body)
    if isinstance(whole, dict):
        fields = dict(fields[spelled(fields, _WHOLE)])
        fields.pop("model", None)
    for name in left_out:
        fields.pop(spelled(fields, name), None)
    if roleless:
        fields["contents"] = [
            {"role": "user", **{n: v for n, v in turn.items() if n != "role"}}
            if isinstance(turn, dict) and not turn.get("role")
            else turn
            for turn in as_list(fields.get("contents"))
        ]
    return msgspec.json.encode(fields)


def _tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [tool for tool in as_list(body.get("tools")) if isinstance(tool, dict)]


def _elsewhere(request: Request) -> tuple[str, ...]:
    return tuple(name for name in _ELSEWHERE if given(request.body, name) is not None)


def _left_out(request: Request, dialect: Dialect) -> tuple[str, ...]:
    if request.door is not dialect or _refuses(request):
        return ()
    return _elsewhere(request)


def _refuses(request: Request) -> bool:
    """Whether hints count as meaning."""
    return request.extra.refuse_unsupported or request.extra.provider.require_parameters


def _is_googles(body: bytes) -> bool:
    """`{"error": {"code", "message", "status"}}`, also in a list of one."""
    try:
        told = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return False
    if isinstance(told, list) and len(told) == 1:
        told = told[0]
    error = told.get("error") if isinstance(told, dict) else None
    return isinstance(error, dict) and isinstance(error.get("code"), int)
