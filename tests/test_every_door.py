"""What holds at every door alike, from outside: paths, methods, keys, refusals in the door's own
words, extensions, headers, traces.

The provider speaks OpenAI's dialect alone, so that most doors are answered through a translation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from signalbox.cli.main import main
from signalbox.simulator import Step
from tests.doors import door_client
from tests.every_door import DOORS, EveryDoor, counts, stream_of, strings_in, words_of
from tests.gateway import (
    KEY,
    NO_TLS,
    Gateway,
    Provider,
    config_for,
    gateway,
    simulated_provider,
)

CALLERS = "sk-callers-canary-0123456789"
NARROW, SLOW, OTHER = "narrow-key-0123456789", "slow-key-0123456789-", "unknown-key-0123456789"
LARGEST = 20_000
CONFIG = f"""
[server]
max_body_bytes = {LARGEST}
[models.other]
routes = [{{ provider = "primary", model = "m" }}]
[models."vendor/name"]
routes = [{{ provider = "primary", model = "m" }}]
[keys.narrow]
key = {{ value = "{NARROW}" }}
models = ["other"]
""" + "".join(
    f'[keys."slow-{name}"]\nkey = {{ value = "{SLOW}{name}" }}\nrpm = 1\n' for name in DOORS
)


def provider_of_its_own(name: str, url: str) -> str:
    """Failures at one door shall not open another's circuit breaker."""
    return f"""
[providers.faulty-{name}]
api = "openai"
base_url = "{url}"
keys = [{{ value = "sk-{name}" }}]
[models.faulty-{name}]
routes = [{{ provider = "faulty-{name}", model = "m" }}]
"""


KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
each_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
asking = [door for door in DOORS.values() if not counts(door)]
"""Where a provider is asked: a count is an estimate here, since the provider cannot count."""
each_asking = pytest.mark.parametrize("door", asking, ids=[door.name for door in asking])
streaming = [door for door in DOORS.values() if door.streams]
each_stream = pytest.mark.parametrize("door", streaming, ids=[door.name for door in streaming])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    faulty = "".join(provider_of_its_own(name, simulator.url) for name in DOORS)
    with gateway(config_for(simulator, more=CONFIG + faulty)) as started:
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


def bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def ask(
    http: httpx.Client, door: EveryDoor, model: str = "m", key: str = KEY, **fields: Any
) -> httpx.Response:
    return http.post(door.path(model), json=door.body(model) | fields, headers=bearer(key))


def received(provider: Provider) -> list[dict[str, Any]]:
    url = provider.url.removesuffix("/v1") + "/_simulator/requests"
    listed = httpx.get(url, verify=NO_TLS).json()["requests"]
    return [one for one in listed if one["method"] == "POST"]


# ── paths and methods ─────────────────────────────────────────────────────────────────────────


