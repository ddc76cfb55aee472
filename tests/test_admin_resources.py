"""Budgets, presets, documents of the configuration and balances by the admin API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from signalbox.persistence.records import ByokKeyRecord
from signalbox.persistence.sealed_records import secret_of
from tests import records
from tests.admin_client import UNKNOWN_ID, fresh
from tests.admin_room import AdminRoom, Answer, room_in

MODEL = {"routes": [{"provider": "local", "model": "x", "input": 0.15, "output": 2}]}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AdminRoom]:
    with room_in(tmp_path) as room:
        yield room


def told(answer: Answer, status: int = 200) -> Any:
    assert answer.status == status, answer.body
    return answer.json()


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), error
    return error


def listed(room: AdminRoom, path: str, query: str = "") -> list[Any]:
    entries: list[Any] = []
    after = ""
    while True:
        page = told(room.ask("GET", path, query=f"limit=2{query}{after}".encode()))
        assert len(page["data"]) <= 2
        entries += page["data"]
        if page["next"] is None:
            return entries
        after = f"&after={page['next']}"


# Budgets


def test_a_budget_is_made_read_changed_and_deleted(room: AdminRoom) -> None:
    given = {"name": "team", "scope": "tag", "subject": "t", "limit": 12.5, "period": "day"}
    made = told(room.ask("POST", "/budgets", given), 201)
    assert (made["limit"], made["hard"], made["alert_at"]) == ("12.5", True, [0.8, 1.0])
    path = f"/budgets/{made['id']}"
    read = told(room.ask("GET", path))
    assert read == {**made, "spent": "0", "resets_at": read["resets_at"]}
    changed = told(room.ask("PATCH", path, {"limit": "0.000000001", "hard": False}))
    assert (changed["limit"], changed["hard"], changed["name"]) == ("0.000000001", False, "team")
    assert room.ask("DELETE", path).status == 204
    refused(room.ask("GET", path), 404, "budget_not_found")
    audit = told(room.ask("GET", "/audit", query=b"kind=budget"))["data"]
    assert [entry["action"] for entry in audit] == ["delete", "update", "create"]


def test_what_a_budget_has_spent_is_told(room: AdminRoom) -> None:
    room.store.append_charges([records.charge()])
    given = {"name": "all", "scope": "key", "subject": "declared:test", "limit": 1}
    of_key = told(room.ask("POST", "/budgets", {**given, "period": "total"}), 201)
    assert told(room.ask("GET", f"/budgets/{of_key['id']}"))["spent"] == "0"
    given = {"name": "everything", "scope": "global", "limit": 1, "period": "total"}
    of_all = told(room.ask("POST", "/budgets", given), 201)
    assert told(room.ask("GET", f"/budgets/{of_all['id']}"))["spent"] == "0.0000015"
    given = {"name": "each", "scope": "user", "limit": 1, "period": "day"}
    each = told(room.ask("POST", "/budgets", given), 201)
    assert told(room.ask("GET", f"/budgets/{each['id']}"))["spent"] is None


def test_declared_budgets_are_listed_and_left_to_the_file(room: AdminRoom) -> None:
    for number in range(3):
        given = {"name": f"b{number}", "scope": "global", "limit": 1, "period": "day"}
        told(room.ask("POST", "/budgets", given), 201)
    found = listed(room, "/budgets")
    declared = [each for each in found if each["source"] == "configuration"]
    assert {each["limit"] for each in declared} == {"5", "100"}
    assert [each["name"] for each in found[2:]] == ["b0", "b1", "b2"]
    assert len(listed(room, "/budgets", "&scope=key")) == 1
    for each in declared:
        path = f"/budgets/{quote(each['id'], safe='')}"
        assert told(room.ask("GET", path))["name"] == each["name"]
        error = refused(room.ask("DELETE", path), 409, "declared_in_configuration")
        assert "signalbox.toml:" in error["message"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": "1.0000000001"}, "limit"),
        ({"limit": 1e-10}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": 900_000_000}, "limit"),
        ({"period": "year"}, "period"),
        ({"scope": "global", "subject": "x"}, "subject"),
        ({"scope": "key", "subject": UNKNOWN_ID}, "subject"),
        ({"scope": "account", "subject": UNKNOWN_ID}, "subject"),
        ({"alert_at": [0]}, "alert_at[0]"),
    ],
)
def test_what_is_no_budget_is_refused(room: AdminRoom, wrong: dict[str, Any], param: str) -> None:
    given = {"name": "b", "scope": "global", "limit": 1, "period": "day"}
    error = refused(room.ask("POST", "/budgets", given | wrong), 400, "invalid_value")
    assert error["param"] == param


def test_whose_a_budget_is_stays(room: AdminRoom) -> None:
    given = {"name": "b", "scope": "global", "limit": 1, "period": "day"}
    made = told(room.ask("POST", "/budgets", given), 201)
    answer = room.ask("PATCH", f"/budgets/{made['id']}", {"scope": "tag"})
    assert refused(answer, 400, "invalid_value")["param"] == "scope"


def test_a_user_whose_things_are_there_is_not_deleted(room: AdminRoom) -> None:
    user = told(room.ask("POST", "/users", {"name": "ada"}), 201)["id"]
    key = told(room.ask("POST", "/keys", {"name": "hers", "owner": user}), 201)["id"]
    error = refused(room.ask("DELETE", f"/users/{user}"), 409, "in_use")
    assert "the key 'hers'" in error["message"]
    told(room.ask("PATCH", f"/keys/{key}", {"owner": None}))
    assert room.ask("DELETE", f"/users/{user}").status == 204


# Presets


def test_the_newest_version_of_a_preset_is_in_force(room: AdminRoom) -> None:
    for temperature in (0.1, 0.2):
        body = {"document": {"temperature": temperature}, "note": "colder"}
        told(room.ask("POST", "/presets/short/versions", body), 201)
    read = told(room.ask("GET", "/presets/short"))
    assert (read["version"], read["document"]) == ("2", {"temperature": 0.2})
    assert read["author"] == "admin token"
    versions = listed(room, "/presets/short/versions")
    assert [each["version"] for each in versions] == ["1", "2"]
    assert told(room.ask("GET", "/presets/short/versions/1")) == versions[0]
    assert [each["slug"] for each in listed(room, "/presets")] == ["declared", "short"]


def test_a_withdrawn_version_keeps_its_number(room: AdminRoom) -> None:
    for _ in range(3):
        told(room.ask("POST", "/presets/short/versions", {"document": {"top_p": 0.5}}), 201)
    for version in (3, 2):
        assert room.ask("DELETE", f"/presets/short/versions/{version}").status == 204
    assert told(room.ask("GET", "/presets/short"))["version"] == "1"
    made = told(room.ask("POST", "/presets/short/versions", {"document": {"top_p": 0.5}}), 201)
    assert made["version"] == "4"
    assert room.ask("DELETE", "/presets/short").status == 204
    refused(room.ask("GET", "/presets/short"), 404, "preset_not_found")
    made = told(room.ask("POST", "/presets/short/versions", {"document": {"top_p": 0.5}}), 201)
    assert made["version"] == "5"


def test_a_preset_in_use_is_not_withdrawn(room: AdminRoom) -> None:
    told(room.ask("POST", "/presets/short/versions", {"document": {"top_p": 0.5}}), 201)
    told(room.ask("POST", "/keys", {"name": "ci", "preset": "short"}), 201)
    for path in ("/presets/short", "/presets/short/versions/1"):
        assert "the key 'ci'" in refused(room.ask("DELETE", path), 409, "in_use")["message"]
    told(room.ask("POST", "/presets/short/versions", {"document": {"top_p": 0.6}}), 201)
    assert room.ask("DELETE", "/presets/short/versions/2").status == 204


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"stream": True}, "document.stream"),
        ({"model": ""}, "document.model"),
        ({"extra": {"byok": "sk-1"}}, "document.extra.byok"),
        ({"temperature": "hot"}, "document.temperature"),
        ({"extra": {"no": 1}}, "document.extra.no"),
        ([], "document"),
        (None, "document"),
    ],
)
def test_what_is_no_preset_is_refused(room: AdminRoom, document: Any, param: str) -> None:
    answer = room.ask("POST", "/presets/short/versions", {"document": document})
    assert refused(answer, 400, "invalid_value")["param"] == param


def test_integers_of_any_size_are_kept(room: AdminRoom) -> None:
    body = b'{"document":{"metadata":{"a":' + b"9" * 30 + b"}}}"
    made = room.ask("POST", "/presets/short/versions", body)
    assert made.status == 201
    assert b"9" * 30 in room.ask("GET", "/presets/short").body


def test_a_declared_preset_is_left_to_its_file(room: AdminRoom) -> None:
    read = told(room.ask("GET", "/presets/declared"))
    assert (read["source"], read["document"]) == ("configuration", {"temperature": 0.5})
    assert told(room.ask("GET", f"/presets/declared/versions/{read['version']}")) == read
    body = {"document": {"top_p": 0.5}}
    for method, path, sent in (
        ("POST", "/versions", body),
        ("DELETE", "", None),
        ("DELETE", "/versions/1", None),
    ):
        answer = room.ask(method, f"/presets/declared{path}", sent)
        error = refused(answer, 409, "declared_in_configuration")
        assert "presets.declared" in error["message"]


# The configuration


def test_a_model_is_made_changed_and_deleted(room: AdminRoom) -> None:
    path = "/models/vendor%2Fx"
    made = told(room.ask("PUT", path, {"document": MODEL}))
    assert (made["name"], made["source"], made["document"]) == ("vendor/x", "database", MODEL)
    [route] = made["in_force"]["routes"]
    assert (route["input"], route["output"]) == ("0.15", "2")
    assert told(room.ask("GET", "/models/vendor/x")) == made
    other = {"routes": [*MODEL["routes"], {"provider": "local", "model": "y"}]}
    etag = {"if-match": f'"{made["version"]}"'}
    changed = told(room.ask("PUT", path, {"document": other}, headers=etag))
    assert len(changed["in_force"]["routes"]) == 2
    answer = room.ask("PUT", path, {"document": MODEL}, headers=etag)
    refused(answer, 409, "changed_meanwhile")
    assert room.ask("DELETE", path).status == 204
    refused(room.ask("GET", path), 404, "model_not_found")
    assert "vendor/x" not in room.settings.models


def test_a_document_is_checked_in_the_words_of_the_file(room: AdminRoom) -> None:
    wrong = {"routes": [{"provider": "lokal", "model": "x", "inptu": 1}]}
    error = refused(room.ask("PUT", "/models/x", {"document": wrong}), 400, "invalid_value")
    assert error["param"] == "document"
    assert 'did you mean "input"?' in error["message"]
    key = {"api": "openai", "base_url": "http://127.0.0.1:2", "keys": [{"file": "/etc/passwd"}]}
    error = refused(room.ask("PUT", "/providers/mine", {"document": key}), 400, "invalid_value")
    assert "a key is added on its own" in error["message"]
    assert "mine" not in room.settings.providers
    assert room.refreshed == 0


def test_what_others_refer_to_is_not_deleted(room: AdminRoom) -> None:
    provider = {"api": "openai", "base_url": "http://127.0.0.1:2/v1", "keys": []}
    told(room.ask("PUT", "/providers/mine", {"document": provider}))
    model = {"routes": [{"provider": "mine", "model": "x", "input": 1, "output": 1}]}
    told(room.ask("PUT", "/models/x", {"document": model}))
    error = refused(room.ask("DELETE", "/providers/mine"), 409, "in_use")
    assert "models.x.routes[0].provider" in error["message"]
    assert room.ask("DELETE", "/models/x").status == 204
    assert room.ask("DELETE", "/providers/mine").status == 204


@pytest.mark.parametrize(
    ("path", "document"),
    [("/providers/local", {}), ("/models/m", MODEL), ("/aliases/short", "m")],
)
def test_what_the_file_declares_is_left_to_it(room: AdminRoom, path: str, document: Any) -> None:
    read = told(room.ask("GET", path))
    assert (read["source"], read["document"]) == ("configuration", None)
    assert read["in_force"] is not None
    for method, body in (("PUT", {"document": document}), ("DELETE", None)):
        error = refused(room.ask(method, path, body), 409, "declared_in_configuration")
        assert error["message"].startswith("signalbox.toml:")
    assert read["name"] in [each["name"] for each in listed(room, f"/{path.split('/')[1]}")]


def test_an_alias_is_another_name(room: AdminRoom) -> None:
    made = told(room.ask("PUT", "/aliases/gpt", {"document": "m"}))
    assert made["in_force"] == "m"
    assert room.settings.aliases["gpt"] == "m"


# Balances


def test_a_balance_is_what_was_paid_in_less_what_was_spent(room: AdminRoom) -> None:
    user = told(room.ask("POST", "/users", {"name": fresh("ada")}), 201)["id"]
    given = {"account": user, "kind": "top_up", "amount": "10", "note": "invoice 1"}
    added = told(room.ask("POST", "/credits", {**given, "request_id": UNKNOWN_ID}), 201)
    assert (added["amount"], added["request_id"]) == ("10", UNKNOWN_ID)
    again = told(room.ask("POST", "/credits", {**given, "request_id": UNKNOWN_ID}), 201)
    assert again == added
    other = {**given, "amount": 11, "request_id": UNKNOWN_ID}
    refused(room.ask("POST", "/credits", other), 409, "already_exists")
    less = {"account": user, "kind": "adjustment", "amount": -2.5, "note": "a mistake"}
    told(room.ask("POST", "/credits", less), 201)
    balance = told(room.ask("GET", f"/credits/{user}"))
    assert balance == {"account": user, "paid_in": "7.5", "spent": "0", "left": "7.5"}
    assert listed(room, "/credits") == [balance]
    audit = told(room.ask("GET", "/audit", query=b"kind=credit"))["data"]
    assert [entry["action"] for entry in audit] == ["adjustment", "top_up"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"account": UNKNOWN_ID}, "account"),
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"kind": "charge"}, "kind"),
        ({"request_id": "mine"}, "request_id"),
    ],
)
def test_what_is_no_credit_is_refused(room: AdminRoom, wrong: dict[str, Any], param: str) -> None:
    given = {"account": "declared:test", "kind": "top_up", "amount": 1, "note": "x"}
    error = refused(room.ask("POST", "/credits", given | wrong), 400, "invalid_value")
    assert error["param"] == param
    refused(room.ask("GET", "/credits/declared:test"), 404, "balance_not_found")


# Keys for providers

CANARY = "sk-canary-of-a-provider-0123"


def test_a_provider_key_is_written_and_never_read(room: AdminRoom) -> None:
    given = {"provider": "local", "secret": CANARY, "rpm": 5}
    made = told(room.ask("POST", "/provider-keys", given), 201)
    assert (made["label"], made["rpm"], made["enabled"]) == ("…0123", 5, True)
    [key] = room.settings.providers["local"].keys
    assert key.secret is not None
    assert (key.secret.reveal(), key.rpm) == (CANARY, 5)
    path = f"/provider-keys/{made['id']}"
    assert told(room.ask("GET", path)) == made
    changed = told(room.ask("PATCH", path, {"enabled": False}))
    assert not changed["enabled"]
    assert [each.secret for each in room.settings.providers["local"].keys] == [None]
    for read in ("/provider-keys", path, "/audit", "/providers/local", "/keys"):
        assert CANARY.encode() not in room.ask("GET", read).body
    assert room.ask("DELETE", path).status == 204
    refused(room.ask("GET", path), 404, "provider_key_not_found")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"provider": "lokal"}, "provider"),
        ({"secret": "a b"}, "secret"),
        ({"secret": ""}, "secret"),
    ],
)
def test_what_is_no_provider_key_is_refused(
    room: AdminRoom, wrong: dict[str, Any], param: str
) -> None:
    given = {"provider": "local", "secret": CANARY}
    answer = room.ask("POST", "/provider-keys", given | wrong)
    assert refused(answer, 400, "invalid_value")["param"] == param
    assert CANARY.encode() not in answer.body


def test_a_provider_with_keys_is_not_deleted(room: AdminRoom) -> None:
    provider = {"api": "openai", "base_url": "http://127.0.0.1:2/v1", "keys": []}
    told(room.ask("PUT", "/providers/mine", {"document": provider}))
    given = {"provider": "mine", "secret": CANARY}
    made = told(room.ask("POST", "/provider-keys", given), 201)
    refused(room.ask("DELETE", "/providers/mine"), 409, "in_use")
    assert room.ask("DELETE", f"/provider-keys/{made['id']}").status == 204
    assert room.ask("DELETE", "/providers/mine").status == 204


@pytest.mark.parametrize("declared", [True, False])
def test_a_callers_key_is_kept_for_a_gateway_key(room: AdminRoom, declared: bool) -> None:
    made = told(room.ask("POST", "/keys", {"name": "ci"}), 201)
    path = f"/keys/{'declared:test' if declared else made['id']}/byok"
    for secret in (CANARY, f"{CANARY}-second"):
        kept = told(room.ask("PUT", f"{path}/openai", {"secret": secret}))
        assert kept["label"] == f"…{secret[-4:]}"
        [record] = room.store.records(ByokKeyRecord)
        assert secret_of(room.vault, record).reveal() == secret
    assert told(room.ask("GET", path))["data"] == [kept]
    assert CANARY.encode() not in room.ask("GET", path).body + room.ask("GET", "/audit").body
    assert room.ask("DELETE", f"{path}/openai").status == 204
    refused(room.ask("DELETE", f"{path}/openai"), 404, "callers_key_not_found")
    refused(room.ask("GET", f"/keys/{UNKNOWN_ID}/byok"), 404, "key_not_found")
