"""Values that every layer may name: requests, routes, usage, money, secrets.

Nothing here does I/O or reads a clock. Times named `*_at` are seconds: of the wall clock (Unix
time, UTC) where the docstring says so, otherwise of the monotonic clock that the caller uses.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any, NewType, NoReturn

NanoUSD = NewType("NanoUSD", int)
"""An amount of money in integer billionths of a US dollar."""

NANO_PER_USD = 1_000_000_000

CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text; used only where nobody counted the tokens."""


def usd(amount: NanoUSD) -> Decimal:
    """The exact amount in US dollars."""
    return Decimal(amount) / NANO_PER_USD


class Secret:
    """A string that cannot be printed, logged, pickled or put into JSON by accident.

    `reveal()` is the one way to its text; a search for that word finds every use.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint classes: every token is counted in exactly one. None: not said."""

    prompt: int | None = None
    """Input tokens that were neither read from nor written to a prompt cache."""
    cached_read: int | None = None
    cache_write: int | None = None
    completion: int | None = None
    """Output tokens without reasoning."""
    reasoning: int | None = None
    estimated: bool = False
    """True where the provider reported nothing and the gateway estimated from characters."""

    @property
    def input_total(self) -> int | None:
        if self.prompt is None:
            return None
        return self.prompt + (self.cached_read or 0) + (self.cache_write or 0)

    @property
    def output_total(self) -> int | None:
        if self.completion is None:
            return None
        return self.completion + (self.reasoning or 0)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None: unknown (never zero).

    `cached_read` and `cache_write` fall back to `input`, `reasoning` is charged as `output`.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_read: Decimal | None = None
    cache_write: Decimal | None = None
    source: str = "config"
    """Where the price comes from, with its version, as the ledger keeps it."""

    @property
    def known(self) -> bool:
        return self.input is not None and self.output is not None

    def cost(self, usage: Usage) -> NanoUSD | None:
        """The price of `usage`, rounded once, half up; None where price or usage is unknown."""
        if self.input is None or self.output is None:
            return None
        if usage.prompt is None or usage.completion is None:
            return None
        read = self.input if self.cached_read is None else self.cached_read
        write = self.input if self.cache_write is None else self.cache_write
        per_million = (
            self.input * usage.prompt
            + read * (usage.cached_read or 0)
            + write * (usage.cache_write or 0)
            + self.output * (usage.completion + (usage.reasoning or 0))
        )
        nano = per_million * (NANO_PER_USD // 1_000_000)
        return NanoUSD(int(nano.quantize(Decimal(1), rounding=ROUND_HALF_UP)))


class Strategy(StrEnum):
    """How the routes of a model are ranked."""

    CHEAP = "cheap"
    FAST = "fast"
    THROUGHPUT = "throughput"
    RELIABLE = "reliable"
    BALANCED = "balanced"


STRATEGY_WORDS: Mapping[str, Strategy] = {
    **{strategy.value: strategy for strategy in Strategy},
    "cheapest": Strategy.CHEAP,
    "fastest": Strategy.FAST,
    "price": Strategy.CHEAP,
    "latency": Strategy.FAST,
}
"""Every word that names a strategy; the last two are OpenRouter's `sort`."""


class Midstream(StrEnum):
    """What becomes of a stream that breaks after content was sent."""

    CONTINUE = "continue"
    """It goes on from the next route of the request's chain."""
    SAME_MODEL = "same_model"
    """It goes on from another route of the same model, or not at all."""
    ERROR = "error"
    """The client is told."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries after the first try, per route, across its keys. Delays in seconds."""

    attempts: int = 2
    base_delay: float = 0.4
    backoff: float = 2.0
    max_delay: float = 4.0
    max_wait: float = 30.0
    """The longest wait for a rate-limited key when nothing else is left."""
    max_attempts_total: int = 12
    """Bounds all upstream calls of one request."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token` and `idle` are for streams, `response` for whole answers."""

    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    response: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Route:
    """One way to serve a model: a provider and the provider's own name for the model."""

    provider: str
    model: str
    price: Price = field(default_factory=Price)
    weight: float = 1.0
    order: int | None = None
    """Routes with a lower `order` come before all others, whatever the strategy says."""
    rpm: int | None = None
    tpm: int | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    """Body fields that this route sends where the client gave none."""
    context_length: int | None = None
    max_output: int | None = None
    prefill: bool | None = None
    """Whether the model goes on from an assistant message that was begun; None: as known."""
    zdr: bool | None = None
    data_collection: str | None = None
    quantization: str | None = None

    @property
    def id(self) -> str:
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What a model name means now: its routes, and where to go when all of them fail."""

    name: str
    routes: tuple[Route, ...]
    strategy: Strategy | None = None
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    content_fallbacks: tuple[str, ...] = ()
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    default_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderPreferences:
    """OpenRouter's `provider` object, and what `extra.provider` says in one word."""

    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    strategy: Strategy | None = None
    max_input_price: Decimal | None = None
    """US dollars per million tokens, as `max_output_price`."""
    max_output_price: Decimal | None = None
    require_parameters: bool = False
    zdr: bool = False
    deny_data_collection: bool = False
    quantizations: tuple[str, ...] = ()
    preferred_max_latency: Mapping[str, float] = field(default_factory=dict)
    """Seconds to the first token by percentile (`p50`, `p75`, `p90`, `p99`): a route that is
    slower is tried after the others."""
    preferred_min_throughput: float | None = None
    """Tokens per second in the median, likewise."""


@dataclass(frozen=True, slots=True)
class Extra:
    """The request extensions of `extra` and `x-signalbox-extra`, validated."""

    fallback_models: tuple[str, ...] = ()
    provider: ProviderPreferences = field(default_factory=ProviderPreferences)
    retry: Mapping[str, float] | None = None
    """Fields of `RetryPolicy` that the request overrides."""
    timeout: Mapping[str, float] | None = None
    """Fields of `Timeouts` that the request tightens."""
    payloads: str | None = None
    midstream: Midstream = Midstream.CONTINUE
    hedge: bool = False
    """Whether a second route is started when the first token is late."""
    hedge_after: float | None = None
    """Seconds after which it is late; None: the route's own 95th percentile."""
    refuse_unsupported: bool = False
    tags: tuple[str, ...] = ()
    byok: Mapping[str, Secret] | Secret = field(default_factory=dict)
    """The caller's own keys by provider; one alone is for the model's own provider."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a piece of state that lives at a provider."""

    route_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client sent it, without the gateway's own fields.

    `body` is the untouched original: every attempt translates it again.
    """

    id: str
    """The trace id: a UUIDv7 in its canonical form."""
    received_at: float
    """Wall clock."""
    door: str
    body: Mapping[str, Any]
    model: str
    stream: bool
    include_usage: bool
    extra: Extra
    key_id: str
    key_name: str
    forward_headers: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """What `HTTP-Referer` and `X-Title` said; they label the trace and go nowhere else."""
    prompt_tokens: int = 0
    """The likely prompt size, estimated from the body's bytes."""
    output_tokens: int = 0
    """The likely answer size: the client's ceiling, or a usual answer's."""
    conversation: str | None = None
    """A digest that requests of one conversation (and one gateway key) share."""
    byok: Mapping[str, Secret] = field(default_factory=dict)
    """The caller's own keys by provider: for each of these no other key is used."""
    reasoning_origins: Mapping[str, Origin | None] = field(default_factory=dict)
    """Whose encrypted reasoning in the body is, by its value: it goes nowhere else. None: nobody's
    who is known, so it goes nowhere. What is not named goes out as it came."""

    @property
    def expected_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens
