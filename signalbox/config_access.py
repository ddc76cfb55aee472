"""Turns the gateway keys, budgets and presets of a checked document into settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from signalbox import config_schema as schema
from signalbox.config_lines import KeyPath
from signalbox.config_report import Report, did_you_mean
from signalbox.config_rules import check_name
from signalbox.config_secrets import SecretReader
from signalbox.config_settings import (
    BudgetSettings,
    GatewayKeySettings,
    declared_id,
)
from signalbox.prices import NANO_PER_USD
from signalbox.types import LONGEST_TAG, MOST_TAGS, NanoUSD, Preset, Secret

MIN_GATEWAY_KEY_CHARS = 16
PRESET_MARK = "@preset/"
"""What stands before a preset's slug in a model's name."""
OF_A_REQUEST_ALONE = ("stream", "stream_options", "user", "session_id")
"""Fields that say how a client takes its answer, and for whom."""


class AccessBuilder(msgspec.Struct, frozen=True):
    """Reports every mistake that it meets and goes on."""

    document: schema.Document
    secrets: SecretReader
    report: Report

    # Gateway keys

    def gateway_keys(self, providers: Iterable[str]) -> tuple[GatewayKeySettings, ...]:
        """`providers`: the names of those that are configured."""
        keys: list[GatewayKeySettings] = []
        for name, entry in self.document.keys.items():
            path: KeyPath = ("keys", name)
            check_name(path, name, self.report)
            self._check_tags(entry.tags, (*path, "tags"))
            for index, provider in enumerate(entry.providers):
                if provider not in providers:
                    hint = did_you_mean(provider, providers)
                    self.report.mistake(
                        (*path, "providers", index), f'no provider "{provider}" is configured{hint}'
                    )
            secret = self._secret(path, entry, keys)
            if secret is not None:
                keys.append(
                    GatewayKeySettings(
                        name=name,
                        secret=secret,
                        rpm=entry.rpm,
                        tpm=entry.tpm,
                        concurrency=entry.concurrency,
                        models=entry.models,
                        owner=entry.owner,
                        expires_at=entry.expires.timestamp() if entry.expires else None,
                        enabled=entry.enabled,
                        providers=entry.providers,
                        tags=entry.tags,
                        preset=entry.preset,
                        byok_fallback=entry.byok_fallback,
                    )
                )
        return tuple(keys)

    def _secret(
        self, path: KeyPath, entry: schema.GatewayKey, before: Iterable[GatewayKeySettings]
    ) -> Secret | None:
        path = (*path, "key")
        secret = self.secrets.read(entry.key, path)
        if secret is None:
            return None
        if len(secret.reveal()) < MIN_GATEWAY_KEY_CHARS:
            self.report.mistake(path, f"expected at least {MIN_GATEWAY_KEY_CHARS} characters")
        for other in before:
            if other.secret == secret:
                self.report.mistake(path, f"is the same key as keys.{other.name}")
        return secret

    def _check_tags(self, tags: tuple[str, ...], path: KeyPath) -> None:
        if len(tags) > MOST_TAGS:
            self.report.mistake(path, f"expected at most {MOST_TAGS} tags, got {len(tags)}")
        for index, tag in enumerate(tags):
            if len(tag) > LONGEST_TAG:
                self.report.mistake((*path, index), f"expected at most {LONGEST_TAG} characters")

    # Budgets

    def budgets(self) -> tuple[BudgetSettings, ...]:
        """Those of `[budgets]` and those of the keys."""
        return (*self._own_budgets(), *self._budgets_of_keys())

    def _own_budgets(self) -> Iterator[BudgetSettings]:
        for name, entry in self.document.budgets.items():
            path: KeyPath = ("budgets", name)
            check_name(path, name, self.report)
            subject = entry.subject
            if subject is not None and entry.scope == "global":
                self.report.mistake(
                    (*path, "subject"), 'expected none: the scope "global" is everybody\'s together'
                )
            if entry.scope == "key" and subject in self.document.keys:
                subject = declared_id(subject)
            yield _budget(f"declared:{name}", name, entry.scope, subject, entry)

    def _budgets_of_keys(self) -> Iterator[BudgetSettings]:
        for name, entry in self.document.keys.items():
            budget, seen = entry.budget, set[str]()
            for index, ceiling in enumerate(budget if isinstance(budget, tuple) else (budget,)):
                hardness = "hard" if ceiling.hard else "soft"
                id = f"declared:keys.{name}.{ceiling.per}.{hardness}"
                if id in seen:
                    place: KeyPath = ("keys", name, "budget", index)
                    self.report.mistake(
                        place, f"is the second {hardness} budget of this key per {ceiling.per}"
                    )
                seen.add(id)
                told = f"{name}, per {ceiling.per}"
                yield _budget(id, told, "key", declared_id(name), ceiling)

    # Presets

    def presets(self) -> dict[str, Preset]:
        presets: dict[str, Preset] = {}
        for slug, document in self.document.presets.items():
            path: KeyPath = ("presets", slug)
            check_name(path, slug, self.report)
            for key, problem in preset_problems(document):
                self.report.mistake((*path, *key), problem)
            digest = hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
            presets[slug] = Preset(slug, f"config-{digest[:8]}", document)
        return presets


def preset_problems(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """What no preset may say, whoever makes it, by the key where it says so."""
    for name in OF_A_REQUEST_ALONE:
        if name in document:
            yield (name,), "is always the request's own"
    model = document.get("model")
    if isinstance(model, str) and PRESET_MARK in model:
        yield ("model",), "a preset cannot have a preset"
    if "preset" in document:
        yield ("preset",), "a preset cannot have a preset"
    extra = document.get("extra")
    if isinstance(extra, dict):
        if "preset" in extra:
            yield ("extra", "preset"), "a preset cannot have a preset"
        if "byok" in extra:
            yield ("extra", "byok"), "a preset is no place for a secret: everybody may use it"


def _budget(
    id: str, name: str, scope: str, subject: str | None, ceiling: schema.Ceiling
) -> BudgetSettings:
    return BudgetSettings(
        id=id,
        name=name,
        scope=scope,
        subject=subject,
        limit=NanoUSD(int(ceiling.limit * NANO_PER_USD)),
        period=ceiling.per,
        hard=ceiling.hard,
        alert_at=tuple(sorted(set(ceiling.alert_at))),
    )
