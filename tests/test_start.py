"""How `signalbox serve` starts and how it ends, seen from a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from signalbox.persistence.sqlite import SqliteStore
from signalbox.simulator import Step
from tests.gateway import (
    KEY,
    NO_TLS,
    START_SECONDS,
    Gateway,
    Provider,
    clean_environ,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

NO_FILE = "# nothing\n"
PROVIDER_KEY = "sk-0123456789abcdef"


def serve(
    place: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A start that is expected to end by itself."""
    return run(["-m", "signalbox", "serve", "--port", "0", *arguments], place, environ)


def run(
    arguments: Sequence[str], place: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=clean_environ() | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def told(running: Gateway, label: str) -> str:
    """What the start says beside this label."""
    found = re.search(rf"^{re.escape(label)}\s+(.*)$", running.output, re.MULTILINE)
    assert found is not None, running.output
    return found[1]


def whole_output(running: Gateway) -> str:
    return str(eventually(lambda: running.output, lambda text: "print(answer" in text))


def listens(url: str) -> bool:
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    with closing(socket.socket()) as probe:
        return probe.connect_ex((host, int(port))) == 0


# What a start tells


def test_demo_prints_lines_that_work_when_they_are_pasted(tmp_path: Path) -> None:
    with gateway(NO_FILE, data_dir=tmp_path, arguments=["--demo"]) as running:
        output = whole_output(running)
        assert "its answers are made up" in told(running, "Provider")
        assert "OPENAI_API_KEY" in told(running, "Keys not set")
        assert told(running, "Gateway key") == f"in {tmp_path / 'gateway-key'}"
        assert "gateway-sk-" not in output
        login = httpx.get(told(running, "Log in once"), verify=NO_TLS, follow_redirects=False)
        assert login.status_code in (302, 303)

        snippet = output[output.index("from openai import OpenAI") :]
        answer = run(["-c", snippet], tmp_path.parent, {"NO_PROXY": "127.0.0.1"})
        assert "simulated" in answer.stdout.lower(), answer.stderr

        curl = output[output.index("curl ") : output.index("\n\n", output.index("curl "))]
        command = ["sh", "-c", f"printf '%s\\n' {curl}"]
        answer = subprocess.run(command, text=True, capture_output=True, check=True)
        _, url, _, key, _, content_type, _, body = [
            line for line in answer.stdout.split("\n") if line
        ]
        headers = dict(line.split(": ") for line in (key, content_type))
        assert httpx.post(url, headers=headers, content=body, verify=NO_TLS).status_code == 200


def test_a_terminal_is_shown_the_key_at_the_start_that_makes_it_and_never_again(
    tmp_path: Path,
) -> None:
    first = on_a_terminal(tmp_path)
    key = re.search(r"Gateway key +(gateway-sk-\S+) \(shown this once, kept in (.*)\)", first)
    assert key is not None, first
    assert (tmp_path / key[2]).read_text().strip() == key[1]
    assert f'-H "Authorization: Bearer {key[1]}"' in first
    (tmp_path / ".env").write_text("SIGNALBOX_ADMIN_TOKEN=token-of-the-dotenv-file\n")
    second = on_a_terminal(tmp_path)
    assert "gateway-sk-" not in second
    assert "Gateway key   in data/gateway-key" in second
    assert "Admin token   the one in SIGNALBOX_ADMIN_TOKEN" in second


def on_a_terminal(place: Path) -> str:
    """What a start prints on a terminal; ended by the terminal's Ctrl-C."""
    terminal, inner = pty.openpty()
    command = [sys.executable, "-m", "signalbox", "serve", "--port", "0"]
    environ = clean_environ() | {"OPENAI_API_KEY": PROVIDER_KEY}
    process = subprocess.Popen(command, cwd=place, env=environ, stdout=inner, stderr=inner)
    os.close(inner)
    output = b""
    try:
        while b"print(answer" not in output:
            output += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=START_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return output.decode().replace("\r\n", "\n")


def test_demo_auto_prefers_a_provider_with_a_key() -> None:
    environ = {"OPENAI_API_KEY": PROVIDER_KEY, "ANTHROPIC_API_KEY": PROVIDER_KEY}
    with gateway(NO_FILE, arguments=["--demo=auto"], environ=environ) as running:
        output = whole_output(running)
        assert told(running, "Provider") == "openai at https://api.openai.com/v1, 1 key"
        assert "anthropic at https://api.anthropic.com/v1, 1 key" in output
        assert "simulator" not in output
        assert '"model": "openai/gpt-4o-mini"' in output
        assert PROVIDER_KEY not in output


def test_the_simulator_never_outlives_the_gateway() -> None:
    with gateway(NO_FILE, arguments=["--demo=auto"]) as running:
        simulator = told(running, "Provider").split()[2].removesuffix(":")
        assert listens(simulator)
        running.kill()
        eventually(lambda: listens(simulator), lambda still: not still)


# Why a start is refused


def test_without_a_provider_the_start_is_refused_with_what_would_help(tmp_path: Path) -> None:
    refused = serve(tmp_path, environ={})
    assert refused.returncode == 2
    assert "no provider can be called" in refused.stderr
    assert "OPENAI_API_KEY" in refused.stderr
    assert "serve --demo" in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("demo", ["never", "always"])
def test_a_port_that_is_taken_is_named_with_the_flag_that_changes_it(
    tmp_path: Path, demo: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        environ = {"OPENAI_API_KEY": PROVIDER_KEY}
        refused = serve(tmp_path, "--port", str(port), f"--demo={demo}", environ=environ)
    assert refused.returncode == 1
    assert f"127.0.0.1:{port} is taken" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_host_that_is_none_is_named(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": PROVIDER_KEY}
    refused = serve(tmp_path, "--host", "no.host.invalid", environ=environ)
    assert refused.returncode == 1
    assert "no.host.invalid" in refused.stderr
    assert "--host" in refused.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: (place / "data").write_text(""), "is a file"),
        (lambda place: (place / "data" / "admin-token").write_text("short"), "data/admin-token"),
        (
            lambda place: (place / "data" / "signalbox.db").write_bytes(b"no database " * 99),
            "data/signalbox.db: could not open the database",
        ),
        (
            lambda place: (place / "data" / "signalbox.db").mkdir(),
            "could not open the database data/signalbox.db",
        ),
    ],
    ids=["a file for a folder", "a weak token", "a corrupt database", "a folder for a database"],
)
def test_a_data_directory_that_cannot_be_used_is_told_in_a_line(
    tmp_path: Path, spoil: object, said: str
) -> None:
    if "is a file" not in said:
        (tmp_path / "data").mkdir()
    assert callable(spoil)
    spoil(tmp_path)
    refused = serve(tmp_path, environ={"OPENAI_API_KEY": PROVIDER_KEY})
    assert refused.returncode in (1, 2)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


