"""A request that refers to state at a provider goes to the route and the key that made the state.

An id pins the request: nobody else could serve it. Encrypted reasoning only leads to its own route,
and is left out elsewhere. What nobody knows of is refused, unless there is only one account that it
can be of: then the client may have made it there itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from signalbox.actors.key_pool import CALLERS_KEY
from signalbox.actors.provider_state import ProviderState
from signalbox.adapters.provider_state import StateReference, references
from signalbox.errors import ApiError, StoreUnavailable
from signalbox.http.asgi import RequestError
from signalbox.http.intake import Intake
from signalbox.machines.decisions import refusal
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.types import Origin, Route

MOST_REFERENCES = 4096
"""Different ones in one body: a conversation of thousands of signed turns, and still one short
read of the database."""


async def pin_to_state(intake: Intake, state: ProviderState) -> Intake:
    """The intake with its plan cut to where the state is that the request refers to.

    Raises `RequestError`: 400 `state_unavailable` naming the field, or 503 where nobody can tell.
    """
    request = intake.request
    found = references(request.body, request.door)
    if not found:
        return intake
    values = dict.fromkeys(reference.value for reference in found)
    if len(values) > MOST_REFERENCES:
        message = f"more than {MOST_REFERENCES} references to state at a provider"
        raise RequestError(refusal("invalid_value", message, found[MOST_REFERENCES].field))
    only_one = _is_one_account(intake, state)
    origins: Mapping[str, Origin] = {}
    try:
        origins = await state.origins(request.key_id, values)
    except StoreUnavailable:
        ids = [reference for reference in found if not reference.strippable]
        if ids and not only_one:
            raise RequestError(nobody_can_tell(ids[0].field)) from None
    if only_one:
        found = tuple(reference for reference in found if reference.value in origins)
    return _pinned(intake, found, origins)


def _is_one_account(intake: Intake, state: ProviderState) -> bool:
    """Whether every route of the chain is one provider's, with one key."""
    providers = {route.provider for route in _routes(intake.plan)}
    if len(providers) != 1:
        return False
    [provider] = providers
    return provider in intake.request.byok or len(state.keys_of(provider)) == 1


def _pinned(
    intake: Intake, found: Sequence[StateReference], origins: Mapping[str, Origin]
) -> Intake:
    required = _where_ids_live([each for each in found if not each.strippable], origins)
    reasoning = [each for each in found if each.strippable]
    if required is not None:
        obstacle = _obstacle(intake, required)
        if obstacle is not None:
            raise RequestError(_unavailable(required.field, obstacle))
        plan = intake.plan.pinned_to(required)
    else:
        plan = replace(intake.plan, pin=_where_reasoning_was_made(intake, reasoning, origins))
    if not reasoning:
        return replace(intake, plan=plan)
    whose = {each.value: origins.get(each.value) for each in reasoning}
    return replace(intake, plan=plan, request=replace(intake.request, reasoning_origins=whose))


def _where_ids_live(ids: Sequence[StateReference], origins: Mapping[str, Origin]) -> Pin | None:
    """Raises `RequestError` where one is unknown, or two live at different places."""
    for reference in ids:
        if reference.value not in origins:
            raise RequestError(_unknown(reference))
    if not ids:
        return None
    first = ids[0]
    origin = origins[first.value]
    for other in ids:
        if origins[other.value] != origin:
            raise RequestError(_apart(first, other, origins))
    return Pin(first.field, origin.route_id, origin.key_id, required=True)


def _where_reasoning_was_made(
    intake: Intake, reasoning: Sequence[StateReference], origins: Mapping[str, Origin]
) -> Pin | None:
    """By a route of the plan, the latest first: what the model goes on from."""
    for reference in reversed(reasoning):
        origin = origins.get(reference.value)
        if origin is None:
            continue
        pin = Pin(reference.field, origin.route_id, origin.key_id, required=False)
        if _obstacle(intake, pin) is None:
            return pin
    return None


def _obstacle(intake: Intake, pin: Pin) -> str | None:
    """Why the request cannot come to where the state is, in words."""
    lives = f"{pin.field} refers to state that lives at {pin.route_id}"
    providers = {r.provider for r in _routes(intake.plan) if r.id == pin.route_id}
    if not providers:
        return f"{lives}, which is no route of this request's models."
    callers_own = not providers.isdisjoint(intake.request.byok)
    if callers_own and pin.key_id != CALLERS_KEY:
        return f"{lives}, made with another key than the one in extra.byok."
    if pin.key_id == CALLERS_KEY and not callers_own:
        return f"{lives}, made with a key from extra.byok, which this request does not bring."
    return None


def _routes(plan: RequestPlan) -> list[Route]:
    models = (*plan.models, *plan.context_fallbacks, *plan.content_fallbacks)
    return [route for model in models for route in model.routes]


# ── what a client is told ─────────────────────────────────────────────────────────────────────


def _unavailable(field: str, message: str) -> ApiError:
    return refusal("state_unavailable", message, field)


def _unknown(reference: StateReference) -> ApiError:
    message = (
        f"{reference.field} refers to state at a provider that is not known here: nothing that was "
        "answered to this API key in the last 30 days gave it out, or the provider's key that made "
        "it is gone."
    )
    if reference.field == "previous_response_id":
        message += " Send the conversation itself in input."
    elif reference.field.startswith("input["):
        message += " Send the item itself, as clients do that ask with store: false."
    return _unavailable(reference.field, message)


def _apart(first: StateReference, other: StateReference, origins: Mapping[str, Origin]) -> ApiError:
    places = [origins[each.value].route_id for each in (first, other)]
    where = f"at {places[0]} and at {places[1]}"
    if places[0] == places[1]:
        where = f"at {places[0]} with different keys"
    return _unavailable(
        other.field,
        f"{first.field} and {other.field} refer to state at different places ({where}): no one "
        "request can use both.",
    )


def nobody_can_tell(field: str) -> ApiError:
    """The state that `field` refers to is not in memory, and the database is away."""
    return ApiError(
        status=503,
        type="server_error",
        code="shared_state_unavailable",
        message=f"What {field} refers to cannot be looked up just now.",
        param=field,
        should_retry=True,
    )
