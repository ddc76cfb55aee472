"""What to do next: the outputs of `decide`, in the imperative. The runner performs them in order.

Commands name attempts by number; the runner holds what belongs to a number (lease, connection,
bytes), so that a state and its commands stay plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from signalbox.errors import ApiError, Failure
from signalbox.machines.lifecycle import Event, State
from signalbox.types import Route, Timeouts


class Timer(StrEnum):
    DEADLINE = "deadline"
    BACKOFF = "backoff"
    HEDGE = "hedge"


class Resume(StrEnum):
    """How an attempt goes on with an answer that another one began."""

    PREFILL = "prefill"
    """What was sent is given to the model as the beginning of its answer."""
    SPLICE = "splice"
    """It answers from the start; what was already sent is recognised and left out."""
    RESTART = "restart"
    """It answers from the start; no text was sent yet, only reasoning."""


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
    prefer_key: str | None = None
    """The key whose prompt cache is warm, or that made what the request refers to: it is taken
    where it has room at all."""
    only_key: str | None = None
    """The only key that will do."""


@dataclass(frozen=True, slots=True)
class AwaitKey(Command):
    """Queue for a key of the route's provider, for at most `delay` seconds.

    The answer is `KeyWaitEnded`.
    """

    route: Route
    delay: float
    exclude_keys: frozenset[str] = frozenset()
    only_key: str | None = None


@dataclass(frozen=True, slots=True)
class StartTimer(Command):
    timer: Timer
    delay: float
    attempt: int | None = None
    """The attempt that it watches, where it watches one."""
    route: Route | None = None
    """The route that is called again after a backoff."""


@dataclass(frozen=True, slots=True)
class OpenUpstream(Command):
    """Send the request of this attempt; facts about it follow."""

    attempt: int
    route: Route
    timeouts: Timeouts
    resume: Resume | None = None
    hedge: bool = False
    """It runs beside another attempt, out of the budget of hedges."""
    retry: bool = False
    """The same route again, out of its retry budget."""


@dataclass(frozen=True, slots=True)
class CommitAnswer(Command):
    """Let the attempt's content through to the client, as it comes.

    In a stream that another attempt began, this is the seam.
    """

    attempt: int


@dataclass(frozen=True, slots=True)
class SettleAttempt(Command):
    """The attempt is over: close its connection, release its lease, tell the route's health."""

    attempt: int
    failure: Failure | None = None
    cancelled: bool = False
    outrun: bool = False
    """Another attempt of the request gave content first."""


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
