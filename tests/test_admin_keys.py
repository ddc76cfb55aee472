"""Gateway keys by the admin API: they work, and stop working, with the very next request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import AdminClient, fresh, models_status, refused
from tests.gateway import (
    ADMIN_TOKEN,
    KEY,
    Gateway,
    Provider,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Gateway]:
    with gateway(config_for(provider)) as started:
        yield started


@pytest.fixture(scope="module")
def admin(running: Gateway) -> Iterator[AdminClient]:
    with closing(AdminClient(running)) as client:
        yield client


def test_a_made_key_works_at_once_and_a_revoked_one_no_more(
    running: Gateway, admin: AdminClient
) -> None:
    for _ in range(5):
        made = admin.make("/keys", name=fresh("ci"))
        assert made["secret"].startswith("gateway-sk-")
        assert made["prefix"] == made["secret"][: len(made["prefix"])]
        assert models_status(running, made["secret"]) == 200
        revoked = admin.do(f"/keys/{made['id']}/revoke")
        assert revoked["state"] == "revoked"
        assert models_status(running, made["secret"]) == 401
        assert admin.do(f"/keys/{made['id']}/revoke") == revoked


def test_a_secret_is_shown_once(admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("ci"))
    secret = made.pop("secret")
    read = admin.get(f"/keys/{made['id']}")
    spent = read.pop("spent")
    assert read == made
    assert spent == {"day": "0", "week": "0", "month": "0", "total": "0"}
    for path in ("/keys", "/audit", f"/keys/{made['id']}"):
        answer = admin.ask("GET", path)
        assert secret not in answer.text
        assert "digest" not in answer.text


def test_a_change_leaves_what_it_does_not_name(running: Gateway, admin: AdminClient) -> None:
    fields = {"models": ["m"], "tags": ["a"], "rpm": 5, "expires_at": 4_000_000_000.0}
    made = admin.make("/keys", name=fresh("ci"), **fields)
    secret, path = made.pop("secret"), f"/keys/{made['id']}"
    changed = admin.change(path, enabled=False, rpm=None)
    moved = {"enabled", "state", "rpm", "updated_at", "version"}
    assert {name for name in made if made[name] != changed[name]} == moved
    assert (changed["rpm"], changed["state"]) == (None, "disabled")
    assert models_status(running, secret) == 401
    assert admin.change(path, enabled=True)["state"] == "active"
    assert models_status(running, secret) == 200
    assert admin.change(path, expires_at=1)["state"] == "expired"
    assert models_status(running, secret) == 401


def test_a_change_of_nothing_changes_nothing(admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("ci"), rpm=3)
    path = f"/keys/{made['id']}"
    assert admin.change(path) == admin.change(path, rpm=3)
    assert admin.change(path)["version"] == made["version"]


def test_a_key_may_call_what_it_names(running: Gateway, admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("ci"), models=["other"])
    headers = {"authorization": f"Bearer {made['secret']}"}
    assert running.post(chat(), **headers).status_code == 403
    admin.change(f"/keys/{made['id']}", models=["m"])
    assert running.post(chat(), **headers).status_code == 200
    spent = eventually(
        lambda: admin.get(f"/keys/{made['id']}")["spent"], lambda spent: spent["total"] != "0"
    )
    assert len(set(spent.values())) == 1


def test_a_rotated_key_has_another_secret_and_the_old_one_for_a_while(
    running: Gateway, admin: AdminClient
) -> None:
    made = admin.make("/keys", name=fresh("ci"))
    path = f"/keys/{made['id']}/rotate"
    second = admin.do(path)
    assert second["previous_until"] - second["updated_at"] == pytest.approx(86_400)
    assert models_status(running, made["secret"]) == models_status(running, second["secret"]) == 200
    third = admin.do(path, overlap_seconds=0)
    assert third["previous_until"] is None
    statuses = [models_status(running, each["secret"]) for each in (made, second, third)]
    assert statuses == [401, 401, 200]
    assert (third["id"], third["name"]) == (made["id"], made["name"])


def test_a_revoked_key_is_not_rotated(admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("ci"))
    admin.do(f"/keys/{made['id']}/revoke")
    refused(admin.ask("POST", f"/keys/{made['id']}/rotate"), 409, "key_revoked")


def test_a_name_is_taken_once(admin: AdminClient) -> None:
    first, second = (admin.make("/keys", name=fresh("ci")) for _ in range(2))
    again = admin.ask("POST", "/keys", json={"name": first["name"]})
    assert refused(again, 409, "already_exists")["param"] == "name"
    renamed = admin.ask("PATCH", f"/keys/{second['id']}", json={"name": first["name"]})
    assert refused(renamed, 409, "already_exists")["param"] == "name"


def test_what_was_changed_meanwhile_is_not_overwritten(admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("ci"))
    path = f"/keys/{made['id']}"
    read = admin.ask("GET", path)
    etag = read.headers["etag"]
    assert etag == f'"{read.json()["version"]}"'

    def change(rpm: int, if_match: str) -> Any:
        return admin.ask("PATCH", path, json={"rpm": rpm}, headers={"if-match": if_match})

    assert change(1, etag).status_code == 200
    refused(change(2, etag), 409, "changed_meanwhile")
    refused(
        admin.ask("POST", f"{path}/revoke", headers={"if-match": etag}), 409, "changed_meanwhile"
    )
    assert admin.get(path)["rpm"] == 1
    assert change(3, admin.get(path)["version"]).status_code == 200
    assert change(4, "*").status_code == 200


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "name", "is missing"),
        ({"name": ""}, "name", "length >= 1"),
        ({"name": "a\nb"}, "name", "one line of text"),
        ({"name": "x", "rpm": 0}, "rpm", ">= 1"),
        ({"name": "x", "rpm": "5"}, "rpm", "expected an integer or null, got a string"),
        ({"name": "x", "modles": []}, "modles", 'did you mean "models"?'),
        ({"name": "x", "models": [1]}, "models[0]", "expected a string, got an integer"),
        ({"name": "x", "owner": UNKNOWN_ID}, "owner", "there is no user"),
        ({"name": "x", "id": UNKNOWN_ID}, "id", "there is no such field"),
        ({"name": "x", "secret": "gateway-sk-mine"}, "secret", "there is no such field"),
    ],
)
def test_what_is_wrong_is_named(
    admin: AdminClient, fields: dict[str, Any], param: str, words: str
) -> None:
    error = refused(admin.ask("POST", "/keys", json=fields), 400, "invalid_value")
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert words in error["message"]


def test_a_key_that_is_not_there_is_404(admin: AdminClient) -> None:
    for method, path in (
        ("GET", f"/keys/{UNKNOWN_ID}"),
        ("PATCH", f"/keys/{UNKNOWN_ID}"),
        ("POST", f"/keys/{UNKNOWN_ID}/rotate"),
        ("POST", f"/keys/{UNKNOWN_ID}/revoke"),
        ("GET", "/keys/x"),
    ):
        refused(admin.ask(method, path), 404, "key_not_found")
    refused(admin.ask("GET", f"/keys/{UNKNOWN_ID}/nothing"), 404, "not_found")
    answer = admin.ask("PUT", f"/keys/{UNKNOWN_ID}")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, PATCH"


def test_a_declared_key_is_listed_and_left_to_its_file(admin: AdminClient) -> None:
    [declared] = [key for key in admin.pages("/keys") if key["source"] == "configuration"]
    assert (declared["id"], declared["name"]) == ("declared:test", "test")
    assert admin.get("/keys/declared:test")["name"] == "test"
    for method, path in (("PATCH", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        answer = admin.ask(method, f"/keys/declared:test{path}")
        error = refused(answer, 409, "declared_in_configuration")
        assert "signalbox.toml:" in error["message"]
        assert "keys.test" in error["message"]
    assert KEY not in str(declared)


def test_pages_hold_each_key_once(admin: AdminClient) -> None:
    made = [admin.make("/keys", name=fresh("page"))["id"] for _ in range(5)]
    for limit in (1, 2, 3, 500):
        ids = [key["id"] for key in admin.pages("/keys", limit=limit)]
        assert len(set(ids)) == len(ids)
        assert ids[0] == "declared:test"
        assert ids[-5:] == made
    [found] = admin.pages("/keys", name=admin.get(f"/keys/{made[0]}")["name"])
    assert found["id"] == made[0]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=x", "limit=", "limit=1&limit=2", "after=", "after=x"),
        *("after=WyJyZWNvcmQiXQ", "after=WyJkZWNsYXJlZCJd", "after=WyJkZWNsYXJlZCIsLTFd"),
        *("after=e30", "after=W10", "after=%ff", "nothing=1", "name=%00%ff"),
        # ["record", 1e400], ["record", true, "x"], ["record", "1", "x"]
        *("after=WyJyZWNvcmQiLDFlNDAwXQ", "after=WyJyZWNvcmQiLHRydWUsIngiXQ"),
        "after=WyJyZWNvcmQiLCIxIiwieCJd",
    ],
)
def test_a_query_that_is_wrong_is_400(admin: AdminClient, query: str) -> None:
    refused(admin.ask("GET", f"/keys?{query}"), 400, "invalid_value")


def test_every_change_is_in_the_audit(running: Gateway, admin: AdminClient) -> None:
    made = admin.make("/keys", name=fresh("audited"))
    path = f"/keys/{made['id']}"
    admin.change(path, rpm=7)
    admin.do(f"{path}/rotate")
    admin.do(f"{path}/revoke")
    admin.ask("PATCH", path, json={"rpm": 0})
    audit = admin.pages("/audit", kind="key", target=made["id"])
    assert [entry["action"] for entry in audit] == ["revoke", "rotate", "update", "create"]
    assert {entry["actor"] for entry in audit} == {"admin token"}
    assert {entry["address"] for entry in audit} == {"127.0.0.1"}
    assert (audit[2]["before"]["rpm"], audit[2]["after"]["rpm"]) == (None, 7)


def test_other_gateways_see_it_within_moments(
    running: Gateway, provider: Provider, admin: AdminClient
) -> None:
    made = admin.make("/keys", name=fresh("ci"))
    with gateway(config_for(provider), data_dir=running.data_dir) as other:
        assert models_status(other, made["secret"]) == 200
        with closing(AdminClient(other)) as admin_there:
            second = admin_there.make("/keys", name=fresh("ci"))
        eventually(lambda: models_status(running, second["secret"]), (200).__eq__)
        admin.do(f"/keys/{made['id']}/revoke")
        eventually(lambda: models_status(other, made["secret"]), (401).__eq__)


def test_a_restart_forgets_nothing(provider: Provider, tmp_path: Path) -> None:
    config = config_for(provider)
    with gateway(config, data_dir=tmp_path) as before, closing(AdminClient(before)) as admin:
        made = admin.make("/keys", name="kept")
    with gateway(config, data_dir=tmp_path) as after:
        assert models_status(after, made["secret"]) == 200
        assert ADMIN_TOKEN not in after.output
