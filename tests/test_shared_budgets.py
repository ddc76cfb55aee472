"""Two gateways on one PostgreSQL and one Redis spend out of one budget, and never past it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from signalbox.simulator import Step
from tests.gateway import KEY, NO_TLS, Gateway, config_for, gateway, simulated_provider
from tests.postgres import TEMPLATE, new_database
from tests.servers import PrivateServer, private_redis

pytestmark = [pytest.mark.system, pytest.mark.slow]

LIMIT = 1_000_000
"""Nano-USD."""
BUDGET = '[keys.test.budget]\nlimit = 0.001\nper = "month"\n'
REQUESTS = 120


def usage_told(running: Gateway) -> float:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{running.url}/v1/key", headers=headers, verify=NO_TLS)
    return float(answer.json()["data"]["usage"])


def test_two_gateways_never_spend_past_one_ceiling(postgres_server: PrivateServer) -> None:
    database = new_database(postgres_server, template=TEMPLATE)
    with ExitStack() as stack:
        provider = stack.enter_context(simulated_provider())
        provider.plays(Step(text="word " * 12))
        redis = stack.enter_context(private_redis())
        storage = f'[storage]\ndatabase = "{database.url}"\nredis = "unix://{redis.address}"\n'
        config = config_for(provider, more=storage + BUDGET)
        both = [stack.enter_context(gateway(config)) for _ in range(2)]

        def ask(number: int) -> int:
            body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
            return both[number % 2].post({**body, "max_tokens": 40}).status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = Counter(pool.map(ask, range(REQUESTS)))
        [(charged, spent)] = database.rows("SELECT COUNT(*), SUM(amount_nano_usd) FROM ledger")
        assert statuses.keys() == {200, 402}
        assert charged == statuses[200] > 0
        assert LIMIT / 2 < spent <= LIMIT
        assert [usage_told(each) for each in both] == [int(spent) / 1e9] * 2
