"""Where each key of a TOML text stands: tomllib keeps no positions.

The grammar is that of TOML 1.0 (toml.io). The text must have been accepted by tomllib before:
what is read here finds places and does not judge.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from typing import Any

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, and numbers of list items: ("providers", "openai", "keys", 0)."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEY_PART = r'(?:"(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+)'
_KEY = re.compile(rf"{_KEY_PART}(?:[ \t]*\.[ \t]*{_KEY_PART})*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")


def dotted(path: KeyPath) -> str:
    """The path as TOML would write it: `models."openai/gpt-4o".routes[0].input`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
        text += f".{name}" if text else name
    return text


def index_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table, key and list item: where its name or value begins."""
    return _Index(text.replace("\r\n", "\n")).lines


class _Index:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._pos = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._array_sizes: dict[KeyPath, int] = {}
        table: KeyPath = ()
        self._skip_blank()
        while self._pos < len(text):
            if self._next_is("["):
                table = self._header()
            else:
                self._key_value(table)
            self._skip_blank()

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self._text.startswith("[[", self._pos)
        self._pos += 2 if is_array else 1
        self._skip_blank()
        path: KeyPath = ()
        names = self._key()
        for depth, name in enumerate(names):
            path = (*path, name)
            self.lines.setdefault(path, line)
            if is_array and depth == len(names) - 1:
                self._array_sizes[path] = self._array_sizes.get(path, 0) + 1
            if path in self._array_sizes:
                path = (*path, self._array_sizes[path] - 1)
                self.lines.setdefault(path, line)
        self._skip_blank()
        self._pos += 2 if is_array else 1
        return path

    def _key_value(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for name in self._key():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self._skip_blank()
        self._pos += len("=")
        self._skip_blank()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._next_is("["):
            self._array(path)
        elif self._next_is("{"):
            self._inline_table(path)
        else:
            string = _STRING.match(self._text, self._pos)
            self._pos = (string or self._expect(_SCALAR)).end()

    def _array(self, path: KeyPath) -> None:
        self._pos += 1
        self._skip_blank()
        size = 0
        while not self._next_is("]"):
            item = (*path, size)
            self.lines[item] = self._line()
            self._value(item)
            size += 1
            self._skip_comma()
        self._pos += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._pos += 1
        self._skip_blank()
        while not self._next_is("}"):
            self._key_value(path)
            self._skip_comma()
        self._pos += 1

    def _key(self) -> list[str]:
        match = self._expect(_KEY)
        self._pos = match.end()
        names = []
        table: Any = tomllib.loads(f"{match.group()} = 0")  # undoes the quoting and the escapes
        while isinstance(table, dict):
            [(name, table)] = table.items()
            names.append(name)
        return names

    def _line(self) -> int:
        return bisect_right(self._line_ends, self._pos - 1) + 1

    def _expect(self, token: re.Pattern[str]) -> re.Match[str]:
        match = token.match(self._text, self._pos)
        if match is None:
            raise ValueError(f"line {self._line()}: tomllib would not have accepted this text")
        return match

    def _next_is(self, character: str) -> bool:
        return self._text.startswith(character, self._pos)

    def _skip_blank(self) -> None:
        self._pos = self._expect(_BLANK).end()

    def _skip_comma(self) -> None:
        self._skip_blank()
        if self._next_is(","):
            self._pos += 1
            self._skip_blank()
