"""What a request may do, fixed when it is admitted: the models to try and the rules of trying."""

from __future__ import annotations

from dataclasses import dataclass, field

from signalbox.types import ModelPlan, ProviderPreferences, RetryPolicy, Strategy, Timeouts


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The chain of models and the policies of one request. Holds no secret."""

    models: tuple[ModelPlan, ...]
    """The requested model, then its fallbacks, in order."""
    stream: bool
    context_fallbacks: tuple[ModelPlan, ...] = ()
    """Tried before the rest of the chain when a prompt is too long for the model."""
    content_fallbacks: tuple[ModelPlan, ...] = ()
    """Tried before the rest of the chain when a provider refuses the content."""
    preferences: ProviderPreferences = field(default_factory=ProviderPreferences)
    strategy: Strategy = Strategy.BALANCED
    """The configured one; a request's or a model's own goes before it."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_overridden: bool = False
    """True where the request itself set `retry`: a model's own policy does not apply then."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    timeouts_tightened: bool = False
    """True where the request asks for more haste than the configuration: a route that misses such
    a deadline is no worse for it."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    config_version: str = ""

    def retry_policy(self, model: ModelPlan) -> RetryPolicy:
        if self.retry_overridden or model.retry is None:
            return self.retry
        return model.retry

    def strategy_for(self, model: ModelPlan) -> Strategy:
        return self.preferences.strategy or model.strategy or self.strategy
