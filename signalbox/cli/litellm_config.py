"""A LiteLLM proxy's config.yaml → the document of a signalbox.toml, and what became of each key.

The format is that of LiteLLM's documentation, "Proxy Config.yaml" and "All settings".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from signalbox.cli import litellm_settings as settings
from signalbox.cli.litellm_deployments import (
    BasePrice,
    Deployment,
    DeploymentReader,
    names_of,
)
from signalbox.cli.litellm_grouping import Grouped, group, without_never_drawn
from signalbox.cli.litellm_log import Log
from signalbox.cli.litellm_reasons import GENERAL, ROUTER, SETTINGS, TOP, UNKNOWN, Rules, reason
from signalbox.cli.litellm_routing import KINDS, Models
from signalbox.cli.litellm_secrets import Variables
from signalbox.cli.litellm_settings import Sections, declared_environment
from signalbox.cli.litellm_tables import ENV, Context, Table
from signalbox.cli.yaml_tree import Node, YamlError
from signalbox.config_providers import KNOWN_PROVIDERS, provider_name_of

MAX_INCLUDES = 64

ReadFile = Callable[[str], Node]
"""An included file by the name that `include` has. Raises `YamlError`."""


class Imported(msgspec.Struct, frozen=True):
    """`document`: sections and keys as signalbox.toml has them."""

    document: Mapping[str, Any]
    log: Log
    models: tuple[str, ...]
    """Names that clients ask for, with aliases."""
    access_groups: Mapping[str, tuple[str, ...]]
    """LiteLLM's names for sets of models → their models."""


def convert(
    root: Node, environ: Mapping[str, str], read_file: ReadFile, base_price: BasePrice
) -> Imported:
    """Raises `YamlError` with every mistake in the configuration."""
    log = Log()
    root = _with_includes(root, read_file, log)
    context = Context(log, _environment(root, environ))
    table = Table(root, (), context)
    for key in ("include", "environment_variables"):
        table.take(key)
    imported = _Importer(table, base_price).convert()
    if log.mistakes:
        raise YamlError(*log.mistakes)
    return imported


def _with_includes(root: Node, read_file: ReadFile, log: Log) -> Node:
    """What other files say: lists are added to this one's, everything else takes its place."""
    if not isinstance(root.value, dict):
        raise YamlError(f"{root.place}: expected a mapping with model_list and settings")
    included = root.value.get("include")
    if included is None or included.value is None:
        return root
    parts = included.value if isinstance(included.value, tuple) else (included,)
    if len(parts) > MAX_INCLUDES:
        raise YamlError(f"{included.place}: include: expected at most {MAX_INCLUDES} files")
    merged = dict(root.value)
    for part in parts:
        if not isinstance(part.value, str):
            raise YamlError(f"{part.place}: include: expected names of files")
        other = read_file(part.value)
        if not isinstance(other.value, dict):
            raise YamlError(f"{other.place}: expected a mapping")
        for key, node in other.value.items():
            there = merged.get(key)
            if key == "include":
                log.hint(f"{node.place}: include in an included file is not followed")
            elif (
                there is not None
                and isinstance(there.value, tuple)
                and isinstance(node.value, tuple)
            ):
                merged[key] = Node((*there.value, *node.value), there.place)
            else:
                if there is not None:
                    log.hint(f"{there.place}: {key} is replaced by that of {node.place}")
                merged[key] = node
    return Node(merged, root.place)


