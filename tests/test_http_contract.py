"""The contract of the model doors, seen from outside: paths, methods, headers, errors, limits.

One gateway for all tests. What outlives a request (a cooled key, an open breaker) belongs to a
provider, so each fault has a provider and a model of its own name; they all are one simulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from signalbox.ids import is_uuid7
from signalbox.simulator import Step
from tests.doors import door_client, error_of
from tests.gateway import KEY, Gateway, Provider, gateway, simulated_provider
from tests.raw_http import connected, raw_request
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
NAMES = ("m", "deepseek", "xai", "free", *(case.model for case in ERRORS))
TIMEOUTS = {"silent": "timeouts = { first_token = 0.2, response = 0.2 }"}
KEYS = {
    "test": (KEY, ""),
    "narrow": ("narrow-key-0123456789", 'models = ["m", "vendor/*"]'),
    "once": ("once-key-0123456789", "rpm = 1"),
    "small": ("small-key-0123456789", "tpm = 100"),
    "single": ("single-key-0123456789", "concurrency = 1"),
    "ample": ("ample-key-0123456789", "rpm = 6000\ntpm = 600000"),
}


def config(provider: Provider) -> str:
    tables = []
    for name in NAMES:
        price = "" if name == "free" else ", input = 1.0, output = 2.0"
        tables.append(
            f'[providers.{name}]\napi = "openai"\nbase_url = "{provider.url}"\n'
            f'keys = [{{ value = "sk-{name}" }}]\n'
            f'[models.{name}]\nroutes = [{{ provider = "{name}", model = "{name}"{price} }}]\n'
            f"{TIMEOUTS.get(name, '')}"
        )
    for name, (key, limits) in KEYS.items():
        tables.append(f'[keys.{name}]\nkey = {{ value = "{key}" }}\n{limits}')
    return f"""
