"""Input for fuzzing decoders: bytes that come near to the wire format without being it."""

from __future__ import annotations

import json

from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        "reasoning_tokens",
        "error",
        "code",
        "detail",
        "details",
        "metadata",
        "raw",
        "finish_reason",
        "tool_calls",
        "index",
        "x_groq",
        "type",
        "text",
    ]
)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def garbled(*pieces: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that come near to the wire format: its words and JSON of its names, in any order."""
    document = JSON.map(lambda value: json.dumps(value).encode())
    return st.lists(st.sampled_from(pieces) | document | st.binary(max_size=8)).map(b"".join)
