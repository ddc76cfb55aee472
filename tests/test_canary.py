"""Marked keys and prompts go every way through a gateway; afterwards nothing has kept a key, and of
the prompts only the payload table has any, where it may."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.master_keys import VARIABLE, MasterKeys, new_master_key
from signalbox.persistence.records import ByokKeyRecord, ProviderKeyRecord
from signalbox.persistence.sealed_records import with_secret
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.vault import Vault
from signalbox.simulator import Rule, Scenario, Step
from signalbox.simulator.scenario import Match
from signalbox.types import Secret
from tests import records
from tests.gateway import (
    ADMIN_TOKEN,
    KEY,
    NO_TLS,
    Gateway,
    Provider,
    clean_environ,
    gateway,
    simulated_provider,
)
from tests.viewer import Viewer, viewer

MASTER = new_master_key()
CREATED = "gateway-sk-canary-created-1c8e20"
POOLED, SEALED, OTHERS = "sk-canary-pooled-7f3a91", "sk-canary-sealed-b09d55", "sk-canary-others-e1"
STORED, IN_BODY, IN_HEADER = "sk-canary-stored-40aa", "sk-canary-body-9be2", "sk-canary-header-6d1"
REDIS, POSTGRES = "canary-redis-password-55d0", "canary-postgres-password-8a17"
KEYS = {
    "a declared gateway key": KEY,
    "a created gateway key": CREATED,
    "a provider key of the configuration": POOLED,
    "a provider key of the database": SEALED,
    "another provider's key": OTHERS,
    "a stored key of a caller": STORED,
    "a caller's key in the body": IN_BODY,
    "a caller's key in the header": IN_HEADER,
    "the admin token": ADMIN_TOKEN,
    "the master key": MASTER.secret.reveal(),
    "the master key in hexadecimal": MASTER.bytes.hex(),
    "the password of Redis": REDIS,
    "the password of PostgreSQL": POSTGRES,
}
PROMPT, ANSWER = "canary prompt about heliotropes", "canary answer about marigolds"
HIDDEN_PROMPT, HIDDEN_ANSWER = "hidden prompt about foxgloves", "hidden answer about snowdrops"
KEPT = {"a prompt": PROMPT, "an answer": ANSWER}
HIDDEN = {"a hidden prompt": HIDDEN_PROMPT, "a hidden answer": HIDDEN_ANSWER}
TEXTS = KEPT | HIDDEN
PAYLOADS = "trace_payloads"

INJECTED = """
import os
from signalbox.adapters.openai import OpenAIAdapter
build = OpenAIAdapter.build
def crashing(self, request, *others, **named):
    if request.model == "w/crash":
        raise RuntimeError("an injected crash")
    return build(self, request, *others, **named)
OpenAIAdapter.build = crashing
if os.environ.get("CANARY") == "unmasked":
    from signalbox.actors import masking
    masking.masked.__code__ = (lambda text, secrets: text).__code__
"""
"""What the interpreter runs first: the gateway fails on one model, and masks nothing if asked."""


@dataclass
class Search:
    """What was found where it may not be."""

    found: set[tuple[str, str]] = field(default_factory=set)

    def look(self, place: str, data: str | bytes, marks: Mapping[str, str]) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.found |= {(place, name) for name, mark in marks.items() if mark.encode() in raw}

    def answer(self, place: str, answer: httpx.Response, *, own: bool = False) -> None:
        """An answer's texts are what the client asked for; its errors tell none, but what is wrong
        in the request itself (`own`)."""
        told = str(answer.headers).encode() + answer.content
        self.look(place, told, KEYS if answer.is_success or own else KEYS | TEXTS)


def config_of(one: Provider, two: Provider) -> str:
    route = '{{ provider = "{name}", model = "*", input = 1.0, output = 2.0, order = {place} }}'
    routes = [route.format(name=name, place=place) for place, name in enumerate(("one", "two"))]
    return f"""
