"""Deployments that share an address and a key become providers; groups of them become models.

LiteLLM names address and key at every deployment. Here a provider has an address and a pool of
keys, and a route names the provider. Keys of one address that serve the very same models are one
pool; keys that differ in what they serve stay apart, so that none pays for another one's models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from math import gcd
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.cli.litellm_deployments import Deployment
from signalbox.cli.litellm_servers import Key, Server
from signalbox.config_providers import KNOWN_PROVIDERS, provider_name_of
from signalbox.types import STRATEGY_WORDS

MAX_NAME_CHARS = 60
"""Four less than a provider's name may have: for a number behind it."""

_Frozen = Any
"""A value of JSON's as something that can be compared and hashed."""


class Grouped(msgspec.Struct, frozen=True):
    """`[providers]` and the routes of `[models]`, as the file has them."""

    providers: Mapping[str, Mapping[str, Any]]
    routes: Mapping[str, Sequence[Mapping[str, Any]]]
    """By model."""
    route_of: Mapping[int, Mapping[str, Any]]
    """By the place of a deployment in the list."""


class _Account:
    """One key at one address. A second one is made where a key has two ways to serve a model."""

    def __init__(self, server: Server, key: Key | None) -> None:
        self.server = server
        self.key = key
        self.slots: dict[tuple[str, str], _Slot] = {}
        """By the model's name here and the provider's."""

    def signature(self) -> _Frozen:
        slots = ((place, slot.way()) for place, slot in self.slots.items())
        return self.server, self.key is None, frozenset(slots)


class _Slot:
    """What one account does for one model: usually one deployment, equal ones together."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployments = [deployment]

    def way(self) -> _Frozen:
        first = self.deployments[0]
        return _frozen(first.route), first.weight

    def total(self, limit: str) -> int | None:
        said = [getattr(each, limit) for each in self.deployments]
        known = [number for number in said if number is not None]
        return sum(known) if known else None


def group(deployments: Sequence[Deployment]) -> Grouped:
    """Raises nothing: every deployment has its route."""
    accounts, account_of = _accounts(deployments)
    pools: dict[_Frozen, list[_Account]] = {}
    for account in accounts:
        pools.setdefault(account.signature(), []).append(account)
    pool_of = {id(account): pool for pool in pools.values() for account in pool}
    names = _names(pools.values())
    shares = _shares(deployments)
    providers = {names[id(pool)]: _provider(pool, names[id(pool)]) for pool in pools.values()}
    routes: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    weights: dict[str, dict[tuple[str, str], Decimal]] = {}
    route_of: dict[int, Mapping[str, Any]] = {}
    for index, deployment in enumerate(deployments):
        pool = pool_of[id(account_of[index])]
        place = (names[id(pool)], deployment.callee.model)
        own = routes.setdefault(deployment.name, {})
        if place not in own:
            own[place] = _route(pool, *place, deployment)
        route_of[index] = own[place]
        shared = weights.setdefault(deployment.name, {})
        shared[place] = shared.get(place, Decimal(0)) + shares[index]
    for name, own in routes.items():
        _set_weights(own, weights[name])
    return Grouped(providers, {name: list(own.values()) for name, own in routes.items()}, route_of)


def _accounts(deployments: Sequence[Deployment]) -> tuple[list[_Account], list[_Account]]:
    """All accounts, and the one of each deployment."""
    copies: dict[_Frozen, list[_Account]] = {}
    account_of: list[_Account] = []
    for deployment in deployments:
        callee = deployment.callee
        mine = copies.setdefault((callee.server, _frozen(callee.key)), [])
        place = (deployment.name, callee.model)
        slot = _Slot(deployment)
        for account in mine:
            there = account.slots.get(place)
            if there is None:
                account.slots[place] = slot
            elif there.way() == slot.way():
                there.deployments.append(deployment)
            else:
                continue
            break
        else:
            account = _Account(callee.server, callee.key)
            account.slots[place] = slot
            mine.append(account)
        account_of.append(account)
    return [account for mine in copies.values() for account in mine], account_of


def _names(pools: Iterable[Sequence[_Account]]) -> dict[int, str]:
    """The first of a kind has the kind's name, and before it the one that serves `kind/*`: names
    of models that the catalogue knows lead to the provider whose name they begin with."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for pool in sorted(pools, key=lambda pool: not _serves_all_of_its_kind(pool)):
        wanted = pool[0].server.name[:MAX_NAME_CHARS].strip("-")
        if wanted in STRATEGY_WORDS:
            wanted += "-server"
        if not pool[0].server.kind and wanted in KNOWN_PROVIDERS:
            wanted += "-host"
        name, number = wanted, 2
        while name in taken:
            name = f"{wanted}-{number}"
            number += 1
        taken.add(name)
        names[id(pool)] = name
    return names


