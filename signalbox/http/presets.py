"""The preset that a request has: which one it names, and the request with it.

A preset is named by `extra.preset` (in the body or the header), by OpenRouter's `preset` at the top
level, or by the model: `@preset/slug`, `vendor/model@preset/slug`. A request that names none has
its gateway key's, if the key has one. What is told of a mistake in the preset names it as
`@preset/slug`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.body_checks import decoded_object
from signalbox.adapters.door import BadRequest, Door, Target
from signalbox.adapters.preset_bodies import parameters, put_into
from signalbox.adapters.registry import EMBEDDINGS
from signalbox.config_access import PRESET_MARK
from signalbox.errors import ApiError
from signalbox.http.asgi import RequestError
from signalbox.http.extension_fields import BadExtension, kind_of
from signalbox.http.extensions import Extensions, header_fields, preset_extensions
from signalbox.machines.decisions import refusal
from signalbox.types import Preset

_ESCAPED = rb"\u00"
"""How JSON may write a letter of ASCII, and so of a field's name."""


class Presets(Protocol):
    """Who knows the presets in force."""

    def preset(self, slug: str) -> Preset | None: ...

    def presets_near(self, slug: str) -> Sequence[str]: ...


class DeclaredPresets:
    """`Presets` of the configuration alone."""

    def __init__(self, presets: Mapping[str, Preset]) -> None:
        self._presets = presets

    def preset(self, slug: str) -> Preset | None:
        return self._presets.get(slug)

    def presets_near(self, slug: str) -> Sequence[str]:
        return get_close_matches(slug, self._presets)


class Expanded(msgspec.Struct, frozen=True):
    """A request with its preset in it."""

    preset: Preset
    original: Mapping[str, Any]
    """The body as it came."""
    data: bytes
    """The body, for the door to read."""
    target: Target
    parameters: Mapping[str, Any]
    """For `Request.defaults`."""
    extensions: Extensions
    """The preset's own."""


def expanded(
    door: Door,
    data: bytes,
    header: str | None,
    key: GatewayKey,
    target: Target,
    presets: Presets,
) -> Expanded | None:
    """The request with its preset; None where it has none, or is no JSON object at all.

    `header`: the extensions in the head. Raises `RequestError` (400, 404), `BadRequest`,
    `BadExtension`.
    """
    if key.preset is None and not _may_name_one(data, header, target):
        return None
    try:
        body = decoded_object(data)
    except BadRequest:
        return None  # The door tells of it in the same words.
    named = dict(_named(door, body, header, target))
    slugs = list(dict.fromkeys(named.values()))
    if len(slugs) > 1:
        places = " and ".join(f"{where} ({slug})" for where, slug in named.items())
        raise RequestError(
            refusal("invalid_value", f"two presets are named, by {places}", next(iter(named)))
        )
    slug = slugs[0] if slugs else key.preset
    if slug is None:
        return None
    preset = presets.preset(slug)
    if preset is None:
        raise RequestError(_unknown(slug, next(iter(named), None), presets.presets_near(slug)))
    return _put_together(door, body, target, preset)


def _may_name_one(data: bytes, header: str | None, target: Target) -> bool:
    return (
        b"preset" in data
        or _ESCAPED in data
        or (target.model is not None and PRESET_MARK in target.model)
        or (header is not None and ("preset" in header or "\\u00" in header))
    )


def _named(
    door: Door, body: Mapping[str, Any], header: str | None, target: Target
) -> Iterator[tuple[str, str]]:
    """Where presets are named, and which."""
    extra = body.get("extra")
    if isinstance(extra, dict) and extra.get("preset") is not None:
        yield "extra.preset", _slug_of("extra.preset", extra["preset"])
    elif header is not None and (value := header_fields(header).get("preset")) is not None:
        yield "extra.preset", _slug_of("extra.preset", value)
    if door.takes_routing_fields and body.get("preset") is not None:
        yield "preset", _slug_of("preset", body["preset"])
    _, slug = split_model(_model_of(body, target))
    if slug is not None:
        yield "model", _slug_of("model", slug)


def _slug_of(where: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        got = "an empty string" if value == "" else kind_of(value)
        raise BadExtension(where, f"expected a preset's slug, got {got}")
    return value.removeprefix(PRESET_MARK)


def _model_of(body: Mapping[str, Any], target: Target) -> str:
    model = body.get("model") if target.model is None else target.model
    return model if isinstance(model, str) else ""


def split_model(name: str) -> tuple[str, str | None]:
    """The model and the preset's slug of `vendor/model@preset/slug`.

    `openrouter/@preset/slug` is a model of OpenRouter's.
    """
    model, mark, slug = name.removeprefix("models/").rpartition(PRESET_MARK)
    if not mark or model.endswith("/"):
        return name, None
    return model, slug


def _put_together(door: Door, body: dict[str, Any], target: Target, preset: Preset) -> Expanded:
    document = preset.document
    asked, slug = split_model(_model_of(body, target))
    model = asked or model_of(preset)
    if slug is not None and model is None:
        message = f"the preset {preset.slug!r} has no model; name one: vendor/model@preset/{slug}"
        raise RequestError(refusal("invalid_value", message, "model"))
    put = put_into(body, document, door.dialect)
    if target.model is not None:
        target = replace(target, model=model)
    elif model is not None:
        put["model"] = model
    put.pop("preset", None)
    extensions = preset_extensions(preset)
    if door.dialect in EMBEDDINGS:  # They have no fallbacks.
        extensions = {name: it for name, it in extensions.items() if name != "fallback_models"}
    return Expanded(
        preset,
        body,
        msgspec.json.encode(put),
        target,
        parameters(document, door.dialect),
        extensions,
    )


def model_of(preset: Preset) -> str | None:
    """The preset's model, or the first of its models."""
    model = preset.document.get("model")
    models = preset.document.get("models")
    if model is None and isinstance(models, list) and models:
        model = models[0]
    return model if isinstance(model, str) and model else None


def _unknown(slug: str, where: str | None, nearest: Sequence[str]) -> ApiError:
    whose = "The preset" if where is not None else "This key's preset"
    hint = f" (near it: {', '.join(nearest)})" if nearest else ""
    return ApiError(
        status=404,
        type="invalid_request_error",
        code="preset_not_found",
        message=f"{whose} {slug!r} does not exist here{hint}.",
        param=where,
        should_retry=False,
    )