[storage]
redis = "redis://:{REDIS}@127.0.0.1:1/0"
[retry]
attempts = 1
base_delay_ms = 10
max_delay_ms = 20
[providers.one]
api = "openai"
base_url = "{one.url}"
keys = [{{ env = "CANARY_POOLED" }}]
[providers.two]
api = "openai"
base_url = "{two.url}"
keys = [{{ value = "{OTHERS}" }}]
[models."w/*"]
routes = [{", ".join(routes)}]
[keys.declared]
key = {{ value = "{KEY}" }}
"""


@contextmanager
def running(folder: Path, one: Provider, two: Provider, how: str) -> Iterator[Gateway]:
    (folder / "sitecustomize.py").write_text(INJECTED)
    vault = Vault(MasterKeys(MASTER.secret, folder / "none"))
    created = replace(records.key("canary"), digest=key_digest(CREATED), byok_fallback=True)
    own = ByokKeyRecord(records.fresh_id(), created.id, "one", "…40aa", b"", 1.0)
    added = ProviderKeyRecord(records.fresh_id(), "one", "…9d55", b"", 1.0)
    with closing(SqliteStore.open(folder / "data" / "signalbox.db")) as store:
        sealed = with_secret(vault, own, Secret(STORED)), with_secret(vault, added, Secret(SEALED))
        records.insert(store, created, *sealed)
    environ = {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        "CANARY": how,
        "CANARY_POOLED": POOLED,
        VARIABLE: MASTER.secret.reveal(),
    }
    with gateway(
        config_of(one, two),
        data_dir=folder / "data",
        arguments=["--log-level", "debug"],
        environ=environ,
    ) as started:
        yield started


def chat(model: str = "w/m", *, hidden: bool = False, **fields: Any) -> dict[str, Any]:
    prompt = HIDDEN_PROMPT if hidden else PROMPT
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def go_every_way(running: Gateway, one: Provider, two: Provider, search: Search) -> None:
    """Requests of every kind, by callers of every kind."""
    good, hides = Step(text=ANSWER), Step(text=HIDDEN_ANSWER)
    callers: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        ("declared", {"authorization": f"Bearer {KEY}"}, {}),
        ("created", {"x-api-key": CREATED}, {}),
        ("body", {"authorization": f"Bearer {KEY}"}, {"extra": {"byok": {"one": IN_BODY}}}),
        (
            "header",
            {
                "authorization": f"Bearer {KEY}",
                "x-signalbox-extra": json.dumps({"byok": {"one": IN_HEADER}}),
            },
            {},
        ),
    ]
    scripts = {
        "success": always(good),
        "fallback": always(Step(status=503)),
        "rescue": always(Step(text=f"{ANSWER} and more of them", cut_after=5)),
        "an error in the stream": always(Step(text=ANSWER, error_after=2)),
        "an error 400 that tells the key": telling(400),
        "an error 500 that tells the key": telling(500),
        # The last: it ends the gateway's keys for the provider.
        "an error 401 that tells the key": telling(401),
    }
    used: set[str] = set()
    one.plays(good, then="repeat_last")
    search.answer("a crash", post(running, chat("w/crash"), callers[0][1]))
    # A model each, so that a breaker that opens keeps no later request from its way.
    for number, (name, scenario) in enumerate(scripts.items()):
        for caller, headers, fields in callers:
            for stream in (False, True):
                one.plays_scenario(scenario)
                two.plays(good, then="repeat_last")
                body = chat(f"w/{number}-{caller}", stream=stream, **fields)
                search.answer(f"{name} by {caller}", post(running, body, headers))
                used |= {received["key"] for received in one.received()}
                assert {received["key"] for received in two.received()} <= {OTHERS}
            one.plays(hides, then="repeat_last")
            hiding = fields | {"extra": fields.get("extra", {}) | {"payloads": "off"}}
            search.answer("hidden", post(running, chat(hidden=True, **hiding), headers))
    assert used == {POOLED, SEALED, STORED, IN_BODY, IN_HEADER}
    _fail_at_the_doors(running, search)
    _leave(running)


def always(step: Step) -> Scenario:
    return Scenario(rules=(Rule(steps=(step,)),))


def telling(status: int) -> Scenario:
    """A provider's error that repeats the key that it was sent."""

    def rule(key: str) -> Rule:
        error = {"message": f"the key {key} is wrong", "code": key, "param": key}
        return Rule(match=Match(key=key), steps=(Step(status=status, body={"error": error}),))

    return Scenario(rules=tuple(map(rule, (POOLED, SEALED, STORED, IN_BODY, IN_HEADER))))


