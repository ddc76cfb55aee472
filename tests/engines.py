"""The stores' engines: what is promised of one is tested on each, by the fixture `open_store`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store
from tests import postgres

OpenStore = Callable[[Path], Store]
"""Opens the database of a folder, which is made where it is missing."""

ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.system)]


def opener(request: pytest.FixtureRequest) -> OpenStore:
    if request.param == "sqlite":
        return lambda folder: SqliteStore.open(folder / "contract.db")
    return postgres.opener(request.getfixturevalue("postgres_database"))
