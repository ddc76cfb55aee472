"""What happened: the inputs of `decide`, in the past tense.

Every fact carries all that the decision needs of the outside (time, a random number, snapshots),
so that a saved sequence of facts gives the same decisions again. `at` is the monotonic clock of
the process that recorded the fact, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from signalbox.errors import Failure
from signalbox.types import Route


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """What is known of a route's recent past. None: nothing measured yet."""

    success_rate: float | None = None
    """0 to 1, exponentially weighted."""
    first_token: float | None = None
    """Seconds to the first content, exponentially weighted."""
    tokens_per_second: float | None = None
    last_outage_at: float | None = None
    """When an attempt last failed through the provider's fault."""
    samples: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    breaker_reopens_at: float | None = None
    """When an open breaker lets the next probe through."""


class Unavailable(StrEnum):
    """Why no key can take a request, in words for the trace."""

    NO_KEY = "no key is configured for this provider"
    ALL_TRIED = "every key was tried already"
    COOLING = "cooling down after a rate limit"
    PROBING = "cooled down, and another request is testing it"
    EVICTED = "the provider refuses the key or its account"
    FORBIDDEN = "the key may not use this model"
    REQUESTS = "requests per minute used up"
    TOKENS = "tokens per minute used up"
    TOO_LARGE = "larger than the key's limit"


@dataclass(frozen=True, slots=True)
class Headroom:
    """Whether a key of the route's provider could take this request now."""

    available: bool
    share: float | None = None
    """Remaining share (0 to 1) of the fullest limit of the best key; None: no limits known."""
    available_at: float | None = None
    """When a key will be free; None where `available`, or where no waiting helps."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route as it stood when it was looked at."""

    route: Route
    health: RouteHealth
    headroom: Headroom
    unsupported: tuple[str, ...] = ()
    """Fields with meaning that the route cannot carry."""


@dataclass(frozen=True, slots=True)
class Fact:
    at: float


@dataclass(frozen=True, slots=True)
class RequestAdmitted(Fact):
    """The limiter let the request in."""


@dataclass(frozen=True, slots=True)
class RequestRejected(Fact):
    """The limiter refused."""

    scope: str
    """Whose limit: `global` or `key`."""
    kind: str
    """What of: `requests`, `tokens` or `concurrency`."""
    message: str
    retry_after: float | None
    """Seconds until there is room; None: no waiting helps."""


@dataclass(frozen=True, slots=True)
class RoutesSurveyed(Fact):
    """The current model's routes with their health and headroom; `random` is in [0, 1)."""

    candidates: tuple[Candidate, ...]
    random: float


@dataclass(frozen=True, slots=True)
class LeaseGranted(Fact):
    attempt: int
    key_id: str
    key_label: str


@dataclass(frozen=True, slots=True)
class LeaseDenied(Fact):
    attempt: int
    reason: str
    available_at: float | None


@dataclass(frozen=True, slots=True)
class KeyWaitEnded(Fact):
    """The request left the queue for a key; `room`: a key was free when it did."""

    room: bool


@dataclass(frozen=True, slots=True)
class TimerFired(Fact):
    timer: str


@dataclass(frozen=True, slots=True)
class ContentArrived(Fact):
    """The first content of an attempt. Nothing of it has gone to the client yet."""

    attempt: int


@dataclass(frozen=True, slots=True)
class UpstreamEnded(Fact):
    """The provider's answer is whole, with or without content."""

    attempt: int
    finish_reason: str | None
    content_chars: int
    random: float
    """In [0, 1), for the backoff where the answer turns out to be a failure."""


@dataclass(frozen=True, slots=True)
class UpstreamFailed(Fact):
    """The attempt failed; `random` in [0, 1) is for the backoff's jitter."""

    attempt: int
    failure: Failure
    random: float


@dataclass(frozen=True, slots=True)
class ChargeRecorded(Fact):
    attempt: int


@dataclass(frozen=True, slots=True)
class ChargeFailed(Fact):
    """Neither the database nor the spool took the charge."""

    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class ClientGone(Fact):
    """The client disconnected, or stopped reading for too long."""


@dataclass(frozen=True, slots=True)
class RequestCrashed(Fact):
    """The gateway's own code raised while it worked on this request."""

    message: str
