"""The middle of a stream: how a broken one goes on, and how it ends where it cannot.

What was sent stays sent. Another route is given the text as the beginning of its answer (prefill),
or answers from the start and is joined on where it repeats that text (splice); after reasoning
alone it simply starts again. Until new content comes, the attempt may fail as any other.
"""

from __future__ import annotations

from msgspec.structs import replace

from signalbox.errors import Failure, FailureKind
from signalbox.machines.commands import Resume
from signalbox.machines.decisions import broken_stream
from signalbox.machines.facts import Candidate, Delivered
from signalbox.machines.lifecycle import Event
from signalbox.machines.spending import Sent
from signalbox.machines.state import Break, RequestState, Running, Turn
from signalbox.types import Midstream

REFUSES_PREFILL = frozenset({FailureKind.INVALID_REQUEST, FailureKind.UNSUPPORTED_PARAMETER})
"""What a model answers that takes no prefill. The client's own request was taken before."""


def on_break(turn: Turn, call: Running, failure: Failure, delivered: Delivered) -> bool:
    """The attempt that the client follows failed after content was sent. False: it ends here."""
    broken, paid = Break(delivered, failure.message), Sent(delivered.tokens, delivered.cost)
    turn.state = replace(turn.state, broken=broken, sent=paid)
    if not _may_go_on(turn.state):
        turn.charge_delivered("broken")
        turn.move(Event.STREAM_BROKEN, failure.message)
        turn.fail(broken_stream(failure.message, turn.state.reports))
        return False
    turn.be_done_with(call, failure)
    if turn.state.plan.midstream is Midstream.SAME_MODEL:
        # A model before this one may have been left for want of a key, and is not waited for.
        own = tuple(wait for wait in turn.state.waits if wait.model.name == turn.state.model.name)
        turn.state = replace(turn.state, models_left=(), waits=own)
    sent = f"after {delivered.text} characters"
    turn.move(Event.STREAM_RESUMED, f"{failure.kind} {sent}: {failure.message}")
    return True


def _may_go_on(state: RequestState) -> bool:
    assert state.broken is not None
    wanted = state.plan.midstream is not Midstream.ERROR
    return wanted and state.broken.delivered.resumable and not state.calls_used_up


def resume_on(state: RequestState, candidate: Candidate) -> Resume | None:
    """How an attempt on this route is to go on; None: there is nothing to go on from."""
    if state.broken is None:
        return None
    if state.broken.delivered.text == 0:
        return Resume.RESTART
    if candidate.prefill and candidate.route.id not in state.no_prefill:
        return Resume.PREFILL
    return Resume.SPLICE


def prefill_refused(turn: Turn, call: Running, failure: Failure) -> None:
    """The route may still answer from the start."""
    turn.state = replace(turn.state, no_prefill=turn.state.no_prefill | {call.route.id})
    turn.move(Event.ROUTE_FAILED, f"it takes no prefill: {failure.message}")
    turn.survey()
