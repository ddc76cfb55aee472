"""The login of the pages: a token becomes a session that names its user and ends with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from signalbox.http.admin.openapi import ROOT
from signalbox.http.admin.throttle import ONE_ADDRESS
from tests.admin_client import AdminClient, fresh, refused
from tests.doors import door_client
from tests.gateway import ADMIN_TOKEN, Gateway, config_for, gateway, simulated_provider


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with simulated_provider() as provider, gateway(config_for(provider)) as started:
        yield started


@pytest.fixture(scope="module")
def admin(running: Gateway) -> Iterator[AdminClient]:
    with closing(AdminClient(running)) as client:
        yield client


@pytest.fixture
def browser(running: Gateway) -> Iterator[httpx.Client]:
    """Keeps cookies, and names its origin."""
    with door_client(running.url) as client:
        client.headers["origin"] = running.url
        yield client


def with_token(admin: AdminClient, role: str) -> tuple[str, str]:
    """A new user's id and token."""
    made = admin.make("/users", name=fresh("user"), role=role)
    return made["id"], admin.do(f"/users/{made['id']}/token")["token"]


def sign_in(browser: httpx.Client, token: str) -> httpx.Response:
    return browser.post("/login", json={"token": token})


def session(browser: httpx.Client) -> int:
    return browser.get(f"{ROOT}/session").status_code


def test_the_admin_token_signs_in(browser: httpx.Client) -> None:
    answer = sign_in(browser, ADMIN_TOKEN)
    assert answer.status_code == 200
    assert answer.json() == {"name": "admin token", "role": "admin"}
    assert browser.get(f"{ROOT}/session").json() == {
        "name": "admin token",
        "role": "admin",
        "user": None,
    }
    made = browser.post(f"{ROOT}/keys", json={"name": fresh("by cookie")})
    assert made.status_code == 201
    assert browser.get("/traces").status_code == 200


def test_a_form_is_sent_on_to_the_pages(browser: httpx.Client) -> None:
    answer = browser.post("/login", data={"token": ADMIN_TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/traces")
    assert session(browser) == 200


def test_a_user_signs_in_with_their_role(admin: AdminClient, browser: httpx.Client) -> None:
    user_id, token = with_token(admin, "viewer")
    assert sign_in(browser, token).json()["role"] == "viewer"
    assert browser.get(f"{ROOT}/session").json()["user"] == user_id
    assert browser.get(f"{ROOT}/keys").status_code == 200
    refused(browser.post(f"{ROOT}/keys", json={"name": "x"}), 403, "admin_only")
    with closing(AdminClient(admin.running, token)) as viewer:
        assert viewer.get("/session")["user"] == user_id


def test_the_cookie_is_hidden_from_scripts_and_other_sites(browser: httpx.Client) -> None:
    cookie, *attributes = sign_in(browser, ADMIN_TOKEN).headers["set-cookie"].split("; ")
    assert cookie.startswith("signalbox_session=")
    assert set(attributes) == {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"}
    assert ADMIN_TOKEN not in cookie


@pytest.mark.parametrize("end", ["disable", "another token", "no token", "another role", "delete"])
def test_a_session_ends_at_once(admin: AdminClient, browser: httpx.Client, end: str) -> None:
    user_id, token = with_token(admin, "admin")
    sign_in(browser, token)
    assert session(browser) == 200
    path = f"/users/{user_id}"
    match end:
        case "disable":
            admin.change(path, enabled=False)
        case "another token":
            admin.do(f"{path}/token")
        case "no token":
            assert admin.ask("DELETE", f"{path}/token").json()["token_prefix"] is None
        case "another role":
            admin.change(path, role="viewer")
        case _:
            admin.delete(path)
    assert session(browser) == 401


def test_who_signs_out_is_out(browser: httpx.Client) -> None:
    sign_in(browser, ADMIN_TOKEN)
    answer = browser.post("/logout")
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert session(browser) == 401


def test_other_sites_sign_nobody_in_or_out(browser: httpx.Client) -> None:
    elsewhere = {"origin": "http://elsewhere"}
    token = {"token": ADMIN_TOKEN}
    refused(browser.post("/login", data=token, headers=elsewhere), 403, "cross_origin")
    refused(browser.post("/logout", headers=elsewhere), 403, "cross_origin")
    assert not browser.cookies


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"json": {"token": "wrong-token-0123456789"}}, 401, "invalid_login"),
        ({"data": {"token": ""}}, 401, "invalid_login"),
        ({"data": {}, "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"token=x"}, 415, "unsupported_media_type"),
        ({"json": {"tokn": "x"}}, 400, "invalid_value"),
        ({"json": {"token": 1}}, 400, "invalid_value"),
        ({"json": {"token": "x" * 5000}}, 413, "request_too_large"),
    ],
)
def test_what_signs_nobody_in(
    browser: httpx.Client, admin: AdminClient, sent: dict[str, Any], status: int, code: str
) -> None:
    sign_in(browser, ADMIN_TOKEN)  # and so the tries of this file do not add up
    browser.cookies.clear()
    answer = browser.post("/login", **sent)
    refused(answer, status, code)
    assert "set-cookie" not in answer.headers


def test_a_user_without_a_role_gets_no_token(admin: AdminClient) -> None:
    made = admin.make("/users", name=fresh("user"))
    refused(admin.ask("POST", f"/users/{made['id']}/token"), 409, "no_role")


def test_other_methods_are_405(browser: httpx.Client) -> None:
    for path, allowed in (("/login", "GET, HEAD, POST"), ("/logout", "POST")):
        answer = browser.delete(path)
        refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


def test_a_cookie_of_tls_is_for_tls_alone(tmp_path: Path) -> None:
    import trustme  # noqa: PLC0415 - only this test needs it

    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = f'certfile = "{tmp_path}/cert.pem"\nkeyfile = "{tmp_path}/key.pem"'
    with (
        gateway(f"[server]\n{tls}", arguments=["--demo"]) as running,
        httpx.Client(base_url=running.url, verify=False) as client,
    ):
        answer = client.post("/login", json={"token": ADMIN_TOKEN})
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        answer = client.post(f"{ROOT}/keys", json={"name": "x"}, headers={"origin": running.url})
        assert answer.status_code == 201


def test_one_who_guesses_has_to_wait_and_others_not() -> None:
    with simulated_provider() as provider, gateway(config_for(provider)) as running:
        with door_client(running.url) as client:
            for _ in range(ONE_ADDRESS.burst):
                refused(sign_in(client, "guess-0123456789"), 401, "invalid_login")
            answer = sign_in(client, "guess-0123456789")
            refused(answer, 429, "too_many_tries")
            assert 0 < int(answer.headers["retry-after"]) <= ONE_ADDRESS.seconds
            refused(client.get("/login?code=guess"), 429, "too_many_tries")
        # The token itself needs no session.
        assert running.admin("/traces").status_code == 200
