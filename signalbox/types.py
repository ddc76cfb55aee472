"""Values that every layer may name: requests, routes, usage, money, secrets.

Nothing here does I/O or reads a clock. Times named `*_at` are seconds: of the wall clock (Unix
time, UTC) where the docstring says so, otherwise of the monotonic clock that the caller uses.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn, Self

import msgspec

from signalbox.prices import NanoUSD, Price, PriceTier, Usage, usd

__all__ = [
    "CHARS_PER_TOKEN",
    "LONGEST_TAG",
    "MOST_TAGS",
    "STRATEGY_WORDS",
    "AccessToken",
    "Dialect",
    "Extra",
    "Flavour",
    "InputBound",
    "Midstream",
    "ModelPlan",
    "NanoUSD",
    "Origin",
    "OwnState",
    "Preset",
    "Price",
    "PriceTier",
    "ProviderPreferences",
    "Request",
    "RetryPolicy",
    "Route",
    "Secret",
    "StateKind",
    "Strategy",
    "Timeouts",
    "ToolState",
    "Usage",
    "usd",
]

MOST_TAGS = 16
"""That one request, or one gateway key, may name."""
LONGEST_TAG = 128
"""Characters."""

CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text; used only where nobody counted the tokens."""


class Dialect(StrEnum):
    """A wire format: what a door takes and gives, and what a provider's endpoint does."""

    CHAT = "openai.chat"
    COMPLETIONS = "openai.completions"
    RESPONSES = "openai.responses"
    EMBEDDINGS = "openai.embeddings"
    MESSAGES = "anthropic.messages"
    MESSAGES_COUNT = "anthropic.count_tokens"
    GENERATE = "gemini.generate"
    GENERATE_COUNT = "gemini.count_tokens"
    EMBED = "gemini.embed"
    """`embedContent` and `batchEmbedContents`, which differ in being one or many."""
    CONVERSE = "bedrock.converse"
    COHERE_CHAT = "cohere.chat"
    COHERE_EMBED = "cohere.embed"

    @property
    def family(self) -> str:
        """Whose API it is part of: what one endpoint of a family gives out another understands."""
        return self.value.partition(".")[0]


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
        mine, theirs = (one._text.encode("utf-8", "surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


class AccessToken(Secret):
    """An OAuth access token: it goes out as a bearer token, also where keys have other headers."""

    __slots__ = ()


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


class RetryPolicy(msgspec.Struct, frozen=True):
    """Retries after the first try, per route, across its keys. Delays in seconds."""

    attempts: int = 2
    base_delay: float = 0.4
    backoff: float = 2.0
    max_delay: float = 4.0
    max_wait: float = 30.0
    """The longest wait for a rate-limited key when nothing else is left."""
    max_attempts_total: int = 12
    """Bounds all upstream calls of one request."""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `first_token` and `idle` are for streams, `response` for whole answers."""

    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    response: float = 300.0
    total: float = 600.0


class Route(msgspec.Struct, frozen=True):
    """One way to serve a model: a provider and the provider's own name for the model."""

    provider: str
    model: str
    price: Price = msgspec.field(default_factory=Price)
    weight: float = 1.0
    order: int | None = None
    """Routes with a lower `order` come before all others, whatever the strategy says."""
    rpm: int | None = None
    tpm: int | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Body fields that this route sends where the client gave none."""
    context_length: int | None = None
    max_output: int | None = None
    """Tokens."""
    inputs: frozenset[str] | None = None
    """Modalities that the model takes (`text`, `image`, `file`, `audio`, `video`); None: unknown,
    so that only a call can tell."""
    outputs: frozenset[str] | None = None
    """Modalities that it gives; `embeddings` for a model that makes vectors."""
    capabilities: frozenset[str] | None = None
    """`tools`, `reasoning`, `structured_outputs`, as far as they are known."""
    prefill: bool | None = None
    """Whether the model goes on from an assistant message that was begun; None: as known."""
    zdr: bool | None = None
    data_collection: str | None = None
    quantization: str | None = None

    @property
    def id(self) -> str:
        return f"{self.provider}:{self.model}"


class ModelPlan(msgspec.Struct, frozen=True):
    """What a model name means now: its routes, and where to go when all of them fail."""

    name: str
    routes: tuple[Route, ...]
    strategy: Strategy | None = None
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    content_fallbacks: tuple[str, ...] = ()
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    default_params: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ProviderPreferences(msgspec.Struct, frozen=True):
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
    preferred_max_latency: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Seconds to the first token by percentile (`p50`, `p75`, `p90`, `p99`): a route that is
    slower is tried after the others."""
    preferred_min_throughput: float | None = None
    """Tokens per second in the median, likewise."""
    allowed: tuple[str, ...] = ()
    """Not a wish: the providers that the gateway key may use; empty: all."""


class Extra(msgspec.Struct, frozen=True):
    """The request extensions of `extra` and `x-signalbox-extra`, validated."""

    fallback_models: tuple[str, ...] = ()
    provider: ProviderPreferences = msgspec.field(default_factory=ProviderPreferences)
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
    max_cost: NanoUSD | None = None
    """The request's own ceiling."""
    byok: Mapping[str, Secret] | Secret = msgspec.field(default_factory=dict)
    """The caller's own keys by provider; one alone is for the model's own provider."""


class Preset(msgspec.Struct, frozen=True):
    """A named bundle of what requests may leave open."""

    slug: str
    version: str
    """A number, or `config-` and a digest of the document where the configuration declares it."""
    document: Mapping[str, Any]
    """A request's fields, in the words of chat completions; and `system`, `extra`."""

    @property
    def label(self) -> str:
        """`summarise@3`."""
        return f"{self.slug}@{self.version}"


class InputBound(msgspec.Struct, frozen=True):
    """The most that a request's input can come to, in tokens, whatever tokenizer counts them.

    Every token is in one class alone, by what it may be charged as.
    """

    text: int
    images: int = 0
    """How many there are. The most for each depends on the model."""
    documents: int = 0
    """Of pages and films, which are charged as text."""
    audio: int = 0
    prediction: int = 0
    """Of an answer that the client predicts: what of it is not used is charged as output."""
    long_cache: bool = False
    """Parts of it are to be cached for an hour, which has a price of its own."""
    open_end: str = ""
    """What the request refers to or lets the provider add, where that has no bound but the model's
    context; in words."""


class Origin(msgspec.Struct, frozen=True):
    """Who made a piece of state that lives at a provider."""

    route_id: str
    key_id: str


class Flavour(StrEnum):
    """Whose client a door of OpenAI's dialect speaks to, where that makes a difference."""

    PLAIN = "plain"
    OPENROUTER = "openrouter"
    """`/api/v1`: `gen-…` ids, usage always, numeric error codes, `native_finish_reason`."""
    AZURE = "azure"
    """`/openai/deployments/…`."""


class ToolState(msgspec.Struct, frozen=True):
    """What a provider wants back with a tool call (`adapters/tool_memory.py`)."""

    origin: Origin
    data: bytes


class StateKind(StrEnum):
    """State that the gateway keeps itself. The value begins its name, so that no reference which a
    provider gave out is taken for it."""

    TOOL_CALL = "tool call "
    """By the call's id: what the provider wants back with it (`adapters/tool_memory.py`)."""
    ANSWER = "answer "
    """By its id: a response that no provider keeps (`adapters/answer_memory.py`)."""
    INPUT = "input of "
    """By the answer's id: the items that it answered."""
    ITEM = "item "
    """By an output item's id: the id of the answer that it is part of."""


OwnState = tuple[StateKind, str, bytes]
"""Kind, name, data."""


class Request(msgspec.Struct, frozen=True):
    """One request as the client sent it, without the gateway's own fields.

    `body` is the untouched original: every attempt translates it again.
    """

    id: str
    """The trace id: a UUIDv7 in its canonical form."""
    received_at: float
    """Wall clock."""
    door: Dialect
    body: Mapping[str, Any]
    """In the door's dialect."""
    model: str
    stream: bool
    include_usage: bool
    extra: Extra
    key_id: str
    key_name: str
    account: str = ""
    """Who pays: the gateway key's owner, else the key."""
    tags: tuple[str, ...] = ()
    """Its gateway key's and its own, each once."""
    forward_headers: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What `HTTP-Referer` and `X-Title` said, and which `preset` is in the body; they label the
    trace and go nowhere else."""
    prompt_tokens: int = 0
    """The likely prompt size, estimated from the body's bytes."""
    output_tokens: int = 0
    """The likely answer size: the client's ceiling, or a usual answer's."""
    conversation: str | None = None
    """A digest that requests of one conversation (and one gateway key) share."""
    byok: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    """The caller's own keys by provider: for each of these no other key is used, unless the
    gateway key says that the gateway's may stand in."""
    locked_byok: frozenset[str] = frozenset()
    """Providers for which the caller has stored a key that cannot be opened now."""
    reasoning_origins: Mapping[str, Origin | None] = msgspec.field(default_factory=dict)
    """Whose encrypted reasoning in the body is, by its value: it goes nowhere else. None: nobody's
    who is known, so it goes nowhere. What is not named goes out as it came."""
    choices: int = 1
    """How many alternatives the client wants (`n`)."""
    begun: bool = False
    """The client itself began the answer: the last message is the assistant's."""
    stored: bool = False
    """The answer is to be kept at the provider, so that later requests may refer to its id."""
    remembered: bool = False
    """The gateway itself keeps the answer, where the provider has no means to."""
    continues: str | None = None
    """The answer that the request goes on from, where the gateway kept it: what it consists of is
    in the body."""
    flavour: Flavour = Flavour.PLAIN
    defaults: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The model's `default_params`, in the words of chat completions, for what the body leaves
    open. (A chat body has them in it.)"""
    tool_states: Mapping[str, ToolState] = msgspec.field(default_factory=dict)
    """By tool call id, where the client's body no longer has it."""
    memo: dict[str, Any] = msgspec.field(default_factory=dict)
    """What was derived from the body once (`adapters/forms.py`); a copy has one of its own."""

    def __post_init__(self) -> None:
        # Also of a copy with other fields, from which other things follow.
        msgspec.structs.force_setattr(self, "memo", {})

    @property
    def expected_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens
