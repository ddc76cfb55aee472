"""Dialogues with the request's machine: a fact is told, the commands that follow are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from signalbox.errors import ApiError, Failure, FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide, start
from signalbox.types import ModelPlan, Route, Strategy

HALF = 0.5
"""The random number of every fact: backoffs are half their longest, 0.2 s, then 0.4 s."""


def line(command: c.Command) -> str:
    """A command as one line of a dialogue."""
    match command:
        case c.RecordTransition():
            return f"{command.event}: {command.source} → {command.target}"
        case c.StartTimer():
            watched = f" #{command.attempt}" if command.attempt is not None else ""
            return f"timer {command.timer}{watched} {command.delay:g} s"
        case c.AdmitRequest():
            held = f" hold {command.want}, at least {command.least}" if command.want else ""
            return f"admit{held}"
        case c.ExtendHold():
            return f"hold {command.total} in all"
        case c.SurveyRoutes():
            words = ["survey", *(route.id for route in command.routes)]
            words += ["pooled", *sorted(command.stand_in)] if command.stand_in else []
            return " ".join(words)
        case c.AcquireLease():
            words = ["lease", f"#{command.attempt}", command.route.id]
            words += ["without", *sorted(command.exclude_keys)] if command.exclude_keys else []
            words += ["best", command.prefer_key] if command.prefer_key is not None else []
            words += ["only", command.only_key] if command.only_key is not None else []
            words += ["pooled"] if command.stands_in else []
            return " ".join(words)
        case c.AwaitKey():
            only = f" only {command.only_key}" if command.only_key is not None else ""
            return f"await {command.route.id} {command.delay:g} s{only}"
        case c.OpenUpstream():
            how = f" by {command.resume}" if command.resume is not None else ""
            if command.max_tokens is not None:
                how += f" at most {command.max_tokens} tokens"
            return f"open #{command.attempt} {command.route.id}{how}"
        case c.CommitAnswer():
            return f"commit #{command.attempt}"
        case c.SettleAttempt():
            how = " cancelled" if command.cancelled else ""
            if command.failure is not None:
                how += f" {command.failure.kind}"
            return f"settle #{command.attempt}{how}"
        case c.RecordCharge():
            return f"charge #{command.attempt} {command.reason}"
        case c.SendEnd():
            return f"end #{command.attempt}"
        case c.SendError():
            return f"error {command.error.status} {command.error.code}"
        case c.RaiseAlert():
            return "alert"
        case c.FinishRequest():
            return f"finish {command.state}"
    raise TypeError(command)


class Dialogue:
    """Tells the machine facts and compares what it answers. `at` is the time of the next fact."""

    def __init__(self, plan: RequestPlan) -> None:
        self.state, commands = start(plan, 0.0)
        self.at = 0.0
        self.commands = list(commands)

    def tell(self, fact: f.Fact, *answer: str) -> None:
        self.state, commands = decide(self.state, replace(fact, at=self.at))
        self.commands += commands
        assert [line(command) for command in commands] == list(answer), fact

    @property
    def error(self) -> ApiError:
        """The one error that was sent."""
        [sent] = [command for command in self.commands if isinstance(command, c.SendError)]
        return sent.error


def model(name: str, *providers: str, context: int | None = None) -> ModelPlan:
    routes = [Route(provider, name, context_length=context) for provider in providers]
    return ModelPlan(name, tuple(routes))


def plan(*models: ModelPlan, **fields: Any) -> RequestPlan:
    """A plan that tries routes in their declared order, as `fast` does where none was measured."""
    return replace(RequestPlan(models, stream=False, strategy=Strategy.FAST), **fields)


# ── the facts ─────────────────────────────────────────────────────────────────────────────────

ADMITTED = f.RequestAdmitted(0)
GONE = f.ClientGone(0)
CRASHED = f.RequestCrashed(0, "KeyError")
DEADLINE = f.TimerFired(0, c.Timer.DEADLINE)
BACKOFF = f.TimerFired(0, c.Timer.BACKOFF)


NOTHING: Mapping[str, float | None] = {}


UNMEASURED = f.RouteHealth()


def surveyed(
    talk: Dialogue,
    full: Mapping[str, float | None] = NOTHING,
    unsupported: Sequence[str] = (),
    prefill: Sequence[str] = (),
    health: f.RouteHealth = UNMEASURED,
    may_hedge: bool = True,
) -> f.RoutesSurveyed:
    """The current model's routes. `full`: route id → when a key has room (None: never).

    `unsupported`: ids of routes that cannot carry the request's tools; `prefill`: of those that go
    on from an answer that was begun.
    """
    candidates = []
    for route in talk.state.model.routes:
        headroom = f.Headroom(available=True)
        if route.id in full:
            headroom = f.Headroom(False, None, full[route.id], f.Unavailable.COOLING)
        lacks = ("tools",) if route.id in unsupported else ()
        takes = route.id in prefill
        candidates.append(f.Candidate(route, health, headroom, lacks, prefill=takes))
    return f.RoutesSurveyed(0, tuple(candidates), HALF, may_hedge)


def leased(attempt: int, key: str = "k1") -> f.LeaseGranted:
    return f.LeaseGranted(0, attempt, key, key)


def denied(attempt: int, available_at: float | None) -> f.LeaseDenied:
    return f.LeaseDenied(0, attempt, f.Unavailable.COOLING, available_at)


def content(attempt: int) -> f.ContentArrived:
    return f.ContentArrived(0, attempt)


SENT = f.Delivered(text=5)
"""What the client of a stream that broke has been sent, where nothing else is said."""


def ended(
    attempt: int, reason: str | None = "stop", chars: int = 5, delivered: f.Delivered = SENT
) -> f.UpstreamEnded:
    return f.UpstreamEnded(0, attempt, reason, chars, HALF, delivered=delivered)


def failed(
    attempt: int,
    kind: FailureKind,
    retry_after: float | None = None,
    status: int | None = None,
    delivered: f.Delivered = SENT,
) -> f.UpstreamFailed:
    failure = Failure(kind, "its words", status=status, retry_after=retry_after)
    return f.UpstreamFailed(0, attempt, failure, HALF, delivered=delivered)


def charged(attempt: int) -> f.ChargeRecorded:
    return f.ChargeRecorded(0, attempt)


def uncharged(attempt: int) -> f.ChargeFailed:
    return f.ChargeFailed(0, attempt, "the disk is full")


# ── where dialogues begin ─────────────────────────────────────────────────────────────────────


ONE = plan(model("m", "a"))
TWO_ROUTES = plan(model("m", "a", "b"))
TWO_MODELS = plan(model("m", "a"), model("n", "b"))


def selecting(plan: RequestPlan = ONE) -> Dialogue:
    talk = Dialogue(plan)
    survey = " ".join(route.id for route in plan.models[0].routes)
    talk.tell(ADMITTED, "admitted: pending → selecting", f"survey {survey}")
    return talk


def executing(plan: RequestPlan = ONE) -> Dialogue:
    talk = selecting(plan)
    first = plan.models[0].routes[0].id
    talk.tell(surveyed(talk), f"lease #1 {first}")
    talk.tell(leased(1), "route_selected: selecting → executing", f"open #1 {first}")
    return talk


def streaming(plan: RequestPlan = ONE) -> Dialogue:
    talk = executing(replace(plan, stream=True))
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    return talk


def retrying(plan: RequestPlan = ONE) -> Dialogue:
    talk = executing(plan)
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    return talk


def waiting(plan: RequestPlan = ONE) -> Dialogue:
    talk = selecting(plan)
    talk.tell(
        surveyed(talk, {"a:m": 12.0}),
        "key_awaited: selecting → selecting",
        "await a:m 30 s",
    )
    return talk
