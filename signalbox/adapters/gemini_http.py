"""Addresses and headers of requests to Gemini's API, whatever the method.

Source: Gemini API reference, "API reference", authentication: the key goes in `x-goog-api-key`. In
an address it would be logged along the way.
"""

from __future__ import annotations

from urllib.parse import quote

from signalbox.adapters.client_headers import forwarded
from signalbox.adapters.openai_headers import USER_AGENT
from signalbox.types import Dialect, Request, Route, Secret

KEY_HEADER = "x-goog-api-key"
CREDENTIALS = frozenset({KEY_HEADER, "authorization"})
"""Headers that tell whose account it is."""
_COLLECTIONS = ("models/", "tunedModels/")


def resource_name(model: str) -> str:
    """`models/gemini-…`: how bodies and addresses call a model."""
    return model if model.startswith(_COLLECTIONS) else f"models/{model}"


def method_url(base_url: str, model: str, method: str) -> str:
    return f"{base_url.rstrip('/')}/{quote(resource_name(model), safe='/')}:{method}"


def gemini_headers(
    request: Request, route: Route, key: Secret | None
) -> tuple[tuple[str, str], ...]:
    """The client's allowed headers, under the gateway's own, under those of the route.

    Beside a caller's own key the route's credentials stay away: one of the two would pay.
    """
    withheld = CREDENTIALS if route.provider in request.byok else frozenset()
    headers = forwarded(request, Dialect.GENERATE)
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream" if request.stream else "application/json"
    headers["accept-encoding"] = "identity"
    headers["user-agent"] = USER_AGENT
    if key is not None:
        headers[KEY_HEADER] = key.reveal()
    for name, value in route.headers:
        if name.lower() not in withheld:
            headers[name.lower()] = value.reveal()
    return tuple(headers.items())
