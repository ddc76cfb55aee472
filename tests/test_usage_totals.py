"""The usage that real providers report, in disjoint classes: they sum to the provider's own totals,
and cost what the price catalogue's own reading of the same answer costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from genai_prices import calc_price, extract_usage
from msgspec.structs import fields, replace

from signalbox.adapters.catalogue import Catalogue, vendor_id
from signalbox.adapters.protocol import Answer, Delta
from signalbox.prices import _INPUTS, _OUTPUTS
from signalbox.types import Dialect, Price, Usage, usd
from tests.outgoing import REQUEST
from tests.recordings import Exchange, own_exchanges, recorded_exchanges
from tests.test_errors_at_doors import adapter_of

TODAY = date(2026, 11, 23)
FLAVOURS = {Dialect.CHAT: "chat", Dialect.RESPONSES: "responses"}


def is_answer(exchange: Exchange) -> bool:
    others = "mbed" in exchange.path or exchange.provider == "cohere"
    return exchange.status == 200 and not others


def read(exchange: Exchange) -> tuple[Usage | None, list[dict[str, Any]]]:
    """The usage of the answer, and the documents of its own dialect that told it."""
    adapter = adapter_of(exchange)
    request = replace(REQUEST, door=adapter.dialect, stream=exchange.streamed)
    if not exchange.streamed:
        answer = adapter.decode_answer(exchange.body, request)
        if not isinstance(answer, Answer):
            return None, []
        return answer.usage, [answer.body]
    decoder = adapter.stream_decoder(request)
    events = [*decoder.feed(exchange.body), *decoder.end()]
    deltas = [event for event in events if isinstance(event, Delta)]
    usages = [delta.usage for delta in deltas if delta.usage is not None]
    return usages[-1] if usages else None, [json.loads(delta.raw) for delta in deltas if delta.raw]


def totals(documents: list[dict[str, Any]]) -> dict[str, int]:
    """The provider's own sums of input and output, each as it was told last."""
    told: dict[str, int] = {}
    for usage in (usage for document in documents for usage in reported(document)):
        known = {name: count for name, count in usage.items() if isinstance(count, int)}
        told |= known
    return told


def reported(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = (document, document.get("response"), document.get("message"), document.get("x_groq"))
    for holder in inner:
        for name in ("usage", "usageMetadata"):
            if isinstance(holder, dict) and isinstance(holder.get(name), dict):
                yield holder[name]


def sums(exchange: Exchange, told: dict[str, int]) -> tuple[int, int]:
    """(input, output) as each vendor documents what its numbers hold."""
    dialect = adapter_of(exchange).dialect
    if dialect is Dialect.MESSAGES:
        cache = ("cache_read_input_tokens", "cache_creation_input_tokens")
        return told["input_tokens"] + sum(told.get(n, 0) for n in cache), told["output_tokens"]
    if dialect is Dialect.GENERATE:
        outputs = ("candidatesTokenCount", "thoughtsTokenCount")
        output = sum(told.get(name, 0) for name in outputs)
        return told["totalTokenCount"] - output, output
    names = ("input_tokens", "output_tokens")
    if dialect is Dialect.CHAT:
        names = ("prompt_tokens", "completion_tokens")
    if "total_tokens" in told:
        # Of completion tokens some leave reasoning out (xAI); the total has it always.
        return told[names[0]], told["total_tokens"] - told[names[0]]
    return told[names[0]], told[names[1]]


ANSWERS = [
    *(it for it in own_exchanges("openai/answers") if is_answer(it.values[0])),
    *(it for it in own_exchanges("openai/streams") if is_answer(it.values[0])),
    *(it for it in own_exchanges("anthropic") if is_answer(it.values[0])),
    *recorded_exchanges(is_answer),
]


@pytest.mark.parametrize("exchange", ANSWERS)
def test_the_classes_sum_to_the_providers_own_totals(exchange: Exchange) -> None:
    usage, documents = read(exchange)
    if usage is None or usage.completion is None:
        told = totals(documents)
        assert not any(told.get(name) for name in ("total_tokens", "totalTokenCount"))
        return
    assert (usage.input_total, usage.output_total) == sums(exchange, totals(documents))
    assert all((getattr(usage, name) or 0) >= 0 for name in (*_INPUTS, *_OUTPUTS))


def test_every_class_of_tokens_has_a_price() -> None:
    classes = {field.name for field in fields(Usage)} - {"estimated", "service_tier"}
    assert classes == {*_INPUTS, *_OUTPUTS}
    prices = {field.name for field in fields(Price)}
    assert classes - {"prompt", "completion"} < prices


@cache
def catalogue() -> Catalogue:
    return Catalogue.load(TODAY)


def theirs(body: dict[str, Any], provider: str, model: str, dialect: Dialect) -> Decimal | None:
    """What `genai-prices` makes of the answer; None where it knows no way to read it."""
    vendor = vendor_id(provider)
    for flavour in (FLAVOURS.get(dialect, "default"), "default"):
        try:
            found = extract_usage(body, provider_id=vendor, api_flavor=flavour)
        except (LookupError, ValueError):
            continue
        at = datetime.combine(TODAY, time(), UTC)
        price = calc_price(found.usage, model, provider_id=vendor, genai_request_timestamp=at)
        return price.total_price
    return None


def cached_audio(body: dict[str, Any]) -> bool:
    details = (body.get("usageMetadata") or {}).get("cacheTokensDetails") or ()
    return any(detail.get("modality") == "AUDIO" for detail in details)


@pytest.mark.parametrize(
    "exchange", recorded_exchanges(lambda it: is_answer(it) and not it.streamed)
)
def test_an_answer_costs_what_the_catalogue_itself_makes_of_it(exchange: Exchange) -> None:
    """One reading differs: Google has a price of its own for audio that was cached, which is no
    class here. It is charged as other cached input is, which is a little less."""
    usage, [body] = read(exchange)
    assert usage is not None
    model = body.get("model") or body["modelVersion"]
    cost = catalogue().price(exchange.provider, model).cost(usage)
    expected = theirs(body, exchange.provider, model, adapter_of(exchange).dialect)
    assert cost is not None
    assert expected is not None
    if cached_audio(body):
        assert expected * Decimal("0.9") < usd(cost) < expected
    else:
        assert usd(cost) == expected.quantize(Decimal("1e-9"))
