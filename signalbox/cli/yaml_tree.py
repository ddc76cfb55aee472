"""A YAML text as a tree whose every value knows the line that it stands on.

PyYAML parses; its own loaders keep no lines and take the last of two equal keys without a word.
Aliases are followed, so the tree may share parts; what it would come to when it is written out is
bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from signalbox.errors import SignalboxError

MAX_BYTES = 1024 * 1024
"""Room for some five thousand deployments; more than that is some other file."""

MAX_VALUES = 200_000
"""Of a tree that is written out: five times what the longest text has room for. A few lines of
aliases can stand for any number."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"


class YamlError(SignalboxError):
    """The text cannot be used. One line a mistake: the file, the line, what was expected."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Node(msgspec.Struct, frozen=True):
    """A value and where it stands.

    `value`: a scalar (None, bool, int, float, str), a tuple of nodes, or a mapping from keys as
    they were written to nodes. A date is the text that it was written as.
    """

    value: Any
    place: str
    """`config.yaml:12`."""
    text: str = ""
    """A scalar as it was written: of a number, the digits."""


def read_yaml(text: bytes, file: str) -> Node:
    """The tree of a text; an empty one is None. Raises `YamlError`."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"{file}: expected at most {MAX_BYTES // 1024} KiB of YAML")
    builder = _Builder(file)
    try:
        root = yaml.compose(text.decode("utf-8-sig"), Loader=yaml.SafeLoader)
        node = Node(None, f"{file}:1") if root is None else builder.build(root)
    except yaml.MarkedYAMLError as error:
        raise YamlError(_told(error, file)) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise YamlError(f"{file}: expected YAML in UTF-8, without control characters") from None
    except RecursionError:
        raise YamlError(f"{file}: is nested too deeply") from None
    if builder.mistakes:
        raise YamlError(*builder.mistakes)
    return node


def _told(error: yaml.MarkedYAMLError, file: str) -> str:
    """PyYAML's words hold no text of the file but single characters and the names of anchors."""
    mark = error.problem_mark or error.context_mark
    place = file if mark is None else f"{file}:{mark.line + 1}"
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{place}: is no YAML: {words}".replace("\n", " ")


class _Builder:
    def __init__(self, file: str) -> None:
        self.mistakes: list[str] = []
        self._file = file
        self._scalars = yaml.constructor.SafeConstructor()
        self._built: dict[int, Node] = {}
        """By identity: an alias is the node that it stands for."""
        self._open: set[int] = set()
        self._sizes: dict[int, int] = {}
        """How many values a node comes to, by its identity; without an entry it is one."""

    def build(self, node: yaml.Node) -> Node:
        known = self._built.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            self._mistake(node, "stands for something that it is a part of itself")
            return Node(None, self._place(node))
        self._open.add(id(node))
        built = self._built[id(node)] = self._made(node)
        self._open.discard(id(node))
        return built

    def _made(self, node: yaml.Node) -> Node:
        if isinstance(node, yaml.ScalarNode):
            text = self._unicode(node)
            return Node(self._value(node, text), self._place(node), text)
        if isinstance(node, yaml.MappingNode):
            entries = self._entries(node)
            made, parts = Node(entries, self._place(node)), tuple(entries.values())
        else:
            if node.tag != f"{_TAG}seq":
                self._unknown_type(node)
            parts = tuple(self.build(item) for item in node.value)
            made = Node(parts, self._place(node))
        size = 1 + sum(self._sizes.get(id(part), 1) for part in parts)
        if size > MAX_VALUES and not self.mistakes:
            self._mistake(node, f"comes to more than {MAX_VALUES:,} values when it is written out")
        self._sizes[id(made)] = size
        return made

    def _entries(self, node: yaml.MappingNode) -> Mapping[str, Node]:
        if node.tag != f"{_TAG}map":
            self._unknown_type(node)
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                self._merge(value, merged)
                continue
            name = self._key(key)
            if name is None:
                continue
            if name in own:
                self._mistake(key, f'has "{_short(name)}" twice in one mapping')
            own[name] = self.build(value)
        return merged | own

    def _merge(self, node: yaml.Node, merged: dict[str, Node]) -> None:
        """The entries of `<<`: what is named first goes before what comes later."""
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(part, yaml.MappingNode):
                self._mistake(part, "expected a mapping, or a list of them, behind <<")
                continue
            for name, item in (self.build(part).value or {}).items():
                merged.setdefault(name, item)

    def _key(self, node: yaml.Node) -> str | None:
        """A key as it is written: `on` and `4` are names like others."""
        if not isinstance(node, yaml.ScalarNode):
            self._mistake(node, "expected a plain key, got a list or a mapping")
            return None
        name = self._unicode(node)
        if not name:
            self._mistake(node, "expected a key's name, got nothing")
        return name or None

    def _value(self, node: yaml.ScalarNode, text: str) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str" | "timestamp" | "value":
                    return text
                case "null":
                    return None
                case "bool":
                    return self._scalars.construct_yaml_bool(node)
                case "int":
                    return self._scalars.construct_yaml_int(node)
                case "float":
                    return self._scalars.construct_yaml_float(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            self._mistake(node, f"is no {kind}")
            return None
        self._unknown_type(node)
        return None

    def _unicode(self, node: yaml.Node) -> str:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._mistake(node, "expected Unicode text, got half of a surrogate pair")
            return ""
        return text

    def _unknown_type(self, node: yaml.Node) -> None:
        self._mistake(node, f"has the type {_short(node.tag)}, which is not read here")

    def _mistake(self, node: yaml.Node, text: str) -> None:
        self.mistakes.append(f"{self._place(node)}: {text}")

    def _place(self, node: yaml.Node) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"


def _short(text: str) -> str:
    """For a message: names are chosen by whoever wrote the file."""
    shown = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
