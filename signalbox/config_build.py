"""Turns the providers and models of a checked document into settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox import config_schema as schema
from signalbox.config_credentials import (
    KeyReader,
    bedrock_base_url,
    project_of,
    url_problem,
    vertex_base_url,
)
from signalbox.config_lines import KeyPath
from signalbox.config_overlay import AddedKey
from signalbox.config_prices import price_of
from signalbox.config_providers import KNOWN_PROVIDERS, KnownProvider
from signalbox.config_report import Report, did_you_mean
from signalbox.config_rules import check_name
from signalbox.config_secrets import PLAIN_SECRET, SecretReader
from signalbox.config_settings import (
    FoundKey,
    ProviderKeySettings,
    ProviderSettings,
)
from signalbox.types import (
    STRATEGY_WORDS,
    ModelPlan,
    RetryPolicy,
    Route,
    Secret,
    Strategy,
    Timeouts,
)

PLACE = re.compile(r"[a-z0-9][a-z0-9.:-]{0,127}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset({"connection", "content-length", "content-type", "host", "te"})
_SECRET_HEADERS = frozenset(
    {"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-goog-api-key"}
)
_OWN_FIELDS = frozenset({"extra", "messages", "model", "stream"})


class Builder(msgspec.Struct, frozen=True):
    """Reports every mistake that it meets and goes on, so that one start names them all."""

    document: schema.Document
    environ: Mapping[str, str]
    secrets: SecretReader
    report: Report
    retry: RetryPolicy
    timeouts: Timeouts
    added_keys: tuple[AddedKey, ...] = ()
    """Beside those of the document."""

    # Providers

    def providers(self, *, automatic: bool) -> dict[str, ProviderSettings]:
        """The declared ones; with `automatic`, also those whose usual key variable is set."""
        declared = dict(self.document.providers)
        if automatic:
            for known in KNOWN_PROVIDERS.values():
                if self._is_set(known.variable):
                    declared.setdefault(known.name, schema.Provider())
        for key in self.added_keys:
            if key.provider in KNOWN_PROVIDERS:
                declared.setdefault(key.provider, schema.Provider())
            elif key.provider not in declared:
                self.report.warn(
                    ("providers", key.provider), f"is not there, so its key {key.label} is not used"
                )
        return {name: self._provider(name, entry) for name, entry in declared.items()}

    def found_keys(
        self, providers: Mapping[str, ProviderSettings], *, automatic: bool
    ) -> tuple[FoundKey, ...]:
        found = []
        for known in KNOWN_PROVIDERS.values():
            if known.variable is None:
                continue
            provider = providers.get(known.name)
            waits_for_it = not provider.keys if provider else automatic
            is_set = self._is_set(known.variable)
            found.append(
                FoundKey(
                    provider=known.name,
                    variable=known.variable,
                    found=is_set,
                    usable=provider is not None and provider.usable,
                    would_enable=waits_for_it and not is_set,
                )
            )
        return tuple(found)

    def _provider(self, name: str, entry: schema.Provider) -> ProviderSettings:
        path: KeyPath = ("providers", name)
        known = KNOWN_PROVIDERS.get(entry.like or name)
        check_name(path, name, self.report)
        if entry.like is not None and known is None:
            hint = did_you_mean(entry.like, KNOWN_PROVIDERS)
            self.report.mistake((*path, "like"), f"expected the name of a known provider{hint}")
        if name in STRATEGY_WORDS:
            self.report.mistake(path, "expected a name that is not a strategy's")
        api = entry.api or (known.api if known else "openai")
        added = self._added_keys(name)
        if added and not entry.keys and (known is None or known.variable is None):
            keys = added
        else:
            keys = self._provider_keys(path, name, api, entry, known) + added
        base_url = entry.base_url or (known.base_url if known else None)
        if entry.base_url is None and api == "bedrock":
            base_url = bedrock_base_url(key.credential for key in keys) or base_url
        project, location = self._place(path, api, entry, keys)
        if base_url is None and api == "vertex":
            base_url = vertex_base_url(location)
        if base_url is None:
            self.report.mistake((*path, "base_url"), "is missing; expected the provider's URL")
        elif entry.base_url is not None and (problem := url_problem(base_url)):
            self.report.mistake((*path, "base_url"), problem)
        provider = ProviderSettings(
            name=name,
            api=api,
            base_url=(base_url or "").rstrip("/"),
            keys=keys,
            api_version=entry.api_version,
            responses=entry.responses,
            completions=entry.completions,
            discover=self._discovers(name, entry),
            project=project,
            location=location,
            like=entry.like,
        )
        if entry.api_version is not None and provider.api != "azure":
            self.report.warn((*path, "api_version"), 'has no effect without api = "azure"')
        if entry.responses is not None and provider.api not in ("openai", "azure"):
            self.report.warn((*path, "responses"), "has no effect with this api")
        if not provider.keys and known is not None:
            self.report.warn(path, f"has no key; set {known.variable} to call its models")
        return provider

    def _discovers(self, name: str, entry: schema.Provider) -> bool:
        """By default where no catalogue knows its models: a local server, an address of its own."""
        if entry.discover is not None:
            return entry.discover
        known = KNOWN_PROVIDERS.get(entry.like or name)
        if (entry.api or (known.api if known else "openai")) != "openai":
            return False
        return known is None or known.variable is None or entry.base_url is not None

    def _provider_keys(
        self,
        path: KeyPath,
        name: str,
        api: str,
        entry: schema.Provider,
        known: KnownProvider | None,
    ) -> tuple[ProviderKeySettings, ...]:
        path = (*path, "keys")
        entries = entry.keys
        if entries is None and known is None:
            self.report.mistake(path, "is missing; expected a list, [] where no key is needed")
        if entries is None and known is not None and known.variable is not None:
            if not self._is_set(known.variable):
                return ()
            entries = (schema.ProviderKey(env=known.variable),)
        if not entries:
            return (ProviderKeySettings(f"{name}/1", "no key", None),)
        keys: list[ProviderKeySettings] = []
        for index, key in enumerate(entries):
            read = KeyReader(self.secrets, api).read(key, (*path, index))
            if read is None:
                continue
            if any((k.secret, k.credential) == (read.secret, read.credential) for k in keys):
                self.report.mistake((*path, index), "is the same key as one before it")
            keys.append(
                ProviderKeySettings(
                    id=f"{name}/{index + 1}",
                    label=read.label,
                    secret=read.secret,
                    rpm=key.rpm,
                    tpm=key.tpm,
                    credential=read.credential,
                )
            )
        return tuple(keys)

    def _added_keys(self, provider: str) -> tuple[ProviderKeySettings, ...]:
        return tuple(
            ProviderKeySettings(f"{provider}/{key.id}", key.label, key.secret, key.rpm, key.tpm)
            for key in self.added_keys
            if key.provider == provider
        )

    def _place(
        self,
        path: KeyPath,
        api: str,
        entry: schema.Provider,
        keys: tuple[ProviderKeySettings, ...],
    ) -> tuple[str, str]:
        """Vertex AI's project and location."""
        if api != "vertex":
            for name in ("project", "location"):
                if getattr(entry, name) is not None:
                    self.report.warn((*path, name), 'has no effect without api = "vertex"')
            return "", ""
        project = entry.project or project_of(key.credential for key in keys) or ""
        location = entry.location or ""
        if not project:
            self.report.mistake((*path, "project"), "is missing; expected a Google Cloud project")
        for name, value in (("project", project), ("location", location)):
            if value and not PLACE.fullmatch(value):
                self.report.mistake((*path, name), f"expected a {name}'s id")
        if not location:
            message = 'is missing; expected a region such as "europe-west4", or "global"'
            self.report.mistake((*path, "location"), message)
        return project, location

    def _is_set(self, variable: str | None) -> bool:
        return variable is not None and bool(self.environ.get(variable, "").strip())

    # Models

    def models(self, providers: Mapping[str, ProviderSettings]) -> dict[str, ModelPlan]:
        return {
            name: self._model(name, entry, providers)
            for name, entry in self.document.models.items()
        }

    def _model(
        self, name: str, entry: schema.Model, providers: Mapping[str, ProviderSettings]
    ) -> ModelPlan:
        path: KeyPath = ("models", name)
        if not name.strip() or name.count("*") > 1:
            self.report.mistake(path, "expected a name with at most one *")
        routes: list[Route] = []
        for index, table in enumerate(entry.routes):
            route_path = (*path, "routes", index)
            if table.provider not in providers:
                self.report.mistake(
                    (*route_path, "provider"),
                    f'no provider "{table.provider}" is configured'
                    f"{did_you_mean(table.provider, providers)}",
                )
            if table.model.count("*") > name.count("*"):
                self.report.mistake(
                    (*route_path, "model"), f"expected at most {name.count('*')} *, as in the name"
                )
            route = self._route(table, route_path)
            if any(route.id == other.id for other in routes):
                self.report.mistake(route_path, "is the same provider and model as a route before")
            routes.append(route)
        for key in ("fallbacks", "context_fallbacks", "content_fallbacks"):
            self.check_fallbacks(getattr(entry, key), (*path, key), name)
        self._check_fields(entry.default_params, (*path, "default_params"))
        retry = schema.Retry(attempts=entry.retry) if isinstance(entry.retry, int) else entry.retry
        return ModelPlan(
            name=name,
            routes=tuple(routes),
            strategy=self.strategy(entry.strategy, (*path, "strategy")),
            fallbacks=entry.fallbacks,
            context_fallbacks=entry.context_fallbacks,
            content_fallbacks=entry.content_fallbacks,
            retry=retry.over(self.retry) if retry else None,
            timeouts=entry.timeouts.over(self.timeouts) if entry.timeouts else None,
            default_params=entry.default_params,
        )

    def _route(self, table: schema.RouteTable, path: KeyPath) -> Route:
        self._check_fields(table.params, (*path, "params"))
        return Route(
            provider=table.provider,
            model=table.model,
            price=price_of(table, path, self.report),
            weight=table.weight,
            order=table.order,
            rpm=table.rpm,
            tpm=table.tpm,
            headers=self._headers(table.headers, (*path, "headers")),
            params=table.params,
            context_length=table.context_length,
            max_output=table.max_output,
            inputs=_set(table.inputs),
            outputs=_set(table.outputs),
            capabilities=_set(table.capabilities),
            prefill=table.prefill,
            zdr=table.zdr,
            data_collection=table.data_collection,
            quantization=table.quantization,
        )

    def strategy(self, word: str | None, path: KeyPath) -> Strategy | None:
        if word is not None and word not in STRATEGY_WORDS:
            words = ", ".join(f'"{word}"' for word in STRATEGY_WORDS)
            self.report.mistake(path, f'expected one of {words}, got "{word}"')
        return STRATEGY_WORDS.get(word) if word is not None else None

    def check_fallbacks(self, names: tuple[str, ...], path: KeyPath, model: str | None) -> None:
        for index, name in enumerate(names):
            if name == model:
                self.report.warn(
                    (*path, index), "has no effect: a model cannot fall back to itself"
                )
            elif name in names[:index]:
                self.report.warn((*path, index), "has no effect: it is named before")

    def _headers(
        self, headers: Mapping[str, str | schema.SecretSource], path: KeyPath
    ) -> tuple[tuple[str, Secret], ...]:
        secrets = []
        for name, value in headers.items():
            if name.lower() in _OWN_HEADERS or not _HEADER_NAME.fullmatch(name):
                self.report.mistake((*path, name), "expected a header that the gateway may add")
            if isinstance(value, schema.SecretSource):
                secret = self.secrets.read(value, (*path, name))
            else:
                secret = self.secrets.plain(value, (*path, name))
                if name.lower() in _SECRET_HEADERS:
                    self.report.warn((*path, name), PLAIN_SECRET)
            if secret is not None:
                secrets.append((name.lower(), secret))
        return tuple(secrets)

    def _check_fields(self, fields: Mapping[str, Any], path: KeyPath) -> None:
        for name in _OWN_FIELDS & fields.keys():
            self.report.mistake((*path, name), "is always the request's own")


def _set(words: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if words is None else frozenset(words)
