"""What is measured. A case is one plan for one server in one setup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks import wire
from benchmarks.plan import Step
from benchmarks.servers.base import Ask

KIBIBYTE = 1024
WARM_SECONDS = 1.0
"""Opens the connections, fills pools and caches, lets a JIT compile."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    title: str
    """For the report."""
    lane: str
    connections: int
    seconds: float = 3.0
    """How long requests are made; streams are made once a connection instead."""
    prompt: str = wire.PROMPT
    held: int = 0
    """Streams that are held open while the requests are measured a second time."""
    viewers: int = 0
    least: int = 0
    most: int = 1_000_000
    """Requests at most, with those that warm up."""
    setup: str = "plain"
    """Of this gateway alone where it is another."""
    others: bool = True
    """Whether the servers beside this gateway run it too."""
    once: tuple[str, ...] = ()
    """Servers that run it in the first round only, because it takes them a minute."""


MEASURED: Literal["measured"] = "measured"
AMONG: Literal["among"] = "among"
HELD: Literal["held"] = "held"


def steps(case: Case, requests: list[bytes], held: list[bytes], warm: list[bytes]) -> list[Step]:
    """The plan of a case. `warm`: requests for whole answers that open the connections."""
    width = case.connections
    if Ask(case.lane).stream:
        few = min(width, 32)
        return [
            Step("connect", warm, "json", width, least=2 * width),
            Step("warm", requests, "stream", few, least=few, most=few, stagger=0.5),
            Step(MEASURED, requests, "stream", width, least=width, most=width, stagger=0.5),
        ]
    warm_most = case.most // 7
    found = [
        Step("warm", requests, "json", width, WARM_SECONDS, least=2 * width, most=warm_most),
        Step(
            MEASURED,
            requests,
            "json",
            width,
            case.seconds,
            least=max(case.least, 2 * width),
            most=case.most - warm_most,
        ),
    ]
    if case.held:
        found += [
            Step(HELD, held, "held", case.held, least=case.held, most=case.held),
            Step(AMONG, requests, "json", width, case.seconds, least=2 * width),
        ]
    return found


def _own(name: str, title: str, **more: object) -> Case:
    """JSON at 32 connections in another setup of this gateway."""
    return Case(name, title, "now", 32, others=False, **more)  # type: ignore[arg-type]  # fields


LONG = wire.long_prompt(100 * KIBIBYTE)
CASES = [
    Case("json-1", "JSON, 1 connection", "now", 1),
    Case("json-32", "JSON, 32 connections", "now", 32),
    Case("json-256", "JSON, 256 connections", "now", 256),
    Case("slow-256", "answer after 100 ms, 256 connections", "slow", 256),
    Case("sse-32", "SSE, 32 streams of 100 pieces", "paced", 32),
    Case("sse-256", "SSE, 256 streams of 100 pieces", "paced", 256, once=("litellm",)),
    Case("prompt-100k", "prompts of 100 KB, 8 connections", "now", 8, prompt=LONG),
    Case("anthropic-32", "JSON, Anthropic's model, 32 connections", "anthropic", 32),
    Case("gemini-32", "JSON, Gemini's model, 32 connections", "gemini", 32),
    Case("anthropic-sse-32", "SSE, Anthropic's model, 32 streams", "anthropic-paced", 32),
    Case("gemini-sse-32", "SSE, Gemini's model, 32 streams", "gemini-paced", 32),
    _own("viewers-10", "10 live viewers", viewers=10),
    _own("keys-1000", "1,000 gateway keys", setup="keys-1000"),
    _own("models-1000", "1,000 models", setup="models-1000"),
    _own("fallback", "a fallback in every request", setup="fallback", most=3500, seconds=20.0),
    _own("traces-off", "bodies not kept", setup="traces-off"),
    _own("redis", "state in Redis, one instance", setup="redis"),
    _own("two", "state in Redis, two instances on one core", setup="two"),
    Case("idle-2000", "2,000 idle streams", "now", 8, held=2000, setup="idle-2000", others=False),
    Case("idle-5000", "5,000 idle streams", "now", 8, held=5000, setup="idle-5000", others=False),
]
"""In the order in which they run; what shares a setup shares a process. The idle streams have one
each, because a process does not give back all of the memory that it had."""
QUICK = ("json-1", "json-32", "json-256", "slow-256", "sse-32", "viewers-10", "traces-off")


def by_name(names: list[str]) -> list[Case]:
    """Raises `KeyError` of a name that there is not."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names]
