"""Every door by every provider's wire: what a cell asks, what it must show, and the page of it.

A cell is one case of what is carried, from a vendor's own SDK through the gateway to a simulator
that speaks the provider's wire format as strictly as the provider, and back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from signalbox.simulator import Match, Rule, Scenario, Step
from signalbox.simulator.answers import tokenise
from signalbox.simulator.signatures import sign
from signalbox.simulator.vectors import DIMENSIONS, vector
from tests import client_table, not_run_live
from tests.matrix_doors import PDF_TEXT, PLACE, PNG_TEXT, Ask, Driver, Seen

LONG = "a prompt that is too long"
SCENARIO = Scenario(
    rules=(Rule(match=Match(body_contains=LONG), steps=(Step(error="context_length_exceeded"),)),)
)


@dataclass(frozen=True)
class Wire:
    """A provider's wire format in the gateway's configuration, and where its requests go."""

    title: str
    provider: str
    config: str
    """The provider's table, `{root}` being the simulator's address."""
    model: str
    """The provider's name for it."""
    path: str
    """A part of the path that requests go to."""
    thinks: str
    """The field of the upstream body that asks for thinking."""
    embeds: str | None = None
    """A part of the path that embeddings go to; None: the provider has none."""
    embedder: str = "text-embedding-3-small"
    signed: tuple[str, ...] = ()
    """What the simulator signed and the second step of a tool loop must bring back."""


_OPENAI = 'api = "openai"\nbase_url = "{root}/v1"'
WIRES: Mapping[str, Wire] = {
    "compatible": Wire(
        "chat completions of a compatible provider",
        "compatible",
        _OPENAI,
        "any-model",
        "/v1/chat/completions",
        "reasoning_effort",
        "/v1/embeddings",
    ),
    "openai": Wire(
        "OpenAI's chat completions",
        "openai",
        _OPENAI,
        "gpt-5-mini",
        "/v1/chat/completions",
        "reasoning_effort",
        "/v1/embeddings",
    ),
    "responses": Wire(
        "OpenAI's Responses API",
        "openai",
        _OPENAI,
        "o3-pro",
        "/v1/responses",
        "reasoning",
    ),
    "anthropic": Wire(
        "Anthropic's Messages API",
        "anthropic",
        'api = "anthropic"\nbase_url = "{root}/v1"',
        "claude-sonnet-4-5",
        "/v1/messages",
        "thinking",
        signed=('"signature": "' + sign("thinking", "")[:12],),
    ),
    "gemini": Wire(
        "the Gemini API",
        "google",
        'api = "gemini"\nbase_url = "{root}/v1beta"',
        "gemini-3-pro-preview",
        "/v1beta/models/",
        "thinkingConfig",
        ":batchEmbedContents",
        "gemini-embedding-001",
        (sign("call", "now"),),
    ),
    "azure": Wire(
        "Azure OpenAI",
        "azure",
        'api = "azure"\nbase_url = "{root}"\napi_version = "2024-10-21"',
        "gpt-5-mini",
        "/openai/deployments/gpt-5-mini/chat/completions",
        "reasoning_effort",
        "/openai/deployments/text-embedding-3-small/embeddings",
    ),
}
DOORS: Mapping[str, str] = {
    "chat": "`/v1/chat/completions` (OpenAI SDK)",
    "responses": "`/v1/responses` (OpenAI SDK)",
    "messages": "`/v1/messages` (Anthropic SDK)",
    "generate": "`/v1beta/models/…` (Google SDK)",
    "openrouter": "`/api/v1/chat/completions` (OpenAI SDK)",
    "azure": "`/openai/deployments/…` (Azure's client of the OpenAI SDK)",
    "completions": "`/v1/completions` (OpenAI SDK)",
}
HOME = {
    ("responses", "openai"): "/v1/responses",
    ("responses", "azure"): "/openai/responses?api-version=",
}
"""Where the provider has an endpoint of the door's own dialect: a part of its path."""


class Broken(AssertionError):
    """A cell does not show what it must."""


