"""Secrets of a LiteLLM configuration: none of them goes into the file that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from signalbox.cli.litellm_log import Log
from signalbox.cli.litellm_providers import USUAL_VARIABLES
from signalbox.cli.litellm_tables import ENV, Reference
from signalbox.cli.yaml_tree import Node
from signalbox.config_lines import KeyPath, dotted

_NO_KEY = re.compile(
    r"none|null|na|n/a|no|x+|fake|dummy|empty|anything|not-needed|no-key(-needed)?|"
    r"(sk-)?(fake|dummy|no|any|empty|random|test)[-_]?(api[-_]?)?key",
    re.IGNORECASE,
)
"""What people write where a server wants no key and the client library wants one."""


def is_no_key(secret: str) -> bool:
    return _NO_KEY.fullmatch(secret) is not None


def variables_of(document: Any) -> Iterator[str]:
    """The variables that a document of signalbox.toml reads secrets from."""
    if isinstance(document, Mapping):
        for name, item in document.items():
            if name == "env" and isinstance(item, str):
                yield item
            elif name not in ("params", "default_params"):
                yield from variables_of(item)
    elif isinstance(document, list | tuple):
        for item in document:
            yield from variables_of(item)


class Variables:
    """Finds variables for secrets that stand in the configuration itself."""

    def __init__(self, root: Node, environ: Mapping[str, str], log: Log) -> None:
        self._environ = environ
        self._log = log
        self._taken = {*_references(root), *_usual_variables(root)}
        self._given: dict[str, str] = {}
        self._asked_for: set[str] = set()

    def source(
        self, secret: str | Reference, wanted: str, path: KeyPath, node: Node
    ) -> dict[str, Any]:
        """`{ env = "NAME" }`; for a secret itself, of a variable that is to be set to it.

        `wanted`: how the variable should be called.
        """
        if isinstance(secret, Reference):
            return {"env": secret.name}
        if secret not in self._given:
            self._given[secret] = self._free(wanted, secret)
        name = self._given[secret]
        self._log.changed(path, node, f"is read from {name}: keys do not stand in the file")
        if self._environ.get(name) != secret and name not in self._asked_for:
            self._asked_for.add(name)
            self._log.task(node, f"set {name} to the value of {dotted(path)}")
        return {"env": name}

    def _free(self, wanted: str, secret: str) -> str:
        """A name that nothing else uses, or that has this very value already."""
        wanted = re.sub(r"[^A-Z0-9]+", "_", wanted.upper()).strip("_")
        number = 1
        while True:
            name = wanted if number == 1 else f"{wanted}_{number}"
            number += 1
            has_other = name in self._environ and self._environ[name] != secret
            if name not in self._taken and not has_other and not name.startswith("SIGNALBOX_"):
                self._taken.add(name)
                return name


def _usual_variables(root: Node) -> frozenset[str]:
    """Those that deployments without a key take theirs from, where there is such a one."""
    entries = root.value.get("model_list")
    for entry in entries.value if entries is not None and isinstance(entries.value, tuple) else ():
        params = entry.value.get("litellm_params") if isinstance(entry.value, dict) else None
        if params is not None and isinstance(params.value, dict) and "api_key" not in params.value:
            return USUAL_VARIABLES
    return frozenset()


def _references(root: Node) -> Iterator[str]:
    """Every variable that the configuration names; shared parts are looked at once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.value, dict):
            waiting += node.value.values()
        elif isinstance(node.value, tuple):
            waiting += node.value
        elif isinstance(node.value, str) and node.value.startswith(ENV):
            yield node.value.removeprefix(ENV)
