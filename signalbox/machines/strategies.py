"""Routing strategies: the routes that may be tried in, their order with the reason for each out.

Live measurements (`fast`, `throughput`, `reliable`) would starve a route that was never measured,
or only in bad times. So they explore: see `EXPLORATION_SHARE`. A half-open breaker lets one request
through, and that request has to come, or the route never returns: `cheap` and `balanced` rank such
a route as if it were healthy, the measured strategies put it first until its probe is out (health
shows the breaker as open from then on). What fails over unseen costs its client only time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

import msgspec

from signalbox.machines.facts import BreakerState, Candidate, RouteHealth
from signalbox.types import Strategy

OUTAGE_WINDOW = 30.0
"""Seconds for which `balanced` puts a route last after an outage (OpenRouter's figure)."""

CHEAPEST_COUNTED = 1e-4
"""US dollars per million tokens. Weights are inverse squares; a free route counts as this cheap."""

EXPLORATION_SHARE = 0.05
"""Of the requests that a measured strategy ranks, how many try a route first that was not measured
for `FRESH` seconds, or never. One in twenty costs little, and measures what is new within seconds
on a busy model; no herd of parallel requests ends on a route that nobody knows."""

FRESH = 60.0
"""Seconds. A route that was measured so recently needs no exploring: it would tell the same."""


class Load(msgspec.Struct, frozen=True):
    """The expected size of the request, in tokens."""

    prompt_tokens: int
    output_tokens: int


Scored = list[tuple[Candidate, str]]
"""Best first, each with the reason for its place."""

Rank = Callable[[Sequence[Candidate], Load, float, float], Scored]
"""The candidates, the load, the time and the random number in [0, 1)."""


def effective_price(candidate: Candidate, load: Load) -> Decimal | None:
    """US dollars for the whole request, likely cache hits counted; None: unknown."""
    per_million = _per_million(candidate, load.prompt_tokens, load.output_tokens)
    return None if per_million is None else per_million / 1_000_000


def _per_million(candidate: Candidate, prompt: int, output: int) -> Decimal | None:
    price = candidate.route.price
    if price.input is None or (price.output is None and output):
        return None
    cached = min(candidate.warm.tokens, prompt) if candidate.warm is not None else 0
    cached_price = price.input if price.cached_read is None else price.cached_read
    return price.input * (prompt - cached) + cached_price * cached + (price.output or 0) * output


def recent_outage(health: RouteHealth, at: float) -> bool:
    outage = health.last_outage_at
    return outage is not None and at - outage < OUTAGE_WINDOW


def _cheap(usable: Sequence[Candidate], load: Load, at: float, random: float) -> Scored:
    prices = [(candidate, effective_price(candidate, load)) for candidate in usable]
    prices.sort(key=lambda pair: (pair[1] is None, pair[1] or Decimal(0)))
    return [
        (c, "its price is unknown" if usd is None else f"about ${usd:.8f} for this request")
        for c, usd in prices
    ]


def _balanced(usable: Sequence[Candidate], load: Load, at: float, random: float) -> Scored:
    """Routes with a recent outage last; the others drawn by weight over the price squared.

    Source: OpenRouter's documented price-based load balancing.
    """
    shaky = [c for c in usable if _counts_as_down(c.health, at)]
    steady = [c for c in usable if not _counts_as_down(c.health, at)]
    drawn = [(c, f"drawn with a share of {share:.0%}") for c, share in _draw(steady, load, random)]
    late = [(c, f"failed in the last {OUTAGE_WINDOW:g} s") for c, _ in _draw(shaky, load, random)]
    return drawn + late


def _counts_as_down(health: RouteHealth, at: float) -> bool:
    return health.breaker is not BreakerState.HALF_OPEN and recent_outage(health, at)


def _draw(
    candidates: Sequence[Candidate], load: Load, random: float
) -> list[tuple[Candidate, float]]:
    """A weighted order without replacement, from one random number.

    After each draw the number is stretched over the interval it fell into, where it is uniform
    again. The figure beside each candidate is its share at the moment it was drawn.
    """
    if len(candidates) == 1 and candidates[0].route.weight > 0:
        return [(candidates[0], 1.0)]
    prices = [_price_of_mix(c, load) for c in candidates]
    known = [price for price in prices if price is not None]
    # An unknown price is taken as the dearest known one: chance may pick it, hope may not.
    dearest = max(known, default=1.0)
    left = [
        (c, c.route.weight / max(dearest if price is None else price, CHEAPEST_COUNTED) ** 2)
        for c, price in zip(candidates, prices, strict=True)
    ]
    order: list[tuple[Candidate, float]] = []
    while left:
        total = sum(weight for _, weight in left)
        if total <= 0:
            return order + [(c, 0.0) for c, _ in left]
        point = random * total
        index = 0
        while index < len(left) - 1 and point >= left[index][1]:
            point -= left[index][1]
            index += 1
        candidate, weight = left.pop(index)
        random = min(max(point / weight, 0.0), 1 - 2**-53) if weight > 0 else 0.0
        order.append((candidate, weight / total))
    return order


def _price_of_mix(candidate: Candidate, load: Load) -> float | None:
    """US dollars per million tokens of this request's expected mix; without one, half and half."""
    prompt, output = load.prompt_tokens, load.output_tokens
    if prompt + output == 0:
        prompt = output = 1
    per_million = _per_million(candidate, prompt, output)
    return None if per_million is None else float(per_million / (prompt + output))


class _Measure(msgspec.Struct, frozen=True):
    of: Callable[[RouteHealth], float | None]
    words: Callable[[float], str]
    best_low: bool

    def place(self, candidate: Candidate) -> tuple[bool, bool, float]:
        """Half-open breakers first, what was never measured last."""
        value = self.of(candidate.health)
        height = 0.0 if value is None else value
        return (
            candidate.health.breaker is not BreakerState.HALF_OPEN,
            value is None,
            height if self.best_low else -height,
        )

    def reason(self, candidate: Candidate) -> str:
        if candidate.health.breaker is BreakerState.HALF_OPEN:
            return "probed: its breaker is half-open"
        value = self.of(candidate.health)
        return "not measured yet" if value is None else self.words(value)

    def stale_since(self, candidate: Candidate, at: float) -> float | None:
        """When the route was last measured; None: it is fresh."""
        last = candidate.health.measured_at
        if last is None:
            return float("-inf") if self.of(candidate.health) is None else None
        return last if at - last >= FRESH else None


def _measured(measure: _Measure) -> Rank:
    def ranked(usable: Sequence[Candidate], load: Load, at: float, random: float) -> Scored:
        scored = [(c, measure.reason(c)) for c in sorted(usable, key=measure.place)]
        if random >= EXPLORATION_SHARE or _probing(usable):
            return scored
        return _explored(scored, measure, at)

    return ranked


def _probing(usable: Sequence[Candidate]) -> bool:
    return any(c.health.breaker is BreakerState.HALF_OPEN for c in usable)


def _explored(scored: Scored, measure: _Measure, at: float) -> Scored:
    """The route that was not measured for longest first, where there is one."""
    stale = [
        (since, place)
        for place, (candidate, _) in enumerate(scored)
        if (since := measure.stale_since(candidate, at)) is not None
    ]
    if not stale:
        return scored
    since, place = min(stale)
    never = since == float("-inf")
    reason = "never measured" if never else f"last measured {at - since:.0f} s ago"
    return [(scored[place][0], f"explored: {reason}"), *scored[:place], *scored[place + 1 :]]


_FIRST_TOKEN = _Measure(
    lambda health: health.first_token,
    lambda seconds: f"first token in {seconds * 1000:.0f} ms",
    best_low=True,
)
_THROUGHPUT = _Measure(
    lambda health: health.tokens_per_second, lambda speed: f"{speed:.0f} tokens/s", best_low=False
)
_SUCCESS = _Measure(
    lambda health: health.success_rate, lambda rate: f"{rate:.1%} succeed", best_low=False
)

STRATEGIES: Mapping[Strategy, Rank] = MappingProxyType(
    {
        Strategy.CHEAP: _cheap,
        Strategy.FAST: _measured(_FIRST_TOKEN),
        Strategy.THROUGHPUT: _measured(_THROUGHPUT),
        Strategy.RELIABLE: _measured(_SUCCESS),
        Strategy.BALANCED: _balanced,
    }
)
