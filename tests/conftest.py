"""What every test gets."""

import os

import pytest
from hypothesis import HealthCheck, settings

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
