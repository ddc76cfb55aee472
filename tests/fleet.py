"""A fleet of faulty providers for the simulation: what happens to a call is drawn from a seed.

What a provider does depends on its character, on the time (it has outages and recovers) and on the
call's place in its request, never on what the rest of the world does meanwhile.

Every provider has the same to say to a client: the numbers from 0 up. So whoever looks at what the
client got sees whether something is missing, or was told twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.machines.limits import WINDOW
from signalbox.types import Secret
from tests.scripted_upstream import (
    DONE,
    EVENTS,
    JSON,
    LOST,
    REFUSED,
    ROLE,
    STOP,
    Call,
    Head,
    Script,
    Step,
    Wait,
    answer,
    chunk,
    error,
    text,
)

EVER = 10_000.0
"""Seconds: longer than any clock of the gateway."""
UNREACHABLE = UpstreamError(UpstreamErrorKind.CONNECT_TIMEOUT, "no connection")

Plot = Callable[["Scene"], Script]


@dataclass(frozen=True)
class Scene:
    """A call that is about to happen."""

    call: Call
    chance: Random
    length: int
    """How many words the answer to this client has."""

    @property
    def streamed(self) -> bool:
        return bool(self.call.body.get("stream"))

    @property
    def prefill(self) -> str | None:
        """The answer that the provider is to go on from."""
        last = self.call.body["messages"][-1]
        return last["content"] if last["role"] == "assistant" else None

    def words(self) -> list[str]:
        """Some tell it in words of their own, which cannot be joined on to the usual ones."""
        begun = numbers_in(self.prefill or "")
        form = "({})" if self.chance.random() < 0.1 else "<{}>"
        return [form.format(number) for number in range(len(begun), self.length)]

    def soon(self) -> Wait:
        return Wait(self.chance.expovariate(2.0))


# ── what can happen ───────────────────────────────────────────────────────────────────────────


def good(scene: Scene) -> Script:
    if not scene.streamed:
        return [scene.soon(), *answer("".join(scene.words()))]
    thought = [THOUGHT] if scene.chance.random() < 0.2 else []
    return [scene.soon(), Head(), ROLE, *thought, *paced(scene), STOP, DONE]


def paced(scene: Scene) -> list[Step]:
    """A few words, some of them in one read, some after a while."""
    steps: list[Step] = []
    for word in scene.words():
        if scene.chance.random() < 0.3:
            steps.append(Wait(scene.chance.expovariate(1.0)))
        steps.append(text(word))
    return steps


def status(code: int, message: str = "its words", **headers: str) -> Plot:
    return lambda scene: [scene.soon(), *error(code, message, **headers)]


def rate_limited(scene: Scene) -> Script:
    return [scene.soon(), *error(429, retry_after=str(scene.chance.choice([1, 3, 20, 90])))]


def raises(failure: Exception) -> Plot:
    return lambda scene: [scene.soon(), failure]


def before_content(*steps: Step) -> Plot:
    """Of a stream, a role has come; of a whole answer, a part of its JSON."""
    return lambda scene: (
        [Head(), ROLE, *steps] if scene.streamed else [Head(headers=JSON), b'{"choices": [', *steps]
    )


def after_content(*steps: Step) -> Plot:
    """A stream comes to some of its words, or to no more than its thoughts."""

    def plot(scene: Scene) -> Script:
        if not scene.streamed:
            return [scene.soon(), Head(headers=JSON), b'{"choices": [{', *steps]
        said = paced(scene)
        said = said[: scene.chance.randint(0, len(said))]
        return [scene.soon(), Head(), ROLE, THOUGHT, *said, *steps]

    return plot


def refused_prefill(scene: Scene) -> Script:
    if scene.prefill is None:
        return good(scene)
    return [scene.soon(), *error(400, "this model does not take an assistant prefill")]


def empty(scene: Scene) -> Script:
    return [Head(), ROLE, STOP, DONE] if scene.streamed else answer("")


def page(scene: Scene) -> Script:
    return [Head(200, (("content-type", "text/html"),)), b"<html><title>Welcome</title></html>"]


def whole_for_a_stream(scene: Scene) -> Script:
    return [Head(headers=EVENTS), *answer("".join(scene.words()))[1:]]


THOUGHT = chunk({"reasoning_content": "hm"})
NEVER_SENT = frozenset({"a refused connection", "no connection"})
"""Calls that the provider knows nothing of, so it does not count them."""
IN_BAND = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'

SILENCE: Mapping[str, Plot] = {
    "silence": lambda scene: [Wait(EVER)],
    "a stall before content": before_content(Wait(EVER)),
    "a stall after content": after_content(Wait(EVER)),
}
BREAKS: Mapping[str, Plot] = {
    "a refused connection": raises(REFUSED),
    "no connection": lambda scene: [Wait(5), UNREACHABLE],
    "a reset before the head": raises(LOST),
    "a reset before content": before_content(LOST),
    "a reset after content": after_content(LOST),
    "a cut before content": before_content(),
    "a cut after content": after_content(),
}
LIES: Mapping[str, Plot] = {
    "garbage": before_content(b"data: \x00\xff{{\n\n"),
    "garbage after content": after_content(b"data: \x00\xff{{\n\n"),
    "an error inside a 200": before_content(IN_BAND),
    "an error after content": after_content(IN_BAND),
    "an empty answer": empty,
    "a page": page,
    "a whole answer for a stream": whole_for_a_stream,
}
REFUSALS: Mapping[str, Plot] = {
    "429": status(429),
    "429 with a wait": rate_limited,
    "500": status(500),
    "503": status(503),
    "503 with a wait": status(503, retry_after="5"),
    "529": status(529),
}
VERDICTS: Mapping[str, Plot] = {
    "a wrong request": status(400, "messages: expected something else"),
    "a prompt that is too long": status(400, "maximum context length is 8192 tokens"),
    "an unknown model": status(404, "model not found"),
    "a bug in the client": raises(RuntimeError("a bug")),
    "a refused prefill": refused_prefill,
}
ALL_PLOTS: Mapping[str, Plot] = {
    "an answer": good,
    "a revoked key": status(401, "invalid api key"),
    **SILENCE,
    **BREAKS,
    **LIES,
    **REFUSALS,
    **VERDICTS,
}


# ── who does what ─────────────────────────────────────────────────────────────────────────────


Period = tuple[float, float]
"""From and to, as shares of the whole run."""


@dataclass(frozen=True)
class Character:
    """A provider. `faults`: what it does wrong, in `share` of its calls."""

    name: str
    keys: int
    rpm: int
    share: float
    faults: Sequence[str]
    outages: Sequence[Period] = ()
    """Nothing but refusals and silence, then it recovers."""


FLEET = (
    Character("steady", 3, 50, 0.12, [*REFUSALS, *VERDICTS], outages=[(0.4, 0.44)]),
    Character("broken", 2, 60, 0.4, [*BREAKS]),
    Character("silent", 2, 40, 0.3, [*SILENCE]),
    Character("liar", 2, 60, 0.5, [*LIES]),
    Character("strict", 3, 20, 0.3, [*REFUSALS]),
    Character("flapping", 2, 60, 0.1, [*BREAKS, *REFUSALS], outages=[(0.1, 0.15), (0.2, 0.35)]),
    Character("narrow", 1, 12, 0.1, ["429 with a wait", "500"]),
)
REVOKED: Mapping[str, Period] = {"strict-1": (0.1, 0.5)}
"""Keys that are refused for a time."""


class Fleet:
    """The script of each call, and what was played, by the call's number."""

    def __init__(self, seed: int, seconds: float) -> None:
        """`seconds`: how long the run is."""
        self._seed = seed
        self._seconds = seconds
        self._characters = {character.name: character for character in FLEET}
        self._calls_of: defaultdict[str, int] = defaultdict(int)
        self.plots: dict[int, str] = {}
        self.recovered = False
        """From then on nothing goes wrong any more."""

    def keys(self) -> list[ProviderKey]:
        return [
            ProviderKey(
                id=f"{character.name}/{number}",
                provider=character.name,
                label=str(number),
                secret=Secret(f"{character.name}-{number}"),
                rpm=character.rpm,
                tpm=None,
            )
            for character in self._characters.values()
            for number in range(1, character.keys + 1)
        ]

    def rpm_of(self, key: str) -> int:
        return self._characters[key.partition("-")[0]].rpm

    def script(self, call: Call) -> Script:
        asker = asker_of(call)
        self._calls_of[asker] += 1
        chance = Random(f"{self._seed} {asker} {self._calls_of[asker]}")
        plot = self.plots[call.number] = self._plot(call, chance)
        return ALL_PLOTS[plot](Scene(call, chance, self.length_for(asker)))

    def length_for(self, asker: str) -> int:
        """How many words the answer to a client has."""
        return Random(f"{self._seed} {asker}").randint(1, 12)

    def _plot(self, call: Call, chance: Random) -> str:
        character = self._characters[call.key.partition("-")[0]]
        now = call.at / self._seconds
        if self.recovered:
            return "an answer"
        if is_in(now, REVOKED.get(call.key, (0, 0))):
            return "a revoked key"
        if any(is_in(now, outage) for outage in character.outages):
            return chance.choice(["503", "a refused connection", "silence"])
        if chance.random() < character.share:
            return chance.choice(character.faults)
        return "an answer"


def is_in(now: float, period: Period) -> bool:
    return period[0] <= now < period[1]


def asker_of(call: Call) -> str:
    """The request that a call was made for, by what its client said."""
    content = call.body["messages"][0]["content"]
    assert isinstance(content, str)
    return content


def numbers_in(words: str) -> list[int]:
    """What a client was told, whatever words it was told in."""
    return [int(number) for number in re.findall(r"[<(](\d+)[>)]", words)]


def past_rpm(times: Sequence[float], rpm: int) -> bool:
    """Whether any sliding window of a minute holds more than `rpm` of the calls."""
    return any(
        later - earlier < WINDOW - 1e-6 for earlier, later in zip(times, times[rpm:], strict=False)
    )
