"""What a request may do, fixed when it is admitted: the models to try and the rules of trying."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from signalbox.machines.spending import Spending
from signalbox.types import (
    Midstream,
    ModelPlan,
    ProviderPreferences,
    RetryPolicy,
    Strategy,
    Timeouts,
)


class Pin(msgspec.Struct, frozen=True):
    """State at a provider that the request refers to: the route and the key that made it."""

    field: str
    """The request's field that refers to it."""
    route_id: str
    key_id: str
    required: bool
    """Nobody else can serve the request. Otherwise others can, though not as well."""


class RequestPlan(msgspec.Struct, frozen=True):
    """The chain of models and the policies of one request. Holds no secret."""

    models: tuple[ModelPlan, ...]
    """The requested model, then its fallbacks, in order."""
    stream: bool
    asked_fallbacks: tuple[str, ...] = ()
    """The fallbacks that the request itself named, in its words; they replace the model's own."""
    context_fallbacks: tuple[ModelPlan, ...] = ()
    """Tried before the rest of the chain when a prompt is too long for the model."""
    content_fallbacks: tuple[ModelPlan, ...] = ()
    """Tried before the rest of the chain when a provider refuses the content."""
    preferences: ProviderPreferences = msgspec.field(default_factory=ProviderPreferences)
    strategy: Strategy = Strategy.BALANCED
    """The configured one; a request's or a model's own goes before it."""
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)
    retry_overridden: bool = False
    """True where the request itself set `retry`: a model's own policy does not apply then."""
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    timeouts_tightened: bool = False
    """True where the request asks for more haste than the configuration: a route that misses such
    a deadline is no worse for it."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    midstream: Midstream = Midstream.ERROR
    """What a broken stream may do; `ERROR` also where its answer cannot be gone on with."""
    hedge: bool = False
    hedge_after: float | None = None
    """Seconds; None: the route's own 95th percentile."""
    byok_fallback: bool = False
    """Whether the gateway's keys stand in for a caller's own key that fails."""
    pin: Pin | None = None
    spending: Spending | None = None
    """What it may cost; None: no hard budget bounds that."""
    config_version: str = ""

    def retry_policy(self, model: ModelPlan) -> RetryPolicy:
        if self.retry_overridden or model.retry is None:
            return self.retry
        return model.retry

    @property
    def only_key(self) -> str | None:
        """The one key that may be used, where a pin says so."""
        return self.pin.key_id if self.pin is not None and self.pin.required else None

    def pinned_to(self, pin: Pin) -> RequestPlan:
        """With the models alone that have the pin's route; nothing of it leads elsewhere.

        Without any model where none has the route.
        """

        def having(models: tuple[ModelPlan, ...]) -> tuple[ModelPlan, ...]:
            return tuple(
                model for model in models if any(route.id == pin.route_id for route in model.routes)
            )

        context, content = having(self.context_fallbacks), having(self.content_fallbacks)
        return replace(
            self,
            models=having(self.models) or context or content,
            context_fallbacks=context,
            content_fallbacks=content,
            midstream=Midstream.ERROR,
            hedge=False,
            pin=pin,
        )

    def strategy_for(self, model: ModelPlan) -> Strategy:
        return self.preferences.strategy or model.strategy or self.strategy


class RequestPlanned(msgspec.Struct, frozen=True):
    """How a trace begins: what the request's machine was started with."""

    at: float
    """The monotonic clock of the process that recorded it, in seconds, as in every fact."""
    plan: RequestPlan
