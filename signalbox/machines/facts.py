"""What happened: the inputs of `decide`, in the past tense.

Every fact carries all that the decision needs of the outside (time, a random number, snapshots),
so that a saved sequence of facts gives the same decisions again. `at` is the monotonic clock of
the process that recorded the fact, in seconds.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from signalbox.errors import Failure
from signalbox.machines.budget import Budget
from signalbox.types import NanoUSD, Route


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Percentiles(msgspec.Struct, frozen=True):
    """Of the measurements in a sliding window."""

    p50: float
    p90: float
    p95: float
    p99: float


class RouteHealth(msgspec.Struct, frozen=True):
    """What is known of a route's recent past. None: nothing measured yet."""

    success_rate: float | None = None
    """0 to 1, exponentially weighted."""
    first_token: float | None = None
    """Seconds to the first content, exponentially weighted."""
    first_token_percentiles: Percentiles | None = None
    tokens_per_second: float | None = None
    tokens_per_second_percentiles: Percentiles | None = None
    recent_attempts: int = 0
    """Attempts in the sliding window that said anything of the route."""
    recent_faults: int = 0
    """Those of them that failed through the provider's fault."""
    measured_at: float | None = None
    """When an attempt last said anything of the route."""
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
    LOCKED = "the caller's stored key cannot be opened: its master key is not here"


class Headroom(msgspec.Struct, frozen=True):
    """Whether a key of the route's provider could take this request now."""

    available: bool
    share: float | None = None
    """Remaining share (0 to 1) of the fullest limit of the best key; None: no limits known."""
    available_at: float | None = None
    """When a key will be free; None where `available`, or where no waiting helps."""
    reason: str = ""


class Warmth(msgspec.Struct, frozen=True):
    """A route that the request's conversation used last: the provider has its prompt cached."""

    key_id: str
    """The key it was used with."""
    tokens: int
    """How many of the prompt's tokens are likely to be read from the cache."""


class Candidate(msgspec.Struct, frozen=True):
    """A route as it stood when it was looked at."""

    route: Route
    health: RouteHealth
    headroom: Headroom
    unsupported: tuple[str, ...] = ()
    """Fields with meaning that the route cannot carry."""
    warm: Warmth | None = None
    prefill: bool = False
    """Whether it goes on from an assistant message that was begun."""
    callers_own: bool = False
    """The caller brought a key for its provider."""


class Fact(msgspec.Struct, frozen=True):
    at: float


class RequestAdmitted(Fact, frozen=True):
    """The limiter let the request in, and its budgets did."""

    held: NanoUSD | None = None
    """Of them, for what it may cost; None: no budget bounds it."""


SHARED_STATE = "shared_state"
BUDGET = "budget"
BUDGETS_AWAY = "budgets_away"


class BudgetReached(msgspec.Struct, frozen=True):
    """A hard budget that has less left than a request needs."""

    budget: Budget
    spent: NanoUSD
    held: NanoUSD
    """By requests under way."""
    needed: NanoUSD
    resets_at: float | None = None
    """Unix time; None: never."""
    resets_in: float | None = None
    """Seconds from when it was asked."""


class RequestRejected(Fact, frozen=True):
    """The limiter refused, or a budget did."""

    scope: str
    """Whose limit: `global` or `key`; a budget's scope."""
    kind: str
    """What of: `requests`, `tokens` or `concurrency`; `SHARED_STATE`: nobody can tell, as the
    limits are shared and cannot be asked. `BUDGET`, or `BUDGETS_AWAY` where those cannot be."""
    message: str
    retry_after: float | None
    """Seconds until there is room; None: no waiting helps, or a budget says it."""
    budget: BudgetReached | None = None


class HoldExtended(Fact, frozen=True):
    """More was asked for. `held`: all that is held now, whether or not it has become more."""

    held: NanoUSD


class RoutesSurveyed(Fact, frozen=True):
    """The current model's routes with their health and headroom; `random` is in [0, 1)."""

    candidates: tuple[Candidate, ...]
    random: float
    may_hedge: bool = False
    """Whether the budget of all requests has room for one more hedge."""


class LeaseGranted(Fact, frozen=True):
    attempt: int
    key_id: str
    key_label: str
    callers_own: bool = False
    """The key came with the request; it is not one of the gateway's."""


class LeaseDenied(Fact, frozen=True):
    attempt: int
    reason: str
    available_at: float | None


class KeyWaitEnded(Fact, frozen=True):
    """The request left the queue for a key; `room`: a key was free when it did."""

    room: bool


class TimerFired(Fact, frozen=True):
    timer: str
    attempt: int | None = None
    """The attempt that the timer watched, where it watched one."""
    breaker: BreakerState = BreakerState.CLOSED
    """Of the route that a backoff was for."""


class Delivered(msgspec.Struct, frozen=True):
    """What the client has been sent of the answer, by all attempts together. In characters."""

    text: int = 0
    reasoning: int = 0
    resumable: bool = True
    """False once something was sent that another route cannot go on from, a tool call for one."""
    tokens: int = 0
    """The most that it can come to. As `cost` it is counted under hard budgets alone."""
    cost: NanoUSD = NanoUSD(0)
    """The most that it can be charged at, without any input."""


class ContentArrived(Fact, frozen=True):
    """The first content of an attempt. Nothing of it has gone to the client yet."""

    attempt: int


class UpstreamEnded(Fact, frozen=True):
    """The provider's answer is whole, with or without content."""

    attempt: int
    finish_reason: str | None
    content_chars: int
    random: float
    """In [0, 1), for the backoff where the answer turns out to be a failure."""
    may_retry: bool = True
    """Whether the route's retry budget has room."""
    delivered: Delivered = Delivered()
    cut: bool = False
    """The gateway itself ended it, because its budgets had no more for it."""


class UpstreamFailed(Fact, frozen=True):
    """The attempt failed; `random` in [0, 1) is for the backoff's jitter."""

    attempt: int
    failure: Failure
    random: float
    may_retry: bool = True
    """Whether the route's retry budget has room."""
    delivered: Delivered = Delivered()


class ChargeRecorded(Fact, frozen=True):
    attempt: int


class ChargeFailed(Fact, frozen=True):
    """Neither the database nor the spool took the charge."""

    attempt: int
    message: str


class ClientGone(Fact, frozen=True):
    """The client disconnected, or stopped reading for too long."""


class RequestCrashed(Fact, frozen=True):
    """The gateway's own code raised while it worked on this request."""

    message: str
