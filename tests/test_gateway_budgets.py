"""Budgets over real HTTP: what clients are told, and that nothing is spent past a hard ceiling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from signalbox.simulator import Step
from tests.gateway import KEY, NO_TLS, config_for, gateway, simulated_provider

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
BUDGET = '[keys.test.budget]\nlimit = 0.01\nper = "day"\n'


def test_a_keys_budget_bounds_what_it_spends_and_says_how_it_stands() -> None:
    with simulated_provider() as provider, gateway(config_for(provider, more=BUDGET)) as running:
        provider.plays(Step())
        first = running.post({**BODY, "max_tokens": 300})
        assert first.status_code == 200, first.text
        sent = provider.received()[-1]["body"]
        assert sent["max_tokens"] == 300
        told = httpx.get(
            f"{running.url}/v1/key", headers={"authorization": f"Bearer {KEY}"}, verify=NO_TLS
        ).json()["data"]
        assert (told["limit"], told["limit_reset"]) == (0.01, "daily")
        assert round(told["limit"] - told["limit_remaining"], 9) == told["usage"] > 0

        def ask(number: int) -> httpx.Response:
            return running.post({**BODY, "max_tokens": 2000})

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(60)))
        refused = [it for it in answers if it.status_code != 200]
        assert {it.status_code for it in refused} <= {402}
        for each in refused:
            error = each.json()["error"]
            assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
            assert error["metadata"]["budget"]["limit"] == 0.01


def test_a_request_may_bring_its_own_ceiling() -> None:
    with simulated_provider() as provider, gateway(config_for(provider)) as running:
        provider.plays(Step())
        refused = running.post({**BODY, "extra": {"max_cost": 0.0001}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "max_cost_exceeded")
        assert refused.headers["x-should-retry"] == "false"
        served = running.post({**BODY, "extra": {"max_cost": 0.01}})
        assert served.status_code == 200, served.text
        [sent] = provider.received()
        assert 256 <= sent["body"]["max_tokens"] <= 5000
        told = httpx.post(
            f"{running.url}/v1/explain",
            json={**BODY, "extra": {"max_cost": 0.01}},
            headers={"authorization": f"Bearer {KEY}"},
            verify=NO_TLS,
        ).json()
        assert told["held"] == "0.01"
        assert [route["route"] for route in told["models"][0]["ranked"]] == ["primary:m"]
