"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click


def printable(text: str) -> str:
    """What others have said must not steer the terminal."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns as wide as their widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