def _serves_all_of_its_kind(pool: Sequence[_Account]) -> bool:
    prefixes = {name[:-2] for name, _ in pool[0].slots if name.endswith("/*")}
    return pool[0].server.kind in {provider_name_of(prefix) for prefix in prefixes}


def _provider(pool: Sequence[_Account], name: str) -> dict[str, Any]:
    server = pool[0].server
    table: dict[str, Any] = {}
    if name in KNOWN_PROVIDERS and server.kind == name:
        pass
    elif server.kind in KNOWN_PROVIDERS:
        table["like"] = server.kind
    elif server.api != "openai":
        table["api"] = server.api
    for field in ("base_url", "api_version", "project", "location"):
        value = getattr(server, field)
        if value is not None:
            table[field] = value
    region = (pool[0].key or {}).get("region")
    if server.base_url == f"https://bedrock-runtime.{region}.amazonaws.com":
        del table["base_url"]  # that of the key's region is the usual one
    table["keys"] = [_key(account) for account in pool if account.key is not None]
    return table


def _key(account: _Account) -> Mapping[str, Any]:
    """A key that serves one model has that deployment's limits."""
    assert account.key is not None
    limits = {}
    if len(account.slots) == 1:
        [slot] = account.slots.values()
        limits = {limit: slot.total(limit) for limit in ("rpm", "tpm")}
    return {**account.key, **{name: limit for name, limit in limits.items() if limit is not None}}


def _route(
    pool: Sequence[_Account], provider: str, model: str, deployment: Deployment
) -> dict[str, Any]:
    route: dict[str, Any] = {"provider": provider, "model": model}
    if len(pool[0].slots) > 1 or pool[0].key is None:
        slots = [account.slots[deployment.name, model] for account in pool]
        for limit in ("rpm", "tpm"):
            said = [total for slot in slots if (total := slot.total(limit)) is not None]
            if said:
                route[limit] = sum(said)
    return {**route, **deployment.route}


# Weights


def _shares(deployments: Sequence[Deployment]) -> list[Decimal]:
    """How often LiteLLM's `simple-shuffle` draws each: by weight, else by rpm, else by tpm."""
    groups: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        groups.setdefault(deployment.name, []).append(deployment)
    basis = {name: _basis(group) for name, group in groups.items()}
    shares = []
    for deployment in deployments:
        field = basis[deployment.name]
        said = getattr(deployment, field) if field else None
        shares.append(Decimal(1) if said is None else Decimal(said))
    return shares


def _basis(group: Sequence[Deployment]) -> str | None:
    if any(deployment.weight is not None for deployment in group):
        return "weight"
    for limit in ("rpm", "tpm"):
        if all(getattr(deployment, limit) is not None for deployment in group):
            return limit
    return None


def _set_weights(
    routes: Mapping[tuple[str, str], dict[str, Any]], weights: Mapping[tuple[str, str], Decimal]
) -> None:
    """Writes them where they differ, in small numbers."""
    if len(set(weights.values())) < 2:
        return
    if all(weight == weight.to_integral_value() for weight in weights.values()):
        divisor = reduce(gcd, (int(weight) for weight in weights.values()))
        weights = {place: weight / divisor for place, weight in weights.items()}
    for place, weight in weights.items():
        if weight != 1:
            routes[place]["weight"] = weight.normalize()


def without_never_drawn(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Without those of weight 0, which LiteLLM never draws while a group has others."""
    drawn = {each.name for each in deployments if each.weight is None or each.weight > 0}
    kept = [each for each in deployments if each.weight != 0 or each.name not in drawn]
    return [replace(each, weight=None) if each.weight == 0 else each for each in kept]


def _frozen(value: Any) -> _Frozen:
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    # 1, 1.0 and True are equal in Python and are not the same in a body.
    return type(value), value
