"""Ids of tool calls in the form that a provider accepts.

A conversation may hold ids that another provider made. One that does not fit is replaced by a
digest of itself: the call and its result, which name the same id, stay together, in every request
of the conversation alike.
"""

from __future__ import annotations

import hashlib
import re
import string

import msgspec

_LETTERS = string.digits + string.ascii_letters


class ToolIds(msgspec.Struct, frozen=True):
    """What an id must look like: `pattern` matches all of it. What is made has `length` letters
    and digits."""

    pattern: str
    length: int
    head: str = ""

    def fitted(self, id: str) -> str:
        """The id itself, where it fits."""
        if re.fullmatch(self.pattern, id):
            return id
        number = int.from_bytes(hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest())
        letters = []
        for _ in range(self.length - len(self.head)):
            number, place = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[place])
        return self.head + "".join(letters)


MISTRAL = ToolIds("[a-zA-Z0-9]{9}", 9)
"""Its API answers others with 400 "must be a-z, A-Z, 0-9, with a length of 9"."""
OPENAI = ToolIds("(?s:.{1,40})", 29, "call_")
"""Its API answers longer ones with 400 `string_above_max_length`, "maximum length 40"."""
ANTHROPIC = ToolIds("[a-zA-Z0-9_-]{1,64}", 30, "toolu_")
"""Its API answers others with 400 "should match pattern '^[a-zA-Z0-9_-]+$'"."""
