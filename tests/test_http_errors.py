"""The error table and the limits, seen from outside.

One gateway for all tests. What outlives a request (a cooled key, an open breaker) belongs to a
provider, so each fault has a provider and a model of its own name; they all are one simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from signalbox.simulator import Step
from tests.doors import door_client, error_of
from tests.gateway import KEY, Gateway, Provider, gateway, simulated_provider
from tests.simulator_client import chat


@dataclass(frozen=True)
class ErrorCase:
    """What a provider does, and the row of the error table that the client sees."""

    model: str
    step: Step
    status: int
    type: str
    code: str
    param: str | None = None
    should_retry: str = "false"
    retry_after: str | None = None


ERRORS = (
    ErrorCase(
        *("context", Step(error="context_length_exceeded"), 400, "invalid_request_error"),
        *("context_length_exceeded", "messages"),
    ),
    ErrorCase(
        *("policy", Step(error="content_policy_violation"), 400, "invalid_request_error"),
        "content_policy_violation",
    ),
    ErrorCase(
        *("limited", Step(status=429, headers={"retry-after": 20}), 429, "requests"),
        *("rate_limit_exceeded", None, "true", "20"),
    ),
    ErrorCase(
        *("limited-long", Step(status=429, headers={"retry-after": 300}), 429, "requests"),
        *("rate_limit_exceeded", None, "false", "300"),
    ),
    ErrorCase(
        *("too-large", Step(error="request_too_large"), 429, "tokens", "rate_limit_exceeded"),
    ),
    ErrorCase("rejected", Step(status=401), 503, "server_error", "all_routes_failed"),
    ErrorCase("unpaid", Step(status=402), 503, "server_error", "all_routes_failed"),
    ErrorCase("forbidden", Step(status=403), 503, "server_error", "all_routes_failed"),
    ErrorCase("unknown", Step(status=404), 503, "server_error", "all_routes_failed"),
    ErrorCase("broken", Step(status=500), 503, "server_error", "all_routes_failed"),
    ErrorCase("page", Step(html_200=True), 502, "server_error", "bad_upstream"),
    ErrorCase("silent", Step(silence=True), 504, "server_error", "timeout"),
)
NAMES = ("m", "deepseek", "xai", *(case.model for case in ERRORS))
TIMEOUTS = {"silent": "timeouts = { first_token = 0.2, response = 0.2 }"}
KEYS = {
    "test": (KEY, ""),
    "once": ("once-key-0123456789", "rpm = 1"),
    "small": ("small-key-0123456789", "tpm = 100"),
    "single": ("single-key-0123456789", "concurrency = 1"),
    "ample": ("ample-key-0123456789", "rpm = 6000\ntpm = 600000"),
}


def config(provider: Provider) -> str:
    models = [
        f"""
[providers.{name}]
api = "openai"
base_url = "{provider.url}"
keys = [{{ value = "sk-{name}" }}]
[models.{name}]
routes = [{{ provider = "{name}", model = "{name}" }}]
{TIMEOUTS.get(name, "")}"""
        for name in NAMES
    ]
    keys = [
        f"""
[keys.{name}]
key = {{ value = "{key}" }}
{limits}"""
        for name, (key, limits) in KEYS.items()
    ]
    return f"""
[retry]
attempts = 0
max_wait_ms = 0
[limits]
tpm = 1_000_000
{"".join((*models, *keys))}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config(simulator)) as started:
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with door_client(running.url) as client:
        yield client


@pytest.fixture
def provider(simulator: Provider) -> Provider:
    simulator.plays()
    return simulator


def bearer(key: str = "test") -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[key][0]}"}


def post(http: httpx.Client, model: str = "m", key: str = "test", **fields: Any) -> httpx.Response:
    body = chat() | {"model": model} | fields
    return http.post("/v1/chat/completions", json=body, headers=bearer(key))


# Errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.model)
def test_the_error_table(
    http: httpx.Client, provider: Provider, case: ErrorCase, stream: bool
) -> None:
    provider.plays(case.step, then="repeat_last")
    answer = post(http, case.model, stream=stream)
    error = error_of(answer)
    assert (answer.status_code, error["type"], error["code"]) == (case.status, case.type, case.code)
    assert error["param"] == case.param
    assert {attempt["provider"] for attempt in error["metadata"]["attempts"]} == {case.model}
    assert answer.headers["x-should-retry"] == case.should_retry
    if case.retry_after is None:
        assert "retry-after" not in answer.headers
        return
    assert 0 < int(answer.headers["retry-after"]) <= int(case.retry_after)
    assert 0 < int(answer.headers["retry-after-ms"]) <= 1000 * int(case.retry_after)


