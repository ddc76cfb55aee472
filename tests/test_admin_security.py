"""Who may not, may not: every operation of the admin API's table; and no secret is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from signalbox.http.admin.access import SESSION_COOKIE
from signalbox.http.admin.openapi import ROOT
from signalbox.http.admin.operations import Operation
from tests.admin_client import (
    ALL,
    CHANGES,
    READS,
    AdminClient,
    fresh,
    path_of,
    refused,
)
from tests.doors import door_client
from tests.gateway import (
    ADMIN_TOKEN,
    KEY,
    Gateway,
    config_for,
    gateway,
    simulated_provider,
)

of_each = pytest.mark.parametrize("operation", ALL, ids=lambda each: f"{each.method} {each.path}")
of_each_change = pytest.mark.parametrize(
    "operation", CHANGES, ids=lambda each: f"{each.method} {each.path}"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with (
        simulated_provider() as provider,
        gateway(config_for(provider), arguments=["--log-level", "debug"]) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def admin(running: Gateway) -> Iterator[AdminClient]:
    with closing(AdminClient(running)) as client:
        yield client


@pytest.fixture(scope="module")
def nobody(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        yield client


def token_of(admin: AdminClient, role: str) -> str:
    made = admin.make("/users", name=fresh(role), role=role)
    token: str = admin.do(f"/users/{made['id']}/token")["token"]
    return token


@pytest.fixture(scope="module")
def viewer(running: Gateway, admin: AdminClient) -> Iterator[AdminClient]:
    with closing(AdminClient(running, token_of(admin, "viewer"))) as client:
        yield client


# Who may


@of_each
def test_nothing_is_open(nobody: httpx.Client, operation: Operation) -> None:
    path = ROOT + path_of(operation)
    for headers in (
        {},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": "Bearer x"},
        {"authorization": ADMIN_TOKEN},
        {"authorization": f"Basic {ADMIN_TOKEN}"},
        {"x-api-key": ADMIN_TOKEN},
        {"cookie": f"{SESSION_COOKIE}={ADMIN_TOKEN}"},
        {"cookie": f"{SESSION_COOKIE}=99999999999.-.admin.-.x"},
    ):
        answer = nobody.request(operation.method, path, headers=headers)
        refused(answer, 401, "admin_required")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(nobody.request(operation.method, f"{path}?key={ADMIN_TOKEN}"), 401, "admin_required")


def test_who_is_nobody_is_not_told_what_is_there(nobody: httpx.Client) -> None:
    for path in ("", "/", "/nothing", "/keys/x/y/z"):
        refused(nobody.get(ROOT + path), 401, "admin_required")


@pytest.mark.parametrize("path", ["//admin//api/keys", "/admin/api/keys/", "/%61dmin/api/keys"])
def test_no_spelling_of_a_path_goes_around(
    nobody: httpx.Client, admin: AdminClient, path: str
) -> None:
    target = httpx.URL(str(nobody.base_url)).copy_with(raw_path=path.encode())
    refused(nobody.get(target), 401, "admin_required")
    assert "data" in admin.http.get(target).json()


@of_each_change
def test_a_viewer_changes_nothing(
    viewer: AdminClient, admin: AdminClient, operation: Operation
) -> None:
    answer = viewer.http.request(operation.method, ROOT + path_of(operation), json={})
    refused(answer, 403, "admin_only")


@pytest.mark.parametrize("operation", READS, ids=lambda each: each.path)
def test_a_viewer_may_look(viewer: AdminClient, operation: Operation) -> None:
    answer = viewer.http.request(operation.method, ROOT + path_of(operation))
    assert answer.status_code == (404 if operation.names else 200)


@of_each_change
def test_a_cookie_alone_changes_nothing_from_elsewhere(
    running: Gateway, nobody: httpx.Client, operation: Operation
) -> None:
    with door_client(running.url) as browser:
        assert browser.post("/login", json={"token": ADMIN_TOKEN}).status_code == 200
        for headers in ({}, {"origin": "http://elsewhere"}, {"origin": "null"}):
            answer = browser.request(
                operation.method, ROOT + path_of(operation), json={}, headers=headers
            )
            refused(answer, 403, "cross_origin")
        own = {"origin": running.url}
        answer = browser.request(operation.method, ROOT + path_of(operation), json={}, headers=own)
        assert answer.status_code in (200, 201, 400, 404)


def test_no_other_site_may_read(nobody: httpx.Client, admin: AdminClient) -> None:
    answer = admin.ask("GET", "/keys", headers={"origin": "http://elsewhere"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    answer = admin.ask("OPTIONS", "/keys", headers={"origin": "http://elsewhere"})
    assert "access-control-allow-origin" not in answer.headers


# What is told


def test_no_secret_is_told_twice(running: Gateway, admin: AdminClient) -> None:
    key = admin.make("/keys", name=fresh("canary"))
    rotated = admin.do(f"/keys/{key['id']}/rotate")
    user = admin.make("/users", name=fresh("canary"), role="admin")
    token = admin.do(f"/users/{user['id']}/token")["token"]
    secrets = {key["secret"], rotated["secret"], token, ADMIN_TOKEN, KEY, "sk-primary-1"}
    with closing(AdminClient(running, token)) as other:
        for operation in READS:
            for id in (key["id"], user["id"]):
                answer = other.http.request("GET", ROOT + path_of(operation, id))
                assert not [secret for secret in secrets if secret in answer.text]
    files = [path.read_bytes() for path in running.data_dir.rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in running.output
        assert not any(secret.encode() in content for content in files)
