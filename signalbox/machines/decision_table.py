"""The published table of decisions: `docs/decisions.md`, made from what the machine goes by."""

from __future__ import annotations

from collections.abc import Mapping

from signalbox.errors import FailureKind
from signalbox.machines.decisions import Step, verdict

MEANINGS: Mapping[FailureKind, str] = {
    FailureKind.RATE_LIMITED: "429: the key is used up for now",
    FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA: "429: the request alone is over the key's limit",
    FailureKind.QUOTA_EXHAUSTED: "402, `insufficient_quota`: the account has nothing left",
    FailureKind.KEY_REJECTED: "401: the key is unknown, revoked or malformed",
    FailureKind.MODEL_FORBIDDEN: "403: the key may not use this model",
    FailureKind.MODEL_UNKNOWN: "404: the provider does not know this model",
    FailureKind.CONTEXT_LENGTH: "the prompt is longer than the model's context",
    FailureKind.CONTENT_POLICY: "the provider refuses the content",
    FailureKind.INVALID_REQUEST: "400, 413, 422: the request itself is wrong",
    FailureKind.UNSUPPORTED_PARAMETER: "the route cannot carry a field; nothing was sent",
    FailureKind.OVER_BUDGET: "a hard budget has too little left for the route; nothing was sent",
    FailureKind.SERVER_ERROR: "500 and other 5xx",
    FailureKind.OVERLOADED: "503, 529",
    FailureKind.CONNECT_FAILED: "refused, unreachable, DNS, TLS",
    FailureKind.CONNECT_TIMEOUT: "the `connect` clock",
    FailureKind.CONNECTION_LOST: "the connection ended before the answer was whole",
    FailureKind.FIRST_TOKEN_TIMEOUT: "the `first_token` clock",
    FailureKind.IDLE_TIMEOUT: "the `idle` clock",
    FailureKind.RESPONSE_TIMEOUT: "the `response` clock",
    FailureKind.PROTOCOL_ERROR: "bytes that are not the wire format",
    FailureKind.STREAM_ERROR: "an error event inside a 200",
    FailureKind.EMPTY_ANSWER: "a 200 without any content",
    FailureKind.TRUNCATED: "the answer ended without a finish reason",
    FailureKind.SPLICE_MISMATCH: "a second answer that does not repeat the first one's beginning",
    FailureKind.INTERNAL: "the gateway's own fault",
}
"""What a provider did, in words; a test holds the mapping complete."""

SHORT: Mapping[Step, str] = {
    Step.RETRY_ROUTE: "retry same route",
    Step.NEXT_KEY: "next key",
    Step.NEXT_ROUTE: "next provider",
    Step.NEXT_MODEL: "next model",
    Step.REFUSE: "refuse to client",
}
"""The steps as the table names them. `next provider` is the next route of the model."""

STANDS_IN = "; where it may, the gateway's own key"
GO_ON = "go on from the next route"
GO_ON_WITH_KEY = "go on with another key or from the next route"
GO_ON_ELSEWHERE = "go on from the next model"
_GOING_ON = {Step.NEXT_KEY: GO_ON_WITH_KEY, Step.NEXT_MODEL: GO_ON_ELSEWHERE}


def before_content(kind: FailureKind) -> str:
    ruling = verdict(kind, None)
    if kind is FailureKind.INTERNAL:
        return f"alert and fail safe: {SHORT[ruling.step]}"
    return SHORT[ruling.step] + (", alert" if ruling.alert else "")


def after_content(kind: FailureKind) -> str:
    return _GOING_ON.get(verdict(kind, None).step, GO_ON)


def on_the_callers_key(kind: FailureKind) -> str:
    step = verdict(kind, None, callers_own=True).step
    otherwise = verdict(kind, None, callers_own=True, stands_in=True).step
    return SHORT[step] + (STANDS_IN if otherwise is not step else "")


def render() -> str:
    """`docs/decisions.md`."""
    rows = "\n".join(
        f"| `{kind}` | {MEANINGS[kind]} | {before_content(kind)} | {after_content(kind)} | "
        f"{on_the_callers_key(kind)} |"
        for kind in FailureKind
    )
    return _PAGE.format(rows=rows)


_PAGE = """# Decisions

What follows from which failure. This page is generated from `signalbox/machines/decisions.py`;
tests hold the two equal and drive the request's machine through every row.

| failure | what it is | before content | in the middle of a stream | on the caller's own key |
|---|---|---|---|---|
{rows}

The steps:

- **retry same route**: after an exponential backoff with full jitter, as often as `retry` allows
  and while the route's retry budget has room (a fifth of its ordinary calls and a small reserve,
  so that an outage is not amplified); then the next provider.
- **next key**: another key of the same provider at once, without counting as a retry; without one,
  the next provider. A failure of the other kinds that comes with `retry-after` goes this way too.
- **next provider**: the next route of the model, ranked anew. The one that failed is not tried
  again by this request.
- **next model**: the next of the request's fallbacks; after `context_length` only one that may hold
  more, after `content_policy` first those of `content_fallbacks`. Never the same model.
- **the gateway's own key**: with `byok_fallback`, the gateway's keys stand in for the caller's,
  which this request does not use again for this provider. It is called again at once.
- **refuse to client**: the client is told, in the provider's own words; no other provider would say
  otherwise, or nobody but the caller can mend it.
- **go on**: an attempt elsewhere continues the text that was sent (`extra.midstream`); where that
  cannot be, one error in the stream, with `finish_reason: "error"`.
- **alert**: the fault is in the gateway's keys or configuration, and an operator must see it. For a
  key that is refused or out of quota the key pool raises it, when a second answer confirms it.

A request waits for a rate-limited key only when no route and no model is left. When everything
failed, the most useful cause decides what the client is told: a prompt that is too long, refused
content, a field that no route can carry, all over budget (402), all rate-limited (429 with the
earliest time), all timed out (504), no usable answer (502), else 503. Where none was called, for
their circuit breakers are open, the 503 says when the first of them lets a request through.
"""
