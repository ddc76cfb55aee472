"""LiteLLM configurations for tests, and what an import makes of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from signalbox.adapters.models import ModelTable
from signalbox.cli.litellm_config import Imported, convert
from signalbox.cli.litellm_log import Outcome
from signalbox.cli.litellm_secrets import variables_of
from signalbox.cli.toml_writer import toml_text
from signalbox.cli.yaml_tree import Node, YamlError, read_yaml
from signalbox.config import Settings
from signalbox.config_lines import KeyPath
from tests.catalogues import catalogue
from tests.configs import load

FILE = "config.yaml"
BASE_PRICES: Mapping[str, Mapping[str, Any]] = {
    "azure/gpt-4o": {"input": 2, "output": 8, "context_length": 128_000}
}
"""What the catalogue of these tests has."""


def no_files(name: str) -> Node:
    raise YamlError(f"{name} cannot be read: there are no other files")


def import_text(
    text: str | bytes, environ: Mapping[str, str] | None = None, read_file: Any = no_files
) -> Imported:
    """Raises `YamlError`."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return convert(
        read_yaml(raw, FILE),
        environ or {},
        read_file,
        lambda model: BASE_PRICES.get(model, {}),
    )


def import_tree(tree: Any, environ: Mapping[str, str] | None = None) -> Imported:
    """As `import_text`, of JSON's values."""
    return import_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), environ)


def mistakes_of(text: str) -> str:
    try:
        import_text(text)
    except YamlError as error:
        return str(error)
    raise AssertionError("it was accepted")


@dataclass
class Result:
    """An import, and what its file comes to when everything it asks for is done."""

    imported: Imported
    text: str
    document: Mapping[str, Any]
    """The file as tomllib reads it."""
    settings: Settings

    def models(self) -> ModelTable:
        """Raises `ConfigError` where a name leads nowhere."""
        return ModelTable(self.settings, catalogue())

    def outcome(self, key: str) -> tuple[Outcome, str]:
        """What became of a key, by its dotted name."""
        [found] = [e for e in self.imported.log.entries.values() if e.key == key]
        return found.outcome, found.text

    def tasks(self) -> list[str]:
        return [task.text for task in self.imported.log.tasks]


def loaded(imported: Imported, folder: Path, environ: Mapping[str, str] | None = None) -> Result:
    """Writes the file and loads it; every variable that it reads is set."""
    text = toml_text(imported.document)
    named = dict.fromkeys(variables_of(imported.document))
    secrets = {name: f"secret-of-{name}-0123456789" for name in named}
    for number, name in enumerate(secrets):
        if not name.isascii() or not name.isprintable():
            secrets[name] = f"secret-number-{number}-0123456789"
    settings = load(folder, text, {**secrets, **(environ or {})})
    return Result(imported, text, tomllib.loads(text), settings)


def value_at(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree[part]
    return tree


TASK = re.compile(r"set (\S+) to the value of (\S+)")


def follow(imported: Imported, tree: Any) -> dict[str, str]:
    """The environment of somebody who does what the report asks for."""
    by_key = {entry.key: entry.path for entry in imported.log.entries.values()}
    found = [TASK.fullmatch(task.text) for task in imported.log.tasks]
    return {match[1]: value_at(tree, by_key[match[2]]) for match in found if match is not None}
