"""Azure OpenAI: OpenAI's dialects at other addresses, with the key in another header.

Sources: Azure OpenAI "REST API reference" (deployments and their `api-version`) and "API version
lifecycle" (`/openai/v1`, which needs none). What differs in bodies (`content_filter_results`, a
first chunk without choices) is read by the adapters of OpenAI's dialects as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from signalbox.adapters.protocol import (
    Adapter,
    Answer,
    Delta,
    Headers,
    JoiningAdapter,
    RateLimits,
    StreamDecoder,
    WireRequest,
)
from signalbox.errors import Failure
from signalbox.types import AccessToken, Dialect, Request, Route, Secret

_BASE = "https://azure.invalid"
"""Stands for the resource's address in what an inner adapter builds."""
_IN_DEPLOYMENTS = ("chat/completions", "completions", "embeddings")
"""Endpoints that are a deployment's; others (`responses`) name the model in the body alone."""
_ENDINGS = ("/openai/v1", "/openai")
"""What of the path a configured address may already have."""


class AzureAdapter(msgspec.Struct, frozen=True):
    """`Adapter` for one endpoint of a resource, made of OpenAI's for the same endpoint.

    `api_version` None: the API without versions. A route's model is the deployment's name.
    """

    inner: Adapter
    api_version: str | None = None

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
        """See `Adapter.build`. `base_url`: the resource's address."""
        wire = self.inner.build(request, route, _BASE, key, prefill=prefill)
        path = wire.url.removeprefix(f"{_BASE}/")
        url = azure_url(base_url, path, route.model, self.api_version)
        return replace(wire, url=url, headers=_headers(wire.headers, key))

    def prefills(self, route: Route) -> bool:
        return self.inner.prefills(route)

    def echoes_prefill(self, route: Route) -> bool:
        return self.inner.echoes_prefill(route)

    def retold(self, delta: Delta, text: str) -> Delta:
        return self.inner.retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        return self.inner.decode_answer(body, request)

    def decode_answers(self, bodies: Sequence[bytes], request: Request) -> Answer | Failure:
        """See `JoiningAdapter.decode_answers`."""
        assert isinstance(self.inner, JoiningAdapter)
        return self.inner.decode_answers(bodies, request)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        return self.inner.stream_decoder(request)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return self.inner.decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return self.inner.rate_limits(headers, now)


def azure_url(base_url: str, path: str, deployment: str, api_version: str | None) -> str:
    """The address of an endpoint (`chat/completions`) at a resource."""
    resource = base_url.rstrip("/")
    for ending in _ENDINGS:
        resource = resource.removesuffix(ending)
    if api_version is None:
        return f"{resource}/openai/v1/{path}"
    if path in _IN_DEPLOYMENTS:
        path = f"deployments/{quote(deployment, safe='')}/{path}"
    return f"{resource}/openai/{path}?api-version={quote(api_version, safe='')}"


def _headers(
    headers: tuple[tuple[str, str], ...], key: Secret | None
) -> tuple[tuple[str, str], ...]:
    """The key as `api-key`; a token of Entra's as the bearer token that it is. A route's own
    credentials stay."""
    if key is None or isinstance(key, AccessToken):
        return headers
    ours = ("authorization", f"Bearer {key.reveal()}")
    if ours not in headers:
        return headers
    kept = tuple(header for header in headers if header != ours)
    return kept if any(name == "api-key" for name, _ in kept) else (*kept, ("api-key", ours[1][7:]))
