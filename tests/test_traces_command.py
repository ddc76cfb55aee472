"""`signalbox traces delete`: which traces go, on either engine, and that somebody said yes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from signalbox.cli import main
from signalbox.cli.traces import LOOKED_AT_ONCE
from signalbox.persistence.open import open_store
from signalbox.persistence.stores import Store, TraceRecord
from signalbox.types import Secret
from tests import records
from tests.engines import ENGINES
from tests.gateway import clean_environ

Cli = Callable[..., Result]

JULY = datetime(2026, 7, 1, tzinfo=UTC).timestamp()


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secret:
    """Of an empty database, which the working directory's configuration names."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    url = "sqlite:///signalbox.db"
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_database")
        database.empty()
        url = database.url
    (tmp_path / "signalbox.toml").write_text(f'storage.database = "{url}"\n')
    return Secret(url)


def opened(url: Secret) -> closing[Store]:
    return closing(open_store(url, Path("data")))


def delete(*arguments: str, said: str | None = None) -> Result:
    return CliRunner().invoke(main, ["traces", "delete", *arguments], input=said)


def trace(user: str | None, *tags: str, at: float = JULY) -> TraceRecord:
    return replace(records.trace(started_at=at), user=user, tags=tags)


def saved(url: Secret, traces: list[TraceRecord]) -> list[TraceRecord]:
    with opened(url) as store:
        store.save_traces(traces)
    return traces


def left(url: Secret, traces: list[TraceRecord]) -> list[bool]:
    with opened(url) as store:
        return [store.load_trace(each.id) == each for each in traces]


def test_what_all_options_apply_to_is_deleted(url: Secret) -> None:
    traces = saved(
        url,
        [
            trace("anna", "batch", at=JULY - 1),
            trace("anna", "batch", at=JULY),
            trace("anna", at=JULY - 1),
            trace("ben", "batch", at=JULY - 1),
            trace(None, at=JULY - 1),
        ],
    )
    both = delete("--user", "anna", "--tag", "batch", "--before", "2026-07-01", "--yes")
    assert (both.exit_code, both.stdout) == (0, "1 trace deleted, with events and bodies\n")
    assert left(url, traces) == [False, True, True, True, True]
    assert delete("--user", "anna", "--yes").stdout.startswith("2 traces deleted")
    assert delete("--before", "2026-07-01T00:00", "--yes").stdout.startswith("2 traces deleted")
    assert left(url, traces) == [False] * 5


def test_nothing_is_deleted_before_somebody_says_yes(url: Secret) -> None:
    traces = saved(url, [trace("anna"), trace("ben")])
    tried = delete("--user", "anna", "--dry-run")
    assert (tried.exit_code, tried.stdout) == (0, "1 trace would be deleted\n")
    refused = delete("--user", "anna", said="n\n")
    assert refused.exit_code == 1
    assert "Delete 1 trace? [y/N]" in refused.stdout
    assert delete("--user", "anna").exit_code == 1  # nobody answers
    assert left(url, traces) == [True, True]
    assert delete("--user", "anna", said="y\n").exit_code == 0
    assert left(url, traces) == [False, True]
    assert delete("--user", "anna").stdout == "0 traces would be deleted\n"


def test_more_than_a_look_finds_are_deleted(url: Secret) -> None:
    saved(url, [trace("anna" if number % 9 else "ben") for number in range(LOOKED_AT_ONCE + 50)])
    bens = len(range(0, LOOKED_AT_ONCE + 50, 9))
    assert delete("--user", "ben", "--dry-run").stdout == f"{bens} traces would be deleted\n"
    assert delete("--user", "ben", "--yes").stdout.startswith(f"{bens} traces deleted")
    assert delete("--user", "ben", "--dry-run").stdout == "0 traces would be deleted\n"
    rest = LOOKED_AT_ONCE + 50 - bens
    assert delete("--user", "anna", "--dry-run").stdout == f"{rest:,} traces would be deleted\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected --user, --tag or --before"),
        (["--before", "yesterday"], "does not match the formats"),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_without_saying_which_nothing_is_deleted(
    url: Secret, arguments: list[str], said: str
) -> None:
    traces = saved(url, [trace(None)])
    refused = delete(*arguments, "--yes")
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert left(url, traces) == [True]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_where_there_is_no_database_none_is_made(url: Secret) -> None:
    refused = delete("--user", "anna", "--yes")
    assert refused.exit_code == 1
    assert "there is no database data/signalbox.db yet" in refused.stderr
    assert not Path("data").exists()
