"""A body of Gemini's own dialect, made ready for one of its models.

Everything in it is the client's. Where thought signatures of other models or accounts were left out
of it, the newest models would refuse the calls that they stood with: Google documents what stands
for a missing one ("Thought signatures", FAQ).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.adapters.gemini_fields import as_list, given
from signalbox.adapters.gemini_models import traits_of
from signalbox.adapters.gemini_turns import NO_SIGNATURE
from signalbox.types import Request, Route

LEFT_OUT = frozenset({"extra", "model", "stream"})
"""The gateway's own field, and two that the address says."""


def fitted_body(request: Request, route: Route) -> dict[str, Any]:
    """A new body; that of the request stays as it is."""
    body = {name: value for name, value in request.body.items() if name not in LEFT_OUT}
    if request.reasoning_origins and traits_of(route.model).newest:
        body["contents"] = [_signed(content) for content in as_list(body.get("contents"))]
    return body


def _signed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content, with a signature for its first call."""
    parts = as_list(content.get("parts"))
    calls = (at for at, part in enumerate(parts) if given(part, "functionCall") is not None)
    place = next(calls, None)
    if content.get("role") != "model" or place is None or given(parts[place], "thoughtSignature"):
        return content
    signed = {**parts[place], "thoughtSignature": NO_SIGNATURE}
    return {**content, "parts": [*parts[:place], signed, *parts[place + 1 :]]}
