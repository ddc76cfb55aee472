"""Which inputs of an embeddings request go together into one call of a provider."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from signalbox.types import CHARS_PER_TOKEN

Input = str | tuple[int, ...]

BYTES_PER_TOKEN = 2
"""A text has fewer tokens than its bytes over this, whatever the language, but for noise. English
has half as many: an estimate that errs costs a call more, one that falls short costs the request.
"""


class BatchLimits(msgspec.Struct, frozen=True):
    """What one call takes; None: no limit is known."""

    inputs: int | None = None
    tokens: int | None = None
    """Of all inputs of a call together."""


NO_LIMITS = BatchLimits()


def batches(inputs: Sequence[Input], limits: BatchLimits) -> list[range]:
    """The inputs' places, call by call: each input once, in their order, at least one a call.

    An input that alone has more tokens than a call takes goes alone: the provider says so.
    """
    cut: list[range] = []
    start, held = 0, 0
    for place, item in enumerate(inputs):
        tokens = most_tokens(item)
        full = limits.inputs is not None and place - start >= limits.inputs
        heavy = limits.tokens is not None and held + tokens > limits.tokens
        if place > start and (full or heavy):
            cut.append(range(start, place))
            start, held = place, 0
        held += tokens
    cut.append(range(start, len(inputs)))
    return cut


def most_tokens(item: Input) -> int:
    """What the input may have at most."""
    if isinstance(item, str):
        return -(-len(item.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
    return len(item)


def likely_tokens(inputs: Sequence[Input]) -> int:
    """What the inputs are likely to have together, for providers that do not say."""
    return sum(
        -(-len(item) // CHARS_PER_TOKEN) if isinstance(item, str) else len(item) for item in inputs
    )
