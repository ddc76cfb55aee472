"""A recorded request's plan as today's configuration would make it, and what is different in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import fields, replace

from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.config import Settings
from signalbox.machines.plan import RequestPlan
from signalbox.persistence.gateway_keys import covers
from signalbox.persistence.trace_values import plain, unplain
from signalbox.types import ModelPlan, Route


class Difference(msgspec.Struct, frozen=True):
    """A setting that the plan depends on, in words."""

    setting: str
    then: str
    now: str


def todays_plan(
    recorded: RequestPlan,
    model: str,
    settings: Settings,
    models: ModelTable,
    key_models: Sequence[str],
) -> RequestPlan | UnknownModel:
    """What the same request would be admitted with now. Holds no secret.

    `model`: as the client asked for it. `key_models`: what its gateway key may call. What the
    request itself had set (fallbacks, `retry`, a tighter timeout, preferences) stays as recorded.
    """
    chain = models.chain(model, recorded.asked_fallbacks)
    if isinstance(chain, UnknownModel):
        return chain
    requested = chain.models[0]

    def allowed(plans: Sequence[ModelPlan]) -> tuple[ModelPlan, ...]:
        return tuple(plan for plan in plans if plan is requested or covers(key_models, plan.name))

    timeouts = requested.timeouts or settings.timeouts
    plan = replace(
        recorded,
        models=allowed(chain.models),
        context_fallbacks=allowed(chain.context_fallbacks),
        content_fallbacks=allowed(chain.content_fallbacks),
        strategy=settings.routing.strategy,
        retry=recorded.retry if recorded.retry_overridden else settings.retry,
        timeouts=recorded.timeouts if recorded.timeouts_tightened else timeouts,
        config_version=settings.version,
    )
    pin = recorded.pin
    if pin is not None and pin.required and plan.pinned_to(pin).models:
        plan = plan.pinned_to(pin)
    return unplain(plain(plan), RequestPlan)


def differences(then: RequestPlan, now: RequestPlan) -> list[Difference]:
    """Setting by setting; a model or a route that only one of them has is told once, by name."""
    return list(_compare("", replace(then, config_version=""), replace(now, config_version="")))


def _compare(path: str, then: Any, now: Any) -> Iterator[Difference]:
    if then == now:
        return
    named_then, named_now = _by_name(then), _by_name(now)
    if named_then and named_now:
        if list(named_then) != list(named_now):
            yield Difference(path, ", ".join(named_then), ", ".join(named_now))
        for name in (name for name in named_then if name in named_now):
            yield from _compare(f"{path}.{name}", named_then[name], named_now[name])
    elif isinstance(then, msgspec.Struct) and type(then) is type(now):
        for field in fields(then):
            inner = f"{path}.{field.name}" if path else field.name
            yield from _compare(inner, getattr(then, field.name), getattr(now, field.name))
    else:
        yield Difference(path, _words(then), _words(now))


def _by_name(value: object) -> dict[str, ModelPlan | Route]:
    """The models or the routes in a tuple; empty where it is something else."""
    if not isinstance(value, tuple):
        return {}
    return {
        each.name if isinstance(each, ModelPlan) else each.id: each
        for each in value
        if isinstance(each, ModelPlan | Route)
    }


def _words(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple) and (named := _by_name(value)):
        return ", ".join(named)
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    values = msgspec.to_builtins(value)
    return values if isinstance(values, str) else msgspec.json.encode(values).decode()
