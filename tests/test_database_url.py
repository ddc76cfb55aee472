"""What `storage.database` may say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from signalbox.persistence.open import open_store, parse_database_url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///signalbox.db", "/data/signalbox.db"),
        ("sqlite:///deeper/signalbox.db", "/data/deeper/signalbox.db"),
        ("sqlite:////srv/signalbox.db", "/srv/signalbox.db"),
    ],
)
def test_a_database_url_names_a_file(url: str, path: str) -> None:
    assert parse_database_url(url, Path("/data")) == Path(path)


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
        ("postgresql://app:hunter2@db/signalbox", "comes with PostgreSQL support"),
        ("postgresql+psycopg://app:hunter2@db/signalbox", "this version keeps SQLite"),
    ],
)
def test_a_wrong_database_url_is_said_without_its_password(
    tmp_path: Path, url: str, said: str
) -> None:
    with pytest.raises(ValueError, match=f"{said}.*expected sqlite:///") as caught:
        open_store(url, tmp_path)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    with closing(open_store("sqlite:///signalbox.db", tmp_path)) as store:
        store.ping()
    assert (tmp_path / "signalbox.db").exists()
