"""The stores' engines: what is promised of one is tested on each. An engine is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store

OpenStore = Callable[[Path], Store]
"""Opens the database of a folder, which is made where it is missing."""

ENGINES: dict[str, OpenStore] = {"sqlite": lambda folder: SqliteStore.open(folder / "contract.db")}
