"""Gateway keys wherever clients put them; bearer tokens; origins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.http.auth import (
    KEY_HEADERS,
    bearer_token,
    presented_keys,
    same_origin,
)
from tests.doors import door_client, error_of
from tests.gateway import (
    ADMIN_TOKEN,
    KEY,
    Gateway,
    clean_environ,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

OTHER = "other-gateway-key-0123456789"
CANARY = "canary-key-in-the-address-0123456789"
PLACES = ("authorization", *KEY_HEADERS)


def placed(place: str, key: str) -> tuple[str, str]:
    return place, f"Bearer {key}" if place == "authorization" else key


# Where keys are found

KEY_TEXTS = st.sampled_from(["a-key", "another", "größe"])


@given(st.lists(st.tuples(st.sampled_from((*PLACES, "query")), KEY_TEXTS)))
def test_every_place_is_looked_at_however_often_it_is_there(keys: list[tuple[str, str]]) -> None:
    fields = [placed(place, key) for place, key in keys if place != "query"]
    query = "&".join(f"key={key}" for place, key in keys if place == "query")
    assert presented_keys(fields, query) == {key for _, key in keys}


def test_what_is_empty_or_of_another_scheme_is_no_key() -> None:
    fields = [("authorization", "Basic a"), ("authorization", "Bearer "), ("x-api-key", " ")]
    assert presented_keys([*fields, ("cookie", "key=a")], "key=&keys=b") == set()


@pytest.mark.parametrize("header", ["Bearer t", "bearer t", "BEARER   t  "])
def test_the_scheme_may_be_written_in_any_case(header: str) -> None:
    assert bearer_token(header) == "t"


@pytest.mark.parametrize("header", [None, "", "t", "Bearer", "Bearert", "Basic t"])
def test_other_schemes_have_no_token(header: str | None) -> None:
    assert bearer_token(header) is None


# Origins


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://gateway:8080", "gateway:8080", True),
        ("https://gateway", "gateway", True),
        ("http://elsewhere", "gateway", False),
        ("http://gateway.elsewhere", "gateway", False),
        ("http://gateway:8081", "gateway:8080", False),
        ("http://[", "gateway", False),
        ("null", "gateway", False),
        ("", "", False),
    ],
)
def test_an_origin_is_ours_by_its_host(origin: str, host: str, same: bool) -> None:
    assert same_origin({"origin": origin, "host": host}) is same
    assert not same_origin({"host": host})


# A running gateway


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    declared = f'[keys.canary]\nkey = {{ value = "{CANARY}" }}'
    with (
        simulated_provider() as provider,
        gateway(config_for(provider, more=declared), arguments=["--log-level", "debug"]) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        yield client


def refused(answer: httpx.Response) -> str:
    """The words of a 401."""
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (401, "invalid_request_error")
    assert error["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    return str(error["message"])


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_taken_from_every_place(http: httpx.Client, place: str) -> None:
    assert http.get("/v1/models", headers=[placed(place, KEY)]).status_code == 200
    assert "unknown" in refused(http.get("/v1/models", headers=[placed(place, OTHER)]))


def test_a_key_is_taken_from_the_address(http: httpx.Client) -> None:
    assert http.post(f"/v1/chat/completions?key={KEY}", json=chat()).status_code == 200


def test_no_key_is_401(http: httpx.Client) -> None:
    for path in ("/v1/models", "/v1/models/m"):
        assert "No API key" in refused(http.get(path))
    assert "No API key" in refused(http.post("/v1/chat/completions", json=chat()))


def test_two_keys_must_be_the_same(http: httpx.Client) -> None:
    same = [placed("authorization", KEY), placed("x-api-key", KEY)]
    assert http.get(f"/v1/models?key={KEY}", headers=same).status_code == 200
    for other in (placed("authorization", OTHER), placed("api-key", OTHER)):
        twice = [placed("authorization", KEY), other]
        assert "Two different" in refused(http.get("/v1/models", headers=twice))


def test_a_key_of_other_letters_is_unknown(http: httpx.Client) -> None:
    raw = [(b"authorization", "Bearer ключ-0123456789".encode()), (b"host", b"gateway")]
    assert "unknown" in refused(http.get("/v1/models", headers=raw))
    for encoded in ("%FF%FE%00", "%ED%A0%80", "%00"):
        assert "unknown" in refused(http.get(f"/v1/models?key={encoded}"))


def test_the_admin_token_and_the_keys_do_not_stand_for_each_other(http: httpx.Client) -> None:
    refused(http.get("/v1/models", headers=[placed("authorization", ADMIN_TOKEN)]))
    for place in PLACES:
        assert http.get("/traces", headers=[placed(place, KEY)]).status_code == 401
    assert http.get(f"/traces?key={ADMIN_TOKEN}").status_code == 401


def keys_command(running: Gateway, *arguments: str) -> str:
    """`signalbox keys`, beside the running gateway."""
    command = [sys.executable, "-m", "signalbox", "keys", *arguments]
    done = subprocess.run(
        [*command, "--data-dir", str(running.data_dir)],
        cwd=running.data_dir.parent,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_keys_made_and_revoked_beside_the_gateway_are_noticed(
    running: Gateway, http: httpx.Client
) -> None:
    made = keys_command(running, "create", "made", "--model", "m")
    brief = keys_command(running, "create", "brief", "--expires-in-days", "0.00003")

    def status(key: str) -> int:
        return http.get("/v1/models", headers=[placed("authorization", key)]).status_code

    eventually(lambda: status(made), (200).__eq__)
    assert not any(made.encode() in file.read_bytes() for file in written_files(running))
    other = chat() | {"model": "primary/other"}
    answer = http.post("/v1/chat/completions", json=other, headers=[placed("x-api-key", made)])
    assert answer.status_code == 403
    eventually(lambda: status(brief), (401).__eq__)
    keys_command(running, "revoke", "made")
    eventually(lambda: status(made), (401).__eq__)


def test_no_key_is_ever_written_down(running: Gateway, http: httpx.Client) -> None:
    answer = http.post(f"/v1/chat/completions?key={CANARY}", json=chat())
    assert answer.status_code == 200
    for target in (f"/v1/nothing?key={CANARY}", f"/traces?key={CANARY}", f"//?key={CANARY}"):
        assert http.get(target).status_code in (401, 404)
    assert running.trace(answer.headers["x-request-id"])["key"] == "canary"
    files = [path.read_bytes() for path in written_files(running)]
    assert any(b"canary" in content for content in files)  # the key's name is there
    for secret in (CANARY, KEY, "sk-primary-1", ADMIN_TOKEN):
        assert secret not in running.output
        assert not any(secret.encode() in content for content in files)


def written_files(running: Gateway) -> list[Path]:
    return [path for path in running.data_dir.rglob("*") if path.is_file()]
