"""What every test gets."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from signalbox.persistence.stores import Store
from tests import engines, postgres
from tests.engines import ENGINES, OpenStore
from tests.servers import PrivateServer, private_postgres

# How long an example takes says more about the machine than about the code.
settings.register_profile("signalbox", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("signalbox")

LONGEST = ("test_start", "test_durability", "test_redis_away", "test_fallbacks", "test_snippets")
"""Files of a minute or so each, which mostly wait for processes: two workers must not come to one
of them last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True, scope="session")
def _loopback_without_proxy() -> None:
    """SDKs and httpx would otherwise ask the machine's proxy for the tests' own servers."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PrivateServer]:
    """One for all tests of a run, each with databases of its own."""
    with private_postgres() as server:
        postgres.prepare(server)
        yield server


@pytest.fixture(scope="module")
def postgres_database(postgres_server: PrivateServer) -> postgres.Database:
    """At the newest revision; one for all tests of a module."""
    return postgres.new_database(postgres_server, template=postgres.TEMPLATE)


@pytest.fixture(params=ENGINES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return engines.opener(request)


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path)) as store:
        yield store