# How it ends


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as provider:
        provider.plays()
        yield provider


@contextmanager
def client_that_never_reads(running: Gateway, provider: Provider) -> Iterator[None]:
    """Asks for a long, fast stream that fills every buffer on the way, and reads its head only."""
    delta = {"choices": [{"index": 0, "delta": {"content": "x" * 100_000}}]}
    events = f"data: {json.dumps(delta)}\n\n" * 60
    provider.plays(Step(body=events, headers={"content-type": "text/event-stream"}))
    host, port = running.url.removeprefix("http://").split(":")
    body = json.dumps(chat(stream=True))
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert client.recv(12) == b"HTTP/1.1 200"
        yield


def test_a_client_that_never_reads_does_not_hold_up_the_stop(
    provider: Provider, tmp_path: Path
) -> None:
    config = config_for(provider, more="[server]\ndrain_seconds = 0.5\n")
    with gateway(config, data_dir=tmp_path) as running:
        with client_that_never_reads(running, provider):
            trace_id = running.admin("/traces").json()["under_way"][0]["trace_id"]
            assert running.stop() == 0
        assert "have stopped reading" not in running.output  # It is the server that cuts them.
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        trace, charge = store.load_trace(trace_id), store.load_charge(trace_id)
    assert trace is not None
    assert trace.state == "failed"
    assert charge is not None
    assert charge.amount


def test_a_client_that_takes_nothing_for_the_configured_time_is_cut_off(
    provider: Provider,
) -> None:
    config = config_for(provider, more="[server]\nsend_timeout = 0.5\n")
    with gateway(config) as running, client_that_never_reads(running, provider):
        trace_id = running.admin("/traces").json()["under_way"][0]["trace_id"]
        assert running.trace(trace_id)["state"] == "failed"


def test_a_configured_certificate_is_what_the_port_speaks(
    provider: Provider, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(tmp_path / "cert.pem", append=number > 0)
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = f'[server]\ncertfile = "{tmp_path}/cert.pem"\nkeyfile = "{tmp_path}/key.pem"\n'
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with gateway(config_for(provider, more=tls)) as running:
        assert running.url.startswith("https://")
        assert httpx.get(f"{running.url}/healthz", verify=trusting).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{running.url.replace('https', 'http')}/healthz", verify=NO_TLS)


def test_a_second_signal_ends_it_at_once(provider: Provider) -> None:
    config = config_for(provider, more="[server]\ndrain_seconds = 600\n")
    with gateway(config) as running, client_that_never_reads(running, provider):
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: listens(running.url), lambda still: not still)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=START_SECONDS) == 1


CRASHES_LATER = """
import sys
from pathlib import Path
import trio
from signalbox.actors.changes import Changes
from signalbox.cli import main

async def run(self, mailbox):
    while not Path("crash").exists():
        await trio.sleep(0.01)
    raise RuntimeError("a fault that does not go away")

Changes._run = run
main(["serve", "--port", "0"])
"""


def test_an_actor_that_keeps_crashing_ends_the_process_with_a_clear_last_line(
    provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "signalbox.toml").write_text(config_for(provider))
    log = tmp_path / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CRASHES_LATER],
            cwd=tmp_path,
            env=clean_environ(),
            stdout=output,
            stderr=output,
        )
    try:
        found = eventually(lambda: re.search(r"listens on (\S+)", log.read_text()), bool)
        running = Gateway(found[1], process, tmp_path / "data", log)
        with client_that_never_reads(running, provider):
            (tmp_path / "crash").touch()
            assert process.wait(timeout=START_SECONDS) == 1
    finally:
        process.kill()
        process.wait()
    last = running.output.splitlines()[-1]
    assert last.startswith("signalbox: stopped because changes crashed 4 times within 5 s")
    assert "a fault that does not go away" in last
