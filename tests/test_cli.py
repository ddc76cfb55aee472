"""The commands: what they print, and the exit code that a script can rely on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from signalbox import __version__
from signalbox.cli import main
from signalbox.cli.main import COMMANDS
from signalbox.machines.diagram import FORMATS, MACHINES, render
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.trace_rows import event_row
from signalbox.simulator import Step
from tests.gateway import KEY, clean_environ, config_for, eventually, gateway, simulated_provider
from tests.records import trace
from tests.replays import MISHAPS, played
from tests.simulator_client import chat

Cli = Callable[..., Result]

CONFIG = """
[providers.openai]
keys = [{ value = "sk-0123456789abcdef" }]
[providers.anthropic]
[providers.local]
base_url = "http://127.0.0.1:9/v1"
keys = []
[models.chat]
routes = [{ provider = "openai", model = "gpt-4o-mini" }, { provider = "local", model = "x" }]
fallbacks = ["openai/gpt-4o"]
[models."local/*"]
routes = [{ provider = "local", model = "*" }]
[aliases]
"gpt-4" = "openai/gpt-4o"
[keys.ci]
key = { value = "a-key-of-sixteen-or-more" }
models = ["chat"]
"""


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and none of the machine's own settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)


@pytest.fixture
def cli() -> Cli:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return invoke


# Everywhere


def test_the_package_runs_as_a_module_and_tells_its_version() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "signalbox", "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"signalbox, version {__version__}\n"


def test_the_help_names_every_command(cli: Cli) -> None:
    told = cli("--help").output
    for command in COMMANDS:
        assert f"\n  {command} " in told


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_of_a_command_what_the_command_says(cli: Cli, name: str) -> None:
    known = " ".join(cli(name, "--help").output.replace("(- for standard input) ", "").split())
    assert COMMANDS[name].removesuffix(".") in known


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("sevre", "'serve'"),
        ("serve --prot 1", "--port"),
        ("serve --demo=x", "'always', 'auto', 'never'"),
        ("diagram request --format=x", "'mermaid'"),
        ("diagram reqest", "'request'"),
    ],
)
def test_an_unknown_word_is_told_with_the_right_ones(cli: Cli, wrong: str, right: str) -> None:
    refused = cli(*wrong.split())
    assert refused.exit_code == 2
    assert right in refused.stderr


@pytest.mark.parametrize(
    "command",
    ["serve", "check", "keys list", "keys create a", "keys revoke a", "trace x", "replay x"],
)
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[retry]\nattemps = 2\n", 'retry.attemps: there is no such key; did you mean "attempts"?'),
        ("[storage]\ndatabase = 'sqlite:///:memory:'\n", "storage.database names no file"),
        ("[retry]\n[traces\n", "Expected ']'"),
    ],
    ids=["key", "database", "syntax"],
)
def test_a_mistake_in_the_configuration_is_told_with_its_place(
    cli: Cli, command: str, config: str, said: str
) -> None:
    config += "[providers.local]\nbase_url = 'http://127.0.0.1:9/v1'\nkeys = []\n"
    Path("wrong.toml").write_text(config)
    refused = cli(*command.split(), "--config", "wrong.toml", "--data-dir", "elsewhere")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("signalbox: wrong.toml:2:")
    assert said in refused.stderr
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("given", ["option", "environment", "dotenv"])
def test_the_data_directory_is_what_the_option_the_environment_or_dotenv_says(
    cli: Cli, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "environment":
        monkeypatch.setenv("SIGNALBOX_DATA_DIR", "chosen")
    if given == "dotenv":
        Path(".env").write_text("SIGNALBOX_DATA_DIR=chosen\n")
    option = ["--data-dir", "chosen"] if given == "option" else []
    assert cli("keys", "create", "ci", *option).exit_code == 0
    assert Path("chosen/signalbox.db").stat().st_mode & 0o777 == 0o600
    assert Path("chosen").stat().st_mode & 0o777 == 0o700


def test_a_database_of_a_newer_version_is_left_alone(cli: Cli) -> None:
    cli("keys", "create", "ci")
    with closing(sqlite3.connect("data/signalbox.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    refused = cli("keys", "list")
    assert refused.exit_code == 1
    assert "is at revision 9999" in refused.stderr
    assert "newer" in refused.stderr


# check


def test_check_shows_providers_routes_prices_and_what_has_no_effect(cli: Cli) -> None:
    Path("signalbox.toml").write_text(CONFIG)
    told = cli("check")
    assert told.exit_code == 0
    rows = [" ".join(line.split()) for line in told.stdout.splitlines()]
    for row in (
        "database data/signalbox.db",
        "openai openai https://api.openai.com/v1 …cdef",
        "local openai http://127.0.0.1:9/v1 none needed",
        "chat openai:gpt-4o-mini 0.15 / 0.6 128,000 openai/gpt-4o",
        "local:x unknown unknown",
        "local/* local:* unknown unknown",
        "gpt-4 is another name of openai/gpt-4o",
    ):
        assert row in rows
    assert "warning: signalbox.toml:4: providers.anthropic: has no key" in told.stderr
    assert "0123456789" not in told.output


def test_check_says_what_is_missing_where_nothing_can_be_called(cli: Cli) -> None:
    told = cli("check")
    assert told.exit_code == 0
    assert "no provider can be called" in told.stdout
    assert "OPENAI_API_KEY" in told.stdout


# keys and admin-token


def test_a_key_is_created_listed_and_revoked_while_the_gateway_runs(cli: Cli) -> None:
    with simulated_provider() as provider:
        provider.plays()
        with gateway(config_for(provider)) as running:
            place = ["--data-dir", str(running.data_dir)]
            limits = ["--rpm", "60", "--model", "m", "--expires-in-days", "2"]
            created = cli("keys", "create", "ci", *limits, *place)
            key = created.stdout.strip()
            assert key.startswith("gateway-sk-")

            def status() -> int:
                return running.post(chat(), authorization=f"Bearer {key}").status_code

            eventually(status, lambda code: code == 200)
            listed = cli("keys", "list", *place).stdout
            assert "rpm 60" in listed
            assert "expires" in listed
            assert key not in listed
            assert cli("keys", "revoke", "ci", *place).exit_code == 0
            eventually(status, lambda code: code == 401)
            assert "revoked" in cli("keys", "list", *place).stdout


def test_a_name_is_given_to_one_key_only(cli: Cli) -> None:
    assert cli("keys", "create", "ci").exit_code == 0
    again = cli("keys", "create", "ci")
    assert again.exit_code == 1
    assert "there is a key 'ci' already" in again.stderr
    assert again.stdout == ""


def test_an_unknown_key_is_not_revoked(cli: Cli) -> None:
    cli("keys", "create", "ci")
    refused = cli("keys", "revoke", "cd")
    assert refused.exit_code == 1
    assert "'cd'" in refused.stderr


def test_declared_keys_are_listed_without_a_database(cli: Cli) -> None:
    Path("signalbox.toml").write_text(CONFIG)
    rows = [line.split() for line in cli("keys", "list").stdout.splitlines()]
    assert ["ci", "declared", "none", "chat"] in rows
    assert not Path("data").exists()


def test_the_admin_token_is_kept_until_it_is_reset(cli: Cli) -> None:
    assert cli("admin-token", "show").exit_code == 1
    token = cli("admin-token", "reset").stdout
    assert cli("admin-token", "show").stdout == token
    assert cli("admin-token", "reset").stdout != token
    assert Path("data/admin-token").stat().st_mode & 0o777 == 0o600


def test_an_admin_token_of_dotenv_stands_before_the_file(cli: Cli) -> None:
    cli("admin-token", "reset")
    Path(".env").write_text("SIGNALBOX_ADMIN_TOKEN=token-of-the-dotenv-file\n")
    assert cli("admin-token", "show").stdout == "token-of-the-dotenv-file\n"
    assert cli("admin-token", "reset").exit_code == 1
    Path(".env").write_text("SIGNALBOX_ADMIN_TOKEN=short\n")
    refused = cli("admin-token", "show")
    assert refused.exit_code == 2
    assert "SIGNALBOX_ADMIN_TOKEN: expected" in refused.stderr
    assert "short" not in refused.stderr


# trace


def test_a_trace_is_read_beside_the_running_gateway(cli: Cli) -> None:
    with simulated_provider() as provider:
        provider.plays(Step(status=503), Step(text="hi there"))
        with gateway(config_for(provider)) as running:
            request = running.post(chat()).headers["x-request-id"]
            running.trace(request)
            place = ["--data-dir", str(running.data_dir)]
            told = cli("trace", request, *place).stdout
            saved = json.loads(cli("trace", request, "--json", *place).stdout)
    lines = told.splitlines()
    assert lines[0] == f"{request}  done, status 200"
    assert "m → primary:m, 2 upstream calls" in lines
    moves = [line.split() for line in lines[lines.index("") + 1 :]]
    assert ["attempt_failed", "executing", "→", "retrying"] in [move[2:6] for move in moves]
    assert moves[0][2] == "admitted"
    assert saved["attempts"] == 2
    assert any("hi there" in payload["body"] for payload in saved["payloads"])
    assert KEY not in json.dumps(saved)


def test_an_unknown_trace_or_place_is_told(cli: Cli) -> None:
    nowhere = cli("trace", "x")
    assert nowhere.exit_code == 1
    assert "there is no database data/signalbox.db" in nowhere.stderr
    assert not Path("data").exists()
    with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
        store.save_traces([trace("01890a5d-ac96-774b-bcce-b302099a8057")])
    unknown = cli("trace", "x")
    assert unknown.exit_code == 1
    assert "no saved trace x" in unknown.stderr


# replay

REPLAYED = """
[routing]
strategy = "fast"
[providers]
a = { base_url = "http://127.0.0.1:9/v1", keys = [] }
b = { base_url = "http://127.0.0.1:9/v1", keys = [] }
[models.m]
routes = [
    { provider = "a", model = "m", input = 1, output = 2 },
    { provider = "b", model = "m", input = 1, output = 2 },
]
"""
"""What the saved request was made with."""


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """The id of a saved request, beside its configuration."""
    Path("signalbox.toml").write_text(REPLAYED)
    record = played(tmp_path, *MISHAPS)
    with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
        store.save_traces([record])
    return record.id


def test_a_request_is_decided_today_as_it_was_then(cli: Cli, saved: str) -> None:
    told = cli("replay", saved)
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    assert "configuration: the same, as far as this request depends on it" in lines
    assert lines[-1] == "Identical: 15 facts, 10 transitions."
    assert max(map(len, lines)) <= 100
    document = json.loads(cli("replay", saved, "--json").stdout)
    assert (document["identical"], document["configuration"]) == (True, [])


@pytest.mark.parametrize(
    ("then", "now", "told", "difference"),
    [
        (
            '{ provider = "a", model = "m", input = 1, output = 2 },',
            "",
            "models.m.routes: then a:m, b:m; now b:m",
            "on LeaseGranted: recorded today provider a b",
        ),
        (
            "[routing]",
            "[retry]\nattempts = 1\n[routing]",
            "retry.attempts: then 2; now 1",
            "on UpstreamFailed: recorded today event attempt_failed route_failed",
        ),
        ("[models.m]", "[models.n]", "model: then m; now unknown", "the request is not admitted"),
    ],
    ids=["route", "retry", "model"],
)
def test_what_another_configuration_changes_is_shown_side_by_side(
    cli: Cli, saved: str, then: str, now: str, told: str, difference: str
) -> None:
    assert then in REPLAYED
    Path("signalbox.toml").write_text(REPLAYED.replace(then, now))
    differs = cli("replay", saved)
    assert differs.exit_code == 1
    assert f"configuration: {told}" in differs.stdout
    assert difference in " ".join(differs.stdout.split())
    assert max(map(len, differs.stdout.splitlines())) <= 100
    document = json.loads(cli("replay", saved, "--json").stdout)
    assert document["identical"] is False
    assert all(step["same"] for step in document["steps"][:-1])
    assert cli("replay", saved, "--recorded").exit_code == 0


def test_a_trace_that_cannot_be_replayed_is_no_difference(cli: Cli, saved: str) -> None:
    assert cli("replay", "x").exit_code == 2
    with closing(sqlite3.connect("data/signalbox.db")) as database, database:
        with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
            kept = store.load_trace(saved)
        assert kept is not None
        events = [*kept.events]
        events[2] = replace(events[2], kind="fact", name="\x1b")
        row = event_row(replace(kept, events=tuple(events)))
        assert row is not None
        database.execute("UPDATE trace_events SET encoding = ?, events = ?", row[1:])
    damaged = cli("replay", saved)
    assert damaged.exit_code == 2
    assert "event 2 (fact \ufffd): expected an event, or a fact" in damaged.stderr
    assert cli("replay", saved, "--data-dir", "elsewhere").exit_code == 2


# diagram and simulate


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("form", FORMATS)
def test_a_diagram_is_printed_as_it_is(cli: Cli, machine: str, form: str) -> None:
    told = cli("diagram", machine, "--format", form).stdout
    assert told == render(machine, form)
    assert told.endswith("\n")
    assert not told.endswith("\n\n")
    if form in ("svg", "scxml"):
        ElementTree.fromstring(told)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("[[rules]]\nsteps = [{ stauts = 429 }]\n", "rules[0].steps[0].stauts"),
        ("rules = [", "not TOML"),
    ],
)
def test_a_scenario_that_cannot_be_played_is_told_with_its_place(
    cli: Cli, scenario: str, said: str
) -> None:
    Path("faults.toml").write_text(scenario)
    refused = cli("simulate", "--scenario", "faults.toml")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("signalbox: faults.toml: ")
    assert said in refused.stderr
