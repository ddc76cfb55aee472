"""The rows of the fault matrix: what a provider can do wrong, what it is taken for, what follows.

`fault_cells.py` says what can be left when it happens, and what must come of each pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.lanes import DEAD, LOST, VOID


class Then(StrEnum):
    """Where a request goes after a failed call, as `docs/decisions.md` names it."""

    RETRY = "retry same route"
    NEXT_KEY = "next key"
    NEXT_PROVIDER = "next provider"
    NEXT_MODEL = "next model"
    REFUSE = "refuse to client"


STATUS = {
    "invalid_value": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "rate_limit_exceeded": 429,
    "bad_upstream": 502,
    "all_routes_failed": 503,
    "timeout": 504,
}
"""By the code of the error that a client is told."""

FOLLOWS: Mapping[Kind, tuple[Then, str]] = {
    Kind.RATE_LIMITED: (Then.NEXT_KEY, "rate_limit_exceeded"),
    Kind.REQUEST_TOO_LARGE_FOR_QUOTA: (Then.NEXT_PROVIDER, "rate_limit_exceeded"),
    Kind.QUOTA_EXHAUSTED: (Then.NEXT_KEY, "all_routes_failed"),
    Kind.KEY_REJECTED: (Then.NEXT_KEY, "all_routes_failed"),
    Kind.MODEL_FORBIDDEN: (Then.NEXT_KEY, "all_routes_failed"),
    Kind.MODEL_UNKNOWN: (Then.NEXT_KEY, "all_routes_failed"),
    Kind.CONTEXT_LENGTH: (Then.NEXT_MODEL, "context_length_exceeded"),
    Kind.CONTENT_POLICY: (Then.NEXT_MODEL, "content_policy_violation"),
    Kind.INVALID_REQUEST: (Then.REFUSE, "invalid_value"),
    Kind.SERVER_ERROR: (Then.RETRY, "all_routes_failed"),
    Kind.OVERLOADED: (Then.RETRY, "all_routes_failed"),
    Kind.STREAM_ERROR: (Then.RETRY, "all_routes_failed"),
    Kind.CONNECT_FAILED: (Then.RETRY, "all_routes_failed"),
    Kind.CONNECT_TIMEOUT: (Then.NEXT_PROVIDER, "timeout"),
    Kind.CONNECTION_LOST: (Then.RETRY, "all_routes_failed"),
    Kind.PROTOCOL_ERROR: (Then.RETRY, "bad_upstream"),
    Kind.TRUNCATED: (Then.RETRY, "bad_upstream"),
    Kind.EMPTY_ANSWER: (Then.RETRY, "bad_upstream"),
    Kind.RESPONSE_TIMEOUT: (Then.NEXT_PROVIDER, "timeout"),
    Kind.FIRST_TOKEN_TIMEOUT: (Then.NEXT_PROVIDER, "timeout"),
}
"""Before the content: where the request goes, and the code of the error when nothing is left."""

Style = Literal["openai", "groq", "openrouter"]

Clocks = Mapping[str, float]
"""`extra.timeout` of the request that meets the fault."""
SHORT = 0.5
"""Seconds. Short for those who wait, long for a simulator on a busy machine."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong before the first content."""

    name: str
    step: Step
    kind: Kind
    stream: bool
    told_to_wait: bool = False
    """Whether a failure that is not a rate limit comes with Retry-After."""
    clocks: Clocks = field(default_factory=dict)
    at: str | None = None
    """Where the provider is that fails, see `lanes.Model`."""

    @property
    def then(self) -> Then:
        return Then.NEXT_KEY if self.told_to_wait else FOLLOWS[self.kind][0]

    @property
    def code(self) -> str:
        return FOLLOWS[self.kind][1]

    @property
    def reaches_provider(self) -> bool:
        return self.at not in (DEAD, VOID)

    @property
    def is_silence(self) -> bool:
        """Whether the provider would still be at work had the gateway not given it up."""
        step = self.step
        return step.silence or step.stall_after is not None or step.first_token_delay > SHORT

    def __str__(self) -> str:
        return f"{self.name}, {'stream' if self.stream else 'json'}"


JSON, STREAM = False, True
BOTH = (JSON, STREAM)


def _taken_for(
    kind: Kind, faults: Mapping[str, Step], as_: tuple[bool, ...] = BOTH, **more: Any
) -> Iterator[Fault]:
    for name, step in faults.items():
        for stream in as_:
            yield Fault(name, step, kind, stream, **more)


WORDLESS = {"error": {"message": "Too many requests", "type": "requests", "code": None}}
"""Without a word about how long to wait."""
UNPAID = {"error": {"message": "Payment required"}}
EXPIRED = {"error": {"message": "Your API key has expired"}}
WAIT: dict[str, str | int | float] = {"retry-after": 20}
AS_EVENTS: dict[str, str | int | float] = {"content-type": "text/event-stream"}
TEXT = "one two three four"
WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
    ],
}
EVENTS = (
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"one two "}}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"three four"}}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    "data: [DONE]\n\n"
)