def _environment(root: Node, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment under what the configuration sets, references to it resolved once."""
    declared = declared_environment(root.value)
    resolved = {}
    for name, value in declared.items():
        text = value.strip()
        if text.startswith(ENV):
            text = environ.get(text.removeprefix(ENV), "")
        if text:
            resolved[name] = text
    return {**environ, **resolved}


class _Importer:
    def __init__(self, root: Table, base_price: BasePrice) -> None:
        self._root = root
        self._log = root.log
        self._base_price = base_price
        self._variables = Variables(root.node, root.context.environ, root.log)
        self._sections = Sections(
            root.table("litellm_settings"),
            root.table("router_settings"),
            root.table("general_settings"),
        )
        self._calls_everything = False

    def convert(self) -> Imported:
        self._told_environment()
        deployments = self._deployments()
        grouped = group(deployments)
        by_id = {
            deployment.id: grouped.route_of[index]
            for index, deployment in enumerate(deployments)
            if deployment.id is not None
        }
        models = Models(grouped.routes, by_id, self._log)
        self._set_model_settings(models, deployments)
        self._set_default_params(models)
        self._set_aliases_and_fallbacks(models)
        document = self._document(models, grouped)
        self._hint_at_names(models, document.get("providers", {}))
        self._finish()
        return Imported(
            document,
            self._log,
            (*models.models, *models.aliases),
            _access_groups(deployments),
        )

    # Models

    def _deployments(self) -> list[Deployment]:
        credentials = self._credentials()
        reader = DeploymentReader(
            {name: values for name, (_, values) in credentials.items()},
            self._variables,
            self._base_price,
            azure_identity=self._flag("enable_azure_ad_token_refresh"),
        )
        found: list[Deployment] = []
        for entry in self._root.tables("model_list"):
            if self._is_everything(entry):
                continue
            found += reader.read(entry)
        for entry, values in credentials.values():
            for key in values.rest():
                values.left(key, "no deployment that was carried over uses it")
            for key in entry.rest():
                entry.left(key, "is a note: keys have none")
        kept = without_never_drawn(found)
        for deployment in found:
            if deployment.weight == 0 and not any(each.node is deployment.node for each in kept):
                self._log.hint(
                    f"{deployment.node.place}: a deployment of {deployment.name} has the weight 0, "
                    "which LiteLLM never draws: it is left out"
                )
        return kept

    def _is_everything(self, entry: Table) -> bool:
        """`*` for every model of every provider."""
        params = entry.nodes().get("litellm_params")
        name = entry.nodes().get("model_name")
        if (
            params is None
            or name is None
            or name.value != "*"
            or not isinstance(params.value, dict)
        ):
            return False
        model = params.value.get("model")
        if model is None or model.value != "*":
            return False
        others = [key for key in (*params.value, *entry.nodes()) if key not in _EVERYTHING]
        self._calls_everything = True
        text = "every known provider is declared: delete those that you have no key for"
        if others:
            text += f"; without {', '.join(others)}"
        self._log.changed(entry.path, entry.node, text)
        return True

    def _credentials(self) -> dict[str, tuple[Table, Table]]:
        """Entries of `credential_list` and their values, by name."""
        found: dict[str, tuple[Table, Table]] = {}
        for entry in self._root.tables("credential_list"):
            name = entry.text("credential_name")
            values = entry.table("credential_values")
            if name is None or values is None:
                entry.mistake("credential_name", "expected a name and credential_values")
            elif name in found:
                entry.mistake("credential_name", "there is one of this name before")
            else:
                found[name] = (entry, values)
        return found

    def _set_model_settings(self, models: Models, deployments: Sequence[Deployment]) -> None:
        common = self._seconds = settings.all_seconds(self._sections)
        for name in names_of(deployments):
            own = [each for each in deployments if each.name == name]
            retries = [each.retries for each in own if each.retries is not None]
            if retries:
                models.models[name]["retry"] = min(max(retries), 100)
            timeouts = settings.model_timeouts(own, common)
            if timeouts:
                models.models[name]["timeouts"] = timeouts
            if len({(each.seconds, each.retries) for each in own}) > 1:
                self._log.hint(
                    f"{own[0].node.place}: the deployments of {name} differ in timeouts or "
                    "retries, which a model has once here: the largest hold"
                )

    def _set_default_params(self, models: Models) -> None:
        router = self._sections.router
        table = router.table("default_litellm_params") if router is not None else None
        if table is None:
            return
        params = settings.default_params(table)
        for model in models.models.values() if params else ():
            model["default_params"] = params

    def _set_aliases_and_fallbacks(self, models: Models) -> None:
        tables = []
        for section, key in (("router", "model_group_alias"), ("library", "model_alias_map")):
            holder = getattr(self._sections, section)
            table = holder.table(key) if holder is not None else None
            if table is not None:
                models.add_aliases(table)
                tables.append(table)
        for table in tables:
            models.drop_dangling_aliases(table)
        for key in KINDS:
            held = self._sections.holding(key)
            if held is not None:
                models.add_fallbacks(*held)
        held = self._sections.holding("default_fallbacks")
        if held is not None:
            models.add_default_fallbacks(held[0])

    # The document

    def _document(self, models: Models, grouped: Grouped) -> dict[str, Any]:
        sections = self._sections
        settings.drop_params(sections)
        routing = settings.routing_table(sections)
        if models.for_every_model:
            routing["fallbacks"] = models.for_every_model
        redis = settings.redis_url(sections)
        providers = dict(grouped.providers)
        if self._calls_everything:
            for known in KNOWN_PROVIDERS.values():
                if known.variable is not None:
                    providers.setdefault(known.name, {})
        budget = settings.budget(sections)
        parts = {
            "server": settings.server_table(sections),
            "storage": {"redis": redis} if redis is not None else {},
            "limits": settings.limits_table(sections),
            "retry": settings.retry_table(sections),
            "timeouts": settings.timeouts(self._seconds),
            "routing": routing,
            "providers": providers,
            "models": models.models,
            "aliases": models.aliases,
            "keys": settings.keys_table(sections, self._variables),
            "budgets": {"everything": budget} if budget is not None else {},
        }
        return {name: part for name, part in parts.items() if part}

    def _hint_at_names(self, models: Models, providers: Mapping[str, Any]) -> None:
        """Where `vendor/*` is not what the provider of that name serves."""
        for name, model in models.models.items():
            prefix, slash, rest = name.partition("/")
            own = provider_name_of(prefix)
            serving = {route["provider"] for route in model["routes"]}
            if slash and "*" in rest and own in providers and own not in serving:
                self._log.hint(
                    f"{name}: models of it that the catalogue knows are called at the provider "
                    f"{own}; name those that are not to be"
                )

    def _told_environment(self) -> None:
        table = self._root.table("environment_variables")
        if table is None:
            return
        for name in table.nodes():
            node = table.take(name)
            if node is not None:
                table.left(name, "is no configuration here: set it in the environment or in .env")
                self._log.task(node, f"set {name} in the environment or in .env")

    def _flag(self, key: str) -> bool:
        found = [table.flag(key) for table in self._sections.tables()]
        return any(found)

    def _finish(self) -> None:
        named: list[tuple[Table | None, Rules]] = [
            (self._root, TOP),
            (self._sections.library, {**SETTINGS, **ROUTER}),
            (self._sections.router, {**ROUTER, **SETTINGS}),
            (self._sections.general, GENERAL),
        ]
        for table, rules in named:
            if table is not None:
                for key in table.rest():
                    table.left(key, reason(key, rules) or UNKNOWN)


_EVERYTHING = frozenset({"model", "model_name", "litellm_params"})


def _access_groups(deployments: Sequence[Deployment]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, dict[str, None]] = {}
    for deployment in deployments:
        for group_name in deployment.access_groups:
            groups.setdefault(group_name, {})[deployment.name] = None
    return {name: tuple(models) for name, models in groups.items()}
