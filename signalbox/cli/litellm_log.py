"""What becomes of every key of a LiteLLM configuration: an outcome each, none left unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from signalbox.cli.yaml_tree import Node
from signalbox.config_lines import KeyPath, dotted


class Outcome(Enum):
    CARRIED = "carried over"
    CHANGED = "carried over with a difference"
    LEFT = "not carried over"


class Entry(msgspec.Struct, frozen=True):
    """One key of the input."""

    path: KeyPath
    place: str
    outcome: Outcome
    text: str = ""
    """What is different, or why it has no counterpart and what there is instead."""

    @property
    def key(self) -> str:
        return dotted(self.path)


class Task(msgspec.Struct, frozen=True):
    """What somebody has to do before the result can be used as the original was."""

    place: str
    text: str


class Log:
    """Collects outcomes, tasks and mistakes while a configuration is read."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []
        self.hints: list[str] = []
        """What holds for the whole configuration."""
        self._entries: dict[KeyPath, Entry] = {}
        self._tasks: dict[str, Task] = {}

    @property
    def entries(self) -> Mapping[KeyPath, Entry]:
        return self._entries

    @property
    def tasks(self) -> list[Task]:
        """Each once, in the order of their discovery."""
        return list(self._tasks.values())

    def carried(self, path: KeyPath, node: Node) -> None:
        """Unless something else was said of it."""
        self._entries.setdefault(path, Entry(path, node.place, Outcome.CARRIED))

    def changed(self, path: KeyPath, node: Node, text: str) -> None:
        self._entries[path] = Entry(path, node.place, Outcome.CHANGED, text)

    def left(self, path: KeyPath, node: Node, text: str) -> None:
        self._entries[path] = Entry(path, node.place, Outcome.LEFT, text)

    def left_with_all(self, path: KeyPath, node: Node, text: str) -> None:
        """The value and whatever was said of its parts."""
        for other in [each for each in self._entries if each[: len(path)] == path]:
            del self._entries[other]
        self.left(path, node, text)

    def task(self, node: Node, text: str) -> None:
        self._tasks.setdefault(text, Task(node.place, text))

    def hint(self, text: str) -> None:
        if text not in self.hints:
            self.hints.append(text)

    def mistake(self, path: KeyPath, node: Node, text: str) -> None:
        self.mistakes.append(f"{node.place}: {dotted(path)}: {text}")
