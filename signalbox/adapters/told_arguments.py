"""The arguments of a tool call, for dialects that tell them as an object and not as JSON text."""

from __future__ import annotations

import re
from typing import Any

import msgspec

UNREAD = "arguments"
"""The field that holds arguments which are no JSON object: free input, or JSON that was cut off. A
tool that is called with it can tell that they are not its own."""

_MARKS = re.compile(r'\\.|[\\"{}]', re.DOTALL)
"""An escape as a whole, or a character that counts."""
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError)


def arguments_object(arguments: str) -> dict[str, Any]:
    """No text at all are no arguments."""
    if not arguments.strip():
        return {}
    whole = _object(arguments)
    return {UNREAD: arguments} if whole is None else whole


class JsonEnd:
    """Finds out, fragment by fragment, when a JSON object is closed: nothing can follow it then.

    It reads each character once, however many fragments there are.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaping = False
        self.closed = False

    def feed(self, fragment: str) -> None:
        text = "\\" + fragment if self._escaping else fragment
        self._escaping = False
        for mark in _MARKS.findall(text):
            if mark == "\\":
                # The fragment ends in the middle of an escape.
                self._escaping = True
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string and mark in "{}":
                self._depth += 1 if mark == "{" else -1
                self.closed |= self._depth == 0


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except _DECODE_ERRORS:
        return None
    return value if isinstance(value, dict) else None
