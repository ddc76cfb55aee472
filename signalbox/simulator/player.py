"""Plays a scenario: hands out its steps and keeps its keys' limits."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from signalbox.simulator.scenario import Match, Rule, Scenario, Step

WINDOW = 60.0
"""Seconds over which a key's `rpm` is counted."""


@dataclass(frozen=True, slots=True)
class Features:
    """What rules can match: of a request whose body is not JSON, the model is unknown."""

    model: str | None
    key: str | None
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyState:
    """What a limited key's rule said to a request."""

    admitted: bool
    rpm: int
    remaining: int
    reset: float
    """Seconds until the oldest counted request leaves the window."""


class ScenarioPlayer:
    """The scenario's state. `now` is monotonic, in seconds, of whatever clock the caller has."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._used = [0] * len(scenario.rules)
        self._windows: dict[str, deque[float]] = {key: deque() for key in scenario.keys}

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the rules name in full."""
        named = (rule.match.model for rule in self._scenario.rules)
        return tuple(dict.fromkeys(name for name in named if name and "*" not in name))

    def next_step(self, request: Features) -> Step | None:
        """The step for this request, used up; None where the scenario has nothing to say."""
        for index, rule in enumerate(self._scenario.rules):
            if _matches(rule.match, request):
                step = _step_at(rule, self._used[index])
                self._used[index] += 1
                return step
        return None

    def admit(self, key: str | None, now: float) -> KeyState | None:
        """Counts a request of this key if its limit allows; None where the key has none.

        Only admitted requests count, as in an exact sliding window.
        """
        rule = self._scenario.keys.get(key) if key is not None else None
        if key is None or rule is None:
            return None
        window = self._windows[key]
        while window and window[0] <= now - WINDOW:
            window.popleft()
        admitted = len(window) < rule.rpm
        if admitted:
            window.append(now)
        reset = window[0] + WINDOW - now
        return KeyState(admitted, rule.rpm, rule.rpm - len(window), reset)


def _step_at(rule: Rule, used: int) -> Step | None:
    if used < len(rule.steps):
        return rule.steps[used]
    match rule.then:
        case "repeat_last":
            return rule.steps[-1]
        case "loop":
            return rule.steps[used % len(rule.steps)]
        case "ok":
            return None


def _matches(match: Match, request: Features) -> bool:
    return (
        (match.model is None or _model_matches(match.model, request.model))
        and (match.key is None or match.key == request.key)
        and all(request.headers.get(name.lower()) == text for name, text in match.header.items())
        and (match.body_contains is None or match.body_contains.encode() in request.body)
    )


def _model_matches(pattern: str, model: str | None) -> bool:
    if model is None:
        return False
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), model, re.DOTALL) is not None
