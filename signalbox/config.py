"""The configuration: a TOML file under environment overrides → frozen, validated settings.

`load_settings` reads, checks and resolves; nothing of it is read again later. Durations are
seconds here, whatever unit the file uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from signalbox.config_access import AccessBuilder
from signalbox.config_build import Builder
from signalbox.config_check import check
from signalbox.config_credentials import (
    AwsAccessKey,
    AzureIdentity,
    Credential,
    EntraClient,
    GoogleMetadata,
    ServiceAccount,
    TokenCredential,
    account_of,
)
from signalbox.config_overlay import NO_OVERLAY, AddedKey, Overlay, lay_over, refuse_secrets
from signalbox.config_report import ConfigError, Origins, Report
from signalbox.config_rules import check_rules
from signalbox.config_schema import Limits, Server, Storage, Traces
from signalbox.config_secrets import SecretReader
from signalbox.config_settings import (
    STRATEGY_SUFFIXES,
    BudgetSettings,
    FoundKey,
    GatewayKeySettings,
    ProviderKeySettings,
    ProviderSettings,
    RoutingSettings,
    Settings,
    StorageSettings,
)
from signalbox.config_source import read_environ, read_source
from signalbox.config_tls import with_tls_files
from signalbox.types import ModelPlan, Price, RetryPolicy, Route, Secret, Strategy, Timeouts

__all__ = [
    "DEMO_PROVIDER",
    "NO_OVERLAY",
    "STRATEGY_SUFFIXES",
    "AddedKey",
    "AwsAccessKey",
    "AzureIdentity",
    "BudgetSettings",
    "ConfigError",
    "Credential",
    "EntraClient",
    "FoundKey",
    "GatewayKeySettings",
    "GoogleMetadata",
    "Limits",
    "Origins",
    "Overlay",
    "ProviderKeySettings",
    "ProviderSettings",
    "RoutingSettings",
    "Server",
    "ServiceAccount",
    "Settings",
    "StorageSettings",
    "TokenCredential",
    "Traces",
    "account_of",
    "add_demo",
    "load_settings",
    "read_environ",
]

DEMO_PROVIDER = "simulator"
DEMO_MODEL = "demo"


def load_settings(
    path: Path | None, environ: Mapping[str, str], cwd: Path, overlay: Overlay = NO_OVERLAY
) -> Settings:
    """Reads the configuration; `path` is what `--config` said. Raises `ConfigError`.

    `environ` goes before `.env` in `cwd`, and both before the file. Relative paths start at `cwd`,
    those of secrets' and TLS's files at the folder of the configuration file. `overlay` is what was
    configured while the gateway ran.
    """
    source = read_source(path, environ, cwd)
    tree, origins, hidden = lay_over(source.tree, source.origins, overlay)
    report = Report(origins)
    refuse_secrets(overlay, report)
    document = check(tree, report)
    folder = source.file.parent if source.file else cwd
    builder = Builder(
        document=document,
        environ=source.environ,
        secrets=SecretReader(source.environ, folder, report),
        report=report,
        retry=document.retry.over(RetryPolicy()),
        timeouts=document.timeouts.over(Timeouts()),
        added_keys=overlay.keys,
    )
    automatic = source.file is None or not source.tree.get("providers")
    providers = builder.providers(automatic=automatic)
    models = builder.models(providers)
    access = AccessBuilder(document, builder.secrets, report)
    keys = access.gateway_keys(providers)
    budgets, presets = access.budgets(), access.presets()
    strategy = builder.strategy(document.routing.strategy, ("routing", "strategy"))
    builder.check_fallbacks(document.routing.fallbacks, ("routing", "fallbacks"), None)
    check_rules(document, builder.timeouts, report)
    server = with_tls_files(document.server, folder, report)
    report.stop_on_mistakes()
    return Settings(
        server=server,
        storage=_storage(document.storage),
        limits=document.limits,
        retry=builder.retry,
        timeouts=builder.timeouts,
        traces=document.traces,
        routing=RoutingSettings(
            fallbacks=document.routing.fallbacks,
            strategy=strategy or Strategy.BALANCED,
            affinity=document.routing.affinity,
        ),
        providers=MappingProxyType(providers),
        models=MappingProxyType(models),
        aliases=MappingProxyType(document.aliases),
        keys=keys,
        budgets=budgets,
        presets=MappingProxyType(presets),
        found_keys=builder.found_keys(providers, automatic=automatic),
        warnings=(*source.warnings, *hidden, *report.warnings),
        file=source.file,
        origins=origins,
    )


def _storage(given: Storage) -> StorageSettings:
    return StorageSettings(
        Secret(given.database),
        None if given.redis is None else Secret(given.redis),
        refuse_without_redis=given.when_redis_is_away == "refuse",
    )


def add_demo(settings: Settings, base_url: str) -> Settings:
    """The settings with a simulated provider at `base_url` and the model `demo` on it.

    Raises `ConfigError` where one of the two names is taken.
    """
    if DEMO_PROVIDER in settings.providers or DEMO_MODEL in (*settings.models, *settings.aliases):
        raise ConfigError(
            f"--demo: expected a configuration without a provider {DEMO_PROVIDER} "
            f"and a model {DEMO_MODEL}"
        )
    key = ProviderKeySettings(f"{DEMO_PROVIDER}/1", "no key", None)
    provider = ProviderSettings(DEMO_PROVIDER, "openai", base_url.rstrip("/"), (key,))
    route = Route(
        DEMO_PROVIDER, DEMO_MODEL, price=Price(Decimal("0.15"), Decimal("0.60"), source="demo")
    )
    return replace(
        settings,
        providers=MappingProxyType({**settings.providers, DEMO_PROVIDER: provider}),
        models=MappingProxyType({**settings.models, DEMO_MODEL: ModelPlan(DEMO_MODEL, (route,))}),
    )
