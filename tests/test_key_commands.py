"""`signalbox keys`, `users`, `presets`: what they change and print, and what the audit has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from signalbox.cli.main import main
from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.record_store import Insert
from signalbox.persistence.records import (
    AuditRecord,
    BudgetRecord,
    GatewayKeyRecord,
    PresetRecord,
    UserRecord,
)
from signalbox.persistence.sqlite import SqliteStore
from signalbox.types import NanoUSD
from tests import records
from tests.configs import LOCAL, ROUTE
from tests.gateway import clean_environ, config_for, eventually, gateway, simulated_provider
from tests.simulator_client import chat

Cli = Callable[..., Result]
CONFIG = f"""{LOCAL}
[models.m]
routes = [{ROUTE}]
[presets.declared]
model = "m"
temperature = 0.5
"""


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "signalbox.toml").write_text(CONFIG)


@pytest.fixture
def cli() -> Cli:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return invoke


@contextmanager
def opened() -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
        yield store


def key() -> GatewayKeyRecord:
    with opened() as store:
        [record] = store.records(GatewayKeyRecord)
    return record


def budgets() -> dict[tuple[str, bool], int]:
    with opened() as store:
        found = store.records(BudgetRecord)
    return {(budget.period, budget.hard): budget.limit for budget in found}


def audited() -> list[tuple[str, str]]:
    """Oldest first."""
    with opened() as store:
        found: list[AuditRecord] = store.audit(limit=100)
    assert {(each.actor, each.role) for each in found} == {("command line", "admin")}
    return [(each.action, each.kind) for each in reversed(found)]


def told_once(result: Result) -> str:
    """The secret that is printed, alone."""
    assert result.exit_code == 0, result.output
    [secret] = result.stdout.splitlines()
    assert "only time" in result.stderr
    return secret


def dollars(amount: float) -> NanoUSD:
    return NanoUSD(int(amount * 10**9))


# Keys


def test_a_key_has_what_it_was_created_with(cli: Cli) -> None:
    user = cli("users", "create", "ada").stdout.strip()
    options = (
        "--owner ada --model m --provider local --tag a --tag b --preset declared "
        "--byok-fallback --rpm 7 --budget 10/day --budget 2.5/day:soft --budget 100/total"
    )
    secret = told_once(cli("keys", "create", "ci", *options.split()))
    record = key()
    assert record.digest == key_digest(secret)
    assert (record.owner, record.models, record.providers) == (user, ("m",), ("local",))
    assert (record.tags, record.preset, record.byok_fallback) == (("a", "b"), "declared", True)
    assert budgets() == {
        ("day", True): dollars(10),
        ("day", False): dollars(2.5),
        ("total", True): dollars(100),
    }
    assert audited() == [("create", "user"), ("create", "key"), *[("create", "budget")] * 3]
    assert all(secret.encode() not in file.read_bytes() for file in Path("data").iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--provider locla", "there is no provider 'locla'; did you mean \"local\"?"),
        ("--preset declard", "there is no preset 'declard'; did you mean \"declared\"?"),
        ("--owner nobody", "there is no user of the name or id 'nobody'"),
        ("--budget 10", "expected one like 10/day"),
        ("--budget 10/fortnight", "periods are hour, day, week, month, total"),
        ("--budget 99999999/day", "is more than"),
        (f"--tag {'t' * 129}", "at most 128 characters"),
    ],
)
def test_what_refers_to_nothing_or_has_no_form_makes_no_key(
    cli: Cli, options: str, said: str
) -> None:
    refused = cli("keys", "create", "ci", *options.split())
    assert refused.exit_code != 0
    assert said in refused.stderr
    assert refused.stdout == ""
    if Path("data/signalbox.db").exists():
        with opened() as store:
            assert store.records(GatewayKeyRecord) == []


def test_an_update_changes_what_is_named_and_nothing_else(cli: Cli) -> None:
    cli("keys", "create", "ci", "--rpm", "7", "--tag", "a", "--budget", "10/day")
    before = key()
    assert cli("keys", "update", "ci", "--tpm", "9", "--budget", "20/day").exit_code == 0
    after = key()
    assert replace(after, tpm=None, updated_at=None) == before
    assert (after.tpm, budgets()) == (9, {("day", True): dollars(20)})
    assert cli("keys", "update", after.id, "--clear", "rpm", "--clear", "budgets").exit_code == 0
    assert (key().rpm, key().tags, budgets()) == (None, ("a",), {})
    assert audited()[2:] == [
        ("update", "key"),
        ("update", "budget"),
        ("update", "key"),
        ("delete", "budget"),
    ]
    assert "nothing is to be changed" in cli("keys", "update", "ci").stderr


def test_a_key_is_shown_with_its_budgets(cli: Cli) -> None:
    cli("keys", "create", "ci", "--rpm", "7", "--budget", "10/day", "--budget", "5/total:soft")
    with opened() as store:
        charge = replace(records.charge(), key_id=key().id, amount=dollars(1.25), at=5.0)
        store.append_charges([charge])
    shown = cli("keys", "show", "ci").stdout
    assert "rpm 7" in shown
    assert "$10 per day (hard): $0 spent, until " in shown
    assert "$5 per total (soft): $1.25 spent\n" in shown


def test_a_disabled_key_is_enabled_again_and_a_revoked_one_never(cli: Cli) -> None:
    cli("keys", "create", "ci")
    assert cli("keys", "disable", "ci").exit_code == 0
    assert not key().enabled
    assert "disabled" in cli("keys", "list").stdout
    cli("keys", "enable", "ci")
    assert key().enabled
    cli("keys", "revoke", "ci")
    for command in ("enable", "disable", "rotate", "update"):
        refused = cli("keys", command, "ci")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "is revoked, for good" in refused.stderr
    assert [action for action, _ in audited()] == ["create", "disable", "enable", "revoke"]


def test_a_rotation_keeps_the_record_and_says_what_it_ends(cli: Cli) -> None:
    first = told_once(cli("keys", "create", "ci", "--rpm", "7"))
    made = key()
    done = cli("keys", "rotate", "ci", "--overlap", "2h")
    second = told_once(done)
    rotated = key()
    assert (rotated.id, rotated.rpm, rotated.digest) == (made.id, 7, key_digest(second))
    assert rotated.previous_digest == key_digest(first)
    assert rotated.previous_until is not None
    assert rotated.updated_at is not None
    assert rotated.previous_until - rotated.updated_at == pytest.approx(7200)
    assert "still good" not in done.stderr
    assert "good until" in cli("keys", "show", "ci").stdout
    again = cli("keys", "rotate", "ci", "--overlap", "0")
    assert "The key of before the last rotation was still good; it is no more." in again.stderr
    assert (key().previous_digest, key().previous_until) == (None, None)
    assert [action for action, _ in audited()] == ["create", "rotate", "rotate"]
    assert "no duration" in cli("keys", "rotate", "ci", "--overlap", "soon").stderr
    assert "at most 90 days" in cli("keys", "rotate", "ci", "--overlap", "91d").stderr


def test_a_running_gateway_takes_both_secrets_of_a_rotation_while_they_overlap(cli: Cli) -> None:
    with simulated_provider() as provider:
        provider.plays()
        with gateway(config_for(provider)) as running:
            place = ["--data-dir", str(running.data_dir)]
            first = told_once(cli("keys", "create", "ci", *place))

            def status(key: str) -> int:
                return running.post(chat(), authorization=f"Bearer {key}").status_code

            eventually(lambda: status(first), (200).__eq__)
            second = told_once(cli("keys", "rotate", "ci", *place))
            eventually(lambda: status(second), (200).__eq__)
            assert status(first) == 200
            third = told_once(cli("keys", "rotate", "ci", "--overlap", "0", *place))
            eventually(lambda: status(third), (200).__eq__)
            assert (status(first), status(second)) == (401, 401)
            cli("keys", "disable", "ci", *place)
            eventually(lambda: status(third), (401).__eq__)
            cli("keys", "enable", "ci", *place)
            eventually(lambda: status(third), (200).__eq__)


# Users


def test_a_user_s_token_is_shown_once_and_kept_as_its_digest(cli: Cli) -> None:
    cli("users", "create", "ada", "--role", "viewer", "--email", "ada@house.example")
    secret = told_once(cli("users", "token", "ada"))
    with opened() as store:
        [user] = store.records(UserRecord)
    assert user.token_digest == key_digest(secret)
    assert (user.role, user.email) == ("viewer", "ada@house.example")
    listed = cli("users", "list").stdout
    assert user.token_prefix is not None
    assert f"{user.token_prefix}…" in listed
    assert secret not in listed
    cli("users", "disable", "ada")
    assert "disabled" in cli("users", "list").stdout
    cli("users", "enable", "ada")
    cli("users", "token", "ada", "--remove")
    with opened() as store:
        [user] = store.records(UserRecord)
    assert (user.token_digest, user.enabled) == (None, True)
    assert [action for action, _ in audited()] == [
        "create",
        "give_token",
        "disable",
        "enable",
        "take_token",
    ]


def test_users_that_cannot_be_are_refused(cli: Cli) -> None:
    cli("users", "create", "ada")
    assert "already" in cli("users", "create", "ada").stderr
    assert "somebody else" in cli("users", "create", "command line").stderr
    assert "no role" in cli("users", "token", "ada").stderr
    assert 'did you mean "ada"?' in cli("users", "disable", "adam").stderr


# Presets


def test_presets_of_both_are_listed_and_shown(cli: Cli) -> None:
    assert "declared" in cli("presets", "list").stdout
    assert not Path("data").exists()
    cli("users", "create", "ada")
    with opened() as store:
        for version in (1, 2):
            made = PresetRecord("stored", version, {"n": version}, 0.0, "ada")
            store.change([Insert(made)], records.audit("create"))
    rows = [line.split() for line in cli("presets", "list").stdout.splitlines()]
    assert ["stored", "2", "the", "request's", "1970-01-01", "by", "ada"] in rows
    shown = cli("presets", "show", "stored")
    assert (json.loads(shown.stdout), shown.stderr) == ({"n": 2}, "stored@2\n")
    assert json.loads(cli("presets", "show", "stored", "--version", "1").stdout) == {"n": 1}
    assert json.loads(cli("presets", "show", "declared").stdout)["temperature"] == 0.5
    missing = cli("presets", "show", "stord")
    assert missing.exit_code == 1
    assert 'did you mean "stored"?' in missing.stderr
    assert "version 9" in cli("presets", "show", "stored", "--version", "9").stderr
