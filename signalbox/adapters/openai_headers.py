"""The headers of a request to a provider with OpenAI's dialect, whatever its endpoint."""

from __future__ import annotations

from signalbox import __version__
from signalbox.adapters.client_headers import forwarded
from signalbox.types import Dialect, Request, Route, Secret

USER_AGENT = f"signalbox/{__version__}"
CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key"})
"""Headers by which providers of this dialect tell whose account it is."""


def openai_headers(
    request: Request, route: Route, key: Secret | None, dialect: Dialect = Dialect.CHAT
) -> tuple[tuple[str, str], ...]:
    """The client's allowed headers, under the gateway's own, under those of the route.

    `dialect`: the endpoint's, where it is none of OpenAI's but takes its key in the same way.
    Beside a caller's own key the route's credentials stay away: one of the two would pay.
    """
    withheld = CREDENTIALS if route.provider in request.byok else frozenset()
    headers = forwarded(request, dialect)
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream" if request.stream else "application/json"
    headers["accept-encoding"] = "identity"
    headers["user-agent"] = USER_AGENT
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    for name, value in route.headers:
        if name.lower() not in withheld:
            headers[name.lower()] = value.reveal()
    return tuple(headers.items())
