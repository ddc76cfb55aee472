"""What can go wrong before the first content, what it is taken for and what follows: the table that
`test_faults.py` plays, each fault as JSON and as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.lanes import DEAD, LOST


@dataclass(frozen=True)
class Way:
    """How a request leaves a route that failed: its events, and the calls that it made there."""

    events: tuple[str, ...]
    calls: int


RETRIED = Way(("route_selected", "attempt_failed", "backoff_elapsed", "route_failed"), 2)
NO_KEY_LEFT = Way(("route_selected", "attempt_failed", "route_failed"), 1)
AT_ONCE = Way(("route_selected", "route_failed"), 1)

JSON, STREAM = False, True
BOTH = (JSON, STREAM)


@dataclass(frozen=True)
class Fault:
    name: str
    step: Step
    kind: Kind
    way: Way
    status: int
    """What the client is told when nothing else is left."""
    stream: bool
    model: str
    """The model that meets it, and a second route in the model `{model}-second`."""

    @property
    def provider(self) -> str:
        return self.model.removeprefix("hasty-")

    @property
    def calls(self) -> dict[str, int]:
        """How many reach the provider, by its name."""
        return {} if self.provider == DEAD else {self.provider: self.way.calls}

    def __str__(self) -> str:
        return f"{self.name}-{'stream' if self.stream else 'json'}"


def _taken_for(
    kind: Kind,
    way: Way,
    status: int,
    faults: Mapping[str, Step],
    *,
    as_: tuple[bool, ...] = BOTH,
    model: str = "first",
) -> Iterator[Fault]:
    for name, step in faults.items():
        for stream in as_:
            yield Fault(name, step, kind, way, status, stream, model)


WORDLESS = {"error": {"message": "Too many requests", "type": "requests", "code": None}}
"""Without a word about how long to wait."""
UNPAID = {"error": {"message": "Payment required"}}
WAIT: dict[str, str | int | float] = {"retry-after": 20}

FAULTS = (
    *_taken_for(
        Kind.RATE_LIMITED,
        NO_KEY_LEFT,
        429,
        {
            "429 with Retry-After": Step(status=429, headers=WAIT),
            "429 without Retry-After": Step(status=429, body=WORDLESS),
            "429 for tokens": Step(error="tokens_rate_limit_exceeded"),
            "a rate limit inside a 200": Step(error_after=0, error="rate_limit_exceeded"),
        },
    ),
    *_taken_for(
        Kind.REQUEST_TOO_LARGE_FOR_QUOTA,
        AT_ONCE,
        429,
        {"429 that no waiting heals": Step(error="request_too_large")},
    ),
    *_taken_for(
        Kind.QUOTA_EXHAUSTED,
        NO_KEY_LEFT,
        503,
        {
            "402": Step(status=402, body=UNPAID),
            "429 without quota": Step(error="insufficient_quota"),
        },
    ),
    *_taken_for(Kind.KEY_REJECTED, NO_KEY_LEFT, 503, {"401": Step(status=401)}),
    *_taken_for(Kind.MODEL_FORBIDDEN, NO_KEY_LEFT, 503, {"403": Step(status=403)}),
    *_taken_for(Kind.MODEL_UNKNOWN, AT_ONCE, 503, {"404": Step(status=404)}),
    *_taken_for(
        Kind.SERVER_ERROR,
        RETRIED,
        503,
        {
            "500": Step(status=500),
            "an error inside a 200, after the role": Step(error_after=0),
        },
    ),
    *_taken_for(
        Kind.SERVER_ERROR,
        RETRIED,
        503,
        {
            "an error inside a 200, Groq": Step(error_after=0, error_style="groq"),
            "an error inside a 200, OpenRouter": Step(error_after=0, error_style="openrouter"),
        },
        as_=(STREAM,),
    ),
    *_taken_for(Kind.OVERLOADED, RETRIED, 503, {"503": Step(status=503)}),
    *_taken_for(
        Kind.OVERLOADED,
        NO_KEY_LEFT,
        503,
        {"503 with Retry-After": Step(status=503, headers=WAIT)},
    ),
    *_taken_for(Kind.CONNECT_FAILED, RETRIED, 503, {"connection refused": Step()}, model=DEAD),
    *_taken_for(
        Kind.CONNECTION_LOST,
        RETRIED,
        503,
        {
            "reset before the headers": Step(connect="reset"),
            "closed before the headers": Step(connect="close"),
        },
        model=LOST,
    ),
    *_taken_for(
        Kind.CONNECTION_LOST,
        RETRIED,
        503,
        {
            "cut before the content": Step(cut_after=0),
            "reset before the content": Step(cut_after=0, how="rst"),
        },
    ),
    *_taken_for(
        Kind.PROTOCOL_ERROR, RETRIED, 502, {"not HTTP": Step(connect="garbage")}, model=LOST
    ),
    *_taken_for(
        Kind.PROTOCOL_ERROR,
        RETRIED,
        502,
        {
            "a redirect": Step(status=302),
            "a page of HTML": Step(html_200=True),
            "a bad chunk before the content": Step(malformed_after=0),
        },
    ),
    *_taken_for(
        Kind.PROTOCOL_ERROR,
        RETRIED,
        502,
        {"half an answer": Step(cut_after=0, how="eof")},
        as_=(JSON,),
    ),
    *_taken_for(
        Kind.TRUNCATED,
        RETRIED,
        502,
        {"neither content nor a finish reason": Step(empty=True, no_finish=True)},
    ),
    *_taken_for(
        Kind.TRUNCATED,
        RETRIED,
        502,
        {"content without a finish reason": Step(no_finish=True)},
        as_=(JSON,),
    ),
    *_taken_for(
        Kind.TRUNCATED,
        RETRIED,
        502,
        {"truncated before the content": Step(cut_after=0, how="eof")},
        as_=(STREAM,),
    ),
    *_taken_for(Kind.EMPTY_ANSWER, RETRIED, 502, {"an empty answer": Step(empty=True)}),
    *_taken_for(
        Kind.RESPONSE_TIMEOUT,
        AT_ONCE,
        504,
        {"silence": Step(silence=True), "stalled in the body": Step(stall_after=0)},
        as_=(JSON,),
        model="hasty-first",
    ),
    *_taken_for(
        Kind.FIRST_TOKEN_TIMEOUT,
        AT_ONCE,
        504,
        {"silence": Step(silence=True), "a slow first token": Step(first_token_delay=60)},
        as_=(STREAM,),
        model="hasty-first",
    ),
)
