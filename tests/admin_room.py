"""The admin API in this process, on a database of its own: for properties, which ask it often."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import trio

from signalbox.config import Overlay, Settings, load_settings
from signalbox.http.admin.access import AdminAccess
from signalbox.http.admin.api import AdminApi
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.openapi import ROOT
from signalbox.http.admin.table import OPERATIONS
from signalbox.http.asgi import Message
from signalbox.persistence.master_keys import MasterKeys
from signalbox.persistence.overlay import read_overlay
from signalbox.persistence.sealed_records import secret_of
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.vault import Vault
from signalbox.types import Secret
from tests import records
from tests.fakes import InlineWorkers
from tests.gateway import ADMIN_TOKEN, KEY

CONFIG = f"""
keys.test.key = {{ value = "{KEY}" }}
keys.test.budget = {{ limit = 5, per = "day" }}
budgets.all = {{ scope = "global", limit = 100, per = "month", hard = false }}
presets.declared = {{ temperature = 0.5 }}
providers.local = {{ api = "openai", base_url = "http://127.0.0.1:1/v1", keys = [] }}
models.m.routes = [{{ provider = "local", model = "m", input = 1, output = 2.5 }}]
aliases.short = "m"
"""
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class AdminRoom:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "signalbox.toml").write_text(CONFIG, encoding="utf-8")
        self.settings: Settings = load_settings(None, {}, folder)
        self.store = SqliteStore.open(folder / "signalbox.db")
        self.vault = Vault(MasterKeys(None, folder / "master-keys"))
        self.refreshed = 0
        workers = InlineWorkers()
        access = AdminAccess(Secret(ADMIN_TOKEN), self.store, workers, lambda: NOW)
        desk = Desk(
            store=self.store,
            readers=workers,
            writers=workers,
            settings=lambda: self.settings,
            refresh=self._refresh,
            now=lambda: NOW,
            new_id=records.fresh_id,
            check=self._check,
            vault=self.vault,
            turn=trio.Lock(),
        )
        self.api = AdminApi(access, desk, OPERATIONS, patience=5.0)

    async def _refresh(self) -> None:
        self.refreshed += 1
        self.settings = load_settings(
            None, {}, self._folder, read_overlay(self.store, partial(secret_of, self.vault))
        )

    async def _check(self, change: Callable[[Overlay], Overlay]) -> Settings:
        overlay = change(read_overlay(self.store, partial(secret_of, self.vault)))
        return load_settings(None, {}, self._folder, overlay)

    def close(self) -> None:
        self.store.close()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """`path` is below the root, as it is sent; `body` is bytes, or goes as JSON."""
        sent = body if isinstance(body, bytes) else b"" if body is None else _json(body)
        usual = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
        scope = {
            "type": "http",
            "method": method,
            "path": ROOT + path,
            "raw_path": (ROOT + path).encode("latin-1"),
            "query_string": query,
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "headers": [
                (name.encode(), value.encode()) for name, value in {**usual, **headers}.items()
            ],
        }
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        async def call() -> None:
            await self.api(scope, receive, send)

        trio.run(call)
        head, *parts = messages
        told = {name.decode(): value.decode() for name, value in head["headers"]}
        return Answer(head["status"], told, b"".join(part["body"] for part in parts))


def _json(body: object) -> bytes:
    """Also what JSON's own rules forbid: lone surrogates, infinities."""
    return json.dumps(body).encode()


def room_in(folder: Path) -> closing[AdminRoom]:
    return closing(AdminRoom(folder))
