"""What every wire format gives the simulator: answers, the parts of streams, its own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from signalbox.simulator.prompts import BadRequest, Call
from signalbox.simulator.scenario import RateLimit, Step


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `data` is sent as JSON, bytes as they are."""

    data: Any
    name: str | None = None

    def encoded(self, end: bytes) -> bytes:
        """As it goes out, with `end` at the end of each line."""
        raw = self.data if isinstance(self.data, bytes) else msgspec.json.encode(self.data)
        head = b"" if self.name is None else b"event: " + self.name.encode() + end
        return head + b"data: " + raw + end + end


@dataclass(frozen=True, slots=True)
class Piece:
    """One content chunk, and what the format puts around it."""

    event: Event
    before: tuple[Event, ...] = ()
    after: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """A streamed answer. Faults of a scenario come between its pieces."""

    opening: Sequence[Event]
    pieces: Sequence[Piece]
    ending: Sequence[Event]
    done: Sequence[Event]
    """What says that all was sent: `[DONE]`, `message_stop`. Nothing at Gemini's."""
    failing: Callable[[int], Iterable[Event]]
    """The events that report the step's error, after so many events."""
    broken: Event
    """One that is not JSON."""
    crlf: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What an endpoint answers: a JSON body, or the parts of a stream."""

    body: Any = None
    tokens: int = 0
    """How many the body took, reasoning included."""
    parts: Parts | None = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer in the words of one API."""

    status: int
    body: Any


class Errors(Protocol):
    """The errors of one API."""

    def named(self, name: str, model: str) -> Refusal:
        """By the name that a scenario's `error` gives; see `errors.ERRORS`."""

    def usual(self, status: int, model: str) -> Refusal:
        """The error that the API most often means by this status."""

    def invalid(self, fault: BadRequest) -> Refusal: ...

    def over_limit(self, model: str, seconds: float) -> tuple[Refusal, dict[str, str]]:
        """A key's limit is used up for so long: the answer, and the header fields that say so."""

    def limit_headers(self, limits: RateLimit) -> dict[str, str]:
        """The header fields that tell a key's limits."""


class Endpoint(Protocol):
    """One endpoint of one API."""

    @property
    def errors(self) -> Errors: ...

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        """Raises BadRequest where the real API would refuse the request."""


def step_error(errors: Errors, step: Step, model: str) -> Refusal:
    """The error that a step puts into an answer that began well."""
    return errors.named(step.error or "server_error", model)
