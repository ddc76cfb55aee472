"""What the OpenAI adapter makes of a client's request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import WireRequest
from signalbox.types import Dialect, Extra, Request, Route, Secret

REQUEST = Request(
    id="0190a0b0-0000-7000-8000-000000000000",
    received_at=0.0,
    door=Dialect.CHAT,
    body={"model": "vendor/m", "messages": [{"role": "user", "content": "Hi"}]},
    model="vendor/m",
    stream=False,
    include_usage=False,
    extra=Extra(),
    key_id="k",
    key_name="k",
)
ROUTE = Route(provider="openai", model="m-2024")


def build(
    provider: str, route: Route = ROUTE, /, prefill: str | None = None, **body: Any
) -> tuple[WireRequest, dict[str, Any]]:
    """The request as it goes out, and its body, decoded."""
    request = replace(REQUEST, body={**REQUEST.body, **body}, stream=body.get("stream", False))
    adapter, secret = OpenAIAdapter(provider), Secret("sk-1")
    wire = adapter.build(request, route, "http://p.test/v1/", secret, prefill=prefill)
    return wire, msgspec.json.decode(wire.body)
