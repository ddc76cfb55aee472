"""What tests of the admin API have in common."""

from __future__ import annotations

import re
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx

from signalbox.http.admin.openapi import ROOT, with_document
from signalbox.http.admin.operations import Operation
from signalbox.http.admin.table import OPERATIONS
from tests.gateway import ADMIN_TOKEN, KEY, NO_TLS, Gateway

ALL = with_document(OPERATIONS)
CHANGES = [each for each in ALL if each.changes]
READS = [each for each in ALL if not each.changes]
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
_numbers = count(1)


def path_of(operation: Operation, id: str = UNKNOWN_ID) -> str:
    """The operation's, below the root, with this id in each place."""
    place = re.compile(r"\{[^}]*\}")
    return place.sub(lambda _: quote(id, safe=""), operation.path)


def fresh(word: str) -> str:
    """A name that nothing has yet."""
    return f"{word} {next(_numbers)}"


class AdminClient:
    """Speaks with one gateway's admin API with one token (None: none)."""

    def __init__(self, running: Gateway, token: str | None = ADMIN_TOKEN, **headers: str) -> None:
        self.running = running
        bearer = {} if token is None else {"authorization": f"Bearer {token}"}
        self.http = httpx.Client(
            base_url=running.url, verify=NO_TLS, timeout=60.0, headers=bearer | headers
        )

    def close(self) -> None:
        self.http.close()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """`path` is below the root of the API."""
        return self.http.request(method, ROOT + path, **options)

    def get(self, path: str, **query: Any) -> Any:
        return told(self.ask("GET", path, params=query), 200)

    def make(self, path: str, **fields: Any) -> Any:
        return told(self.ask("POST", path, json=fields), 201)

    def do(self, path: str, **fields: Any) -> Any:
        return told(self.ask("POST", path, json=fields), 200)

    def change(self, path: str, **fields: Any) -> Any:
        return told(self.ask("PATCH", path, json=fields), 200)

    def delete(self, path: str) -> None:
        assert self.ask("DELETE", path).status_code == 204

    def pages(self, path: str, **query: Any) -> list[Any]:
        """All entries, page by page."""
        entries: list[Any] = []
        after: dict[str, str] = {}
        while True:
            page = self.get(path, **query, **after)
            assert set(page) == {"data", "next"}
            entries += page["data"]
            if page["next"] is None:
                return entries
            after = {"after": page["next"]}


def told(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error, whose form is the same everywhere."""
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "code", "param"}
    return error


def models_status(running: Gateway, key: str = KEY) -> int:
    """What a client with this gateway key gets."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{running.url}/v1/models", headers=headers, verify=NO_TLS).status_code
