"""What requests under hard budgets may need, drawn and plain: for tests of what goes by it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.machines.spending import Spending
from signalbox.types import InputBound, NanoUSD, Price, PriceTier, Route, Usage
from tests.money_desk import budget, dollars

VISIBLE = frozenset({"tools"})
"""Of a model that shows all that it writes."""
THINKING = frozenset({"tools", "reasoning"})
RATES = st.decimals(Decimal("0.01"), 200, places=4)
"""US dollars per million tokens."""


def prices() -> st.SearchStrategy[Price]:
    known = st.builds(Price, input=RATES, output=RATES)
    some = st.none() | RATES
    full = st.builds(
        Price,
        input=RATES,
        output=RATES,
        cache_write=some,
        cache_write_1h=some,
        audio_input=some,
        image_input=some,
        reasoning=some,
        image_output=some,
        tiers=st.lists(
            st.builds(
                PriceTier,
                rates=st.fixed_dictionaries({"input": RATES, "output": RATES}),
                above=st.sampled_from([0, 500, 5_000]),
                service_tier=st.sampled_from([None, "priority"]),
            ),
            max_size=2,
        ).map(lambda tiers: tuple(sorted(tiers, key=lambda tier: tier.above))),
    )
    return st.one_of(known, full)


COUNTS = st.integers(0, 20_000)
BOUNDS = st.builds(
    InputBound,
    text=st.integers(1, 200_000),
    images=st.integers(0, 3),
    documents=COUNTS,
    audio=COUNTS,
    prediction=st.sampled_from([0, 0, 300]),
    long_cache=st.booleans(),
)
CEILINGS = st.none() | st.integers(1, 200_000)


def routes(price: st.SearchStrategy[Price] | None = None) -> st.SearchStrategy[Route]:
    return st.builds(
        Route,
        provider=st.just("p"),
        model=st.just("m"),
        price=prices() if price is None else price,
        max_output=CEILINGS,
        context_length=st.none() | st.integers(1_000, 200_000),
        capabilities=st.sampled_from([None, VISIBLE, THINKING]),
    )


def spendings() -> st.SearchStrategy[Spending]:
    return st.builds(
        Spending,
        budgets=st.lists(
            st.sampled_from([0.01, 1.0, 5.0, 100.0]), min_size=1, max_size=2, unique=True
        ).map(lambda limits: tuple(budget(limit, f"b{limit}") for limit in limits)),
        input=BOUNDS,
        streamed=st.booleans(),
        usual=st.sampled_from([1, 500, 8192]),
        ceiling=CEILINGS,
        answers=st.integers(1, 3),
        least=st.sampled_from([1, 256, 2048]),
        image_tokens=st.just({"p:m": 1600}),
        expected=st.sampled_from([{}, {"m": 40}, {"m": 4000}]),
    )


def spending(limit: float = 1.0, **fields: Any) -> Spending:
    """Of a whole answer to a prompt of at most 1,000 tokens, under one budget a day."""
    usual = Spending(
        budgets=(budget(limit),), input=InputBound(1000), streamed=False, usual=1000, least=100
    )
    return replace(usual, **fields)


def usages(terms: Spending, output: int) -> st.SearchStrategy[Usage]:
    """What a provider may report of an input within the bound, and of `output` tokens."""
    bound = terms.input

    def used(parts: list[int]) -> Usage:
        total = bound.text + bound.documents
        shares = [total * part // max(1, sum(parts)) for part in parts]
        names = ["prompt", "cached_read", "cache_write"]
        names += ["cache_write_1h"] if bound.long_cache else []
        split: dict[str, Any] = dict(zip(names, shares, strict=False))
        return Usage(
            **split,
            audio_input=bound.audio,
            image_input=bound.images * 1600,
            completion=output // 2,
            reasoning=output - output // 2,
            service_tier=["standard", "priority"][parts[0] % 2],
        )

    return st.lists(st.integers(0, 5), min_size=4, max_size=4).map(used)


def nano(amount: float) -> NanoUSD:
    return dollars(amount)
