"""Where the keys of a TOML text stand, compared with what tomllib reads from it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from signalbox.config_lines import KeyPath, index_lines


class TomlWriter:
    """Writes random TOML and notes the line of every key and list item."""

    SCALARS = (
        "1",
        "-0.5e3",
        "true",
        "1979-05-27 07:32:00",
        '""',
        '"a # ] } , \\" \\\\"',
        "'{ , ] \\'",
        '""""""',
        '"""one\n# two ]\n\\""" three"""""',
        "'''\n[four]\n'five' = ''''",
    )

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        self._keys(())
        for _ in range(self._draw(st.integers(0, 3))):
            self._header(())

    def _header(self, parent: KeyPath) -> None:
        name = self._name()
        path = (*parent, name)
        is_array = self._draw(st.booleans())
        for item in range(self._draw(st.integers(1, 2)) if is_array else 1):
            inside = (*path, item) if is_array else path
            for prefix in (path, inside):
                self._mark(prefix)
            opening, closing = ("[[", "]]") if is_array else ("[", "]")
            self._write(opening, self._blank(), self._written(path), self._blank(), closing)
            self._write(self._line_end())
            self._keys(inside)
            if len(inside) < 5 and self._draw(st.booleans()):
                self._header(inside)

    def _keys(self, table: KeyPath) -> None:
        for _ in range(self._draw(st.integers(0, 3))):
            self._key_value(table)
            self._write(self._line_end())

    def _key_value(self, table: KeyPath) -> None:
        names = [self._name() for _ in range(self._draw(st.integers(1, 3)))]
        for depth in range(len(names)):
            self._mark((*table, *names[: depth + 1]))
        self._write(self._written(tuple(names)), self._blank(), "=", self._blank())
        self._value((*table, *names))

    def _value(self, path: KeyPath) -> None:
        kinds = ["scalar", "array", "table"] if len(path) < 6 else ["scalar"]
        match self._draw(st.sampled_from(kinds)):
            case "array":
                self._array(path)
            case "table":
                self._inline_table(path)
            case _:
                self._write(self._draw(st.sampled_from(self.SCALARS)))

    def _array(self, path: KeyPath) -> None:
        size = self._draw(st.integers(0, 3))
        self._write("[", self._gap())
        for item in range(size):
            self._mark((*path, item))
            self._value((*path, item))
            is_last = item == size - 1
            self._write(self._gap(), "" if is_last and self._draw(st.booleans()) else ",")
            self._write(self._gap())
        self._write("]")

    def _inline_table(self, path: KeyPath) -> None:
        self._write("{", self._blank())
        for item in range(self._draw(st.integers(0, 2))):
            self._write(", " if item else "")
            self._key_value(path)
        self._write(self._blank(), "}")

    def _name(self) -> str:
        self._names += 1
        return self._draw(st.sampled_from(["a", "b-c_", "x.y", "ä \" = # ['", "\t", "7"])) + str(
            self._names
        )

    def _written(self, path: KeyPath) -> str:
        dot = self._draw(st.sampled_from([".", " . "]))
        return dot.join(self._quoted(name) for name in path if isinstance(name, str))

    def _quoted(self, name: str) -> str:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
        forms = [f'"{escaped}"', '"' + escaped.replace("ä", "\\u00e4") + '"']
        if name.replace("-", "").replace("_", "").isalnum() and name.isascii():
            forms.append(name)
        if "'" not in name:
            forms.append(f"'{name}'")
        return self._draw(st.sampled_from(forms))

    def _blank(self) -> str:
        return self._draw(st.sampled_from(["", " ", "\t "]))

    def _gap(self) -> str:
        return self._draw(st.sampled_from(["", " ", "\n", " # ] = [ '\n\n\t"]))

    def _line_end(self) -> str:
        return self._draw(st.sampled_from(["\n", ' # a = "[\n', "\n\n", "\r\n"]))

    def _mark(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def _write(self, *texts: str) -> None:
        self.text += "".join(texts)


@st.composite
def toml_documents(draw: st.DrawFn) -> TomlWriter:
    writer = TomlWriter(draw)
    writer.document()
    return writer


def paths_of(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths_of(item, (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths_of(item, (*path, index))


@given(toml_documents())
def test_every_key_of_a_toml_text_is_found_on_its_line(document: TomlWriter) -> None:
    paths = set(paths_of(tomllib.loads(document.text)))
    assert index_lines(document.text) == {path: document.lines[path] for path in paths}
