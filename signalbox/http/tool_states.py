"""A request's tool calls meet again what their providers want back with them."""

from __future__ import annotations

from msgspec.structs import replace

from signalbox.actors.services import RunnerServices, Surveyor
from signalbox.adapters.forms import chat_form
from signalbox.adapters.registry import CHATS
from signalbox.adapters.tool_memory import SIGNING, forgotten_calls
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.errors import StoreUnavailable
from signalbox.http.intake import Intake
from signalbox.machines.plan import Pin
from signalbox.types import Dialect, Request, Route


async def with_tool_states(intake: Intake, services: RunnerServices) -> Intake:
    """The intake with what is remembered of its tool calls, and a wish for the route that made it.

    Where nobody can tell (the database is away) the request goes on without: the model thinks anew.
    """
    request = intake.request
    if request.door not in CHATS or not _may_have_calls(request):
        return intake
    routes = [route for model in intake.plan.models for route in model.routes]
    if not any(_wants_states(services, request, route) for route in routes):
        return intake
    calls = forgotten_calls(chat_form(request))
    if not calls:
        return intake
    try:
        states = await services.provider_state.tool_states(request.key_id, calls)
    except StoreUnavailable:
        return intake
    if not states:
        return intake
    plan = intake.plan
    latest = next(states[call].origin for call in reversed(calls) if call in states)
    if plan.pin is None and any(route.id == latest.route_id for route in routes):
        pin = Pin("tool_calls", latest.route_id, latest.key_id, required=False)
        plan = replace(plan, pin=pin)
    return replace(intake, plan=plan, request=replace(request, tool_states=states))


def _may_have_calls(request: Request) -> bool:
    """Cheaply, for the bodies that most requests have."""
    if request.door is not Dialect.CHAT:
        return True
    return any(message.get("tool_calls") for message in request.body["messages"])


def _wants_states(surveyor: Surveyor, request: Request, route: Route) -> bool:
    endpoint = surveyor.endpoint(request, route)
    adapter = endpoint.adapter if endpoint is not None else None
    return isinstance(adapter, TranslatedAdapter) and adapter.inner.dialect in SIGNING
