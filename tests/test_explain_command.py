"""`signalbox explain` and `POST /v1/explain`, as a user meets them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result

from signalbox.cli import main
from signalbox.http.explain_api import ExplainAnswer
from tests.gateway import (
    KEY,
    NO_TLS,
    Gateway,
    Provider,
    clean_environ,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

Cli = Callable[..., Result]
REQUEST = json.dumps(chat())
LIMITED_KEY = "a-key-that-may-call-twice"


def config(url: str) -> str:
    """Model `m`: a costly route, a modest one, and one whose key is too small for any request."""
    providers = "".join(
        f'[providers.{name}]\napi = "openai"\nbase_url = "{url}"\n'
        f'keys = [{{ value = "sk-{name}", {limit} }}]\n'
        for name, limit in (("costly", "rpm = 10"), ("modest", "rpm = 10"), ("tiny", "tpm = 1"))
    )
    return f"""
routing = {{ strategy = "cheap" }}
{providers}
[models.m]
routes = [
  {{ provider = "costly", model = "m", input = 10, output = 10 }},
  {{ provider = "modest", model = "m", input = 1, output = 2 }},
  {{ provider = "tiny", model = "m", input = 0.1, output = 0.1 }},
]
[models.n]
routes = [{{ provider = "costly", model = "n" }}]
[keys.test]
key = {{ value = "{KEY}" }}
[keys.limited]
key = {{ value = "{LIMITED_KEY}" }}
rpm = 2
models = ["m"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Gateway]:
    with gateway(config(provider.url)) as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `signalbox explain` in a folder with a configuration and a request."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "signalbox.toml").write_text(config("http://127.0.0.1:9/v1"))
    (tmp_path / "request.json").write_text(REQUEST)

    def invoke(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(main, ["explain", *arguments], stdin, catch_exceptions=False)

    return invoke


def ranked(answer: ExplainAnswer) -> list[str]:
    return [route.provider for model in answer.models for route in model.ranked]


# Over HTTP


def asked(running: Gateway, path: str, body: Any, key: str = KEY) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{running.url}{path}", json=body, headers=headers, verify=NO_TLS)


def test_a_request_goes_where_its_explanation_said(running: Gateway, provider: Provider) -> None:
    provider.plays()
    told = asked(running, "/v1/explain?random=0.25", chat())
    assert provider.received() == []
    answer = msgspec.json.decode(told.content, type=ExplainAnswer)
    assert (ranked(answer), answer.random) == (["modest", "costly"], 0.25)
    [tiny] = answer.models[0].excluded
    assert (tiny.provider, tiny.kind) == ("tiny", "request_too_large_for_quota")
    assert running.post(chat()).headers["x-signalbox-provider"] == ranked(answer)[0]
    again = msgspec.json.decode(asked(running, "/v1/explain", chat()).content, type=ExplainAnswer)
    assert [route.keys.share for route in again.models[0].ranked] == [0.9, 1.0]


@pytest.mark.parametrize(
    "path", ["/explain", "/v1/v1/explain/", "//v1//explain", "/api/v1/explain"]
)
def test_it_is_served_however_its_path_is_written(running: Gateway, path: str) -> None:
    assert asked(running, path, chat()).json()["model"] == "m"


def test_it_takes_nothing_from_the_key_s_limits(running: Gateway) -> None:
    statuses = {asked(running, "/v1/explain", chat(), LIMITED_KEY).status_code for _ in range(5)}
    assert statuses == {200}


@pytest.mark.parametrize(
    ("body", "key", "status"),
    [
        (chat() | {"messages": "hi"}, KEY, 400),
        (chat() | {"extra": {"retry": -1}}, KEY, 400),
        (chat(), "another-key-0123456789", 401),
        (chat() | {"model": "n"}, LIMITED_KEY, 403),
        (chat() | {"model": "nobody"}, KEY, 404),
    ],
)
def test_what_the_door_would_refuse_is_refused_in_its_words(
    running: Gateway, body: Any, key: str, status: int
) -> None:
    refused, by_the_door = (
        asked(running, path, body, key) for path in ("/v1/explain", "/v1/chat/completions")
    )
    errors = [each.json()["error"] | {"metadata": None} for each in (refused, by_the_door)]
    assert (refused.status_code, errors[0]) == (status, errors[1])


# On the command line


@pytest.mark.parametrize("file", ["request.json", "-"])
def test_offline_it_tells_the_way_from_the_configuration(cli: Cli, file: str) -> None:
    told = cli(file, stdin=REQUEST)
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    first, second, third = (
        line.split() for line in lines if line[:1] in "12–" and line[1:2] == " "
    )
    assert [first[:3], second[:3]] == [
        ["1", "modest:m", "0.001041"],
        ["2", "costly:m", "0.00529"],
    ]
    assert third[:2] == ["–", "tiny:m"]
    assert "nothing is measured" in told.stdout
    assert sorted(os.listdir()) == ["request.json", "signalbox.toml"]


def test_a_request_of_another_door_is_explained(cli: Cli) -> None:
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    told = cli("-", "--door", "/v1beta/models/m:generateContent", "--json", stdin=json.dumps(body))
    assert told.exit_code == 0, told.output
    answer = msgspec.json.decode(told.output, type=ExplainAnswer)
    assert (answer.model, sorted(ranked(answer))) == ("m", ["costly", "modest"])
    wrong = cli("-", "--door", "/v1/models", stdin=json.dumps(body))
    assert (wrong.exit_code, "door is '/v1/models'" in wrong.output) == (2, True)


def test_for_programs_it_is_the_answer_of_the_gateway(cli: Cli) -> None:
    told = msgspec.json.decode(cli("request.json", "--json", "--random", "0.5").stdout)
    answer = msgspec.convert(told, ExplainAnswer)
    assert (ranked(answer), answer.random) == (["modest", "costly"], 0.5)


def test_a_running_gateway_is_asked_with_the_given_key(
    cli: Cli, running: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.unlink("signalbox.toml")
    shown = cli("request.json", "--gateway", f"{running.url}/v1/", "--key", KEY)
    assert shown.exit_code == 0
    assert "modest:m" in shown.stdout
    assert "nothing is measured" not in shown.stdout
    monkeypatch.setenv("SIGNALBOX_API_KEY", KEY)
    url = ("--gateway", running.url)
    told = cli("request.json", *url, "--random", "0.5", "--json")
    assert json.loads(told.stdout)["random"] == 0.5
    refused = cli("-", *url, stdin=json.dumps(chat() | {"model": "nobody"}))
    assert refused.exit_code == 2
    assert "The model 'nobody' does not exist here" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["-"], "{", "-: "),
        (["-"], "[]", "-: "),
        (["-"], "", "-: "),
        (["-"], '{"model": "m"}', "messages"),
        (["-"], json.dumps(chat() | {"model": "nobody"}), "'nobody' does not exist"),
        (["-"], json.dumps(chat() | {"model": "\x1b[31m"}), "\\x1b[31m"),
        (["nowhere.json"], "", "nowhere.json cannot be read: No such file or directory"),
        (["."], "", ". cannot be read: Is a directory"),
        (["-", "--config", "none.toml"], REQUEST, "none.toml"),
        (["-", "--random", "1"], REQUEST, "random is '1', expected a number"),
        (["-", "--random", "nan"], REQUEST, "random is 'nan', expected a number"),
        (["-", "--gateway", "http://127.0.0.1:9"], REQUEST, "SIGNALBOX_API_KEY"),
        (["-", "--gateway", "nonsense", "--key", "k"], REQUEST, "http://127.0.0.1:8080"),
        (["-", "--gateway", "http://127.0.0.1:9", "--key", "k\n"], REQUEST, "no key has"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_with_exit_code_2(
    cli: Cli, arguments: list[str], stdin: str, said: str
) -> None:
    refused = cli(*arguments, stdin=stdin)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert "\x1b" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_request_without_end_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox.cli.explain.MOST_BYTES", 10)
    refused = cli("-", stdin=REQUEST)
    assert (refused.exit_code, refused.stderr) == (2, "signalbox: - is larger than 10 bytes\n")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that answers one request so, whatever it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)  # noqa: TID251 - joined below
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b"{}", 1, "answers what no gateway does"),
        (200, b"\xff", 1, "answers what no gateway does"),
        (502, b"<html>", 1, "answers with status 502"),
        (500, b'{"error": {"message": "its fault"}}', 1, "says: its fault"),
        (400, b'{"error": {"message": "\\u001b[31m", "param": "n"}}', 2, "says: \ufffd[31m (n)"),
    ],
)
def test_whatever_is_no_explanation_is_told_in_a_line(
    cli: Cli, status: int, body: bytes, code: int, said: str
) -> None:
    with answering(status, body) as url:
        refused = cli("request.json", "--gateway", url, "--key", "k")
    assert refused.exit_code == code
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_gateway_that_is_not_there_is_told(cli: Cli) -> None:
    refused = cli("request.json", "--gateway", "http://127.0.0.1:9", "--key", "k")
    assert refused.exit_code == 1
    assert "http://127.0.0.1:9 cannot be asked" in refused.stderr
