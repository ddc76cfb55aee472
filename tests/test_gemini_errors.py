"""What errors of Gemini's API mean: documented ones and recorded ones of every class."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.gemini_errors import decode_body_error, decode_error
from signalbox.errors import Failure, FailureKind
from tests.garbled import JSON
from tests.gemini_cases import RECORDED_ERRORS
from tests.recordings import Exchange, own_exchanges

RECORDED = {
    "gemini-400-api-key-invalid": (FailureKind.KEY_REJECTED, "API_KEY_INVALID", None),
    "gemini-400-context-length": (FailureKind.CONTEXT_LENGTH, "INVALID_ARGUMENT", None),
    "gemini-429-retryinfo": (FailureKind.RATE_LIMITED, "RESOURCE_EXHAUSTED", 48.0),
    "gemini-503-overloaded": (FailureKind.OVERLOADED, "UNAVAILABLE", None),
    "gemini-stream-404-model": (FailureKind.MODEL_UNKNOWN, "NOT_FOUND", None),
}


@pytest.mark.parametrize("exchange", own_exchanges("gemini/errors.json"))
def test_an_error_of_each_class(exchange: Exchange) -> None:
    failure = decode_error(exchange.status, exchange.headers, exchange.body, 0.0)
    assert failure.kind == exchange.expect["error"]
    assert failure.status == exchange.status
    assert failure.retry_after == exchange.expect.get("retry_after")


@pytest.mark.parametrize("exchange", RECORDED_ERRORS)
def test_a_recorded_error(exchange: Exchange) -> None:
    failure = decode_error(exchange.status, exchange.headers, exchange.body, 0.0)
    assert (failure.kind, failure.code, failure.retry_after) == RECORDED[exchange.id]
    said = json.loads(exchange.body)["error"]["message"]
    assert failure.message == " ".join(said.split())


def test_the_servers_own_trouble_stays_that() -> None:
    body = {"error": {"code": 503, "message": "cachedContent is away", "status": "UNAVAILABLE"}}
    assert decode_error(503, (), json.dumps(body).encode(), 0.0).kind is FailureKind.OVERLOADED


def test_an_error_inside_of_a_200() -> None:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota: limit: 0, model: m"}
    for body in ({"error": error}, [{"error": error}]):
        failure = decode_body_error(body, FailureKind.STREAM_ERROR)
        assert failure.kind is FailureKind.MODEL_FORBIDDEN
    assert decode_body_error({"error": {}}, FailureKind.STREAM_ERROR).kind == "stream_error"


@settings(max_examples=100, deadline=None)
@given(
    status=st.sampled_from([400, 401, 403, 404, 429, 500, 503]),
    body=st.binary(max_size=20)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"error": {"code": 429, "details": value}}).encode())
    | JSON.map(
        lambda value: json.dumps(
            {"error": {"code": 400, "details": [{"reason": value, "violations": [value]}]}}
        ).encode()
    ),
)
def test_whatever_the_body_is_it_is_a_failure(status: int, body: bytes) -> None:
    assert isinstance(decode_error(status, (), body, 0.0), Failure)
