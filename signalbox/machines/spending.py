"""What a request may come to under hard budgets: how much it has to hold, which of its routes that
is enough for, how long their answers may be. Pure; amounts are nano-USD.

The input is bounded by what the request holds (`InputBound`), at the dearest price that can apply
to it; nothing is left to luck there. The output is bounded in one of two ways:

* A stream whose output can all be seen as it comes is *cut* where the hold ends. It holds what such
  an answer is expected to cost, and is extended while it grows: a token is at least a byte.
* Of anything else the end alone shows what it cost: whole answers, and models that think where
  nobody sees it. It is told how long its answer may be (`max_tokens`), and holds all of that.

Without hard budgets there is no `Spending`, and nothing here is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from signalbox.machines.budget import MOST, Budget, BudgetScope
from signalbox.types import InputBound, ModelPlan, NanoUSD, Price, Route, Usage, usd

LEAST_OUTPUT = 256
"""Tokens of an answer for which it is worth to begin: a short paragraph. With less left a client is
better told so."""
USUAL_ANSWER = 512
"""Tokens that a stream is expected to have where nobody knows better."""
SHARE = 4
"""A call that cannot be cut holds no more than the fourth part of a budget's limit, unless it needs
that for an answer of the usual length: who asks for 128,000 tokens uses a hundredth of them, and
the other calls under the same budget would be refused meanwhile."""

_NANO_PER_TOKEN = 1000
"""US dollars per million tokens → nano-USD per token."""
_OUTPUT_PRICES = ("output", "reasoning", "audio_output", "image_output")
_TEXT_PRICES = ("input", "cache_write")
_NOTHING: Mapping[str, int] = {}


class Spending(msgspec.Struct, frozen=True):
    """What of a request decides on that, fixed when it is taken in. Counts are tokens."""

    budgets: tuple[Budget, ...]
    """The hard ones that it is under."""
    input: InputBound
    streamed: bool
    usual: int
    """The most of an answer that cannot be cut, where the client gives no ceiling."""
    ceiling: int | None = None
    """The client's, of one alternative."""
    answers: int = 1
    """Alternatives that are charged; 0: there is nothing to be written (embeddings)."""
    least: int = LEAST_OUTPUT
    """Of an alternative; with less it is not worth to begin."""
    image_tokens: Mapping[str, int] = _NOTHING
    """The most for one picture, by the route's id."""
    expected: Mapping[str, int] = _NOTHING
    """Of an answer, by the model's name, as far as they are known."""
    callers_own: tuple[str, ...] = ()
    """Providers for which the caller has a key, and no key of the gateway may stand in for it: what
    they charge is no business of ours."""


class Sent(msgspec.Struct, frozen=True):
    """What the client has been sent of the answer by attempts that are over. At most."""

    tokens: int = 0
    cost: NanoUSD = NanoUSD(0)


NOTHING_SENT = Sent()


