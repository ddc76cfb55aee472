"""Reasoning of other dialects in the one field that a Responses client gives back untouched.

A reasoning item has `encrypted_content` alone for what a provider wants to see again. What is not
of this dialect stands there behind the name of its format, so that a loop of tool calls through
this door keeps Anthropic's signatures as well.
"""

from __future__ import annotations

from signalbox.adapters.chat import Reasoning, ReasoningFormat

OWN = (None, ReasoningFormat.OPENAI, ReasoningFormat.XAI)
"""Formats whose encrypted reasoning is this dialect's own."""
_SIGNATURE = ".signature:"
_ENCRYPTED = ".encrypted:"


def packed(
    signature: str | None, encrypted: str | None, format: ReasoningFormat | None
) -> str | None:
    """`encrypted_content` of an item; None where the provider wants nothing back."""
    if format in OWN:
        return encrypted
    if signature is not None:
        return f"{format}{_SIGNATURE}{signature}"
    return None if encrypted is None else f"{format}{_ENCRYPTED}{encrypted}"


def unpacked(content: str) -> tuple[str | None, str | None, ReasoningFormat | None]:
    """Signature, encrypted reasoning and format of an item's `encrypted_content`."""
    for format in ReasoningFormat:
        if format in OWN:
            continue
        if content.startswith(head := f"{format}{_SIGNATURE}"):
            return content.removeprefix(head), None, format
        if content.startswith(head := f"{format}{_ENCRYPTED}"):
            return None, content.removeprefix(head), format
    return None, content, ReasoningFormat.OPENAI


def is_own(reasoning: Reasoning) -> bool:
    """Whether the item means something to a provider of this dialect."""
    return reasoning.encrypted is not None and reasoning.format in OWN