aliases = {{ another = "m" }}
[retry]
attempts = 0
max_wait_ms = 0
[models."vendor/with/slashes"]
routes = [{{ provider = "m", model = "m" }}]
[models."groq/away"]
routes = [{{ provider = "groq", model = "away" }}]
[providers.groq]
{"".join(table + chr(10) for table in tables)}"""


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


# Paths and methods


@pytest.mark.parametrize(
    "prefix", ["/v1/", "/", "/v1/v1/", "//v1//", "/v1/v1/v1/", "http://gateway/v1/"]
)
@pytest.mark.parametrize("suffix", ["", "/"])
def test_a_door_is_served_however_its_path_is_written(
    running: Gateway, provider: Provider, prefix: str, suffix: str
) -> None:
    def statuses() -> Iterator[int]:
        for method, path, body in (("POST", "chat/completions", chat()), ("GET", "models", None)):
            data = b"" if body is None else json.dumps(body).encode()
            target = f"{prefix}{path.replace('/', '//')}{suffix}"
            with connected(running.url) as connection:
                connection.sendall(raw_request(target, data, method=method))
                yield int(connection.recv(65_536).split()[1])

    assert list(statuses()) == [200, 200]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/explain"),
        *("/v1/images/generations", "/v1/audio/speech", "/v1/moderations", "/v1/rerank"),
        *("/v1/files", "/v1/batches", "/v1/realtime", "/v1/key", "/v1/credits", "/v1/generation"),
        *("/v1beta/models/x:generateContent", "/api/v1/chat/completions", "/v1/anything"),
        *("/openai/deployments/x/chat/completions", "/embeddings", "/v1"),
    ],
)
def test_an_endpoint_that_is_not_built_is_404(http: httpx.Client, path: str) -> None:
    for method in ("POST", "GET"):
        answer = http.request(method, path)
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (404, "unsupported_endpoint")
        assert path in error["message"]
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("HEAD", "/v1/chat/completions", "POST, OPTIONS"),
        ("PUT", "/chat/completions", "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/models/m", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_not_possible_is_405_and_says_which_are(
    http: httpx.Client, method: str, path: str, allow: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert method == "HEAD" or error_of(answer)["code"] == "method_not_allowed"


def test_head_has_the_headers_of_get_and_no_body(http: httpx.Client) -> None:
    for path in ("/v1/models", "/v1/models/m", "/v1/models/nobody"):
        get, head = (http.request(m, path, headers=bearer()) for m in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (get.status_code, b"")
        if get.is_success:
            assert head.headers["content-length"] == str(len(get.content))


# Models


def test_the_list_has_openai_s_shape_and_openrouter_s_fields(http: httpx.Client) -> None:
    listed = http.get("/v1/models", headers=bearer()).json()
    assert listed["object"] == "list"
    by_id = {model["id"]: model for model in listed["data"]}
    assert by_id["m"] == {
        "id": "m",
        "object": "model",
        "created": 0,
        "owned_by": "m",
        "name": "m",
        "context_length": None,
        "top_provider": {"context_length": None, "max_completion_tokens": None},
        "pricing": {
            "prompt": "0.000001",
            "completion": "0.000002",
            "input_cache_read": None,
            "input_cache_write": None,
        },
        "available": True,
    }
    assert by_id["free"]["pricing"]["prompt"] is None


def test_the_list_is_what_this_key_may_call(http: httpx.Client) -> None:
    def names(key: str, query: str = "") -> set[str]:
        found = http.get(f"/v1/models{query}", headers=bearer(key)).json()
        return {model["id"] for model in found["data"]}

    assert names("narrow") == {"m", "another", "vendor/with/slashes"}
    assert "groq/away" not in names("test")
    assert "groq/away" in names("test", "?all=true")
    assert names("test", "?small=true") == names("test")


@pytest.mark.parametrize("spelt", ["vendor/with/slashes", "vendor%2Fwith%2fslashes"])
def test_one_model_with_its_slashes_encoded_or_not(http: httpx.Client, spelt: str) -> None:
    answer = http.get(f"/v1/models/{spelt}", headers=bearer())
    assert answer.json()["id"] == "vendor/with/slashes"


def test_a_model_that_the_list_would_not_show_is_404(http: httpx.Client) -> None:
    for key, name in (("test", "n"), ("test", "groq/away"), ("narrow", "free")):
        answer = http.get(f"/v1/models/{name}", headers=bearer(key))
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (404, "model_not_found")
        assert error["param"] == "model"
    away = http.get("/v1/models/groq/away", headers=bearer())
    assert "GROQ_API_KEY" in error_of(away)["message"]
    everything = http.get("/v1/models/groq/away?all=true", headers=bearer())
    assert everything.json()["available"] is False


# Headers of answers


def test_an_answer_names_its_trace_and_route(http: httpx.Client, provider: Provider) -> None:
    headers = post(http, "another").headers
    assert is_uuid7(headers["x-request-id"])
    assert headers["x-signalbox-trace-id"] == headers["x-request-id"]
    assert headers["x-signalbox-model"] == "m"
    assert headers["x-signalbox-provider"] == "m"
    assert headers["x-signalbox-attempts"] == "1"
    assert float(headers["x-signalbox-cost"]) > 0
    assert "x-signalbox-cost" not in post(http, "free").headers


def test_a_stream_tells_proxies_to_let_it_through(http: httpx.Client, provider: Provider) -> None:
    headers = post(http, stream=True).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-signalbox-provider"] == "m"
    assert "content-length" not in headers


def test_hints_that_were_left_out_are_named(http: httpx.Client, provider: Provider) -> None:
    assert "x-signalbox-dropped" not in post(http, "xai").headers
    answer = post(http, "xai", logit_bias={"1": 1})
    assert answer.headers["x-signalbox-dropped"] == "logit_bias"
    assert ["logit_bias" in received["body"] for received in provider.received()] == [False, False]


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
        ({"extra": {"byok": {"openai": "sk-x"}}}, "extra.byok"),
        ({"extra": {"provider": "nobody"}}, "provider"),
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


def test_a_meaning_that_no_route_carries_is_400(http: httpx.Client, provider: Provider) -> None:
    answer = post(http, "deepseek", n=2)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "n"
    assert provider.received() == []


def test_an_unknown_model_is_404_and_near_names_are_told(http: httpx.Client) -> None:
    answer = post(http, "vendor/with/slash")
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "vendor/with/slashes" in error["message"]


def test_a_model_that_the_key_may_not_call_is_403(http: httpx.Client, provider: Provider) -> None:
    answer = post(http, "free", key="narrow")
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (403, "permission_error")
    assert error["code"] == "model_not_allowed"
    assert post(http, "m", key="narrow").status_code == 200


# Limits of a key


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


# Cross-origin requests


def test_other_origins_are_not_let_in_unless_configured(http: httpx.Client) -> None:
    origin = {"origin": "https://app.example"}
    for answer in (http.options("/v1/models", headers=origin), http.get("/v1/models")):
        assert not any(name.startswith("access-control") for name in answer.headers)