@dataclass
class Cell:
    """One door, one wire, and what happened between them."""

    driver: Driver
    model: str
    wire: Wire
    path: str
    upstream: Callable[[], list[dict[str, Any]]]
    """The model calls that the simulator received in this cell."""

    def expect(self, seen: object, wanted: object, what: str) -> None:
        if seen != wanted:
            raise Broken(f"{what}: {seen!r} instead of {wanted!r}")

    def body(self) -> str:
        """What the last upstream request said, once it is seen to have gone to the right place;
        all base64 in one alphabet."""
        last = self.upstream()[-1]
        if self.path not in last["path"]:
            raise Broken(f"went to {last['path']} instead of {self.path}")
        self.expect(last["key"], f"sk-{self.wire.provider}", "provider key")
        return json.dumps(last["body"]).replace("-", "+").replace("_", "/")

    def carried(self, *needles: str) -> None:
        body = self.body()
        for needle in needles:
            if needle.replace("-", "+").replace("_", "/") not in body:
                raise Broken(f"the provider did not get {needle[:40]!r}: {body[:2000]}")

    def text(self, seen: Seen, ask: Ask) -> None:
        if f"“{ask.text}" not in seen.text:
            raise Broken(f"the text is {seen.text!r}")
        self.expect(seen.finish, "stop", "finish")
        self.expect(seen.prompt_tokens, 6 + len(tokenise(ask.text)), "prompt tokens")
        spent = len(tokenise(seen.text)) + len(tokenise(seen.reasoning))
        self.expect(seen.output_tokens, spent, "output tokens")

    def calls(self, seen: Seen, *names: str) -> None:
        self.expect([call.name for call in seen.calls], list(names), "tools called")
        wanted = [{"city": "Lisbon"}] * len(names)
        self.expect([call.arguments for call in seen.calls], wanted, "arguments")
        self.expect(seen.finish, "tool_calls", "finish")


def text(cell: Cell, stream: bool = False) -> None:
    ask = Ask("hello matrix", stream=stream)
    cell.text(cell.driver.ask(cell.model, ask), ask)
    cell.carried("hello matrix")


def streamed(cell: Cell) -> None:
    text(cell, stream=True)


def tools(cell: Cell, stream: bool = False) -> None:
    ask = Ask("the weather there, both now and later", tools=("now", "later"), stream=stream)
    cell.calls(cell.driver.ask(cell.model, ask), "now", "later")
    cell.carried("Lisbon")


def streamed_tools(cell: Cell) -> None:
    tools(cell, stream=True)


def tool_loop(cell: Cell) -> None:
    """Two steps with thinking on, so that what the provider signed must come back to it."""
    ask = Ask("the weather there, both", tools=("now", "later"), thinking=True)
    seen = cell.driver.ask(cell.model, ask)
    cell.calls(seen, "now", "later")
    then = cell.driver.go_on(cell.model, ask, seen, ["sun at four", "rain at five"])
    cell.carried("sun at four", "rain at five", *cell.wire.signed)
    if "five" not in then.text:
        raise Broken(f"the second step says {then.text!r}")
    cell.expect(then.finish, "stop", "finish")


def image(cell: Cell) -> None:
    seen = cell.driver.ask(cell.model, Ask("look", image=True))
    cell.carried(PNG_TEXT)
    if "[image: image/png, 68 bytes]" not in seen.text:
        raise Broken(f"the text is {seen.text!r}")


def pdf(cell: Cell) -> None:
    seen = cell.driver.ask(cell.model, Ask("read", pdf=True))
    cell.carried(PDF_TEXT)
    if "[file: application/pdf, 72 bytes]" not in seen.text:
        raise Broken(f"the text is {seen.text!r}")


def structured(cell: Cell) -> None:
    seen = cell.driver.ask(cell.model, Ask("where", schema=PLACE))
    cell.expect(json.loads(seen.text), {"city": "Lisbon"}, "JSON")
    cell.carried("Lisbon")


def thinking(cell: Cell, stream: bool = False) -> None:
    ask = Ask("think of it", thinking=True, stream=stream)
    seen = cell.driver.ask(cell.model, ask)
    cell.carried(f'"{cell.wire.thinks}"' if "responses" not in cell.path else '"reasoning"')
    if "simulated thought" not in seen.reasoning:
        raise Broken(f"the reasoning is {seen.reasoning!r}")
    cell.text(seen, ask)


def streamed_thinking(cell: Cell) -> None:
    thinking(cell, stream=True)


