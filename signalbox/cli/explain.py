"""`signalbox explain`: what a request would do, told without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import fill, wrap
from urllib.parse import urlencode

import click
import msgspec

from signalbox.cli.banner import TERMINAL_COLUMNS
from signalbox.cli.common import (
    FAILED,
    MISUSED,
    effective_settings,
    environment,
    fail,
    load_models,
    located,
)
from signalbox.cli.explanations import MOST_BYTES, NotExplained, ask_gateway, explain_offline
from signalbox.cli.table import printable, table
from signalbox.config import ConfigError
from signalbox.http.explain_api import ExplainAnswer, ModelShown, RouteShown
from signalbox.types import Secret

KEY_VARIABLE = "SIGNALBOX_API_KEY"
ROUTE_CELL = 26
"""Characters; longer names are broken."""
WHY_CELL = 20
"""Characters that reasons get at least, however long figures are."""
UNKNOWN = "–"

HEADER = ("", "route", "USD", "TTFT", "tok/s", "success", "keys", "why")
OFFLINE = (
    "Told from the configuration alone: nothing is measured, every key is free, and what lives at "
    "a provider is not known. --gateway URL asks a running gateway."
)


@click.command()
@click.argument("file")
@click.option("--gateway", metavar="URL", help="A running gateway, to be asked how things are.")
@click.option("--key", help=f"The gateway key for --gateway; otherwise ${KEY_VARIABLE}.")
@click.option("--door", metavar="PATH", help="Whose request it is; otherwise /v1/chat/completions.")
@click.option("--random", "number", help="The number in [0, 1) to draw with; otherwise any.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the answer of /v1/explain.")
@located
def explain(
    file: str,
    gateway: str | None,
    key: str | None,
    door: str | None,
    number: str | None,
    as_json: bool,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Shows what the chat completion request in FILE (- for standard input) would do.

    With --door /v1/messages it is a request of that API, with
    --door /v1beta/models/MODEL:generateContent one of that.

    Which routes it would try, in which order, why and at what price, and which it would not.
    Nothing is sent to any provider. Exit code 1: the gateway cannot be asked; 2: the request or the
    configuration is wrong.
    """
    data = _read(file)
    wishes = {"random": number, "door": door}
    query = urlencode({name: wish for name, wish in wishes.items() if wish is not None})
    try:
        if gateway is None:
            answer = _offline(config, data_dir, data, query)
        else:
            answer = ask_gateway(gateway, _key(key), data, query)
    except NotExplained as error:
        fail(printable(f"{file}: {error}"), MISUSED if error.of_request else FAILED)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
        return
    _show(answer)
    if gateway is None:
        _section(OFFLINE)


def _read(file: str) -> bytes:
    try:
        with click.open_file(file, "rb") as source:
            data: bytes = source.read(MOST_BYTES + 1)
    except OSError as error:
        fail(printable(f"{file} cannot be read: {error.strerror}"), MISUSED)
    if len(data) > MOST_BYTES:
        fail(printable(f"{file} is larger than {MOST_BYTES} bytes"), MISUSED)
    return data


def _offline(config: Path | None, data_dir: Path, data: bytes, query: str) -> ExplainAnswer:
    settings = effective_settings(config, data_dir)
    try:
        models = load_models(settings)
    except ConfigError as error:
        fail(str(error), MISUSED)
    return explain_offline(settings, models, data, query)


def _key(given: str | None) -> Secret:
    key = given or environment().get(KEY_VARIABLE)
    if not key:
        fail(f"--gateway needs a gateway key: --key KEY or ${KEY_VARIABLE}", MISUSED)
    if not (key.isascii() and key.isprintable()):
        fail("the gateway key has characters that no key has", MISUSED)
    return Secret(key)


# In the terminal


