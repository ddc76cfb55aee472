"""Tokens in disjoint classes, what they cost, and money: integers of a billionth of a US dollar.

`types.py` is where other parts import these from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NewType

import msgspec
from msgspec.structs import replace

NanoUSD = NewType("NanoUSD", int)
"""An amount of money in integer billionths of a US dollar."""

NANO_PER_USD = 1_000_000_000


def usd(amount: NanoUSD) -> Decimal:
    """The exact amount in US dollars."""
    return Decimal(amount) / NANO_PER_USD


class Usage(msgspec.Struct, frozen=True):
    """Tokens in disjoint classes: every token is counted in exactly one. None: not said."""

    prompt: int | None = None
    """Input tokens that were neither read from nor written to a prompt cache."""
    cached_read: int | None = None
    cache_write: int | None = None
    """Written for the provider's usual time (Anthropic's five minutes)."""
    completion: int | None = None
    """Output tokens without reasoning, audio and pictures."""
    reasoning: int | None = None
    estimated: bool = False
    """True where the provider reported nothing and the gateway estimated from characters."""
    audio_input: int | None = None
    """Input tokens of audio that were not cached; `prompt` leaves them out, as it does pictures."""
    image_input: int | None = None
    audio_output: int | None = None
    image_output: int | None = None
    cache_write_1h: int | None = None
    """Written to the cache for an hour, at a price of its own (Anthropic)."""
    service_tier: str | None = None
    """At which the provider says it served, where it says so."""

    @property
    def input_total(self) -> int | None:
        if self.prompt is None:
            return None
        return (
            self.prompt
            + (self.cached_read or 0)
            + (self.cache_write or 0)
            + (self.cache_write_1h or 0)
            + (self.audio_input or 0)
            + (self.image_input or 0)
        )

    @property
    def output_total(self) -> int | None:
        if self.completion is None:
            return None
        return (
            self.completion
            + (self.reasoning or 0)
            + (self.audio_output or 0)
            + (self.image_output or 0)
        )


_INPUTS = ("prompt", "cached_read", "cache_write", "cache_write_1h", "audio_input", "image_input")
_OUTPUTS = ("completion", "reasoning", "audio_output", "image_output")
_RATES = ("input", "output", *_INPUTS[1:], *_OUTPUTS[1:])


def sum_of(usages: Sequence[Usage]) -> Usage:
    """Class by class; one that none of them names stays unknown. The last one's service tier."""
    if len(usages) == 1:
        return usages[0]
    totals: dict[str, int] = {}
    for name in (*_INPUTS, *_OUTPUTS):
        known = [count for usage in usages if (count := getattr(usage, name)) is not None]
        if known:
            totals[name] = sum(known)
    return Usage(
        **totals,
        estimated=any(usage.estimated for usage in usages),
        service_tier=usages[-1].service_tier if usages else None,
    )


def output_of(usage: Usage) -> Usage:
    """Its output alone; the input is none."""
    return Usage(
        prompt=0,
        completion=usage.completion,
        reasoning=usage.reasoning,
        audio_output=usage.audio_output,
        image_output=usage.image_output,
        estimated=usage.estimated,
        service_tier=usage.service_tier,
    )


class PriceTier(msgspec.Struct, frozen=True):
    """What is different for some requests, for all of their tokens."""

    rates: Mapping[str, Decimal]
    """Prices by the names of `Price`; for what is not there the usual one holds."""
    above: int = 0
    """For requests whose input is longer, in tokens."""
    service_tier: str | None = None
    """For those that the provider says it served at this tier (`flex`, `priority`)."""


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens; None: unknown (never zero).

    What has no price of its own is charged as text: classes of input as `input`, those of output
    as `output`, an hour's cache as the usual one.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_read: Decimal | None = None
    cache_write: Decimal | None = None
    source: str = "config"
    """Where the price comes from, with its version, as the ledger keeps it."""
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    image_input: Decimal | None = None
    reasoning: Decimal | None = None
    audio_output: Decimal | None = None
    image_output: Decimal | None = None
    tiers: tuple[PriceTier, ...] = ()
    """By `above`, ascending."""

    @property
    def known(self) -> bool:
        """Whether text can be charged. Models that give no text have no price for it."""
        return self.input is not None and self.output is not None

    def applying(self, usage: Usage) -> Price:
        """The one that `usage` is charged at: of its service tier's prices, or else of those for
        all of them, the one for its length."""
        if not self.tiers:
            return self
        length, served_at = usage.input_total or 0, usage.service_tier
        if not any(tier.service_tier == served_at for tier in self.tiers):
            served_at = None
        for tier in reversed(self.tiers):
            if tier.service_tier == served_at and (length > tier.above or not tier.above):
                return self.at(tier)
        return self

    def at(self, tier: PriceTier) -> Price:
        """With what is different at that tier."""
        return replace(self, tiers=(), **_fields(tier.rates))

    def cost(self, usage: Usage) -> NanoUSD | None:
        """The price of `usage`, rounded once, half up; None where price or usage is unknown."""
        if usage.prompt is None or usage.completion is None:
            return None
        price = self.applying(usage)
        if price.input is None:
            return None
        per_million = Decimal(0)
        for token_class in (*_INPUTS, *_OUTPUTS):
            count = getattr(usage, token_class)
            if count:
                amount = price.amount(token_class)
                if amount is None:
                    return None
                per_million += count * amount
        nano = per_million * (NANO_PER_USD // 1_000_000)
        return NanoUSD(int(nano.quantize(Decimal(1), rounding=ROUND_HALF_UP)))

    def amount(self, token_class: str) -> Decimal | None:
        """What a million tokens of a class cost: its own price, else that of what it is like."""
        own: Decimal | None = getattr(self, token_class, None)
        if own is None and token_class == "cache_write_1h":
            own = self.cache_write
        if own is not None:
            return own
        return self.input if token_class in _INPUTS else self.output


def _fields(rates: Mapping[str, Decimal]) -> dict[str, Any]:
    """The fields of `Price` among them: what a trace keeps may come from another version."""
    return {name: rates[name] for name in _RATES if name in rates}