def error(cell: Cell) -> None:
    try:
        cell.driver.ask(cell.model, Ask(LONG))
    except Exception as failure:
        refused = cell.driver.refused(failure)
        cell.expect(refused.status, 400, "status")
        if not any(word in refused.message for word in ("context", "too long", "token count")):
            raise Broken(f"the error is {refused.message!r}") from failure
        cell.body()
    else:
        raise Broken("no error")


def embeddings(cell: Cell) -> None:
    texts = ["one", "two"]
    found = cell.driver.embed(cell.model, texts)
    wanted = [vector(one, DIMENSIONS) for one in texts]
    for got, whole in zip(found, wanted, strict=True):
        if max(abs(a - b) for a, b in zip(got, whole, strict=True)) > 1e-6:
            raise Broken("another vector")
    cell.body()


CASES: Mapping[str, Callable[[Cell], None]] = {
    "text": text,
    "stream": streamed,
    "tools": tools,
    "streamed tools": streamed_tools,
    "tool loop": tool_loop,
    "image": image,
    "PDF": pdf,
    "structured": structured,
    "thinking": thinking,
    "streamed thinking": streamed_thinking,
    "error": error,
    "embeddings": embeddings,
}

Place = tuple[str, str, str]
"""Door, wire, case."""


def reason_against(door: str, wire: str, case: str) -> str | None:
    """Why a cell is not supported; None where it is."""
    if case == "embeddings":
        if door not in ("chat", "openrouter", "azure", "generate"):
            return "no counterpart: this door's API has no embeddings of its own"
        if WIRES[wire].embeds is None:
            return "no counterpart: this provider's API has no embeddings"
        return None
    if door == "completions" and case not in ("text", "stream", "error"):
        return "no counterpart: a completion is a text that goes on"
    return None


def places() -> Iterator[Place]:
    for wire in WIRES:
        for door in DOORS:
            for case in CASES:
                yield door, wire, case


def supported() -> list[Place]:
    return [place for place in places() if reason_against(*place) is None]


def pairwise(all_places: Iterable[Place]) -> list[Place]:
    """A few cells in which every pair of door and wire, wire and case, door and case is met."""
    left = {pair for place in all_places for pair in _pairs(place)}
    chosen = []
    remaining = list(all_places)
    while left:
        best = max(remaining, key=lambda place: len(left & _pairs(place)))
        chosen.append(best)
        left -= _pairs(best)
    return chosen


def _pairs(place: Place) -> set[tuple[str, str, str]]:
    door, wire, case = place
    return {("dw", door, wire), ("wc", wire, case), ("dc", door, case)}


HEAD = """# Compatibility

What each door carries to each kind of provider. A cell is run as a client would do it: the vendor's
own Python SDK talks to a running gateway over a socket, and the provider is the
[simulator](simulator.md), which speaks the wire format and refuses what the real API refuses. A
cell counts when the SDK reads out of the answer what was said (text, tool names and arguments,
finish reason, usage) and the provider got what the client sent (picture, document, schema, the wish
to think).

This page is written by `tools/write_docs.py` from `tests/matrix.py`; `make test` runs a part in
which every two of door, provider and case meet, `make test-long` every cell. Real providers are not
called: their recorded answers are tests of their own.

- **tools**: two calls in one answer. **tool loop**: both results are sent back, with thinking on,
  by a client that keeps the fields its SDK knows and no others.
- **error**: the provider's refusal of a long prompt arrives as the SDK's own exception, with
  status 400.
"""


def page(failed: Mapping[Place, str] | None = None) -> str:
    """The page; of a run, with what failed in it."""
    reasons: list[str] = []

    def shown(place: Place) -> str:
        if failed and place in failed:
            return "**failed**"
        reason = reason_against(*place)
        if reason is None:
            return "yes"
        if reason not in reasons:
            reasons.append(reason)
        return f"– ({reasons.index(reason) + 1})"

    lines = [HEAD]
    for wire, told in WIRES.items():
        lines += [f"## To {told.title}", "", f"| door | {' | '.join(CASES)} |"]
        lines.append("|---|" + "---|" * len(CASES))
        for door, title in DOORS.items():
            cells = (shown((door, wire, case)) for case in CASES)
            lines.append(f"| {title} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Why not", ""]
    lines += [f"{index}. {reason}." for index, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, not_run_live.SECTION.rstrip(), client_table.section()])
