"""What is configured while the gateway runs, laid over what the file and the environment say.

Its entries have the form of the file's tables and are checked with them. What the file declares is
the file's: an entry of the same name has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec

from signalbox.config_lines import KeyPath
from signalbox.config_report import Origins, Report
from signalbox.types import Secret

Section = Literal["providers", "models", "aliases"]
SECTIONS: tuple[Section, ...] = get_args(Section)
PLACE = "the database"
"""Where a mistake is said to be."""


class AddedKey(msgspec.Struct, frozen=True):
    """A key of a provider, beside those of the file."""

    id: str
    provider: str
    label: str
    secret: Secret
    rpm: int | None = None
    tpm: int | None = None


class Overlay(msgspec.Struct, frozen=True):
    """`entries` by section and name, in JSON's values."""

    entries: Mapping[Section, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    keys: tuple[AddedKey, ...] = ()

    def with_entry(self, section: Section, name: str, document: Any) -> Overlay:
        """With one more entry, or with another one of that name."""
        own = {**self.entries.get(section, {}), name: document}
        return Overlay({**self.entries, section: own}, self.keys)

    def without_entry(self, section: Section, name: str) -> Overlay:
        own = {each: entry for each, entry in self.entries.get(section, {}).items() if each != name}
        return Overlay({**self.entries, section: own}, self.keys)

    def with_keys(self, *keys: AddedKey) -> Overlay:
        """With these in the place of those with their ids."""
        replaced = {key.id for key in keys}
        kept = (key for key in self.keys if key.id not in replaced)
        return Overlay(self.entries, (*kept, *keys))

    def without_key(self, id: str) -> Overlay:
        return Overlay(self.entries, tuple(key for key in self.keys if key.id != id))


NO_OVERLAY = Overlay()


def lay_over(
    tree: dict[str, Any], origins: Origins, overlay: Overlay
) -> tuple[dict[str, Any], Origins, list[str]]:
    """The tree with the entries in it, where each came from, and what has no effect.

    What has the wrong form in the tree itself is left for its check to find.
    """
    merged, places, hidden = dict(tree), dict(origins.variables), []
    for section in SECTIONS:
        entries = overlay.entries.get(section)
        declared = merged.get(section, {})
        if not entries or not isinstance(declared, dict):
            continue
        added: dict[str, Any] = {}
        for name, document in entries.items():
            path: KeyPath = (section, name)
            if name in declared:
                there = origins.describe(path)
                hidden.append(f"{PLACE}: has no effect, since it is declared: {there}")
            else:
                added[name] = _exact(document)
                places[path] = PLACE
        merged[section] = {**declared, **added}
    return merged, Origins(origins.file, origins.lines, places), hidden


def refuse_secrets(overlay: Overlay, report: Report) -> None:
    """Documents hold no secrets, and name no file or variable of the gateway's machine: whoever may
    change a model is not by that one who may read those."""
    for name, document in overlay.entries.get("providers", {}).items():
        if isinstance(document, dict) and document.get("keys"):
            report.mistake(
                ("providers", name, "keys"), "expected []: a key is added on its own, and encrypted"
            )
    for name, document in overlay.entries.get("models", {}).items():
        routes = document.get("routes") if isinstance(document, dict) else None
        for index, route in enumerate(routes if isinstance(routes, list) else ()):
            headers = route.get("headers") if isinstance(route, dict) else None
            for header, value in headers.items() if isinstance(headers, dict) else ():
                if isinstance(value, dict):
                    path = ("models", name, "routes", index, "headers", header)
                    report.mistake(path, "expected a string")


def _exact(value: Any) -> Any:
    """As TOML is read: a number with a fraction is a `Decimal`, and nothing is null."""
    match value:
        case float():
            return Decimal(repr(value))
        case dict():
            return {name: _exact(each) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [_exact(each) for each in value]
        case _:
            return value
