"""LiteLLM's aliases and fallbacks between models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from signalbox.cli.litellm_log import Log
from signalbox.cli.litellm_reasons import UNKNOWN
from signalbox.cli.litellm_tables import Table, form_of
from signalbox.cli.yaml_tree import Node
from signalbox.config_lines import KeyPath

KINDS = {
    "fallbacks": "fallbacks",
    "context_window_fallbacks": "context_fallbacks",
    "content_policy_fallbacks": "content_fallbacks",
}
"""LiteLLM's kinds → the keys of a model."""


class Models:
    """`[models]` and `[aliases]` while they are made.

    A name that only a wildcard, an alias or one deployment's id stands for becomes a model of its
    own where it has fallbacks, or is one.
    """

    def __init__(
        self,
        routes: Mapping[str, Sequence[Mapping[str, Any]]],
        by_id: Mapping[str, Mapping[str, Any]],
        log: Log,
    ) -> None:
        self.models: dict[str, dict[str, Any]] = {
            name: {"routes": [dict(route) for route in own]} for name, own in routes.items()
        }
        self.aliases: dict[str, str] = {}
        self.for_every_model: list[str] = []
        self._by_id = by_id
        self._log = log

    def add_aliases(self, table: Table) -> None:
        for alias in table.nodes():
            target = self._target(table, alias)
            if target is None:
                continue
            if alias in self.models or "*" in alias or not alias.strip():
                table.left(alias, "is no name that an alias can have: a model has it, or a *")
            elif alias == target or self._leads_to(target, alias):
                table.left(alias, "leads back to itself")
            elif not self.known(target) and target not in table.nodes():
                table.left(alias, f"no model that was carried over is named {_shown(target)}")
            else:
                self.aliases[alias] = target

    def _target(self, table: Table, alias: str) -> str | None:
        node = table.take(alias)
        if node is None or not isinstance(node.value, dict):
            return None if node is None else table.text(alias)
        item = table.table(alias)
        assert item is not None
        target = item.text("model")
        if target is None:
            table.mistake(alias, "expected a model's name, or a mapping with `model`")
        if item.flag("hidden"):
            item.changed("hidden", "aliases are never listed in /v1/models")
        for key in item.rest():
            item.left(key, UNKNOWN)
        return target

    def _leads_to(self, name: str, alias: str) -> bool:
        seen = set()
        while name in self.aliases and name not in seen:
            seen.add(name)
            name = self.aliases[name]
        return name == alias

    def drop_dangling_aliases(self, table: Table) -> None:
        """Those that lead to one which was not carried over."""
        while True:
            dangling = [name for name, to in self.aliases.items() if not self.known(to)]
            if not dangling:
                return
            for alias in dangling:
                del self.aliases[alias]
                table.left(alias, "no model that was carried over is behind it")

    def known(self, name: str) -> bool:
        return name in self.models or name in self.aliases or self._wildcard(name) is not None

    # Fallbacks

    def add_fallbacks(self, table: Table, key: str) -> None:
        """`[{model: [others]}]`, of which `*` means every model."""
        for path, item in table.items(key):
            if isinstance(item.value, str):
                self._for_every_model(path, item, [(path, item)])
            elif isinstance(item.value, dict):
                for name, targets in item.value.items():
                    self._log.carried((*path, name), targets)
                    self._add(KINDS[key], name, (*path, name), targets)
            else:
                self._log.mistake(path, item, f"expected a mapping, got {form_of(item.value)}")

    def add_default_fallbacks(self, table: Table) -> None:
        for path, item in table.items("default_fallbacks"):
            self._for_every_model(path, item, [(path, item)])

    def _add(self, kind: str, name: str, path: KeyPath, targets: Node) -> None:
        items = targets.value if isinstance(targets.value, tuple) else (targets,)
        parts = [((*path, index), item) for index, item in enumerate(items)]
        if targets.value is None:
            return
        if name == "*" and kind == "fallbacks":
            self._for_every_model(path, targets, parts)
            return
        model = self._model_of(name)
        if model is None:
            why = f"no model that was carried over is named {_shown(name)}"
            if name == "*":
                why = "only `fallbacks` can be said for every model, in `[routing]`"
            self._log.left_with_all(path, targets, why)
            return
        there = model.setdefault(kind, [])
        there += [each for each in self._targets(parts) if each not in (*there, name)]
        if not there:
            del model[kind]

    def _for_every_model(
        self, path: KeyPath, node: Node, parts: Sequence[tuple[KeyPath, Node]]
    ) -> None:
        added = list(self._targets(parts))
        self.for_every_model += [name for name in added if name not in self.for_every_model]
        if added:
            self._log.changed(path, node, "models with fallbacks of their own fall back to it too")

    def _targets(self, parts: Sequence[tuple[KeyPath, Node]]) -> Iterator[str]:
        for path, item in parts:
            name: Any = item.value
            if isinstance(name, dict):
                name = item.value["model"].value if "model" in item.value else None
                for key, other in item.value.items():
                    if key == "model":
                        self._log.carried((*path, key), other)
                    else:
                        self._log.left((*path, key), other, "a fallback has the request's own")
            if not isinstance(name, str) or not name.strip():
                got = form_of(item.value)
                self._log.mistake(path, item, f"expected a model's name, got {got}")
                continue
            self._log.carried(path, item)
            name = name.strip()
            if not self.known(name) and name in self._by_id:
                self.models[name] = {"routes": [dict(self._by_id[name])]}
            if self.known(name):
                yield name
            else:
                why = f"no model that was carried over is named {_shown(name)}"
                self._log.left(path, item, why)

    def _model_of(self, name: str) -> dict[str, Any] | None:
        """The model that may have fallbacks: made where the name only stands for another one."""
        if name in self.models:
            return self.models[name]
        if name in self.aliases:
            target, seen = self.aliases[name], {name}
            while target in self.aliases and target not in seen:
                seen.add(target)
                target = self.aliases[target]
            copy = self._copy(target)
            del self.aliases[name]
        else:
            copy = self._copy(name)
        if copy is None:
            return None
        self.models[name] = copy
        return copy

    def _copy(self, name: str) -> dict[str, Any] | None:
        """The model of this name, or what a wildcard makes of it, without fallbacks."""
        pattern = name if name in self.models else self._wildcard(name)
        if pattern is None or (pattern != name and "*" in name):
            return None
        copy = {
            key: value for key, value in self.models[pattern].items() if key not in KINDS.values()
        }
        routes = copy["routes"]
        if pattern != name:
            before, _, after = pattern.partition("*")
            matched = name[len(before) : len(name) - len(after)]
            routes = [{**route, "model": route["model"].replace("*", matched)} for route in routes]
        return {**copy, "routes": [dict(route) for route in routes]}

    def _wildcard(self, name: str) -> str | None:
        """The longest name with a * that this one fits."""
        fitting = []
        for pattern in self.models:
            before, star, after = pattern.partition("*")
            long_enough = len(name) > len(before) + len(after)
            if star and long_enough and name.startswith(before) and name.endswith(after):
                fitting.append(pattern)
        return max(fitting, key=len, default=None)


def _shown(text: str) -> str:
    shown = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
