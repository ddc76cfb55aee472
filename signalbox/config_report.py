"""What is wrong with a configuration, and where it says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import msgspec

from signalbox.config_lines import KeyPath, dotted
from signalbox.errors import SignalboxError


class ConfigError(SignalboxError):
    """The configuration cannot be used. One line a mistake: where, which key, what was expected.

    No line ever holds a secret, nor text that stands where a secret may stand.
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Origins(msgspec.Struct, frozen=True):
    """Which file and line, or which environment variable, each value came from."""

    file: str | None = None
    lines: Mapping[KeyPath, int] = msgspec.field(default_factory=dict)
    variables: Mapping[KeyPath, str] = msgspec.field(default_factory=dict)

    def describe(self, path: KeyPath) -> str:
        """`signalbox.toml:14: retry.attempts`, or the nearest that is known of the place."""
        prefixes = [path[:length] for length in range(len(path), 0, -1)]
        places = [self.variables[prefix] for prefix in prefixes if prefix in self.variables]
        if not places and self.file is not None:
            lines = [self.lines[prefix] for prefix in prefixes if prefix in self.lines]
            places = [f"{self.file}:{line}" for line in lines] or [self.file]
        return ": ".join([*places[:1], dotted(path)])


class Report:
    """Collects mistakes and warnings, so that one start names all of them."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.warnings: list[str] = []
        self._mistakes: list[str] = []

    def mistake(self, path: KeyPath, text: str) -> None:
        self._mistakes.append(f"{self.origins.describe(path)}: {text}")

    def warn(self, path: KeyPath, text: str) -> None:
        self.warnings.append(f"{self.origins.describe(path)}: {text}")

    def stop_on_mistakes(self) -> None:
        if self._mistakes:
            raise ConfigError(*self._mistakes)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "attempts"?`, or nothing where no known word is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
