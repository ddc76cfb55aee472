"""The requests of recorded exchanges, where the recorder kept their bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recordings import RECORDED


def recorded_requests(provider: str, method: str) -> list[Any]:
    """pytest parameters `{id, path, body}` of a provider's requests whose path holds `method`; a
    skipped one where there are no recordings."""
    if not (RECORDED / "open").is_dir():
        reason = f"no recordings of real providers: {RECORDED / 'open'} is absent"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    found = []
    for path in sorted((RECORDED / "open").glob(f"{provider}-*.json")):
        stored = json.loads(path.read_text())
        request = stored["request"]
        if method in request["path"] and isinstance(request.get("body"), dict):
            told = {"path": request["path"], "body": request["body"]}
            found.append(pytest.param(told, id=stored["id"]))
    return found
