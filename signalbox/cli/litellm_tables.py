"""Reading the mappings of a LiteLLM configuration: each key once, with its type, by its line.

Values may stand in the environment (`os.environ/NAME`). A secret stays such a reference; of other
values the importer takes what the variable holds now, because signalbox.toml has no references
there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from signalbox.cli.litellm_log import Log, Outcome
from signalbox.cli.yaml_tree import Node
from signalbox.config_lines import KeyPath

ENV = "os.environ/"
_VARIABLE = re.compile(r"[^\s=\0]{1,200}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE)
_MAX_INT = 2**63 - 1


class Reference(msgspec.Struct, frozen=True):
    """`os.environ/NAME`."""

    name: str


class Context(msgspec.Struct, frozen=True):
    """What all tables of one configuration share."""

    log: Log
    environ: Mapping[str, str]
    """The environment as LiteLLM would see it."""


class Table:
    """One mapping. What nobody asked for is told by `rest`."""

    def __init__(
        self, node: Node, path: KeyPath, context: Context, beneath: Table | None = None
    ) -> None:
        """`beneath` has what this one has not."""
        self.node = node
        self.path = path
        self.context = context
        self.log = context.log
        self._values: Mapping[str, Node] = node.value
        self._beneath = beneath
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self.origin(key).value is not None

    def _holder(self, key: str) -> Table:
        """Where the key stands: here, unless it stands only in what is beneath."""
        if key not in self._values and self._beneath is not None and key in self._beneath.nodes():
            return self._beneath
        return self

    def at(self, key: str) -> KeyPath:
        return (*self._holder(key).path, key)

    def origin(self, key: str) -> Node:
        """The value as it stands there, without taking it."""
        return self._holder(key).nodes().get(key) or Node(None, self.node.place)

    def nodes(self) -> Mapping[str, Node]:
        return self._values

    def take(self, key: str) -> Node | None:
        """The value, which counts as carried over; None where there is none, or it is null."""
        holder = self._holder(key)
        node = holder.nodes().get(key)
        if node is None:
            return None
        holder._taken.add(key)
        self.log.carried(self.at(key), node)
        return None if node.value is None else node

    def rest(self) -> list[str]:
        """The keys that stand here and that nobody has taken."""
        return [key for key in self._values if key not in self._taken]

    def changed(self, key: str, text: str) -> None:
        self._say(key, Outcome.CHANGED, text)

    def left(self, key: str, text: str) -> None:
        """The key and all that it holds."""
        self._say(key, Outcome.LEFT, text)

    def _say(self, key: str, outcome: Outcome, text: str) -> None:
        holder = self._holder(key)
        node = holder.nodes().get(key)
        if node is None:
            return
        holder._taken.add(key)
        if outcome is Outcome.LEFT:
            self.log.left_with_all(self.at(key), node, text)
        else:
            self.log.changed(self.at(key), node, text)

    def mistake(self, key: str, text: str) -> None:
        self.log.mistake(self.at(key), self.origin(key), text)

    # Values of one type; a wrong one is a mistake, and None

    def text(self, key: str) -> str | None:
        """A string that is not empty, from the environment where it stands there."""
        node = self.take(key)
        if node is None:
            return None
        value = self._resolved(key, node)
        if value is None:
            return None
        if isinstance(value, bool | tuple | dict):
            self.mistake(key, f"expected a string, got {form_of(value)}")
            return None
        # Numbers and dates are what they were written as: versions are often not quoted.
        text = value if isinstance(value, str) else node.text
        if not text.strip():
            self.mistake(key, "expected a string that is not empty")
            return None
        return text.strip()

    def number(self, key: str) -> Decimal | None:
        """Zero or more, exactly as it is written."""
        node = self.take(key)
        if node is None:
            return None
        value = self._resolved(key, node)
        if value is None:
            return None
        number = _decimal(value, node.text)
        if number is None or number < 0:
            got = form_of(value) if number is None else "a negative one"
            self.mistake(key, f"expected a number, got {got}")
            return None
        return number

    def count(self, key: str) -> int | None:
        """A whole number from 0."""
        number = self.number(key)
        if number is None:
            return None
        if number != number.to_integral_value() or number > _MAX_INT:
            self.mistake(key, "expected a whole number")
            return None
        return int(number)

    def flag(self, key: str) -> bool | None:
        node = self.take(key)
        if node is None:
            return None
        value = self._resolved(key, node)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            self.mistake(key, f"expected true or false, got {form_of(value)}")
            return None
        return value

    def table(self, key: str) -> Table | None:
        node = self.take(key)
        if node is None:
            return None
        if not isinstance(node.value, dict):
            self.mistake(key, f"expected a mapping, got {form_of(node.value)}")
            return None
        return Table(node, self.at(key), self.context)

    def tables(self, key: str) -> list[Table]:
        found = []
        for path, node in self.items(key):
            if isinstance(node.value, dict):
                found.append(Table(node, path, self.context))
            else:
                got = form_of(node.value)
                self.log.mistake(path, node, f"expected a mapping, got {got}")
        return found

    def items(self, key: str) -> list[tuple[KeyPath, Node]]:
        node = self.take(key)
        if node is None:
            return []
        if not isinstance(node.value, tuple):
            self.mistake(key, f"expected a list, got {form_of(node.value)}")
            return []
        return [((*self.at(key), index), item) for index, item in enumerate(node.value)]

    def texts(self, key: str) -> list[str]:
        """Strings; a single one may stand without a list."""
        node = self.take(key)
        if node is None:
            return []
        parts = node.value if isinstance(node.value, tuple) else (node,)
        for part in parts:
            if not isinstance(part.value, str) or not part.value.strip():
                self.mistake(key, f"expected strings, got {form_of(part.value)} among them")
                return []
        return [part.value.strip() for part in parts]

    def secret(self, key: str) -> str | Reference | None:
        """A secret itself, or where it stands. Numbers are no secrets that anybody meant."""
        node = self.take(key)
        if node is None or node.value == "":
            return None
        if not isinstance(node.value, str):
            got = form_of(node.value)
            self.mistake(key, f"expected a string or {ENV}NAME, got {got}")
            return None
        return self._reference(key, node.value) or node.value.strip()

    def _resolved(self, key: str, node: Node) -> Any:
        """The value; None where it stands in a variable that is not set, which is told."""
        if not isinstance(node.value, str):
            return node.value
        reference = self._reference(key, node.value)
        if reference is None:
            return None if self._is_broken_reference(node.value) else node.value
        found = self.context.environ.get(reference.name, "").strip()
        if found:
            self.changed(key, f"has the value that {reference.name} has at the time of the import")
            return found
        self.left(key, f"stands in the environment variable {reference.name}, which is not set")
        return None

    def _is_broken_reference(self, text: str) -> bool:
        return text.strip().startswith(ENV)

    def _reference(self, key: str, text: str) -> Reference | None:
        text = text.strip()
        if not text.startswith(ENV):
            return None
        name = text.removeprefix(ENV)
        if not _VARIABLE.fullmatch(name):
            self.mistake(key, f"expected the name of a variable behind {ENV}")
            return None
        return Reference(name)


def plain(node: Node) -> Any:
    """The value as JSON has it, exact. Raises `ValueError` for what JSON has not."""
    value = node.value
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if item.value is not None}
    if isinstance(value, tuple):
        return [plain(item) for item in value if item.value is not None]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is finite")
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise ValueError("a number of at most 63 bits")
    return value


def form_of(value: Any) -> str:
    """Never the value: where a string was expected, it may be a secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _decimal(value: Any, written: str) -> Decimal | None:
    if isinstance(value, bool | dict | tuple):
        return None
    text = (value if isinstance(value, str) else written).strip().replace("_", "")
    if isinstance(value, int) and not _NUMBER.fullmatch(text):
        text = str(value)  # hexadecimal, octal
    if isinstance(value, float) and not _NUMBER.fullmatch(text):
        text = repr(value)
    try:
        return Decimal(text) if _NUMBER.fullmatch(text) and len(text) <= 400 else None
    except InvalidOperation:
        return None
