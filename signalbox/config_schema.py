"""The sections and keys of `signalbox.toml`, as the file spells them.

Defaults stand here. `config_check.py` compares a file with these types; `config.py` turns them
into what the other parts use.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, field
from msgspec.structs import replace

from signalbox.types import RetryPolicy, Timeouts

Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]

MIB = 1024 * 1024

T = TypeVar("T")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: nothing but the fields below is allowed in it."""


class Server(Table, frozen=True):
    host: Name = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    """0: any free port."""
    workers: Count = 1
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1024 * MIB)] = 32 * MIB
    """Of a request, after decompression: about six large images in base64."""
    body_timeout: Seconds = 30.0
    """For a client to send the whole body."""
    keepalive: Seconds = 15.0
    """Silence on a stream before a comment is sent."""
    send_timeout: Seconds = 60.0
    """For a client to take something of what is sent to it."""
    drain_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """For requests under way when the gateway stops."""
    cors_origins: tuple[Name, ...] = ()
    certfile: Name | None = None
    """PEM, the server's own certificate first; None: no TLS. In `Settings` a whole path."""
    keyfile: Name | None = None


class Storage(Table, frozen=True):
    database: Name = "sqlite:///signalbox.db"
    """A relative path lies in the data directory."""
    redis: Name | None = None
    """Shared by all instances; None: limits and leases are those of one process."""
    when_redis_is_away: Literal["local", "refuse"] = "local"


class Limits(Table, frozen=True):
    """The global limiter (None: no limit), and what calls are held to."""

    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None
    burst: Count | None = None
    """Requests at once; None: as many as `rpm`."""
    default_max_tokens: Count = 8192
    connections_per_origin: Annotated[int, Meta(ge=1, le=65_535)] = 1000
    """Open at once to one provider's address, by one process."""


class Retry(Table, frozen=True):
    """What differs from the defaults of `RetryPolicy`, in milliseconds."""

    attempts: Annotated[int, Meta(ge=0, le=100)] | None = None
    base_delay_ms: Milliseconds | None = None
    backoff: Annotated[float, Meta(ge=1, le=100)] | None = None
    max_delay_ms: Milliseconds | None = None
    max_wait_ms: Milliseconds | None = None
    max_attempts_total: Annotated[int, Meta(ge=1, le=1000)] | None = None

    def over(self, base: RetryPolicy) -> RetryPolicy:
        return replace(
            base,
            attempts=_either(self.attempts, base.attempts),
            base_delay=_seconds(self.base_delay_ms, base.base_delay),
            backoff=_either(self.backoff, base.backoff),
            max_delay=_seconds(self.max_delay_ms, base.max_delay),
            max_wait=_seconds(self.max_wait_ms, base.max_wait),
            max_attempts_total=_either(self.max_attempts_total, base.max_attempts_total),
        )


class TimeoutTable(Table, frozen=True):
    """What differs from the defaults of `Timeouts`, in seconds."""

    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    response: Seconds | None = None
    total: Seconds | None = None

    def over(self, base: Timeouts) -> Timeouts:
        return Timeouts(
            connect=_either(self.connect, base.connect),
            first_token=_either(self.first_token, base.first_token),
            idle=_either(self.idle, base.idle),
            response=_either(self.response, base.response),
            total=_either(self.total, base.total),
        )


class Traces(Table, frozen=True):
    payloads: Literal["full", "redacted", "off"] = "full"
    max_payload_bytes: Annotated[int, Meta(ge=0, le=64 * MIB)] = 256 * 1024
    """Of one recorded body. A batch of traces is written at 1 MB, so a few fit into one."""
    retention_days: Days = 7
    payload_retention_days: Days | None = None
    """Of recorded bodies; None: as long as their traces."""


class Alerts(Table, frozen=True):
    webhook: Name | None = None


class Routing(Table, frozen=True):
    fallbacks: tuple[Name, ...] = ()
    strategy: Name = "balanced"
    affinity: bool = True


class SecretSource(Table, frozen=True):
    """Where a secret is read from: exactly one of the three."""

    env: Name | None = None
    file: Name | None = None
    value: Name | None = None


class Entra(Table, frozen=True):
    """An application of Microsoft Entra ID."""

    tenant: Name
    client_id: Name
    client_secret: SecretSource


class ManagedIdentity(Table, frozen=True):
    client_id: Name | None = None
    """None: the machine's own identity."""