FAULTS = (
    *_taken_for(
        Kind.RATE_LIMITED,
        {
            "429 with Retry-After": Step(status=429, headers=WAIT),
            "429 without Retry-After": Step(status=429, body=WORDLESS),
            "429 for tokens": Step(error="tokens_rate_limit_exceeded"),
            "a rate limit inside a 200": Step(error_after=0, error="rate_limit_exceeded"),
        },
    ),
    *_taken_for(
        Kind.REQUEST_TOO_LARGE_FOR_QUOTA,
        {"429 that no waiting heals": Step(error="request_too_large")},
    ),
    *_taken_for(
        Kind.QUOTA_EXHAUSTED,
        {
            "402": Step(status=402, body=UNPAID),
            "429 without quota": Step(error="insufficient_quota"),
        },
    ),
    *_taken_for(
        Kind.KEY_REJECTED,
        {"401": Step(status=401), "403 about the key": Step(status=403, body=EXPIRED)},
    ),
    *_taken_for(Kind.MODEL_FORBIDDEN, {"403 about the model": Step(status=403)}),
    *_taken_for(Kind.MODEL_UNKNOWN, {"404": Step(status=404)}),
    *_taken_for(
        Kind.CONTEXT_LENGTH, {"400 about the context": Step(error="context_length_exceeded")}
    ),
    *_taken_for(
        Kind.CONTENT_POLICY, {"400 about the content": Step(error="content_policy_violation")}
    ),
    *_taken_for(Kind.INVALID_REQUEST, {"400": Step(status=400), "422": Step(status=422)}),
    *_taken_for(
        Kind.SERVER_ERROR,
        {
            "500": Step(status=500),
            "500 with a huge body": Step(status=500, body="x" * 100_000),
            "an error inside a 200": Step(error_after=0),
        },
    ),
    *_taken_for(
        Kind.SERVER_ERROR,
        {
            "an error inside a 200, Groq": Step(error_after=0, error_style="groq"),
            "an error inside a 200, OpenRouter": Step(error_after=0, error_style="openrouter"),
        },
        (STREAM,),
    ),
    *_taken_for(Kind.OVERLOADED, {"503": Step(status=503), "529": Step(status=529)}),
    *_taken_for(
        Kind.OVERLOADED,
        {
            "503 with Retry-After": Step(status=503, headers=WAIT),
            "529 with Retry-After": Step(status=529, headers=WAIT),
        },
        told_to_wait=True,
    ),
    *_taken_for(
        Kind.STREAM_ERROR,
        {"an unexplained error inside a 200": Step(error_after=0, error="unexplained")},
        (STREAM,),
    ),
    *_taken_for(Kind.CONNECT_FAILED, {"connection refused": Step()}, at=DEAD),
    *_taken_for(
        Kind.CONNECT_TIMEOUT,
        {"connection never completed": Step()},
        at=VOID,
        clocks={"connect": SHORT},
    ),
    *_taken_for(
        Kind.CONNECTION_LOST,
        {
            "reset before the head": Step(connect="reset"),
            "closed before the head": Step(connect="close"),
        },
        at=LOST,
    ),
    *_taken_for(
        Kind.CONNECTION_LOST,
        {
            "cut before the content": Step(cut_after=0),
            "reset before the content": Step(cut_after=0, how="rst"),
        },
    ),
    *_taken_for(Kind.PROTOCOL_ERROR, {"no HTTP": Step(connect="garbage")}, at=LOST),
    *_taken_for(
        Kind.PROTOCOL_ERROR,
        {
            "a redirect": Step(status=302, headers={"location": "https://elsewhere.invalid/"}),
            "a page of HTML": Step(html_200=True),
            "a malformed event": Step(malformed_after=0),
            "a huge head": Step(headers={"x-padding": "x" * 200_000}),
            "an empty 200": Step(status=200, body=""),
        },
    ),
    *_taken_for(
        Kind.PROTOCOL_ERROR,
        {
            "half an answer": Step(cut_after=0, how="eof"),
            "a stream for an answer": Step(status=200, body=EVENTS, headers=AS_EVENTS),
        },
        (JSON,),
    ),
    *_taken_for(
        Kind.PROTOCOL_ERROR,
        {
            "an answer for a stream": Step(status=200, body=WHOLE),
            "a huge body for a stream": Step(status=200, body="x" * 100_000),
        },
        (STREAM,),
    ),
    *_taken_for(
        Kind.TRUNCATED, {"neither content nor a finish reason": Step(empty=True, no_finish=True)}
    ),
    *_taken_for(Kind.TRUNCATED, {"content without a finish reason": Step(no_finish=True)}, (JSON,)),
    *_taken_for(
        Kind.TRUNCATED,
        {
            "an end before the content": Step(cut_after=0, how="eof"),
            "no event at all": Step(status=200, body="", headers=AS_EVENTS),
        },
        (STREAM,),
    ),
    *_taken_for(Kind.EMPTY_ANSWER, {"an answer without content": Step(empty=True)}),
    *_taken_for(
        Kind.RESPONSE_TIMEOUT,
        {"silence": Step(silence=True), "silence in the body": Step(stall_after=0)},
        (JSON,),
        clocks={"response": SHORT},
    ),
    *_taken_for(
        Kind.FIRST_TOKEN_TIMEOUT,
        {"silence": Step(silence=True), "a slow first token": Step(first_token_delay=60)},
        (STREAM,),
        clocks={"first_token": SHORT},
    ),
)

HARMLESS: Mapping[str, Step] = {
    "no [DONE]": Step(text=TEXT, no_done=True),
    "no usage": Step(text=TEXT, usage="none"),
    "usage in three places": Step(text=TEXT, usage="thrice"),
    "neither [DONE] nor HTTP's last chunk": Step(text=TEXT, no_done=True, hang_up=True),
    "CRLF": Step(text=TEXT, crlf=True),
    "a byte order mark": Step(text=TEXT, bom=True),
    "comments": Step(text=TEXT, comments=True),
    "no chunk for the role": Step(text=TEXT, no_role=True),
    "two finish reasons": Step(text=TEXT, repeat_finish=True),
    "all events in one packet": Step(status=200, body=EVENTS, headers=AS_EVENTS),
    "each byte in a packet": Step(text=TEXT, split="byte"),
    "everything odd at once": Step(
        text=TEXT, split="byte", crlf=True, bom=True, comments=True, no_done=True, hang_up=True
    ),
}
"""Oddities of a stream that says `TEXT` all the same."""

BEGUN = "one two thre"
"""The first three of the five pieces in which the simulator sends it."""
APART = 0.1
"""Seconds between tokens: an error that came in one read with the first content would fall over as
if it had come before it."""


@dataclass(frozen=True)
class Break:
    """Something that ends a stream after `text`, a part of `TEXT`, was sent."""

    name: str
    step: Step
    kind: Kind
    of_key: bool = False
    """Whether it says nothing of the provider's other keys."""
    text: str = BEGUN
    clocks: Clocks = field(default_factory=dict)

    @property
    def rest(self) -> str:
        return TEXT.removeprefix(self.text)

    def __str__(self) -> str:
        return self.name


def _error(
    name: str, kind: Kind, error: str, style: Style = "openai", *, of_key: bool = False
) -> Break:
    step = Step(text=TEXT, error_after=3, error=error, error_style=style, token_delay=APART)
    return Break(name, step, kind, of_key)


BREAKS = (
    Break("cut", Step(text=TEXT, cut_after=3), Kind.CONNECTION_LOST),
    Break("reset", Step(text=TEXT, cut_after=3, how="rst"), Kind.CONNECTION_LOST),
    Break("end of bytes", Step(text=TEXT, cut_after=3, how="eof"), Kind.TRUNCATED),
    Break(
        "no finish reason", Step(text=TEXT, no_finish=True, usage="none"), Kind.TRUNCATED, text=TEXT
    ),
    Break("silence", Step(text=TEXT, stall_after=3), Kind.IDLE_TIMEOUT, clocks={"idle": SHORT}),
    Break("bad event", Step(text=TEXT, malformed_after=3, token_delay=APART), Kind.PROTOCOL_ERROR),
    _error("error", Kind.SERVER_ERROR, "server_error"),
    _error("error as of Groq", Kind.SERVER_ERROR, "server_error", "groq"),
    _error("error as of OpenRouter", Kind.SERVER_ERROR, "server_error", "openrouter"),
    _error("unexplained error", Kind.STREAM_ERROR, "unexplained"),
    _error("overload", Kind.OVERLOADED, "overloaded"),
    _error("wrong request", Kind.INVALID_REQUEST, "invalid_request"),
    _error("end of context", Kind.CONTEXT_LENGTH, "context_length_exceeded"),
    _error("refused content", Kind.CONTENT_POLICY, "content_policy_violation"),
    _error("rate limit", Kind.RATE_LIMITED, "rate_limit_exceeded", of_key=True),
    _error("end of quota", Kind.QUOTA_EXHAUSTED, "insufficient_quota", of_key=True),
    _error("revoked key", Kind.KEY_REJECTED, "invalid_api_key", of_key=True),
    _error("forbidden model", Kind.MODEL_FORBIDDEN, "model_forbidden", "openrouter", of_key=True),
    _error("unknown model", Kind.MODEL_UNKNOWN, "model_not_found", of_key=True),
)
