"""The contract of the model doors, seen from outside: paths, methods, models, headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from signalbox.ids import is_uuid7
from tests.doors import door_client, error_of
from tests.gateway import KEY, Gateway, Provider, config_for, gateway, simulated_provider
from tests.raw_http import connected, raw_request
from tests.simulator_client import chat

KEYS = {"test": KEY, "narrow": "narrow-key-0123456789"}
CONFIG = f"""
[aliases]
another = "m"
[keys.narrow]
key = {{ value = "{KEYS["narrow"]}" }}
models = ["m", "vendor/*"]
[models.free]
routes = [{{ provider = "primary", model = "m" }}]
[models."vendor/with/slashes"]
routes = [{{ provider = "primary", model = "m" }}]
[models."groq/away"]
routes = [{{ provider = "groq", model = "away" }}]
[providers.groq]
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config_for(simulator, more=CONFIG)) as started:
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
    return {"authorization": f"Bearer {KEYS[key]}"}


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
        *("/v1/images/generations", "/v1/audio/speech", "/v1/moderations", "/v1/rerank"),
        *("/v1/files", "/v1/batches", "/v1/realtime", "/v1/anything", "/v1", "/files"),
        "/openai/deployments/x/images/generations",
    ],
)
def test_an_endpoint_that_is_not_built_is_404(http: httpx.Client, path: str) -> None:
    for method in ("POST", "GET"):
        answer = http.request(method, path)
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (404, "unsupported_endpoint")
        assert path in error["message"]
        assert answer.headers["x-should-retry"] == "false"


def test_an_endpoint_that_is_not_built_is_told_in_the_dialect_of_its_path(
    http: httpx.Client,
) -> None:
    openrouter, google = (http.get(path) for path in ("/api/v1/files", "/v1beta/files"))
    error = openrouter.json()["error"]
    assert openrouter.status_code == error["code"] == 404
    assert error["metadata"]["error_type"] == "unsupported_endpoint"
    told = google.json()["error"]
    assert google.status_code == told["code"] == 404
    assert told["status"] == "NOT_FOUND"


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
    parameters = by_id["m"].pop("supported_parameters")
    assert {"max_tokens", "temperature", "tools", "response_format"} <= set(parameters)
    assert by_id["m"] == {
        "id": "m",
        "object": "model",
        "created": 0,
        "owned_by": "primary",
        "name": "m",
        "context_length": None,
        "architecture": {"modality": None, "input_modalities": None, "output_modalities": None},
        "top_provider": {"context_length": None, "max_completion_tokens": None},
        "pricing": {
            "prompt": "0.000001",
            "completion": "0.000002",
            "input_cache_read": None,
            "input_cache_write": None,
            "input_cache_write_1h": None,
            "internal_reasoning": None,
            "image": None,
            "image_token": None,
            "image_output": None,
            "audio": None,
            "audio_output": None,
        },
        "capabilities": None,
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
    assert headers["x-signalbox-provider"] == "primary"
    assert headers["x-signalbox-attempts"] == "1"
    assert float(headers["x-signalbox-cost"]) > 0
    assert "x-signalbox-cost" not in post(http, "free").headers


def test_a_stream_tells_proxies_to_let_it_through(http: httpx.Client, provider: Provider) -> None:
    headers = post(http, stream=True).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-signalbox-provider"] == "primary"
    assert "content-length" not in headers


def test_a_model_that_the_key_may_not_call_is_403(http: httpx.Client, provider: Provider) -> None:
    answer = post(http, "free", key="narrow")
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (403, "permission_error")
    assert error["code"] == "model_not_allowed"
    assert post(http, "m", key="narrow").status_code == 200


# Cross-origin requests


def test_other_origins_are_not_let_in_unless_configured(http: httpx.Client) -> None:
    origin = {"origin": "https://app.example"}
    for answer in (http.options("/v1/models", headers=origin), http.get("/v1/models")):
        assert not any(name.startswith("access-control") for name in answer.headers)
