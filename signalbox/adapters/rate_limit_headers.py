"""What a provider's answer headers say about its limits.

Names and formats are those of OpenAI, Azure, Groq, Mistral, Cerebras, Together, OpenRouter and
Anthropic. A reset is a Go duration (`6ms`, `21m36.001s`), plain seconds, an epoch in seconds or
milliseconds, or an RFC 3339 time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from signalbox.adapters.protocol import Headers, RateLimits

MAX_WAIT_SECONDS = 86_400.0
"""The longest wait that is believed. Limits by the day are the longest that providers publish as a
reset; a number above that is an error, and a key should be tried again after a day anyway."""

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,12})?")
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|[dhms])")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern}){{1,5}}")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_EPOCH_SECONDS_FROM = 1e9
_EPOCH_MILLISECONDS_FROM = 1e12


def _named(*patterns: str) -> tuple[tuple[str, str, str], ...]:
    """The headers of each window: limit, remaining, reset."""
    return tuple((p.format("limit"), p.format("remaining"), p.format("reset")) for p in patterns)


# Providers with several windows name each; `{}` is limit, remaining or reset.
_REQUEST_WINDOWS = _named(
    "x-ratelimit-{}-requests",
    "x-ratelimit-{}-requests-minute",
    "x-ratelimit-{}-requests-day",
    "x-ratelimit-{}-req-minute",
    "anthropic-ratelimit-requests-{}",
    "x-ratelimit-{}",
)
_TOKEN_WINDOWS = _named(
    "x-ratelimit-{}-tokens",
    "x-ratelimit-{}-tokens-minute",
    "x-ratelimit-{}-tokens-day",
    "ratelimitbysize-{}",
    "x-ratelimitbysize-{}-minute",
    "anthropic-ratelimit-tokens-{}",
    "anthropic-ratelimit-input-tokens-{}",
)


_NOTHING_SAID = RateLimits()


class _Window(msgspec.Struct, frozen=True):
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def parse_rate_limits(headers: Headers, now: float) -> RateLimits:
    """The limits that `headers` name; `now` is the wall clock, for absolute resets.

    Where several windows of one kind are named, the one with the least remaining is told.
    """
    fields = {name: value.strip() for name, value in headers if "ratelimit" in name}
    if not fields:
        return _NOTHING_SAID
    requests = _tightest_window(fields, _REQUEST_WINDOWS, now)
    tokens = _tightest_window(fields, _TOKEN_WINDOWS, now)
    return RateLimits(
        limit_requests=requests.limit,
        remaining_requests=requests.remaining,
        reset_requests=requests.reset,
        limit_tokens=tokens.limit,
        remaining_tokens=tokens.remaining,
        reset_tokens=tokens.reset,
    )


def parse_duration(text: str) -> float | None:
    """Seconds of `1h2m3.5s`, `250ms` or plain `12.5`; None where it is neither."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        return sum(float(n) * _UNIT_SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    return None


def bounded_wait(seconds: float) -> float:
    """`seconds` between nothing and `MAX_WAIT_SECONDS`: a time that has passed is no wait."""
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _tightest_window(
    fields: dict[str, str], windows: tuple[tuple[str, str, str], ...], now: float
) -> _Window:
    told = [
        _Window(
            limit=_count(fields.get(limit)),
            remaining=_count(fields.get(remaining)),
            reset=_reset(fields.get(reset), now),
        )
        for limit, remaining, reset in windows
        if limit in fields or remaining in fields or reset in fields
    ]
    said = [window for window in told if window != _Window()]
    if not said:
        return _Window()
    return min(said, key=lambda w: float("inf") if w.remaining is None else w.remaining)


def _count(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    return int(float(text))


def _reset(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    seconds = parse_duration(text)
    if seconds is None:
        moment = _rfc3339(text)
        return None if moment is None else bounded_wait(moment - now)
    if seconds >= _EPOCH_MILLISECONDS_FROM:
        return bounded_wait(seconds / 1000 - now)
    if seconds >= _EPOCH_SECONDS_FROM:
        return bounded_wait(seconds - now)
    return bounded_wait(seconds)


def _rfc3339(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None
