"""What Cohere's models take, by the names that it gives them: "An Overview of Cohere's Models"."""

from __future__ import annotations

import re

_WITHOUT_THINKING = re.compile(
    r"command(?!-a)|command-a-(?:\d|vision|translate)|c4ai|aya|tiny-aya|embed|rerank"
)
"""A model that is not known yet is taken to think, as the newest do."""
_CHOOSES_DIMENSIONS = re.compile(r"embed-v(?:[4-9]|\d\d)")


def thinks(model: str) -> bool:
    """See "Reasoning Capabilities"."""
    return _WITHOUT_THINKING.match(_bare(model)) is None


def chooses_dimensions(model: str) -> bool:
    """Embed API, `output_dimension`: from embed-v4 on."""
    return _CHOOSES_DIMENSIONS.match(_bare(model)) is not None


def _bare(model: str) -> str:
    return model.lower().rpartition("/")[2]
