"""What a model name means: the routes that serve it, and the chain of models behind it."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.catalogue import Catalogue, CatalogueModel, vendor_id
from signalbox.adapters.catalogue_facts import EMBEDDING, facts_of
from signalbox.adapters.discovery import DiscoveredModel
from signalbox.adapters.model_entries import ModelEntry, entry_of
from signalbox.config import STRATEGY_SUFFIXES, ProviderSettings, Settings
from signalbox.config_lines import KeyPath
from signalbox.config_providers import KNOWN_PROVIDERS, provider_name_of
from signalbox.config_report import Report
from signalbox.types import ModelPlan, Route

MAX_NAME_CHARS = 256
"""The longest public model names have about 100 characters."""

MAX_REMEMBERED_NAMES = 4096
"""Clients choose the names; the catalogue of one reseller has about a thousand."""

NEAREST = 3
"""How many names an unknown one is answered with."""

_NEAR = 0.4
"""Two names with less in common are not near: about half of their letter pairs are shared."""


class UnknownModel(msgspec.Struct, frozen=True):
    """A name that no configured key can serve."""

    name: str
    nearest: tuple[str, ...]
    """Names that can be called, the nearest first; at most three."""
    enable_with: str | None
    """The environment variable whose key would make it known."""


class ModelChain(msgspec.Struct, frozen=True):
    """The models to try, in order, each once."""

    models: tuple[ModelPlan, ...]
    """The requested model first."""
    context_fallbacks: tuple[ModelPlan, ...] = ()
    content_fallbacks: tuple[ModelPlan, ...] = ()


class ModelTable:
    """Resolves names against one configuration, one catalogue and what providers list.

    Raises `ConfigError` where a fallback or an alias leads to no model.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._vendors = _vendors(settings, catalogue)
        self._wildcards = sorted(
            (name for name in settings.models if "*" in name), key=len, reverse=True
        )
        self._remembered: dict[str, ModelPlan | UnknownModel] = {}
        self._chains: dict[str, ModelChain] = {}
        """Of those remembered, where the request names no fallbacks."""
        self._discovered: dict[str, Mapping[str, DiscoveredModel]] = {}
        """By provider and id."""
        self._check_references()
        self._declared_entries = {entry.id: entry for entry in self._declared_names()}
        self._listed: dict[str, dict[str, ModelEntry]] = {}
        """What `_discovered` comes to, by provider."""
        self._letter_pairs: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        """Made when a name is first unknown."""

    def learn(self, provider: str, models: Sequence[DiscoveredModel]) -> None:
        """Takes what a provider lists in the place of what it listed before."""
        listed = {model.id: model for model in models}
        if self._discovered.get(provider) != listed:
            self._discovered[provider] = listed
            self._remembered.clear()
            self._chains.clear()
            self._letter_pairs.clear()
            entries = (self._listed_entry(provider, model_id) for model_id in listed)
            self._listed[provider] = {entry.id: entry for entry in entries}

    @cached_property
    def _catalogued(self) -> dict[str, ModelEntry]:
        """Made when models are first listed, which takes 20 ms."""
        return {entry.id: entry for entry in self._catalogue_entries()}

    @property
    def _entries(self) -> Mapping[str, ModelEntry]:
        """A declared name takes the place of a listed one, and that of one of the catalogue."""
        return ChainMap(self._declared_entries, *self._listed.values(), self._catalogued)

    def resolve(self, name: str) -> ModelPlan | UnknownModel:
        """The model of this name with those of its routes that a configured key can serve."""
        known = self._remembered.get(name)
        if known is not None:
            return known
        if len(name) > MAX_NAME_CHARS:
            return UnknownModel(f"{name[:MAX_NAME_CHARS]}…", (), None)
        plan = self._find(name)
        result = self._served(plan) or UnknownModel(
            name, self._nearest(name), self._enabling_variable(name, plan)
        )
        if len(self._remembered) >= MAX_REMEMBERED_NAMES:
            self._remembered.clear()
            self._chains.clear()
        self._remembered[name] = result
        return result

    def chain(self, name: str, fallback_models: Sequence[str] = ()) -> ModelChain | UnknownModel:
        """The model, then the request's fallbacks or else its own, then those for every model.

        A configured fallback that no key can serve is passed over. A name in the request that is
        unknown is the client's mistake: it is what comes back.
        """
        if not fallback_models:
            known = self._chains.get(name)
            if known is not None:
                return known
        first = self.resolve(name)
        if isinstance(first, UnknownModel):
            return first
        asked = [self.resolve(fallback) for fallback in fallback_models]
        for plan in asked:
            if isinstance(plan, UnknownModel):
                return plan
        own = asked or self._resolve_all(first.fallbacks)
        chain = ModelChain(
            models=_each_once([first, *own, *self._resolve_all(self._settings.routing.fallbacks)]),
            context_fallbacks=_each_once(self._resolve_all(first.context_fallbacks)),
            content_fallbacks=_each_once(self._resolve_all(first.content_fallbacks)),
        )
        if not fallback_models and name in self._remembered:
            self._chains[name] = chain
        return chain

    def listing(self, *, all: bool = False) -> list[ModelEntry]:
        """The models that can be called; with `all`, also those that another key would enable."""
        return [entry for entry in self._entries.values() if all or entry.servable]

    def entry(self, name: str) -> ModelEntry | None:
        """One model as the list shows it, also where it is called by another name."""
        listed = self._entries.get(name)
        plan = self.resolve(name)
        if listed is None and isinstance(plan, ModelPlan):
            return entry_of(name, plan.routes[0], servable=True)
        return listed

    # Resolving

    def _find(self, name: str) -> ModelPlan | None:
        """The plan before its routes are completed; the order is that of the documentation."""
        declared = self._declared(name)
        if declared is not None:
            return declared
        base, _, suffix = name.rpartition(":")
        if base and suffix in STRATEGY_SUFFIXES:
            plan = self._find(base)
            return replace(plan, strategy=STRATEGY_SUFFIXES[suffix]) if plan else None
        prefix, _, model_id = name.partition("/")
        provider = self._provider(prefix) if model_id else None
        return (
            self._of_catalogue(provider, model_id)
            or self._of_wildcard(name)
            or self._of_one_vendor(name)
            or self._of_one_provider(name)
            or (_plan(provider, model_id) if provider else None)
        )

    def _declared(self, name: str) -> ModelPlan | None:
        if name in self._settings.models and "*" not in name:
            return self._settings.models[name]
        alias = self._settings.aliases.get(name)
        return self._find(alias) if alias is not None else None

    def _of_catalogue(self, provider: ProviderSettings | None, model_id: str) -> ModelPlan | None:
        vendor = self._vendor_of(provider) if provider else None
        model = self._catalogue.find(vendor, model_id) if vendor else None
        return _plan(provider, model_id, model) if provider and model else None

    def _of_wildcard(self, name: str) -> ModelPlan | None:
        for pattern in self._wildcards:
            before, _, after = pattern.partition("*")
            matched = name.removeprefix(before).removesuffix(after)
            if matched and name == f"{before}{matched}{after}":
                plan = self._settings.models[pattern]
                routes = tuple(
                    replace(route, model=route.model.replace("*", matched)) for route in plan.routes
                )
                return replace(plan, name=name, routes=routes)
        return None

    def _of_one_vendor(self, name: str) -> ModelPlan | None:
        """A model that exactly one vendor has: by its own id, else by another one."""
        for exact in (True, False):
            found = {
                vendor: model
                for vendor in self._vendors
                if (model := self._catalogue.find(vendor, name, exact=exact)) is not None
            }
            if len(found) == 1:
                [(vendor, model)] = found.items()
                return _plan(self._vendors[vendor], name, model)
            if found:
                return None
        return None

    def _of_one_provider(self, name: str) -> ModelPlan | None:
        """A model that exactly one provider lists."""
        listing = [provider for provider, models in self._discovered.items() if name in models]
        return _plan(self._settings.providers[listing[0]], name) if len(listing) == 1 else None

    def _provider(self, prefix: str) -> ProviderSettings | None:
        providers = self._settings.providers
        return providers.get(prefix) or providers.get(provider_name_of(prefix))

    def _vendor_of(self, provider: ProviderSettings) -> str | None:
        return self._catalogue.vendor_of(provider.kind, provider.base_url)

    def _complete(self, route: Route) -> Route:
        """The route with price and context from its provider's list and from the catalogue, where
        none was declared."""
        listed = self._discovered.get(route.provider, {}).get(route.model)
        if listed is not None:
            route = replace(
                route,
                context_length=route.context_length or listed.context_length,
                max_output=route.max_output or listed.max_output,
            )
        vendor = self._vendor_of(self._settings.providers[route.provider])
        if vendor is None:
            return route
        price, context = route.price, route.context_length
        if price.input is None:
            price = self._catalogue.price(vendor, route.model)
        if context is None:
            context = self._catalogue.context_length(vendor, route.model)
        return _with_facts(replace(route, price=price, context_length=context), vendor)

    def _served(self, plan: ModelPlan | None) -> ModelPlan | None:
        """The plan with the routes that a configured key can serve; None where there is none."""
        if plan is None:
            return None
        providers = self._settings.providers
        usable = [route for route in plan.routes if providers[route.provider].usable]
        routes = tuple(self._complete(route) for route in usable)
        return replace(plan, routes=routes) if routes else None

    def _resolve_all(self, names: Iterable[str]) -> list[ModelPlan]:
        plans = [self.resolve(name) for name in names]
        return [plan for plan in plans if isinstance(plan, ModelPlan)]

    # Names that are not known

    def _nearest(self, name: str) -> tuple[str, ...]:
        bare, whole = _pairs(name.rpartition("/")[2]), _pairs(name)
        scores = {
            known: (_likeness(bare, known_bare), _likeness(whole, known_whole))
            for known, (known_bare, known_whole) in self._compared_with().items()
        }
        near = sorted(known for known in scores if max(scores[known]) >= _NEAR)
        return tuple(sorted(near, key=lambda known: scores[known], reverse=True)[:NEAREST])

    def _compared_with(self) -> Mapping[str, tuple[frozenset[str], frozenset[str]]]:
        """The letter pairs of every name that can be called: of its last part, and whole."""
        if not self._letter_pairs:
            self._letter_pairs = {
                entry.id: (_pairs(entry.id.rpartition("/")[2]), _pairs(entry.id))
                for entry in self._entries.values()
                if entry.servable
            }
        return self._letter_pairs

    def _enabling_variable(self, name: str, plan: ModelPlan | None) -> str | None:
        """The key variable to set: of the plan's providers, of the name's vendor, of any vendor."""
        waiting = {
            key.provider: key.variable for key in self._settings.found_keys if key.would_enable
        }
        wanted = [route.provider for route in plan.routes] if plan else []
        wanted.append(provider_name_of(name.partition("/")[0]))
        if not any(self._catalogue.find(vendor, name, exact=True) for vendor in self._vendors):
            wanted += [
                provider
                for provider in waiting
                if self._catalogue.find(vendor_id(provider), name, exact=True)
            ]
        return next((waiting[provider] for provider in wanted if provider in waiting), None)

    def _check_references(self) -> None:
        report = Report(self._settings.origins)
        for path, name in self._references():
            if self._find(name) is None:
                variable = self._enabling_variable(name, None)
                hint = f"; setting {variable} would enable it" if variable else ""
                report.mistake(path, f'no model is named "{name}"{hint}')
        report.stop_on_mistakes()

    def _references(self) -> Iterator[tuple[KeyPath, str]]:
        for alias, name in self._settings.aliases.items():
            yield ("aliases", alias), name
        for index, name in enumerate(self._settings.routing.fallbacks):
            yield ("routing", "fallbacks", index), name
        for model, plan in self._settings.models.items():
            for key in ("fallbacks", "context_fallbacks", "content_fallbacks"):
                for index, name in enumerate(getattr(plan, key)):
                    yield ("models", model, key, index), name
        for slug, preset in self._settings.presets.items():
            for place, name in models_named(preset.document):
                yield ("presets", slug, *place), name

    # Listing

    def _catalogue_entries(self) -> Iterator[ModelEntry]:
        for provider in self._settings.providers.values():
            vendor = self._vendor_of(provider)
            yield from self._vendor_entries(vendor, provider.name, servable=provider.usable)
        for known in KNOWN_PROVIDERS.values():
            if known.name not in self._settings.providers:
                yield from self._vendor_entries(vendor_id(known.name), known.name, servable=False)

    def _listed_entry(self, provider: str, model_id: str) -> ModelEntry:
        route = self._complete(Route(provider, model_id))
        usable = self._settings.providers[provider].usable
        return entry_of(f"{vendor_id(provider)}/{model_id}", route, servable=usable)

    def _declared_names(self) -> Iterator[ModelEntry]:
        for name in (*self._settings.models, *self._settings.aliases):
            plan = self._find(name) if "*" not in name else None
            if plan is not None:
                served = self._served(plan)
                yield entry_of(name, (served or plan).routes[0], servable=served is not None)

    def _vendor_entries(
        self, vendor: str | None, provider: str, *, servable: bool
    ) -> Iterator[ModelEntry]:
        """A vendor's models that make text or vectors: no door leads to the others."""
        for model in self._catalogue.models(vendor) if vendor else ():
            route = Route(provider, model.wire_id, model.price, context_length=model.context_length)
            route = _with_facts(route, vendor or "")
            if model.price.known or EMBEDDING in (route.outputs or ()):
                yield entry_of(f"{vendor_id(provider)}/{model.id}", route, servable=servable)


