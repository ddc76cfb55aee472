"""Cross-origin requests from browsers: off unless `server.cors_origins` names who may.

Source: the Fetch standard, "CORS protocol".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PREFLIGHT_SECONDS = 600
"""How long a browser may remember a preflight's answer: Chromium's own cap is 7,200."""
EXPOSED = (
    "x-request-id, x-signalbox-trace-id, x-signalbox-model, x-signalbox-provider, "
    "x-signalbox-attempts, x-signalbox-cost, x-signalbox-dropped, x-should-retry, "
    "retry-after, retry-after-ms, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)

HeaderList = tuple[tuple[str, str], ...]


class Cors:
    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, origin: str | None) -> HeaderList:
        """What an answer to a request from `origin` carries."""
        if not self._origins:
            return ()
        vary = ("vary", "origin")
        if origin is None or not ({"*", origin} & self._origins):
            return (vary,)
        return (
            vary,
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", EXPOSED),
        )

    def preflight(self, headers: Mapping[str, str], methods: Iterable[str]) -> HeaderList:
        """What the answer to an OPTIONS request carries besides `headers`."""
        allow = ("allow", ", ".join((*methods, "OPTIONS")))
        origin = headers.get("origin")
        if origin is None or not ({"*", origin} & self._origins):
            return (allow,)
        asked = headers.get("access-control-request-headers", "authorization, content-type")
        return (
            allow,
            ("access-control-allow-methods", ", ".join(methods)),
            ("access-control-allow-headers", asked),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        )