class ProviderKey(SecretSource, frozen=True):
    """A secret, or one of the credentials that tokens are asked for with."""

    entra: Entra | None = None
    managed_identity: bool | ManagedIdentity = False
    service_account: Name | None = None
    """Google's key file."""
    metadata: bool = False
    """Google's metadata server."""
    access_key_id: Name | SecretSource | None = None
    secret_access_key: SecretSource | None = None
    session_token: SecretSource | None = None
    region: Name | None = None
    """AWS's access key, all four."""
    token_url: Name | None = None
    """Where tokens are asked for, in place of the usual address."""
    rpm: Count | None = None
    tpm: Count | None = None


class Provider(Table, frozen=True):
    api: Literal["openai", "azure", "anthropic", "gemini", "cohere", "vertex", "bedrock"] | None = (
        None
    )
    base_url: Name | None = None
    like: Name | None = None
    """A known provider that it is another account or server of."""
    api_version: Name | None = None
    """Azure's; None: its API without versions."""
    project: Name | None = None
    location: Name | None = None
    """Vertex AI's, both."""
    keys: tuple[ProviderKey, ...] | None = None
    discover: bool | None = None
    responses: bool | None = None
    completions: bool | None = None


class Prices(Table, frozen=True):
    """US dollars per million tokens, by their class."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    image_input: Decimal | None = None
    reasoning: Decimal | None = None
    audio_output: Decimal | None = None
    image_output: Decimal | None = None


Modality = Literal["text", "image", "file", "audio", "video", "embeddings"]
Capability = Literal["tools", "reasoning", "structured_outputs"]


class PriceTier(Prices, frozen=True, kw_only=True):
    above: Count
    """Tokens of input: for longer prompts these prices hold in place of the route's."""


class RouteTable(Prices, frozen=True, kw_only=True):
    """One way to serve a model."""

    provider: Name
    model: Name
    tiers: tuple[PriceTier, ...] = ()
    service_tiers: dict[str, Prices] = field(default_factory=dict)
    weight: Annotated[float, Meta(gt=0)] = 1.0
    order: int | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    headers: dict[str, str | SecretSource] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    zdr: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    quantization: Name | None = None
    context_length: Count | None = None
    max_output: Count | None = None
    inputs: tuple[Modality, ...] | None = None
    outputs: tuple[Modality, ...] | None = None
    capabilities: tuple[Capability, ...] | None = None
    prefill: bool | None = None


class Model(Table, frozen=True):
    routes: Annotated[tuple[RouteTable, ...], Meta(min_length=1)]
    fallbacks: tuple[Name, ...] = ()
    context_fallbacks: tuple[Name, ...] = ()
    content_fallbacks: tuple[Name, ...] = ()
    strategy: Name | None = None
    retry: Annotated[int, Meta(ge=0, le=100)] | Retry | None = None
    """A number stands for `attempts`."""
    timeouts: TimeoutTable | None = None
    default_params: dict[str, Any] = field(default_factory=dict)


class Ceiling(Table, frozen=True):
    """How much may be spent in a period."""

    limit: Decimal
    """US dollars."""
    per: Literal["hour", "day", "week", "month", "total"]
    hard: bool = True
    """False: nothing is refused, an operator is told."""
    alert_at: tuple[Annotated[float, Meta(gt=0, le=100)], ...] = (0.8, 1.0)
    """Shares of the limit."""


class Budget(Ceiling, frozen=True, kw_only=True):
    scope: Literal["global", "key", "user", "tag", "account"]
    subject: Name | None = None
    """None: each one's own."""


class GatewayKey(Table, frozen=True):
    key: SecretSource
    owner: Name | None = None
    """Whose credits pay for it; None: the key is an account of its own."""
    expires: datetime | None = None
    enabled: bool = True
    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None
    models: tuple[Name, ...] = ()
    providers: tuple[Name, ...] = ()
    tags: tuple[Name, ...] = ()
    preset: Name | None = None
    byok_fallback: bool = False
    budget: Ceiling | tuple[Ceiling, ...] = ()


class Document(Table, frozen=True):
    """The whole file."""

    server: Server = Server()
    storage: Storage = Storage()
    limits: Limits = Limits()
    retry: Retry = Retry()
    timeouts: TimeoutTable = TimeoutTable()
    traces: Traces = Traces()
    alerts: Alerts | None = None
    routing: Routing = Routing()
    providers: dict[str, Provider] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    aliases: dict[str, Name] = field(default_factory=dict)
    keys: dict[str, GatewayKey] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)


def _either(value: T | None, base: T) -> T:
    return base if value is None else value


def _seconds(milliseconds: float | None, base: float) -> float:
    return base if milliseconds is None else milliseconds / 1000