class Terms(msgspec.Struct, frozen=True):
    """What a call of one route may cost."""

    base: NanoUSD
    """With the first token: all of the input, and what was sent before."""
    per_token: Decimal
    """Of output. Nano-USD."""
    wanted: int
    """Tokens of output, of all alternatives, that it would be held for."""
    least: int
    """Likewise: with less it is not begun."""
    most: int | None
    """More than that the answer cannot have; None: nobody has said."""
    cuttable: bool
    share: NanoUSD = MOST
    """More is held only for an answer of the usual length."""
    usual: int = 0
    answers: int = 1

    def cost(self, tokens: int) -> NanoUSD:
        """With so much output, rounded up."""
        if self.most is not None:
            tokens = min(tokens, self.most)
        return NanoUSD(self.base + _up(tokens * self.per_token))

    @property
    def needs(self) -> NanoUSD:
        """What it cannot begin without."""
        return self.cost(self.least)

    @property
    def wants(self) -> NanoUSD:
        """What is held for it where there is as much."""
        fair = max(self.share, self.cost(min(self.wanted, self.usual)))
        return min(MOST, max(self.needs, min(self.cost(self.wanted), fair)))

    def affordable(self, amount: NanoUSD) -> int | None:
        """How much output `amount` pays for; None: output costs nothing."""
        if not self.per_token:
            return None
        return max(0, int((amount - self.base) / self.per_token))

    def ceiling(self, amount: NanoUSD) -> int | None:
        """The most tokens that an alternative may have under a hold of `amount`, 1 or more; None:
        it need not be told."""
        affordable = self.affordable(amount)
        if self.cuttable or affordable is None or not self.answers:
            return None
        return max(1, min(affordable, self.wanted) // self.answers)


class Unbounded(msgspec.Struct, frozen=True):
    """Why nobody can say what a call of a route may cost, in words."""

    reason: str


RouteTerms: TypeAlias = Terms | Unbounded


def terms_of(spending: Spending, model: str, route: Route, sent: Sent = NOTHING_SENT) -> RouteTerms:
    """For the next call of this route of the model so named."""
    if route.provider in spending.callers_own:
        return replace(_FREE, base=sent.cost)
    tokens = _input_of(spending, route)
    if tokens is None:
        return Unbounded(f"nothing bounds what {spending.input.open_end} brings into its input")
    rates = _rates_of(route.price, tokens, spending)
    if rates is None:
        return Unbounded("its price is unknown")
    per_token = rates.output_token
    # What was sent is the beginning of the new answer: it is given to the model, or told again.
    again = sent.tokens * max(per_token, rates.text_token)
    predicted = spending.input.prediction * per_token
    base = NanoUSD(sent.cost + _up(rates.input + again + predicted))
    return _with_output(spending, model, route, base, per_token)


def _with_output(
    spending: Spending, model: str, route: Route, base: NanoUSD, per_token: Decimal
) -> Terms:
    answers = spending.answers
    ceilings = [each for each in (spending.ceiling, route.max_output) if each is not None]
    most = min(ceilings, default=None)
    cuttable = is_cuttable(spending, route)
    wanted = spending.expected.get(model, USUAL_ANSWER) if cuttable else spending.usual
    if not cuttable and spending.ceiling is not None:
        wanted = spending.ceiling
    if most is not None:
        wanted = min(wanted, most)
    return Terms(
        base=base,
        per_token=per_token,
        wanted=wanted * answers,
        least=min(spending.least, wanted) * answers,
        most=None if most is None else most * answers,
        cuttable=cuttable,
        share=_share(spending.budgets),
        usual=spending.usual * answers,
        answers=answers,
    )


def is_cuttable(spending: Spending, route: Route) -> bool:
    """Whether all output of the route is seen as it comes, so that it can end where the hold does.

    A model that may think shows at best a summary of it, and where nothing is known of a model it
    may think.
    """
    known = route.capabilities
    hides = known is None or "reasoning" in known or spending.input.prediction > 0
    return spending.streamed and not hides


def opening(spending: Spending, models: Sequence[ModelPlan]) -> tuple[NanoUSD, NanoUSD]:
    """The hold that a request begins with: as much as the dearest route of its first model wants,
    and no less than the cheapest of all models needs. Both 0 where no route is to be held for."""
    all_terms = [
        [
            t
            for route in model.routes
            if isinstance(t := terms_of(spending, model.name, route), Terms)
        ]
        for model in models
    ]
    least = min((terms.needs for each in all_terms for terms in each), default=NanoUSD(0))
    return max([least, *(terms.wants for terms in all_terms[0])]), least


def expected_cost(models: Sequence[ModelPlan], prompt: int, output: int) -> NanoUSD:
    """What a request is likely to cost where no hard budget bounds it: on the first route of known
    price; 0 where there is none."""
    usage = Usage(prompt=prompt, completion=output)
    costs = (route.price.cost(usage) for model in models for route in model.routes)
    return next((cost for cost in costs if cost is not None), NanoUSD(0))


def wanted_for(
    spending: Spending, model: ModelPlan, routes: Iterable[Route], sent: Sent
) -> NanoUSD:
    """What the dearest of these routes of the model wants in all; 0 where none can be bounded."""
    terms = (terms_of(spending, model.name, route, sent) for route in routes)
    return max((each.wants for each in terms if isinstance(each, Terms)), default=NanoUSD(0))


def why_not(spending: Spending, model: str, route: Route, held: NanoUSD, sent: Sent) -> str | None:
    """Why a hold of `held` is not enough for the route, in words; None: it is."""
    terms = terms_of(spending, model, route, sent)
    if isinstance(terms, Unbounded):
        return f"over budget: {terms.reason}, and {names_of(spending.budgets)} is a hard ceiling"
    if terms.needs <= held:
        return None
    needs, left = terms.needs - sent.cost, max(0, held - sent.cost)
    return f"over budget: needs {dollars(NanoUSD(needs))}, {dollars(NanoUSD(left))} is left"


def gets_all(spending: Spending, model: str, route: Route, held: NanoUSD, sent: Sent) -> bool:
    """Whether the hold is enough for the answer that is wanted, not only for a beginning."""
    terms = terms_of(spending, model, route, sent)
    return isinstance(terms, Terms) and terms.wants <= held


def names_of(budgets: Iterable[Budget]) -> str:
    """Budgets as a client is told of them."""
    return ", ".join(name_of(budget) for budget in budgets)


def name_of(budget: Budget) -> str:
    if budget.scope is BudgetScope.REQUEST:
        return f"extra.max_cost ({dollars(budget.limit)})"
    return f"the budget {budget.name!r} ({dollars(budget.limit)} {_per(budget)})"


def _per(budget: Budget) -> str:
    return "in all" if budget.period == "total" else f"per {budget.period}"


def dollars(amount: NanoUSD) -> str:
    """Exact, without an exponent."""
    return f"${usd(amount).normalize():f}"


# ── prices at their worst ─────────────────────────────────────────────────────────────────────


class _Input(msgspec.Struct, frozen=True):
    """Tokens of one route's input, by their class."""

    text: int
    images: int
    audio: int

    @property
    def total(self) -> int:
        return self.text + self.images + self.audio


def _input_of(spending: Spending, route: Route) -> _Input | None:
    """No more of what is not text than the model's context; None: what is not in the request has no
    other bound, and that is unknown."""
    bound, context = spending.input, route.context_length
    if bound.open_end:
        return None if context is None else _Input(context, 0, bound.audio)
    images = bound.images * spending.image_tokens.get(route.id, 0)
    if context is None:
        return _Input(bound.text + bound.documents, images, bound.audio)
    text = bound.text + min(bound.documents, context)
    return _Input(text, min(images, context), min(bound.audio, context))


class _Rates(msgspec.Struct, frozen=True):
    """At the dearest prices that can apply. Nano-USD, the input's for all of it."""

    input: Decimal
    text_token: Decimal
    output_token: Decimal


def _rates_of(price: Price, tokens: _Input, spending: Spending) -> _Rates | None:
    """None where a price is unknown."""
    names = (*_TEXT_PRICES, "cache_write_1h") if spending.input.long_cache else _TEXT_PRICES
    rates: list[_Rates] = []
    for each in _applying(price, tokens.total):
        if each.input is None or (each.output is None and spending.answers):
            return None
        text = _dearest(each, names)
        cost = (
            tokens.text * text
            + tokens.images * _dearest(each, ("input", "image_input"))
            + tokens.audio * _dearest(each, ("input", "audio_input"))
        )
        rates.append(_Rates(cost, text, _dearest(each, _OUTPUT_PRICES)))
    return _Rates(
        max(each.input for each in rates) * _NANO_PER_TOKEN,
        max(each.text_token for each in rates) * _NANO_PER_TOKEN,
        max(each.output_token for each in rates) * _NANO_PER_TOKEN,
    )


def _applying(price: Price, tokens: int) -> list[Price]:
    """The price, and all that may hold in its place: for longer inputs, at other service tiers."""
    tiers = [tier for tier in price.tiers if tier.above < tokens]
    return [replace(price, tiers=()), *(price.at(tier) for tier in tiers)]


def _dearest(price: Price, names: Iterable[str]) -> Decimal:
    known = (getattr(price, name) for name in names)
    return max((each for each in known if each is not None), default=Decimal(0))


def _share(budgets: Iterable[Budget]) -> NanoUSD:
    counted = (each.limit for each in budgets if each.scope is not BudgetScope.REQUEST)
    return NanoUSD(min([MOST, *(limit // SHARE for limit in counted)]))


def _up(amount: Decimal) -> int:
    return int(amount.to_integral_value(rounding=ROUND_CEILING))


_FREE = Terms(
    base=NanoUSD(0), per_token=Decimal(0), wanted=0, least=0, most=None, cuttable=False, answers=0
)
