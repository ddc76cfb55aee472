"""From the bytes of a request to a model to a `Request` and its `RequestPlan`.

Everything that a client can get wrong is found here, before anything is reserved or sent, and is
told with the field's name. Raises `RequestError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.stored_keys import CallersKeys
from signalbox.adapters.door import NO_TARGET, BadRequest, Door, Outline, Target
from signalbox.adapters.models import ModelChain, ModelTable, UnknownModel
from signalbox.adapters.openai_body import outline_of
from signalbox.adapters.openai_parameters import OPENROUTER
from signalbox.adapters.preset_bodies import filled
from signalbox.adapters.registry import EMBEDDINGS
from signalbox.config import STRATEGY_SUFFIXES, Settings
from signalbox.http.asgi import RequestError, header_text
from signalbox.http.callers_keys import (
    keys_by_provider,
    with_stored_keys,
    without_callers_keys,
)
from signalbox.http.conversation import conversation_digest
from signalbox.http.extension_fields import BadExtension
from signalbox.http.extensions import HEADER, NO_EXTENSIONS, parse_extra
from signalbox.http.model_access import allowed_chain
from signalbox.http.presets import Expanded, Presets, expanded
from signalbox.machines.budget import Budget
from signalbox.machines.decisions import refusal
from signalbox.machines.plan import RequestPlan
from signalbox.types import (
    Dialect,
    Extra,
    Flavour,
    Midstream,
    ModelPlan,
    ProviderPreferences,
    Request,
    RetryPolicy,
    Timeouts,
)

NOTHING_STORED: CallersKeys = {}
BYTES_PER_TOKEN = 4
"""The likely prompt size is the body's bytes over this: English text, with JSON around it."""
USUAL_ANSWER_TOKENS = 512
"""The likely answer where the client set no ceiling."""
NO_OTHER_MODEL = "embeddings have no fallback models: vectors of different models do not mix"
LONGEST_LABEL = 256
PRESET = "preset"
"""The label that says which one is in the request, and in which version: `summarise@3`."""
_NOTHING = {"role": "user"}
SDK_MARGIN = 1.0
"""Seconds by which our answer comes before the SDK's own timeout, a tenth of it at most."""


class Intake(msgspec.Struct, frozen=True):
    request: Request
    plan: RequestPlan
    payloads: str
    """`full`, `redacted` or `off`."""
    recorded_body: bytes
    """The body for the trace: as it came, but for the caller's keys."""
    budgets: tuple[Budget, ...] = ()
    """What it costs counts under these."""


