"""What tests of the doors have in common."""

from __future__ import annotations

from typing import Any

import httpx

from tests.gateway import NO_TLS


def door_client(url: str) -> httpx.Client:
    """A client of the gateway, without a key."""
    return httpx.Client(base_url=url, verify=NO_TLS, timeout=60.0)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object, whose form is the same everywhere."""
    error: dict[str, Any] = answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert set(error) == {"message", "type", "code", "param", "metadata"}
    assert isinstance(error["code"], str)
    assert error["metadata"]["trace_id"] == answer.headers["x-request-id"]
    return error
