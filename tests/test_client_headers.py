"""A client's own headers: which of them a provider is sent, for each door and provider's API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.door import Target
from signalbox.adapters.doors import DOORS, door_of
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.registry import FAMILIES, adapters_of
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.config_settings import ProviderSettings
from signalbox.types import Dialect, Request, Route, Secret
from tests.outgoing import REQUEST

CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: CHAT,
    Dialect.RESPONSES: {"input": "Hi"},
    Dialect.COMPLETIONS: {"prompt": "Hi"},
    Dialect.EMBEDDINGS: {"input": "Hi"},
    Dialect.MESSAGES: {**CHAT, "max_tokens": 9},
    Dialect.MESSAGES_COUNT: CHAT,
    Dialect.GENERATE: CONTENTS,
    Dialect.GENERATE_COUNT: CONTENTS,
    Dialect.EMBED: {"content": CONTENTS["contents"][0]},
}
ADAPTERS = {
    (api, door): adapter
    for api in FAMILIES
    for door in DOORS
    if (
        adapter := adapters_of(
            ProviderSettings(name=api, api=api, base_url=f"https://{api}.test/v1", keys=())
        ).for_door(door, "m")
    )
}


def of_door(door: Dialect) -> Request:
    body = door_of(door).read_body(
        json.dumps({"model": "m", **BODIES[door]}).encode(), Target("m", stream=False)
    )
    headers = tuple((name, f"{name} of the client") for name in door_of(door).forwarded_headers)
    return replace(REQUEST, door=door, body=body, model="m", forward_headers=headers)


def endpoint_of(adapter: Adapter) -> Adapter:
    return adapter.inner if isinstance(adapter, TranslatedAdapter) else adapter


def sent(adapter: Adapter, request: Request, *headers: tuple[str, str]) -> dict[str, str]:
    route = Route("p", "m", headers=tuple((name, Secret(value)) for name, value in headers))
    wire = adapter.build(request, route, "https://p.test/v1", Secret("sk-1"))
    assert len(dict(wire.headers)) == len(wire.headers)
    return dict(wire.headers)


@pytest.mark.parametrize(("api", "door"), ADAPTERS)
def test_the_headers_of_a_door_go_to_its_own_family_alone(api: str, door: Dialect) -> None:
    request = of_door(door)
    headers = sent(ADAPTERS[api, door], request)
    family = endpoint_of(ADAPTERS[api, door]).dialect.family
    for name, value in request.forward_headers:
        assert (headers.get(name) == value) is (family == door.family)
    assert {"anthropic-beta", "openai-beta"}.isdisjoint(headers) or family == door.family
    for name in ("cookie", "openai-organization", "x-stainless-lang"):
        assert name not in headers


def test_every_door_is_served_by_some_provider() -> None:
    assert {door for _, door in ADAPTERS} == set(DOORS)


@pytest.mark.parametrize(("api", "door"), ADAPTERS)
def test_what_the_route_says_goes_above_what_the_client_says(api: str, door: Dialect) -> None:
    request = of_door(door)
    for name, _ in request.forward_headers:
        headers = sent(ADAPTERS[api, door], request, (name, "the route's"))
        assert "the route's" in headers[name]
        assert ("of the client" in headers[name]) is (
            name == "anthropic-beta" and api == "anthropic"
        ), "betas of both are joined, where both speak of the same API"