def take_in(
    door: Door,
    data: bytes,
    headers: Mapping[str, str],
    key: GatewayKey,
    *,
    settings: Settings,
    models: ModelTable,
    config_version: str,
    request_id: str,
    received_at: float,
    presets: Presets,
    target: Target = NO_TARGET,
    flavour: Flavour = Flavour.PLAIN,
    stored_keys: CallersKeys = NOTHING_STORED,
) -> Intake:
    """`headers` by lower-case name; `received_at` is Unix time in seconds; `stored_keys` are the
    gateway key's."""
    try:
        expansion = expanded(door, data, headers.get(HEADER), key, target, presets)
        put = data if expansion is None else expansion.data
        target = target if expansion is None else expansion.target
        body = door.read_body(put, target)
        outline = _outline(door, body, target, expansion)
        recorded_body = without_callers_keys(data, expansion.original if expansion else body)
        routing_fields = body if door.takes_routing_fields else {}
        extra = parse_extra(
            body.pop("extra", None),
            headers.get(HEADER),
            routing_fields,
            expansion.extensions if expansion else NO_EXTENSIONS,
        )
        conversation = conversation_digest(key.id, routing_fields, outline, headers)
        embeds = door.dialect in EMBEDDINGS
        if embeds and extra.fallback_models:
            raise BadRequest(_fallbacks_field(routing_fields, extra), NO_OTHER_MODEL)
        chain = _chain(models, key, outline.model, routing_fields, extra)
        if embeds:
            chain = ModelChain(chain.models[:1])
        brought = keys_by_provider(extra.byok, chain.models[0], settings.providers)
    except BadRequest as error:
        raise RequestError(refusal("invalid_value", str(error), error.param)) from None
    except BadExtension as error:
        raise RequestError(error.error) from None
    byok, locked = with_stored_keys(brought, stored_keys, stands_in=key.byok_fallback)
    requested = chain.models[0]
    if door.takes_routing_fields:
        _refuse_foreign_features(outline.model, body, chain.models)
        _take_out_own_words(body)
    timeouts = requested.timeouts or settings.timeouts
    stream = outline.stream
    tightened = _tighten(timeouts, extra, _sdk_patience(headers, stream=stream))
    request = Request(
        id=request_id,
        received_at=received_at,
        door=door.dialect,
        body=filled(body, requested.default_params) if door.dialect is Dialect.CHAT else body,
        model=outline.model,
        stream=stream,
        include_usage=outline.include_usage,
        extra=extra,
        key_id=key.id,
        key_name=key.name,
        account=key.account or key.id,
        tags=tuple(dict.fromkeys((*key.tags, *extra.tags))),
        forward_headers=tuple((n, headers[n]) for n in door.forwarded_headers if n in headers),
        user=outline.user,
        labels=_labels(headers, expansion),
        prompt_tokens=-(-len(put) // BYTES_PER_TOKEN),
        output_tokens=0
        if embeds
        else min(outline.max_tokens or USUAL_ANSWER_TOKENS, USUAL_ANSWER_TOKENS),
        conversation=conversation if settings.routing.affinity else None,
        byok=byok,
        locked_byok=locked,
        choices=outline.choices,
        begun=outline.begun,
        stored=outline.stored,
        flavour=flavour,
        defaults=_defaults(door, requested, expansion),
    )
    plan = RequestPlan(
        models=chain.models,
        stream=request.stream,
        asked_fallbacks=extra.fallback_models,
        context_fallbacks=chain.context_fallbacks,
        content_fallbacks=chain.content_fallbacks,
        preferences=_preferences(extra, outline.model, requested, key),
        strategy=settings.routing.strategy,
        retry=_retry(settings.retry, extra),
        retry_overridden=extra.retry is not None,
        timeouts=tightened,
        timeouts_tightened=tightened != timeouts,
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        midstream=extra.midstream if stream and outline.plain else Midstream.ERROR,
        hedge=stream and extra.hedge,
        hedge_after=extra.hedge_after if stream else None,
        byok_fallback=key.byok_fallback and bool(byok),
        config_version=config_version,
    )
    payloads = _payload_mode(settings.traces.payloads, extra)
    return Intake(request, plan, payloads, recorded_body)


def _outline(
    door: Door, body: Mapping[str, Any], target: Target, expansion: Expanded | None
) -> Outline:
    """What the body says of itself, with what its preset says in other words than the door's."""
    outline = door.outline(body, target)
    if expansion is None or not expansion.parameters:
        return outline
    preset = outline_of({"model": "", "messages": [_NOTHING], **expansion.parameters})
    return replace(
        outline,
        choices=outline.choices if outline.choices > 1 else preset.choices,
        max_tokens=outline.max_tokens or preset.max_tokens,
        plain=outline.plain and preset.plain,
    )


def _defaults(door: Door, model: ModelPlan, expansion: Expanded | None) -> Mapping[str, Any]:
    if door.dialect is Dialect.CHAT:
        return {}
    if expansion is None or not expansion.parameters:
        return model.default_params
    return filled(dict(expansion.parameters), model.default_params)


def _chain(
    models: ModelTable, key: GatewayKey, name: str, body: Mapping[str, Any], extra: Extra
) -> ModelChain:
    if isinstance(models.chain(name, extra.fallback_models), UnknownModel):
        _refuse_foreign_features(name, body, ())
    field = _fallbacks_field(body, extra)
    return allowed_chain(models, key, name, extra.fallback_models, asked_by=field)


def _fallbacks_field(body: Mapping[str, Any], extra: Extra) -> str:
    """Where the client wrote its fallback models."""
    return "models" if body.get("models") == [*extra.fallback_models] else "extra.fallback_models"


def _refuse_foreign_features(
    name: str, body: Mapping[str, Any], chain: tuple[ModelPlan, ...]
) -> None:
    """OpenRouter's own features mean something only where OpenRouter takes the whole request.

    An empty `chain`: the model is not known.
    """
    if chain and all(route.provider == OPENROUTER for plan in chain for route in plan.routes):
        return
    for found, what in (
        (body.get("plugins") is not None, "plugins"),
        (name.endswith(":online"), "the suffix :online"),
        (name == "openrouter/auto", "openrouter/auto"),
    ):
        if found:
            message = f"{what} works only where every route of the request is OpenRouter's."
            param = "plugins" if what == "plugins" else "model"
            raise RequestError(refusal("unsupported_parameter", message, param))


def _preferences(extra: Extra, name: str, model: ModelPlan, key: GatewayKey) -> ProviderPreferences:
    """The client's, among the providers that its key may use; a strategy suffix of the model's name
    is one (`:nitro` is `sort: throughput`).

    A declared model or alias may end like a suffix without meaning it.
    """
    preferences = extra.provider
    if key.providers:
        preferences = replace(preferences, allowed=key.providers)
    wish = STRATEGY_SUFFIXES.get(name.rpartition(":")[2])
    if wish is None or model.strategy is not wish or preferences.strategy is not None:
        return preferences
    return replace(preferences, strategy=wish)


def _take_out_own_words(body: dict[str, Any]) -> None:
    """What names models and providers as this gateway does would mean nothing at OpenRouter."""
    for name in ("models", "route", "preset"):
        body.pop(name, None)
    if isinstance(body.get("provider"), str):
        del body["provider"]


def _retry(configured: RetryPolicy, extra: Extra) -> RetryPolicy:
    if extra.retry is None:
        return configured
    overrides: dict[str, Any] = dict(extra.retry)
    return replace(configured, **overrides)


def _tighten(timeouts: Timeouts, extra: Extra, sdk: float | None) -> Timeouts:
    """The tighter of configuration and client, clock by clock. `sdk`: its patience in seconds."""
    if extra.timeout is None and sdk is None:
        return timeouts
    asked = dict(extra.timeout or {})
    if sdk is not None:
        asked["total"] = min(asked.get("total", sdk), sdk)
    tighter = {
        clock: min(getattr(timeouts, clock), asked[clock])
        for clock in Timeouts.__struct_fields__
        if clock in asked
    }
    return replace(timeouts, **tighter)


def _sdk_patience(headers: Mapping[str, str], *, stream: bool) -> float | None:
    """How long OpenAI's SDKs wait, in seconds, less a margin.

    The one for Node sends `x-stainless-timeout`. The one for Python sends how long it waits for
    the next bytes, which for an answer that comes in one piece is the same.
    """
    told = headers.get("x-stainless-timeout")
    if told is None and not stream:
        told = headers.get("x-stainless-read-timeout")
    try:
        patience = float(told or "")
    except ValueError:
        return None
    if not 0 < patience < 86_400:
        return None
    return patience - min(SDK_MARGIN, patience / 10)


def _labels(headers: Mapping[str, str], expansion: Expanded | None) -> Mapping[str, str]:
    named = {
        PRESET: expansion.preset.label if expansion else None,
        "referer": headers.get("http-referer") or headers.get("referer"),
        "title": headers.get("x-title"),
    }
    return {name: header_text(value)[:LONGEST_LABEL] for name, value in named.items() if value}


def _payload_mode(configured: str, extra: Extra) -> str:
    """The more discreet of the two: a client may hide, it may not make the gateway tell more."""
    if extra.payloads is None:
        return configured
    order = ("full", "redacted", "off")
    return max(configured, extra.payloads, key=order.index)
