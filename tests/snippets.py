"""The fenced code blocks of the documentation that a reader may paste and run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNNABLE = frozenset({"bash", "js", "python", "toml"})
"""Blocks of these languages are run, but for those marked "```python not-run"."""
NOT_RUN = "not-run"

_BLOCK = re.compile(r"^```(?P<info>[^\n]+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: str, languages: frozenset[str] = RUNNABLE) -> list[Snippet]:
    """The blocks of a page (its path from the root) that are to be run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        language, *words = block["info"].split()
        if language in languages and words != [NOT_RUN]:
            line = text.count("\n", 0, block.start("code")) + 1
            found.append(Snippet(page, line, language, block["code"]))
    return found