def post(
    running: Gateway, body: Any, headers: Mapping[str, str], path: str = "/v1/chat/completions"
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{running.url}{path}"
    return httpx.post(url, content=content, headers=headers, timeout=60, verify=NO_TLS)


def _fail_at_the_doors(running: Gateway, search: Search) -> None:
    gemini = "/v1beta/models/w/m:generateContent"
    mistakes: list[Any] = [
        {"model": "w/m", "messages": PROMPT, "input": {"x": PROMPT}, "contents": PROMPT},
        {**chat(), "extra": {"byok": {"nobody": IN_BODY}}, "input": PROMPT, "contents": []},
        {**chat(), "extra": {"byok": {"one": [IN_BODY]}}, "input": PROMPT, "contents": []},
        {**chat(), "extra": {"bok": IN_BODY}, "input": PROMPT, "contents": []},
        b'{"model": "w/m", "messages": [' + PROMPT.encode() + IN_BODY.encode(),
    ]
    doors = ["chat/completions", "completions", "responses", "messages", "embeddings", "explain"]
    for path in (*(f"/v1/{door}" for door in doors), gemini):
        for body in mistakes:
            for headers in (
                {"authorization": f"Bearer {KEY}"},
                {"authorization": f"Bearer {KEY}", "x-api-key": CREATED},
                {"authorization": f"Bearer {POOLED}"},
                {"authorization": f"Bearer {KEY}", "x-signalbox-extra": f'{{"byok": "{IN_HEADER}'},
            ):
                answer = post(running, body, headers, path)
                search.answer(f"a mistake at {path}", answer, own=True)
    own = {"authorization": f"Bearer {KEY}"}
    for path in ("/v1/explain", "/v1/messages/count_tokens"):
        search.answer(path, post(running, {**chat(), "max_tokens": 9}, own, path))
    for path in (
        "/v1/models",
        "/v1/key",
        "/v1/credits",
        f"/v1/models?key={KEY}",
        "/v1/responses/x",
    ):
        given = {} if "?key" in path else own
        found = httpx.get(running.url + path, headers=given, verify=NO_TLS)
        search.answer(path, found)


def _leave(running: Gateway) -> None:
    """In the middle of a stream."""
    headers = {"authorization": f"Bearer {KEY}"}
    body = json.dumps(chat(stream=True, extra={"byok": {"one": IN_BODY}}))
    url = f"{running.url}/v1/chat/completions"
    with (
        httpx.Client(verify=NO_TLS) as client,
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        next(answer.iter_raw())


def search_what_was_kept(running: Gateway, search: Search) -> None:
    ids = [trace["id"] for trace in running.admin("/traces?limit=500").json()["traces"]]
    assert len(ids) > 50
    for page in ("/metrics", "/readyz", "/traces", "/healthz", "/diagrams/request.svg"):
        search.look(page, running.admin(page).content, KEYS | TEXTS)
    for trace_id in ids:
        trace = running.trace(trace_id)
        search.look("a trace", json.dumps(trace), KEYS | HIDDEN)
        bare = {name: value for name, value in trace.items() if name != "payloads"}
        search.look("a trace without its payloads", json.dumps(bare), TEXTS)
    for command in ("trace", "replay"):
        for trace_id in ids[:: len(ids) // 6]:
            search.look(f"signalbox {command}", told_by(running, command, trace_id), KEYS | TEXTS)
    search.look("the output", running.output, KEYS | TEXTS)


def told_by(running: Gateway, *command: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "signalbox", *command, "--data-dir", str(running.data_dir)],
        cwd=running.log.parent,
        env=clean_environ() | {"CANARY_POOLED": POOLED, VARIABLE: MASTER.secret.reveal()},
        capture_output=True,
        check=False,
    )
    return done.stdout + done.stderr


def search_the_files(folder: Path, search: Search) -> None:
    """Those of the data directory, and every value of the database."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            search.look(file.name, file.read_bytes(), KEYS | HIDDEN)
    path = folder / "signalbox.db"
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            marks = KEYS | (HIDDEN if table == PAYLOADS else TEXTS)
            for row in database.execute(f"SELECT * FROM {table}"):
                for value in row:
                    if isinstance(value, str | bytes):
                        search.look(table, value, marks)
    # Events and bodies are compressed.
    with closing(SqliteStore.open(path)) as store:
        for listed in store.list_traces(limit=1000):
            trace = store.load_trace(listed.id)
            assert trace is not None
            for event in trace.events:
                search.look("trace_events", json.dumps(event.data, default=repr), KEYS | TEXTS)
            for payload in trace.payloads:
                search.look(PAYLOADS, payload.body, KEYS | HIDDEN)


@pytest.fixture(scope="module")
def one() -> Iterator[Provider]:
    with simulated_provider("one") as provider:
        yield provider


@pytest.fixture(scope="module")
def two() -> Iterator[Provider]:
    with simulated_provider("two") as provider:
        yield provider


def searched(folder: Path, one: Provider, two: Provider, how: str) -> set[tuple[str, str]]:
    search = Search()
    with (
        running(folder, one, two, how) as started,
        viewer(started.url) as live,
        ThreadPoolExecutor() as threads,
    ):
        watching = threads.submit(watched, live)
        go_every_way(started, one, two, search)
        assert "an injected crash" in started.output
        search_what_was_kept(started, search)
        assert started.stop() == 0
        messages = watching.result()
        assert sum(message["type"] == "finished" for message in messages) > 50
        search.look("the live trace", json.dumps(messages), KEYS | TEXTS)
        search.look("the output", started.output, KEYS | TEXTS)
    search_the_files(folder / "data", search)
    return search.found


def watched(live: Viewer) -> list[dict[str, Any]]:
    """All that a viewer is told until the gateway stops."""
    messages: list[dict[str, Any]] = []
    with suppress(AssertionError):
        while True:
            # It is silent while what was kept is searched.
            with suppress(TimeoutError):
                messages.append(live.receive())
    return messages


@pytest.mark.slow
def test_no_key_is_kept_and_prompts_only_where_they_may(
    tmp_path: Path, one: Provider, two: Provider
) -> None:
    assert searched(tmp_path, one, two, "") == set()


@pytest.mark.slow
def test_the_search_finds_keys_where_masking_is_broken(
    tmp_path: Path, one: Provider, two: Provider
) -> None:
    found = searched(tmp_path, one, two, "unmasked")
    assert {PAYLOADS, "a trace"} <= {place for place, _ in found}


def test_a_database_that_is_away_does_not_tell_its_password(tmp_path: Path) -> None:
    url = f"postgresql://gateway:{POSTGRES}@127.0.0.1:1/signalbox"
    (tmp_path / "signalbox.toml").write_text(f'[storage]\ndatabase = "{url}"\n')
    for command in ("check", "keys list", "serve --demo", "master-key rotate"):
        done = subprocess.run(
            [sys.executable, "-m", "signalbox", *command.split()],
            cwd=tmp_path,
            env=clean_environ(),
            capture_output=True,
            check=False,
        )
        told = done.stdout + done.stderr
        assert told
        assert POSTGRES.encode() not in told