def models_named(preset: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """The models that a preset's document names, by the key where it does so."""
    extra = preset.get("extra")
    lists: dict[KeyPath, object] = {("models",): preset.get("models")}
    if isinstance(extra, Mapping):
        lists["extra", "fallback_models"] = extra.get("fallback_models")
    if isinstance(preset.get("model"), str):
        yield ("model",), preset["model"]
    for path, names in lists.items():
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str):
                yield (*path, index), name


def _vendors(settings: Settings, catalogue: Catalogue) -> Mapping[str, ProviderSettings]:
    """Which provider stands for a vendor: the one of its name, else the first declared."""
    vendors: dict[str, ProviderSettings] = {}
    for provider in settings.providers.values():
        vendor = catalogue.vendor_of(provider.kind, provider.base_url)
        if vendor is None or not provider.usable:
            continue
        if vendor not in vendors or vendor_id(provider.name) == vendor:
            vendors[vendor] = provider
    return vendors


def _plan(
    provider: ProviderSettings, model_id: str, model: CatalogueModel | None = None
) -> ModelPlan:
    """A model by its full name: the catalogue's spelling where the catalogue has this very id."""
    is_its_id = model is not None and model.id.lower() == model_id.lower()
    name = model.id if model is not None and is_its_id else model_id
    wire_id = model.wire_id if model is not None else model_id
    return ModelPlan(f"{vendor_id(provider.name)}/{name}", (Route(provider.name, wire_id),))


def _with_facts(route: Route, vendor: str) -> Route:
    """What is known of the model, where the configuration does not say otherwise."""
    facts = facts_of(vendor, route.model)
    return replace(
        route,
        max_output=route.max_output or facts.max_output,
        inputs=facts.inputs if route.inputs is None else route.inputs,
        outputs=facts.outputs if route.outputs is None else route.outputs,
        capabilities=facts.capabilities if route.capabilities is None else route.capabilities,
    )


def _each_once(plans: Iterable[ModelPlan]) -> tuple[ModelPlan, ...]:
    by_name: dict[str, ModelPlan] = {}
    for plan in plans:
        by_name.setdefault(plan.name, plan)
    return tuple(by_name.values())


def _pairs(text: str) -> frozenset[str]:
    """The pairs of neighbouring letters, the ends marked."""
    marked = f" {text.lower()} "
    return frozenset(marked[start : start + 2] for start in range(len(marked) - 1))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """0 to 1: the Sørensen–Dice coefficient of two sets of letter pairs."""
    return 2 * len(one & other) / (len(one) + len(other))
