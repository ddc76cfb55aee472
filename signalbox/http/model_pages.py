"""Lists of models in Anthropic's and in Google's shape, page by page.

Sources: Anthropic's API reference, "List Models" and "Get a Model"; Google's Gemini API reference,
`models.list` and `models.get`. What is unknown is null, or left out where the vendor's own client
takes no null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from signalbox.adapters.model_entries import ModelEntry
from signalbox.http.asgi import RequestError
from signalbox.machines.decisions import refusal

ANTHROPIC_PAGE = 20
GEMINI_PAGE = 50
MOST = 1000
"""Both vendors' largest page."""
_NAME_HEAD = "models/"
_EMBEDDING = "embedding"


def anthropic_page(entries: Sequence[ModelEntry], query: Mapping[str, str]) -> dict[str, Any]:
    """`limit`, `after_id` and `before_id` as Anthropic has them. Raises `RequestError`."""
    size = _size(query.get("limit"), "limit", ANTHROPIC_PAGE, lowest=1)
    after, before = query.get("after_id"), query.get("before_id")
    if after and before:
        raise _bad("after_id", "expected this or before_id, got both")
    if before:
        end = _place(entries, before, "before_id")
        start = max(0, end - size)
        page, more = entries[start:end], start > 0
    else:
        start = _place(entries, after, "after_id") + 1 if after else 0
        page, more = entries[start : start + size], start + size < len(entries)
    return {
        "data": [anthropic_model(entry) for entry in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def anthropic_model(entry: ModelEntry) -> dict[str, Any]:
    created = datetime.fromtimestamp(entry.created, UTC)
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": entry.context_length,
        "max_tokens": entry.max_output,
    }


def gemini_page(entries: Sequence[ModelEntry], query: Mapping[str, str]) -> dict[str, Any]:
    """`pageSize` and `pageToken` as Google has them; the token names the last model of the page
    before. Raises `RequestError`."""
    size = _size(query.get("pageSize"), "pageSize", GEMINI_PAGE, lowest=0) or GEMINI_PAGE
    token = query.get("pageToken")
    start = _place(entries, token, "pageToken") + 1 if token else 0
    page = entries[start : start + size]
    answer: dict[str, Any] = {"models": [gemini_model(entry) for entry in page]}
    if start + size < len(entries):
        answer["nextPageToken"] = page[-1].id
    return answer


def gemini_model(entry: ModelEntry) -> dict[str, Any]:
    limits = {"inputTokenLimit": entry.context_length, "outputTokenLimit": entry.max_output}
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    if entry.outputs is not None and _EMBEDDING in entry.outputs:
        methods = ["embedContent", "batchEmbedContents"]
    return {
        "name": f"{_NAME_HEAD}{entry.id}",
        "baseModelId": entry.id,
        "version": "",
        "displayName": entry.id,
        **{name: limit for name, limit in limits.items() if limit is not None},
        "supportedGenerationMethods": methods,
    }


def _size(text: str | None, param: str, usual: int, *, lowest: int) -> int:
    if text is None or text == "":
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= lowest):
        raise _bad(param, f"expected a whole number from {lowest} to {MOST}")
    return min(int(text), MOST)


def _place(entries: Sequence[ModelEntry], id: str, param: str) -> int:
    for place, entry in enumerate(entries):
        if entry.id == id:
            return place
    raise _bad(param, "expected the id of a model of this list")


def _bad(param: str, message: str) -> RequestError:
    return RequestError(refusal("invalid_value", f"{param}: {message}", param))
