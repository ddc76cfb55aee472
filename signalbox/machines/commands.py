"""What to do next: the outputs of `decide`, in the imperative. The runner performs them in order.

Commands name attempts by number; the runner holds what belongs to a number (lease, connection,
bytes), so that a state and its commands stay plain values.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from signalbox.errors import ApiError, Failure
from signalbox.machines.lifecycle import Event, State
from signalbox.types import NanoUSD, Route, Timeouts


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


class Command(msgspec.Struct, frozen=True):
    pass


class RecordTransition(Command, frozen=True):
    """Tell the trace that the request moved, and why."""

    event: Event
    source: State
    target: State
    attempt: int | None = None
    provider: str | None = None
    model: str | None = None
    reason: str = ""


class AdmitRequest(Command, frozen=True):
    """Ask the limiter, then the budgets; the answer is `RequestAdmitted` or `RequestRejected`.

    Under hard budgets `want` is held, or what is left of it, but no less than `least`.
    """

    want: NanoUSD = NanoUSD(0)
    least: NanoUSD = NanoUSD(0)


class ExtendHold(Command, frozen=True):
    """Hold up to `total` in all; the answer is `HoldExtended`."""

    total: NanoUSD


class SurveyRoutes(Command, frozen=True):
    """Look at the routes of a model; the answer is `RoutesSurveyed`."""

    routes: tuple[Route, ...]
    stand_in: frozenset[str] = frozenset()
    """Providers for which the gateway's keys are used though the caller has one."""


class AcquireLease(Command, frozen=True):
    """Lease a key of the route's provider; the answer is `LeaseGranted` or `LeaseDenied`."""

    attempt: int
    route: Route
    exclude_keys: frozenset[str] = frozenset()
    prefer_key: str | None = None
    """The key whose prompt cache is warm, or that made what the request refers to: it is taken
    where it has room at all."""
    only_key: str | None = None
    """The only key that will do."""
    stands_in: bool = False
    """A key of the gateway is wanted, though the caller has one for the provider."""


class AwaitKey(Command, frozen=True):
    """Queue for a key of the route's provider, for at most `delay` seconds.

    The answer is `KeyWaitEnded`.
    """

    route: Route
    delay: float
    exclude_keys: frozenset[str] = frozenset()
    only_key: str | None = None


class StartTimer(Command, frozen=True):
    timer: Timer
    delay: float
    attempt: int | None = None
    """The attempt that it watches, where it watches one."""
    route: Route | None = None
    """The route that is called again after a backoff."""


class OpenUpstream(Command, frozen=True):
    """Send the request of this attempt; facts about it follow."""

    attempt: int
    route: Route
    timeouts: Timeouts
    resume: Resume | None = None
    hedge: bool = False
    """It runs beside another attempt, out of the budget of hedges."""
    retry: bool = False
    """The same route again, out of its retry budget."""
    max_tokens: int | None = None
    """The longest answer that the hold pays for; None: nothing bounds it before its end."""


class CommitAnswer(Command, frozen=True):
    """Let the attempt's content through to the client, as it comes.

    In a stream that another attempt began, this is the seam.
    """

    attempt: int


class SettleAttempt(Command, frozen=True):
    """The attempt is over: close its connection, release its lease, tell the route's health."""

    attempt: int
    failure: Failure | None = None
    cancelled: bool = False
    outrun: bool = False
    """Another attempt of the request gave content first."""


class RecordCharge(Command, frozen=True):
    """Charge what was delivered; the answer is `ChargeRecorded` or `ChargeFailed`."""

    attempt: int
    reason: str


class SendEnd(Command, frozen=True):
    """Send the whole answer, or the end of the stream."""

    attempt: int


class SendError(Command, frozen=True):
    """Tell the client: as the answer, or inside a stream that has begun."""

    error: ApiError


class RaiseAlert(Command, frozen=True):
    """Something that an operator must see, whatever becomes of the request."""

    message: str


class FinishRequest(Command, frozen=True):
    """Settle with the limiter and write the trace. Always the last command of a request."""

    state: State
    error: ApiError | None = msgspec.field(default=None)
