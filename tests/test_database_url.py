"""What `storage.database` may say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from signalbox.config_postgres import PostgresUrl
from signalbox.persistence.open import open_store, parse_database_url
from signalbox.types import Secret


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///signalbox.db", "/data/signalbox.db"),
        ("sqlite:///deeper/signalbox.db", "/data/deeper/signalbox.db"),
        ("sqlite:////srv/signalbox.db", "/srv/signalbox.db"),
    ],
)
def test_a_database_url_names_a_file(url: str, path: str) -> None:
    assert parse_database_url(Secret(url), Path("/data")) == Path(path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("signalbox.db", "not a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://signalbox.db", "three slashes"),
        ("sqlite:///signalbox.db?mode=ro", "options"),
        ("mysql://root:hunter2@db/x", "scheme 'mysql'"),
        ("mssql://app:hunter2@db/signalbox", "scheme 'mssql'"),
    ],
)
def test_a_wrong_database_url_is_said_without_its_password(
    tmp_path: Path, url: str, said: str
) -> None:
    with pytest.raises(ValueError, match=f"{said}.*expected sqlite:///") as caught:
        open_store(Secret(url), tmp_path)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:hunter2@db.example/signalbox", "signalbox at db.example"),
        ("postgres://app:hunter2@db:5433/s?sslmode=require", "s at db:5433"),
        ("postgresql+psycopg://app:hunter2@[::1]:5432/s", "s at [::1]:5432"),
        ("postgresql://app:hunter2@a:1,b:2/s", "s at a:1,b:2"),
        ("postgresql://app@%2Frun%2Fpostgresql/s?password=hunter2", "s at /run/postgresql"),
        ("postgresql:///s?host=/run/postgresql&password=hunter2", "s at /run/postgresql"),
        ("postgresql:///s?user=app", "s at the local socket"),
        ("postgresql://db?dbname=other", "other at db"),
    ],
)
def test_a_server_is_shown_by_its_host_and_database(url: str, shown: str) -> None:
    database = parse_database_url(Secret(url), Path("/data"))
    assert isinstance(database, PostgresUrl)
    assert str(database) == f"PostgreSQL database {shown}"
    assert "hunter2" not in f"{database} {database!r}"
    scheme, _, rest = database.conninfo.reveal().partition(":")
    assert (scheme, rest) == ("postgresql", url.partition(":")[2])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hunter2@db",
        "postgresql://app:hunter2@db/",
        "postgresql:app",
        "postgresql://app:hunter2/7@db/signalbox",
        "postgresql://app:7/hunter2@db/signalbox",
        "postgresql://app:hunter2#7@db/signalbox",
        "postgresql://app:hunter2@db:x/signalbox",
        "postgresql://app:hunter2@[db/signalbox",
        "postgresql://app@db/signalbox?password=hunter2&x",
        "postgresql://app@db/signalbox/hunter2",
    ],
)
def test_a_wrong_url_of_a_server_is_said_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(
        ValueError, match=r"storage.database.*expected postgresql://user:"
    ) as caught:
        open_store(Secret(url), tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    with closing(open_store(Secret("sqlite:///signalbox.db"), tmp_path)) as store:
        store.ping()
    assert (tmp_path / "signalbox.db").exists()