def test_a_provider_s_reason_is_kept(http: httpx.Client, provider: Provider) -> None:
    provider.plays(Step(error="content_policy_violation"), then="repeat_last")
    assert "safety system" in error_of(post(http, "policy"))["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"model": None}, "model"),
        ({"extra": {"retry": "many"}}, "extra.retry"),
        ({"extra": {"unknown": 1}}, "extra.unknown"),
        ({"extra": {"preset": 1}}, "extra.preset"),
        ({"extra": {"byok": {"nobody": "sk-12345678"}}}, "extra.byok.nobody"),
        ({"extra": {"provider": "nobody"}}, "provider.only"),
    ],
)
def test_a_field_that_is_wrong_is_400_and_named(
    http: httpx.Client, provider: Provider, fields: dict[str, Any], param: str
) -> None:
    answer = post(http, **fields)
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert answer.headers["x-should-retry"] == "false"
    assert provider.received() == []


def test_hints_that_were_left_out_are_named(http: httpx.Client, provider: Provider) -> None:
    assert "x-signalbox-dropped" not in post(http, "xai").headers
    answer = post(http, "xai", logit_bias={"1": 1})
    assert answer.headers["x-signalbox-dropped"] == "logit_bias"
    assert ["logit_bias" in received["body"] for received in provider.received()] == [False, False]


def test_a_meaning_that_no_route_carries_is_400(http: httpx.Client, provider: Provider) -> None:
    answer = post(http, "deepseek", n=2)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "n"
    assert provider.received() == []


@pytest.mark.parametrize(
    "extra", [{"unsupported": "refuse"}, {"provider": {"require_parameters": True}}]
)
def test_a_hint_counts_as_meaning_where_the_client_says_so(
    http: httpx.Client, provider: Provider, extra: dict[str, Any]
) -> None:
    answer = post(http, "xai", logit_bias={"1": 1}, extra=extra)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "logit_bias"


def test_an_unknown_model_is_404_and_near_names_are_told(http: httpx.Client) -> None:
    answer = post(http, "deepseeq")
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "deepseek" in error["message"]


# Limits


def test_the_limits_for_all_are_told_as_the_gateway_s(http: httpx.Client) -> None:
    answer = post(http, messages=[{"role": "user", "content": "x" * 4_000_000}])
    assert (answer.status_code, error_of(answer)["type"]) == (429, "tokens")
    assert "the gateway's limit of 1000000 tokens" in error_of(answer)["message"]
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000000"
    assert answer.headers["x-should-retry"] == "false"


def test_a_key_s_requests_per_minute(http: httpx.Client, provider: Provider) -> None:
    first, second = post(http, key="once"), post(http, key="once")
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    error = error_of(second)
    assert (second.status_code, error["type"]) == (429, "requests")
    assert error["code"] == "rate_limit_exceeded"
    assert second.headers["x-should-retry"] == "true"
    assert 0 < int(second.headers["retry-after"]) <= 60
    assert 0 < int(second.headers["retry-after-ms"]) <= 60_000
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.headers["x-ratelimit-reset-requests"].endswith("s")


def test_a_request_larger_than_its_key_s_tokens_is_not_told_to_wait(http: httpx.Client) -> None:
    answer = post(http, key="small")
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (429, "tokens")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert answer.headers["x-ratelimit-limit-tokens"] == "100"


def test_a_key_s_requests_at_once(http: httpx.Client, provider: Provider) -> None:
    provider.plays(Step(first_token_delay=0.1, stall_after=1), then="ok")
    body = chat(stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body, headers=bearer("single")) as first:
        received = first.iter_raw()  # closes the answer when it is let go
        next(received)
        second = post(http, key="single")
    assert second.status_code == 429
    assert "at once" in error_of(second)["message"]
    assert second.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_tell_what_is_left_of_the_limits(
    http: httpx.Client, provider: Provider, stream: bool
) -> None:
    headers = post(http, key="ample", stream=stream).headers
    for kind, limit in (("requests", 6000), ("tokens", 600_000)):
        assert headers[f"x-ratelimit-limit-{kind}"] == str(limit)
        assert 0 < int(headers[f"x-ratelimit-remaining-{kind}"]) < limit
        assert headers[f"x-ratelimit-reset-{kind}"].endswith("s")
