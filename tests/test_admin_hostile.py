"""Nothing that is sent to the admin API breaks it: what is wrong is refused, in the usual form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signalbox.http.admin.api import MAX_BODY_BYTES
from signalbox.http.admin.decoding import MAX_DEPTH
from signalbox.http.admin.operations import Operation
from tests.admin_client import ALL, CHANGES, READS, fresh, path_of
from tests.admin_room import AdminRoom, Answer, room_in

IDS = (
    *(
        "..",
        "../../etc/passwd",
        "a/../b",
        "\0",
        "\n",
        "ключ",
        "💥",
        "' OR 1=1 --",
        "*",
        "",
        ".",
        "%",
    ),
    *("declared:", "declared:none", "-", "{id}", "x" * 2000, "\u202e", "null", "🔑/🔑", "1", "0x1"),
)
RAW_PATHS = (
    "%ff%fe",
    "%ed%a0%80",
    "\xff",
    "%c0%af",
    "%",
    "%zz",
    "\\..",
    "a%2Fb",
    ";a=b",
    "%2e%2e/%2e",
)
BODIES = {
    "cut short": b"{",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a string": b'"x"',
    "no UTF-8": b'{"name":"\xff"}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a comma too many": b'{"a":1,}',
    "two documents": b"{} {}",
    "a surrogate as a name": b'{"\\ud800":1}',
    "a surrogate as a value": b'{"name":"\\ud800"}',
    "surrogates the wrong way round": b'{"name":"\\udc00\\ud800"}',
    "deep lists": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"x":' * 5000 + b"1" + b"}" * 5000,
    "brackets that never close": b"[" * 500_000,
    "strings that never close": b'{"x":"' + b'\\"' * 250_000,
    "an endless integer": b'{"x":' + b"9" * 5000 + b"}",
    "an infinite number": b'{"x":1e999}',
    "no number": b'{"x":NaN}',
    "a field that is not there": b'{"nothing of this name":1}',
}

on_one_room = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


of_each_change = pytest.mark.parametrize("operation", CHANGES, ids=named)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminRoom]:
    with room_in(tmp_path_factory.mktemp("room")) as room:
        yield room


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "code", "param"}
    assert answer.headers["content-type"] == "application/json"
    return error


@pytest.mark.parametrize("id", IDS)
def test_no_id_breaks_anything(room: AdminRoom, id: str) -> None:
    before = room.refreshed
    for operation in ALL:
        if operation.names and id:
            answer = room.ask(operation.method, path_of(operation, id), {})
            assert 400 <= answer.status < 500, answer.body
            assert answer.json()["error"]["message"]
    assert room.refreshed == before


@pytest.mark.parametrize("raw", RAW_PATHS)
def test_no_bytes_of_a_path_break_anything(room: AdminRoom, raw: str) -> None:
    for operation in ALL:
        if operation.names:
            path = path_of(operation, "PLACE").replace("PLACE", raw)
            assert 400 <= room.ask(operation.method, path, {}).status < 500


@given(st.binary(max_size=30))
@on_one_room
def test_any_bytes_name_something_or_nothing(room: AdminRoom, raw: bytes) -> None:
    answer = room.ask("GET", f"/keys/{quote_from_bytes(raw, safe='')}")
    assert answer.status == (404 if raw else 200)


@of_each_change
@pytest.mark.parametrize("kind", BODIES)
def test_no_body_breaks_anything(room: AdminRoom, operation: Operation, kind: str) -> None:
    before = room.refreshed
    refused(room.ask(operation.method, path_of(operation), BODIES[kind]), 400, "invalid_value")
    assert room.refreshed == before


@of_each_change
def test_only_json_of_some_size_is_read(room: AdminRoom, operation: Operation) -> None:
    method, path = operation.method, path_of(operation)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = room.ask(method, path, b"{}", headers={"content-type": kind})
        refused(answer, 415, "unsupported_media_type")
    large = b'{"x":"' + b"x" * MAX_BODY_BYTES + b'"}'
    refused(room.ask(method, path, large), 413, "request_too_large")
    told = room.ask(method, path, b"{}", headers={"content-length": str(MAX_BODY_BYTES + 1)})
    refused(told, 413, "request_too_large")
    zipped = room.ask(method, path, b"{}", headers={"content-encoding": "br"})
    refused(zipped, 415, "unsupported_encoding")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@of_each_change
@on_one_room
@given(data=st.data())
def test_no_values_break_anything(
    room: AdminRoom, operation: Operation, data: st.DataObject
) -> None:
    names = st.sampled_from(operation.body.__struct_fields__ or ("x",))
    body = data.draw(st.dictionaries(names | st.text(), _json, max_size=5))
    if "name" in operation.body.__struct_fields__ and data.draw(st.booleans()):
        body["name"] = fresh("name")
    answer = room.ask(operation.method, path_of(operation), body)
    assert answer.status < 500, answer.body


@pytest.mark.parametrize("operation", READS, ids=named)
@on_one_room
@given(data=st.data())
def test_no_query_breaks_anything(
    room: AdminRoom, operation: Operation, data: st.DataObject
) -> None:
    names = st.sampled_from(operation.query.__struct_fields__ or ("x",))
    query = data.draw(st.dictionaries(names | st.text(), st.text() | st.binary(), max_size=4))
    sent = urlencode(query, errors="surrogatepass").encode()
    answer = room.ask("GET", path_of(operation), query=sent)
    assert answer.status < 500, answer.body


@pytest.mark.parametrize(
    "query",
    [b"\xff=1", b"limit=%ff", b"&" * 10_000, b"a=" * 10_000, b"limit=1&limit=1", b"%00=%00"],
)
def test_no_bytes_of_a_query_break_anything(room: AdminRoom, query: bytes) -> None:
    for operation in READS:
        refused(room.ask("GET", path_of(operation), query=query), 400, "invalid_value")


def test_a_document_may_nest_as_deep_as_it_says(room: AdminRoom) -> None:
    for depth, words in ((MAX_DEPTH - 1, "no such field"), (MAX_DEPTH, "deep")):
        body = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        error = refused(room.ask("POST", "/keys", body), 400, "invalid_value")
        assert words in error["message"]


def test_brackets_in_strings_are_no_depth(room: AdminRoom) -> None:
    name = fresh("[{" * 60 + '\\"[')
    assert room.ask("POST", "/keys", {"name": name}).status == 201


@pytest.mark.parametrize("text", ["\0", "a\0", "a\n", "a\r\nb", "\x7f", "\x1b[0m", ""])
def test_text_is_one_line(room: AdminRoom, text: str) -> None:
    for body in ({"name": text}, {"name": "x", "tags": [text]}, {"name": "x", "owner": text}):
        refused(room.ask("POST", "/keys", body), 400, "invalid_value")
    for body in ({"name": text}, {"name": "x", "email": text}):
        refused(room.ask("POST", "/users", body), 400, "invalid_value")


@pytest.mark.parametrize("text", ["größe", "キー", "💥", "a" * 200, " ", "'; DROP TABLE users; --"])
def test_text_is_kept_as_it_is(room: AdminRoom, text: str) -> None:
    made = room.ask("POST", "/users", json.dumps({"name": text}).encode())
    assert made.status == 201
    assert room.ask("GET", f"/users/{made.json()['id']}").json()["name"] == text


def test_what_was_wrong_is_told_without_its_value(room: AdminRoom) -> None:
    canary = "canary-in-the-wrong-place"
    for body in (
        {"name": [canary]},
        {"name": f"{canary}\n"},
        {"name": "x", "rpm": canary},
        {"name": "x", "models": canary},
        {"name": "x", "enabled": canary},
    ):
        answer = room.ask("POST", "/keys", body)
        refused(answer, 400, "invalid_value")
        assert canary.encode() not in answer.body
