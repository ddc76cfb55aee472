"""`signalbox ledger` and `signalbox credits`: what they print, and the exit codes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from signalbox.cli import main
from signalbox.persistence.records import UserRecord
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.sqlite import SqliteStore
from tests import records
from tests.gateway import clean_environ

CONFIG = """
[providers.openai]
keys = [{ value = "sk-0123456789abcdef" }]
[keys.ci]
key = { value = "a-key-of-sixteen-or-more" }
"""


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a configuration alone, and none of the machine's own settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "signalbox.toml").write_text(CONFIG)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(tmp_path / "data" / "signalbox.db")) as store:
        yield store


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def well(*arguments: str) -> str:
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_without_a_database_there_is_nothing_to_show() -> None:
    for command in (["ledger", "verify"], ["ledger", "show"], ["credits", "list"]):
        result = cli(*command)
        assert result.exit_code == 1
        assert "there is no database" in result.stderr


def test_books_that_agree_are_said_to(store: SqliteStore) -> None:
    charge = records.charge()
    store.append_charges([charge])
    store.save_traces(
        [replace(records.trace(charge.request_id), usage=charge.usage, cost=charge.amount)]
    )
    told = well("ledger", "verify")
    assert told == "1 hours of usage and 1 traces were compared; 0 differences.\n"


def test_each_difference_is_a_line_and_usage_can_be_made_anew(
    store: SqliteStore, tmp_path: Path
) -> None:
    store.append_charges([records.charge(), records.charge()])
    with closing(sqlite3.connect(tmp_path / "data" / "signalbox.db")) as by_hand, by_hand:
        by_hand.execute("UPDATE usage_hourly SET requests = 5")
    result = cli("ledger", "verify")
    assert result.exit_code == 1
    difference, summary = result.stdout.splitlines()
    assert difference.startswith("usage: key ci, account ci, model chat-fast")
    assert difference.endswith("requests: the ledger says 2, usage 5")
    assert summary.endswith("1 differences.")
    assert well("ledger", "rebuild-usage").startswith("The usage of 1 hours was made anew")
    assert "0 differences" in well("ledger", "verify")
    [audit] = store.audit(limit=5)
    assert (audit.actor, audit.action, audit.kind) == ("command line", "rebuild", "usage")
    assert audit.target == "2023-11-14 22:00 to 2023-11-14 22:00"
    assert well("ledger", "rebuild-usage") == ("Usage and the ledger agree; nothing was changed.\n")
    assert len(store.audit(limit=5)) == 1


def test_charges_that_wait_in_the_spool_are_pointed_out(store: SqliteStore, tmp_path: Path) -> None:
    charge = records.charge()
    ChargeSpool(tmp_path / "data" / "charges.spool").append([charge])
    store.save_traces([records.trace(charge.request_id)])
    result = cli("ledger", "verify")
    assert result.exit_code == 1
    assert "Charges wait in data/charges.spool" in result.stderr
    assert "charge: the ledger says none, traces a trace that is done" in result.stdout


def test_the_ledger_is_shown_as_a_table_and_as_json(store: SqliteStore) -> None:
    key = records.key("team")
    records.insert(store, key)
    charges = [
        replace(records.charge(), key_id=key.id, at=1_700_000_000.0 + hour * 3600, model=f"m{hour}")
        for hour in range(3)
    ]
    store.append_charges([*charges, records.charge(amount=None)])
    shown = well("ledger", "show")
    assert len(shown.splitlines()) == 5
    assert "unknown" in shown
    of_key = well("ledger", "show", "--key", "team", "--since", "2023-11-14 23:00:00", "--json")
    lines = [json.loads(line) for line in of_key.splitlines()]
    assert [line["request_id"] for line in lines] == [
        charges[2].request_id,
        charges[1].request_id,
    ]
    assert lines[0]["usage"]["prompt"] == 10
    assert len(well("ledger", "show", "--limit", "2").splitlines()) == 3
    assert "nothing in the ledger" in well("ledger", "show", "--user", "nobody")


def test_what_is_paid_in_is_kept_audited_and_shown(store: SqliteStore) -> None:
    anna = UserRecord(id=records.fresh_id(), name="anna", created_at=1.0)
    key = replace(records.key("laptop"), owner=anna.id)
    records.insert(store, anna, key)
    store.append_charges([replace(records.charge(amount=250_000_000), account=anna.id)])
    told = well("credits", "add", "anna", "10", "--note", "invoice 7")
    assert told == f"The account {anna.id} has $9.75 left.\n"
    told = well("credits", "adjust", "laptop", "-0.000000001", "--note", "rounding")
    assert told == f"The account {anna.id} has $9.749999999 left.\n"
    assert store.balances() == {anna.id: 9_999_999_999}
    adjusted, added, _ = store.audit(limit=5)
    assert (added.actor, added.action, added.kind, added.target) == (
        "command line",
        "top_up",
        "account",
        anna.id,
    )
    assert (added.after["amount"], added.after["note"]) == ("10", "invoice 7")
    assert (adjusted.action, adjusted.after["amount"]) == ("adjustment", "-0.000000001")
    [_, row] = well("credits", "list").splitlines()
    assert row.split() == [anna.id, "anna", "$9.999999999", "$0.25", "$9.749999999"]
    assert "invoice 7" in well("ledger", "show")


def test_a_declared_key_is_an_account(store: SqliteStore) -> None:
    assert "$1 left" in well("credits", "add", "ci", "1", "--note", "x")
    [account] = store.balances()
    assert account in well("credits", "list")


def test_the_same_request_id_adds_nothing(store: SqliteStore) -> None:
    id = records.fresh_id()
    for _ in range(2):
        told = well("credits", "add", "ci", "1", "--note", "x", "--request-id", id)
        assert "$1 left" in told
    result = cli("credits", "add", "ci", "2", "--note", "x", "--request-id", id)
    assert (result.exit_code, "there is one with the same" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "nobody", "1", "--note", "x"], 1, "no user and no key of the name or id 'nobody'"),
        (["add", "ci", "much", "--note", "x"], 2, "'much' is no amount of US dollars"),
        (["add", "ci", "nan", "--note", "x"], 2, "is no amount of US dollars"),
        (["add", "ci", "0.0000000001", "--note", "x"], 2, "finer than a billionth"),
        (["add", "ci", "0", "--note", "x"], 1, "changes nothing"),
        (["adjust", "ci", "0", "--note", "x"], 1, "changes nothing"),
        (["add", "ci", "99999999999", "--note", "x"], 1, "beyond the"),
        (["add", "ci", "1"], 2, "--note"),
        (["add", "ci", "1", "--note", "x", "--request-id", "7"], 2, "expected a UUIDv7"),
    ],
)
def test_what_is_no_payment_is_refused(
    store: SqliteStore, arguments: list[str], code: int, said: str
) -> None:
    result = cli("credits", *arguments)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert store.balances() == {}
