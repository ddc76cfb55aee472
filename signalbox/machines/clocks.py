"""How long one upstream call may take, so that the next one still has its chance."""

from __future__ import annotations

from msgspec.structs import replace

from signalbox.machines.state import RequestState
from signalbox.types import Timeouts

KEPT_BACK = 1 / 3
"""The share of `total` that a call which is not streamed leaves while another route is left: such a
call is silent until its end, so its own clock alone cannot tell a slow route from a dead one."""


def clocks_for(state: RequestState, at: float) -> Timeouts:
    """The clocks of the call that begins at `at`.

    When less than the share is left already, the call may take what there is.
    """
    timeouts = state.plan.timeouts
    others = any(each.route.id != _route_id(state) for each in state.alternatives)
    if state.plan.stream or not (others or state.models_left):
        return timeouts
    spare = state.deadline_at - timeouts.total * KEPT_BACK - at
    if spare <= 0 or spare >= timeouts.response:
        return timeouts
    return replace(timeouts, response=spare)


def _route_id(state: RequestState) -> str | None:
    return state.route.id if state.route is not None else None
