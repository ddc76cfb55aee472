"""What a key is told of itself: limits, spend, single requests."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.errors import StoreUnavailable
from signalbox.http.account_api import AccountApi
from signalbox.http.asgi import RequestError
from signalbox.http.paths import Endpoint
from signalbox.persistence.stores import Charge, TraceRecord
from signalbox.types import NanoUSD, Usage
from tests.fakes import InlineWorkers, MemoryStore, database_away

WEDNESDAY = 1_793_750_400.0
"""4 November 2026, 00:00 UTC."""
OWN = "01996f2e-7a00-7000-8000-000000000001"
OTHERS = "01996f2e-7a00-7000-8000-000000000002"
LOST = "01996f2e-7a00-7000-8000-000000000003"


def key(id: str = "k1") -> GatewayKey:
    return GatewayKey(id, "ci", b"", KeyLimits(id, 60, None, 4), models=("a", "b"))


def charge(request_id: str, at: float, amount: int | None, key_id: str = "k1") -> Charge:
    return Charge(
        id=request_id,
        request_id=request_id,
        at=at,
        key_id=key_id,
        model="m",
        provider="groq",
        route_model="llama",
        usage=Usage(prompt=3, completion=4, reasoning=1),
        amount=None if amount is None else NanoUSD(amount),
        upstream_cost=NanoUSD(7),
        reason="answered",
        price_source="config",
        account=key_id,
    )


def account(store: MemoryStore) -> AccountApi:
    return AccountApi(store, InlineWorkers(), lambda: WEDNESDAY + 3_600)


async def told(store: MemoryStore, endpoint: Endpoint, id: str = "") -> dict[str, Any]:
    reply = await account(store).reply(endpoint, key(), {"id": id})
    data: dict[str, Any] = json.loads(msgspec.json.encode(reply))["data"]
    return data


async def test_a_key_is_told_its_limits_and_what_it_spent_in_which_time() -> None:
    store = MemoryStore()
    days = {OWN: 0.5, OTHERS: -1, LOST: -3}
    store.append_charges(
        [
            charge(request_id, WEDNESDAY + day * 86_400, 10 ** (place + 6))
            for place, (request_id, day) in enumerate(days.items())
        ]
    )
    found = await told(store, Endpoint.KEY)
    assert [found[name] for name in ("usage_daily", "usage_weekly", "usage_monthly", "usage")] == [
        0.001,
        0.011,
        0.111,
        0.111,
    ]
    assert found["limits"] == {"rpm": 60, "tpm": None, "concurrency": 4}
    assert found["label"] == "ci"
    assert found["models"] == ["a", "b"]
    assert found["limit"] is None
    assert await told(store, Endpoint.CREDITS) == {"total_credits": None, "total_usage": 0.111}


async def test_what_others_spent_is_theirs() -> None:
    store = MemoryStore()
    store.append_charges([charge(OTHERS, WEDNESDAY, 5, key_id="k2"), charge(OWN, WEDNESDAY, None)])
    assert (await told(store, Endpoint.CREDITS))["total_usage"] == 0
    for id in (OTHERS, f"gen-{OTHERS}", LOST):
        with pytest.raises(RequestError) as refused:
            await told(store, Endpoint.GENERATION, id)
        assert (refused.value.error.status, refused.value.error.code) == (
            404,
            "generation_not_found",
        )


@pytest.mark.parametrize("id", [OWN, f"gen-{OWN}", f"chatcmpl-{OWN}", f"resp_{OWN}"])
async def test_a_request_is_found_by_its_trace_and_by_its_answer(id: str) -> None:
    store = MemoryStore()
    store.append_charges([charge(OWN, WEDNESDAY, 5_000)])
    early = await told(store, Endpoint.GENERATION, id)
    assert early["total_cost"] == 0.000005
    assert early["streamed"] is None
    store.save_traces([trace()])
    found = await told(store, Endpoint.GENERATION, id)
    assert found["id"] == f"gen-{OWN}"
    assert (found["provider_name"], found["model"]) == ("groq", "m")
    assert (found["tokens_prompt"], found["tokens_completion"]) == (3, 5)
    assert found["native_tokens_reasoning"] == 1
    assert (found["latency"], found["generation_time"]) == (120.0, 900.0)
    assert (found["streamed"], found["cancelled"], found["is_byok"]) == (True, False, False)
    assert found["created_at"] == "2026-11-04T00:00:00Z"


async def test_an_id_that_is_none_of_ours_is_a_mistake() -> None:
    for id in ("", "chatcmpl-abc", f"gen-gen-{OWN}", OWN.upper()):
        with pytest.raises(RequestError) as refused:
            await told(MemoryStore(), Endpoint.GENERATION, id)
        assert (refused.value.error.status, refused.value.error.param) == (400, "id")


async def test_a_database_that_is_away_is_said_so() -> None:
    store = MemoryStore(database_away)
    for endpoint in (Endpoint.KEY, Endpoint.CREDITS, Endpoint.GENERATION):
        with pytest.raises(RequestError) as refused:
            await told(store, endpoint, OWN)
        assert refused.value.error.code == "database_unavailable"
        assert isinstance(refused.value.__cause__, StoreUnavailable)


def trace() -> TraceRecord:
    return TraceRecord(
        id=OWN,
        started_at=WEDNESDAY,
        ended_at=WEDNESDAY + 0.9,
        door="openai.chat",
        model="m",
        state="done",
        stream=True,
        status=200,
        key_id="k1",
        key_name="ci",
        attempts=1,
        provider="groq",
        route_model="llama",
        usage=Usage(prompt=3, completion=4, reasoning=1),
        cost=NanoUSD(5_000),
        first_token_ms=120.0,
        duration_ms=900.0,
    )
