"""What to do next: the outputs of `decide`, in the imperative. The runner performs them in order.

Commands name attempts by number; the runner holds what belongs to a number (lease, connection,
bytes), so that a state and its commands stay plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from signalbox.errors import ApiError, Failure
from signalbox.machines.lifecycle import Event, State
from signalbox.types import Route


class Timer(StrEnum):
    DEADLINE = "deadline"
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class Command:
    pass


@dataclass(frozen=True, slots=True)
class RecordTransition(Command):
    """Tell the trace that the request moved, and why."""

    event: Event
    source: State
    target: State
    attempt: int | None = None
    provider: str | None = None
    model: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AdmitRequest(Command):
    """Ask the limiter; the answer is `RequestAdmitted` or `RequestRejected`."""


@dataclass(frozen=True, slots=True)
class SurveyRoutes(Command):
    """Look at the routes of a model; the answer is `RoutesSurveyed`."""

    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class AcquireLease(Command):
    """Lease a key of the route's provider; the answer is `LeaseGranted` or `LeaseDenied`."""

    attempt: int
    route: Route
    exclude_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AwaitKey(Command):
    """Queue for a key of the route's provider, for at most `delay` seconds.

    The answer is `KeyWaitEnded`.
    """

    route: Route
    delay: float
    exclude_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StartTimer(Command):
    timer: Timer
    delay: float


@dataclass(frozen=True, slots=True)
class OpenUpstream(Command):
    """Send the request of this attempt; facts about it follow."""

    attempt: int
    route: Route


@dataclass(frozen=True, slots=True)
class CommitAnswer(Command):
    """Let the attempt's content through to the client, as it comes."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SettleAttempt(Command):
    """The attempt is over: close its connection, release its lease, tell the route's health."""

    attempt: int
    failure: Failure | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class RecordCharge(Command):
    """Charge what was delivered; the answer is `ChargeRecorded` or `ChargeFailed`."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class SendEnd(Command):
    """Send the whole answer, or the end of the stream."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SendError(Command):
    """Tell the client: as the answer, or inside a stream that has begun."""

    error: ApiError


@dataclass(frozen=True, slots=True)
class RaiseAlert(Command):
    """Something that an operator must see, whatever becomes of the request."""

    message: str


@dataclass(frozen=True, slots=True)
class FinishRequest(Command):
    """Settle with the limiter and write the trace. Always the last command of a request."""

    state: State
    error: ApiError | None = field(default=None)