@each_door
def test_a_door_is_served_however_its_path_is_written(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    path = door.path("vendor/name")
    spelt = [path + "/", "/" + path[1:].replace("/", "//"), door.path("vendor%2Fname")]
    if path.startswith("/v1/"):
        spelt += [path.removeprefix("/v1"), "/v1" + path]
    elif path.startswith("/v1beta/"):
        spelt += [path.removeprefix("/v1beta"), "/v1/v1beta" + path.removeprefix("/v1beta")]
    for each in spelt:
        answer = http.post(each, json=door.body("vendor/name"), headers=bearer())
        assert (answer.status_code, answer.history) == (200, []), (each, answer.text)


@each_door
def test_other_methods_are_405_and_options_needs_no_key(
    http: httpx.Client, door: EveryDoor
) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = http.request(method, door.path("m"))
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
        assert method == "HEAD" or method in words_of(door, answer).message
        assert method != "HEAD" or answer.content == b""
    answer = http.options(door.path("m"))
    assert (answer.status_code, answer.headers["allow"]) == (204, "POST, OPTIONS")


# ── keys ──────────────────────────────────────────────────────────────────────────────────────

NO_KEY = {"openai": "invalid_api_key", "openrouter": "invalid_api_key"} | {
    "anthropic": "authentication_error",
    "google": "UNAUTHENTICATED",
}


@each_door
def test_a_key_is_taken_from_every_place(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    path, body = door.path("m"), door.body("m")
    for header in KEY_HEADERS:
        assert http.post(path, json=body, headers={header: KEY}).status_code == 200
        both = http.post(path, json=body, headers={header: OTHER, **bearer()})
        assert both.status_code == 401
        assert words_of(door, both).kind == NO_KEY[door.told]
        assert "Two different" in words_of(door, both).message
    assert http.post(f"{path}?key={KEY}", json=body).status_code == 200
    assert http.post(f"{path}?key={OTHER}", json=body, headers=bearer()).status_code == 401


# ── refusals ──────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    # what is refused → status, and its kind at doors of OpenAI's, Anthropic's and Google's form
    "no key": (401, "invalid_api_key", "authentication_error", "UNAUTHENTICATED"),
    "unknown key": (401, "invalid_api_key", "authentication_error", "UNAUTHENTICATED"),
    "not allowed": (403, "model_not_allowed", "permission_error", "PERMISSION_DENIED"),
    "unknown model": (404, "model_not_found", "not_found_error", "NOT_FOUND"),
    "too large": (413, "request_too_large", "request_too_large", "INVALID_ARGUMENT"),
    "unknown encoding": (
        *(415, "unsupported_encoding"),
        *("invalid_request_error", "INVALID_ARGUMENT"),
    ),
    "no JSON": (400, "invalid_value", "invalid_request_error", "INVALID_ARGUMENT"),
    "no object": (400, "invalid_value", "invalid_request_error", "INVALID_ARGUMENT"),
}


def refusal(http: httpx.Client, door: EveryDoor, what: str) -> httpx.Response:
    path, body = door.path("m"), door.body("m")
    match what:
        case "no key":
            return http.post(path, json=body)
        case "unknown key":
            return ask(http, door, key=OTHER)
        case "not allowed":
            return ask(http, door, key=NARROW)
        case "unknown model":
            return ask(http, door, "othre")
        case "too large":
            return ask(http, door, user="x" * LARGEST)
        case "unknown encoding":
            headers = bearer() | {"content-encoding": "br"}
            return http.post(path, content=b"x", headers=headers)
        case "no JSON":
            return http.post(path, content=b"{", headers=bearer())
    return http.post(path, json=[body], headers=bearer())


@pytest.mark.parametrize("what", REFUSED)
@each_door
def test_a_refusal_is_told_in_the_door_s_words(
    http: httpx.Client, door: EveryDoor, what: str
) -> None:
    status, openai, anthropic, google = REFUSED[what]
    answer = refusal(http, door, what)
    words = words_of(door, answer)
    kinds = {"openai": openai, "openrouter": openai, "anthropic": anthropic, "google": google}
    assert (answer.status_code, words.kind) == (status, kinds[door.told])
    assert answer.headers.get("x-should-retry", "false") == "false"
    if what == "unknown model":
        assert "near it: other" in words.message


@each_door
def test_a_limit_is_told_with_when_it_ends(http: httpx.Client, door: EveryDoor) -> None:
    key = f"{SLOW}{door.name}"
    first, second = (ask(http, door, key=key) for _ in range(2))
    if counts(door):  # an estimate of the gateway's own is no call
        assert (first.status_code, second.status_code) == (200, 200)
        return
    assert (first.status_code, second.status_code) == (200, 429)
    words = words_of(door, second)
    kinds = {"anthropic": "rate_limit_error", "google": "RESOURCE_EXHAUSTED"}
    assert words.kind == kinds.get(door.told, "rate_limit_exceeded")
    seconds, milliseconds = (second.headers[f"retry-after{unit}"] for unit in ("", "-ms"))
    assert 0 < int(seconds) <= 60
    assert math.ceil(int(milliseconds) / 1000) == int(seconds)
    assert second.headers["x-should-retry"] == "true"


@each_asking
def test_a_failure_of_every_route_is_told_and_not_to_be_retried(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    provider.plays(Step(status=500), Step(status=500))
    answer = ask(http, door, f"faulty-{door.name}")
    kinds = {"anthropic": "api_error", "google": "UNAVAILABLE"}
    assert words_of(door, answer).kind == kinds.get(door.told, "all_routes_failed")
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"


# ── extensions ────────────────────────────────────────────────────────────────────────────────


@each_door
def test_an_unknown_extension_is_refused_by_name(http: httpx.Client, door: EveryDoor) -> None:
    in_body = ask(http, door, extra={"nonsense": 1})
    headers = bearer() | {"x-signalbox-extra": '{"nonsense": 1}'}
    in_header = http.post(door.path("m"), json=door.body("m"), headers=headers)
    for answer in (in_body, in_header):
        assert answer.status_code == 400
        assert "extra.nonsense: unknown" in words_of(door, answer).message


@each_door
def test_a_strategy_s_suffix_is_understood_and_not_sent(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    for suffix in (":floor", ":nitro"):
        assert ask(http, door, f"m{suffix}").status_code == 200
    for call in received(provider):
        assert not [text for text in strings_in(call["body"]) if "floor" in text or "nitro" in text]
        assert call["body"]["model"] == "m"


@each_door
def test_a_caller_s_key_reaches_its_provider_and_nothing_else(
    http: httpx.Client, running: Gateway, provider: Provider, door: EveryDoor
) -> None:
    answer = ask(http, door, extra={"byok": {"primary": CALLERS}, "tags": ["own"]})
    assert answer.status_code == 200
    if counts(door):
        assert received(provider) == []
        return
    [call] = received(provider)
    assert call["headers"]["authorization"] == f"Bearer {CALLERS}"
    assert "extra" not in call["body"]
    trace = running.trace(answer.headers["x-request-id"])
    assert trace["tags"] == ["own"]
    for kept in (json.dumps(trace), running.output, answer.text, str(answer.headers)):
        assert CALLERS not in kept


# ── answers ───────────────────────────────────────────────────────────────────────────────────


@each_door
def test_an_answer_names_its_trace_and_its_route(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    headers = ask(http, door).headers
    assert headers["x-request-id"] == headers["x-signalbox-trace-id"]
    assert headers["x-signalbox-model"] == "m"
    assert headers.get("request-id") == (
        headers["x-request-id"] if door.told == "anthropic" else None
    )
    if counts(door):
        assert headers["x-signalbox-estimated"] == "true"
        return
    told = [headers[f"x-signalbox-{name}"] for name in ("provider", "attempts")]
    assert told == ["primary", "1"]
    assert float(headers["x-signalbox-cost"]) > 0


@each_stream
def test_a_stream_tells_its_usage_once_and_only_where_it_is_due(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    """Chats and completions of OpenAI's dialect only tell it to those who ask."""
    path, body = stream_of(door, "m")
    wish = body | {"stream_options": {"include_usage": True}}
    opt_in = door.name in ("chat", "completions", "azure")
    for sent, due in ((body, not opt_in), (wish, True)) if opt_in else ((body, True),):
        answer = http.post(path, json=sent, headers=bearer())
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        events = events_of(answer)
        told = [event for event in events if counts_output(event)]
        assert len(told) == due, answer.text
        choiceless = [event for event in events if event.get("choices") == []]
        assert len(choiceless) == (due and "choices" in events[0])


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if "data: " in line]
    return [json.loads(each) for each in data if each != "[DONE]"]


def counts_output(event: dict[str, Any]) -> bool:
    """Whether the event tells how many tokens the whole answer has."""
    usage = event.get("usage") or (event.get("response") or {}).get("usage") or {}
    usage = usage | event.get("usageMetadata", {})
    names = ("completion_tokens", "output_tokens", "candidatesTokenCount")
    return any(usage.get(name) for name in names)


@each_asking
def test_a_request_of_every_door_is_explained_and_not_sent(
    http: httpx.Client, provider: Provider, door: EveryDoor
) -> None:
    answer = http.post(
        "/v1/explain", params={"door": door.path("m")}, json=door.body("m"), headers=bearer()
    )
    told = answer.json()
    assert (answer.status_code, told["model"], told["refusal"]) == (200, "m", None)
    assert [route["provider"] for route in told["models"][0]["ranked"]] == ["primary"]
    assert received(provider) == []


@pytest.mark.parametrize("path", ["", "/nowhere", "/v1/models", "/v1/messages/count_tokens"])
def test_only_a_door_for_requests_can_be_explained(http: httpx.Client, path: str) -> None:
    answer = http.post("/v1/explain", params={"door": path}, json={}, headers=bearer())
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (
        "door",
        "invalid_value",
    )


# ── traces ────────────────────────────────────────────────────────────────────────────────────


@each_asking
def test_a_trace_has_the_door_the_client_s_body_and_what_was_sent_and_replays(
    http: httpx.Client, running: Gateway, provider: Provider, door: EveryDoor
) -> None:
    provider.plays(Step(status=500))
    model = f"faulty-{door.name}"
    data = json.dumps(door.body(model), indent=3)  # as nobody would write it anew
    answer = http.post(door.path(model), content=data, headers=bearer())
    trace_id = answer.headers["x-request-id"]
    trace = running.trace(trace_id)
    assert (trace["door"], trace["state"], trace["attempts"]) == (door.dialect.value, "done", 2)
    bodies = {(each["kind"], each["attempt"]): each["body"] for each in trace["payloads"]}
    assert bodies["request", None] == data
    assert json.loads(bodies["response", None]) == answer.json()
    sent = [json.loads(bodies["upstream_request", number]) for number in (1, 2)]
    assert sent == [call["body"] for call in received(provider)]
    told = CliRunner().invoke(
        main,
        [
            *("replay", trace_id, "--data-dir", str(running.data_dir)),
            *("--config", str(running.data_dir.parent / "signalbox.toml")),
        ],
    )
    assert told.exit_code == 0, told.output