def _show(answer: ExplainAnswer) -> None:
    size = f"about {answer.prompt_tokens:,} + {answer.output_tokens:,} tokens"
    _paragraph(f"{answer.model}: {size}, drawn with {answer.random:.4f}, {_policy(answer)}")
    for each in answer.models:
        _show_model(each)
    if answer.waits_for is not None:
        wait = answer.waits_for
        _section(f"At the end it would wait up to {wait.seconds:.1f} s for a key of {wait.route}.")
    if answer.refusal is not None:
        refusal = answer.refusal
        _section(f"It would be refused: {refusal.status} {refusal.code}: {refusal.message}")
    _show_detour("If the first call says that the prompt is too long:", answer.context_fallbacks)
    _show_detour(
        "If the first call says that the content is not allowed:", answer.content_fallbacks
    )


def _policy(answer: ExplainAnswer) -> str:
    clocks = answer.timeouts
    if not answer.stream:
        return f"answered within {clocks.response:g} s a call, {clocks.total:g} s in all"
    late = "its p95" if answer.hedge_after is None else f"{answer.hedge_after:g} s"
    hedge = f", hedged after {late}" if answer.hedge else ""
    return (
        f"streamed, first token within {clocks.first_token:g} s, {clocks.total:g} s in all, "
        f"if it breaks: {answer.midstream}{hedge}"
    )


def _show_detour(when: str, models: Sequence[ModelShown]) -> None:
    if models:
        _section(when)
    for each in models:
        _show_model(each)


def _show_model(model: ModelShown) -> None:
    retry = model.retry
    _section(
        f"{model.model}: strategy {model.strategy} (by the {model.strategy_source}), "
        f"retries a route: {retry.attempts}, calls in all: {retry.max_attempts_total}"
    )
    if model.skipped:
        _paragraph(model.skipped)
        return
    ranked = [(str(place), route) for place, route in enumerate(model.ranked, 1)]
    routes = [*ranked, *((UNKNOWN, route) for route in model.excluded)]
    lines = [(_figures(place, route), _why(route)) for place, route in routes]
    widths = [
        max(len(row[column]) for row in (HEADER, *(f for f, _ in lines)))
        for column in range(len(HEADER) - 1)
    ]
    widths[1] = min(widths[1], ROUTE_CELL)
    left = max(TERMINAL_COLUMNS - sum(widths) - 2 * len(widths), WHY_CELL)
    table(HEADER, [row for figures, why in lines for row in _rows(figures, why, left)])


def _figures(place: str, route: RouteShown) -> tuple[str, ...]:
    health = route.health
    return (
        place,
        printable(route.route),
        UNKNOWN if route.cost is None else printable(route.cost),
        UNKNOWN if health.first_token is None else f"{health.first_token * 1000:.0f} ms",
        UNKNOWN if health.tokens_per_second is None else f"{health.tokens_per_second:.0f}",
        UNKNOWN if health.success_rate is None else f"{health.success_rate:.1%}",
        _room(route),
    )


def _room(route: RouteShown) -> str:
    if not route.keys.available:
        return "none"
    return UNKNOWN if route.keys.share is None else f"{route.keys.share:.0%}"


def _why(route: RouteShown) -> str:
    keys, health = route.keys, route.health
    parts = [
        route.reason,
        f"told as {route.kind}" if route.kind else "",
        f"room in {keys.available_in:.1f} s" if keys.available_in is not None else "",
        f"breaker {health.breaker}" if health.breaker != "closed" else "",
        f"outage {health.last_outage_ago:.0f} s ago" if health.last_outage_ago is not None else "",
        f"about {route.warm_tokens} tokens cached" if route.warm_tokens else "",
        "on the caller's own key" if route.callers_own else "",
        f"drops {', '.join(route.dropped)}" if route.dropped else "",
    ]
    return printable("; ".join(part for part in parts if part))


def _rows(figures: tuple[str, ...], why: str, columns: int) -> Iterator[tuple[str, ...]]:
    """A route's line, and more for what does not fit into its cells."""
    place, route, *numbers = figures
    lines = zip_longest(wrap(route, ROUTE_CELL), wrap(why, columns), fillvalue="")
    for number, (name, words) in enumerate(lines):
        rest = numbers if number == 0 else [""] * len(numbers)
        yield (place if number == 0 else "", name, *rest, words)


def _section(text: str) -> None:
    click.echo()
    _paragraph(text)


def _paragraph(text: str) -> None:
    click.echo(fill(printable(text), TERMINAL_COLUMNS))
