"""`extra.byok`: keys for providers that a caller brings along, for one request; and those that are
stored for its gateway key.

They are the caller's secrets: no error repeats them, no trace holds them, and each goes to the one
provider that it was given for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.actors.stored_keys import CallersKeys
from signalbox.config import ProviderSettings
from signalbox.config_providers import KNOWN_PROVIDERS, provider_name_of
from signalbox.http.extension_fields import BadExtension, kind_of
from signalbox.types import ModelPlan, Secret

FIELD = "byok"
_PATH = f"extra.{FIELD}"
_KEY = re.compile(r"[!#-\[\]-~]{8,4096}")
"""What a header can carry, without the two characters that JSON escapes: a key that a provider
repeats is found and masked. The longest in use, cloud access tokens, have about 2,000 characters.
"""
LONGEST_NAME_TOLD = 24
"""Characters. In the place of a provider's name a longer string may well be a key."""


def callers_keys(where: str, value: object) -> Mapping[str, Secret] | Secret:
    """Keys by provider, or one for the model's own provider. Raises `BadExtension`."""
    if isinstance(value, str):
        return _key(where, value)
    if not isinstance(value, dict):
        raise BadExtension(
            where, f"expected a key, or an object of keys by provider, got {kind_of(value)}"
        )
    return {name: _key(_path(name), key) for name, key in value.items()}


def _key(where: str, value: object) -> Secret:
    if not isinstance(value, str):
        raise BadExtension(where, f"expected a key, got {kind_of(value)}")
    if not _KEY.fullmatch(value):
        raise BadExtension(
            where, "expected a key of 8 to 4096 ASCII characters, without space, quote or backslash"
        )
    return Secret(value)


def _path(name: str) -> str:
    return f"{_PATH}.{name}" if len(name) <= LONGEST_NAME_TOLD else _PATH


def keys_by_provider(
    keys: Mapping[str, Secret] | Secret,
    model: ModelPlan,
    providers: Mapping[str, ProviderSettings],
) -> Mapping[str, Secret]:
    """Which provider may see which key. Raises `BadExtension`.

    `model` is the requested one, `providers` those of the configuration. Only a provider that the
    gateway itself can call has routes that the key could serve.
    """
    if isinstance(keys, Secret):
        return {_own_provider(model, providers): keys}
    served = [name for name, provider in providers.items() if provider.usable]
    for name in keys:
        if name not in served:
            raise BadExtension(
                _path(name), f"no provider of this gateway; expected {' or '.join(served)}"
            )
    return keys


def with_stored_keys(
    brought: Mapping[str, Secret], stored: CallersKeys, *, stands_in: bool
) -> tuple[Mapping[str, Secret], frozenset[str]]:
    """The caller's keys by provider, and providers whose stored key cannot be opened.

    What came with the request goes before what is stored. `stands_in`: the gateway's keys are used
    in the place of one that cannot be opened.
    """
    opened = {name: key for name, key in stored.items() if key is not None}
    locked = stored.keys() - opened.keys() - brought.keys()
    return {**opened, **brought}, frozenset() if stands_in else frozenset(locked)


def _own_provider(model: ModelPlan, providers: Mapping[str, ProviderSettings]) -> str:
    """The provider that the model's name begins with, else the only one of its routes.

    Where that leaves a doubt nothing is guessed: a wrong guess would show the key to a stranger.
    """
    own = provider_name_of(model.name.partition("/")[0])
    serving = list(dict.fromkeys(route.provider for route in model.routes))
    if own in serving:
        return own
    if len(serving) == 1 and own not in providers and own not in KNOWN_PROVIDERS:
        return serving[0]
    raise BadExtension(
        _PATH,
        f"expected an object that names the key's provider: {model.name} is served by "
        f"{' and '.join(serving)}",
    )


def without_callers_keys(data: bytes, body: Mapping[str, Any]) -> bytes:
    """What the trace may keep of `data`, whose decoded form is `body`.

    With an `extra` it is written anew, also where no key is seen: in JSON a second field of the
    same name hides the first, and the hidden one may hold a key.
    """
    if "extra" not in body:
        return data
    extra = body["extra"]
    if isinstance(extra, dict):
        extra = {name: value for name, value in extra.items() if name != FIELD}
    return msgspec.json.encode({**body, "extra": extra})
