"""Which models a gateway key may call, and through which providers. Raises `RequestError`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.models import ModelChain, ModelTable, UnknownModel
from signalbox.errors import ApiError
from signalbox.http.asgi import RequestError
from signalbox.types import ModelPlan


def allowed_chain(
    models: ModelTable, key: GatewayKey, name: str, asked: Sequence[str], *, asked_by: str
) -> ModelChain:
    """The requested model and what may stand in for it.

    A model that the client names must exist and be allowed to this key; one that the configuration
    adds is left out where this key may not call it. `asked`: the request's own fallbacks;
    `asked_by`: its field that names them.
    """
    chain = models.chain(name, asked)
    if isinstance(chain, UnknownModel):
        first = isinstance(models.resolve(name), UnknownModel)
        raise RequestError(unknown_model(chain, "model" if first else asked_by))
    if not key.models and not key.providers:
        return chain
    for each in (name, *asked):
        _must_be_allowed(models, key, each)
    first_of_all = chain.models[0]
    return ModelChain(
        *(
            tuple(plan for plan in plans if plan is first_of_all or _allows(key, plan))
            for plans in (chain.models, chain.context_fallbacks, chain.content_fallbacks)
        )
    )


def may_call(models: ModelTable, key: GatewayKey, name: str) -> bool:
    """Whether the key names the model, or the one that `name` is another name of, and a provider of
    it may serve the key."""
    plan = models.resolve(name)
    if not isinstance(plan, ModelPlan):
        return key.allows(name) and not key.providers
    return (key.allows(name) or key.allows(plan.name)) and _is_served(key, plan)


def _allows(key: GatewayKey, plan: ModelPlan) -> bool:
    return key.allows(plan.name) and _is_served(key, plan)


def _is_served(key: GatewayKey, plan: ModelPlan) -> bool:
    return not key.providers or any(route.provider in key.providers for route in plan.routes)


def _must_be_allowed(models: ModelTable, key: GatewayKey, name: str) -> None:
    plan = models.resolve(name)
    assert isinstance(plan, ModelPlan), "the chain has it"
    if not (key.allows(name) or key.allows(plan.name)):
        raise RequestError(_not_allowed(f"This key may not call the model {name!r}."))
    if not _is_served(key, plan):
        providers = _listed(dict.fromkeys(route.provider for route in plan.routes))
        raise RequestError(
            _not_allowed(
                f"The model {name!r} is served by {providers}, which this key may not use."
            )
        )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def unknown_model(model: UnknownModel, param: str) -> ApiError:
    hints = []
    if model.nearest:
        hints.append(f"near it: {', '.join(model.nearest)}")
    if model.enable_with:
        hints.append(f"setting {model.enable_with} would enable it")
    hint = f" ({'; '.join(hints)})" if hints else ""
    return ApiError(
        status=404,
        type="invalid_request_error",
        code="model_not_found",
        message=f"The model {model.name!r} does not exist here{hint}.",
        param=param,
        should_retry=False,
    )


def _not_allowed(message: str) -> ApiError:
    return ApiError(
        status=403,
        type="permission_error",
        code="model_not_allowed",
        message=message,
        param="model",
        should_retry=False,
    )
