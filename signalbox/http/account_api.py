"""`GET /v1/key`, `/v1/credits` and `/v1/generation`: what a key may do and what it has cost.

The shapes are OpenRouter's (API reference: "Get current API key", "Get remaining credits", "Get
request & usage metadata for a generation"). A key is told of its own requests alone. What this
gateway does not have (prepaid credits, budgets, moderation) is null. Money is US dollars, exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from signalbox.actors.budgets_of import NO_BUDGETS, BudgetsOf
from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.money import Money
from signalbox.actors.ports import Workers
from signalbox.errors import ApiError, StoreUnavailable
from signalbox.http.asgi import RequestError
from signalbox.http.paths import Endpoint
from signalbox.ids import is_uuid7
from signalbox.machines.budget import Period
from signalbox.machines.decisions import refusal
from signalbox.persistence.money_stores import Standing
from signalbox.persistence.stores import Charge, SpendingQuery, Store, TraceRecord
from signalbox.types import NanoUSD, Usage, usd

_HEAD = re.compile("[a-z]{1,16}[-_]")
"""What ids of the gateway's own making have before the trace id: `gen-`, `chatcmpl-`, `resp_`."""

_RESETS = {
    Period.HOUR: "hourly",
    Period.DAY: "daily",
    Period.WEEK: "weekly",
    Period.MONTH: "monthly",
}
"""OpenRouter's words; a budget for good does not begin again."""


class AccountApi(msgspec.Struct, frozen=True):
    """`readers` run the store's reads; `now` is Unix time in seconds."""

    store: Store
    readers: Workers
    now: Callable[[], float]
    money: Money | None = None
    budgets_of: BudgetsOf = NO_BUDGETS

    async def reply(
        self, endpoint: Endpoint, key: GatewayKey, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """The body of the answer. Raises `RequestError`."""
        try:
            match endpoint:
                case Endpoint.KEY:
                    return await self._key(key)
                case Endpoint.CREDITS:
                    return await self._credits(key)
                case _:
                    return await self._generation(key, query.get("id", ""))
        except StoreUnavailable as error:
            raise RequestError(_database_away(error)) from error

    async def _credits(self, key: GatewayKey) -> dict[str, Any]:
        account = key.account or key.id
        query = SpendingQuery("account", account, 0.0)
        [total] = await self.readers.run(self.store.spent, [query])
        paid_in = await self.readers.run(self.store.balances, [account])
        data = {"total_credits": _money(paid_in.get(account)), "total_usage": _money(total)}
        return {"data": data}

    async def _key(self, key: GatewayKey) -> dict[str, Any]:
        today = datetime.fromtimestamp(self.now(), UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        monday = today - timedelta(days=today.weekday())
        since = (0.0, today.timestamp(), monday.timestamp(), today.replace(day=1).timestamp())
        queries = [SpendingQuery("key", key.id, time) for time in since]
        total, day, week, month = await self.readers.run(self.store.spent, queries)
        limits, own = key.limits, await self._own_budget(key)
        return {
            "data": {
                "label": key.name,
                "limit": None if own is None else _money(own.limit),
                "limit_remaining": None if own is None else _money(own.left),
                "limit_reset": None if own is None else _RESETS.get(own.budget.period),
                "usage": _money(total),
                "usage_daily": _money(day),
                "usage_weekly": _money(week),
                "usage_monthly": _money(month),
                "byok_usage": None,
                "is_free_tier": False,
                "is_provisioning_key": False,
                "rate_limit": {"requests": limits.rpm, "interval": "1m", "note": None},
                "limits": {
                    "rpm": limits.rpm,
                    "tpm": limits.tpm,
                    "concurrency": limits.concurrency,
                },
                "models": list(key.models) or None,
                "expires_at": None if key.expires_at is None else _time(key.expires_at),
            }
        }

    async def _own_budget(self, key: GatewayKey) -> Standing | None:
        """The key's own that has the least left, a hard one where there is any."""
        found = [it for it in self.budgets_of.budgets_for(key, None, ()) if it.scope == "key"]
        if not found or self.money is None:
            return None
        chosen = [budget for budget in found if budget.hard] or found
        standings = await self.money.standing(chosen)
        return min(standings, key=lambda it: it.limit if it.left is None else it.left)

    async def _generation(self, key: GatewayKey, id: str) -> dict[str, Any]:
        trace_id = id if is_uuid7(id) else _HEAD.sub("", id, count=1)
        if not is_uuid7(trace_id):
            expected = "expected a trace id (x-request-id) or an answer's id that has it in it"
            raise RequestError(refusal("invalid_value", f"id: {expected}", "id"))
        charge = await self.readers.run(self.store.load_charge, trace_id)
        trace = await self.readers.run(self.store.load_trace, trace_id)
        found = trace or charge
        if found is None or found.key_id != key.id:
            raise RequestError(_not_found(id))
        return {"data": _generation(trace_id, charge, trace)}


def _generation(id: str, charge: Charge | None, trace: TraceRecord | None) -> dict[str, Any]:
    """One request. The charge is there before its answer ends, the trace a little later."""
    found = trace or charge
    assert found is not None
    started = trace.started_at if trace else charge.at if charge else 0.0
    usage = trace.usage if trace else charge.usage if charge else Usage()
    cost = _money(charge.amount if charge else trace.cost if trace else None)
    own = charge is not None and charge.amount == 0 and bool(charge.upstream_cost)
    duration = trace.duration_ms if trace else None
    first = trace.first_token_ms if trace else None
    return {
        "id": f"gen-{id}",
        "request_id": id,
        "upstream_id": None,
        "created_at": _time(started),
        "model": found.model,
        "provider_name": found.provider,
        "provider_model": found.route_model,
        "streamed": trace.stream if trace else None,
        "cancelled": charge.reason == "cancelled" if charge else None,
        "state": trace.state if trace else None,
        "error": trace.error_code if trace else None,
        "attempts": trace.attempts if trace else None,
        "total_cost": cost,
        "usage": cost,
        "upstream_inference_cost": _money(charge.upstream_cost) if charge else None,
        "is_byok": own,
        "cache_discount": None,
        "tokens_prompt": usage.input_total,
        "tokens_completion": usage.output_total,
        "native_tokens_prompt": usage.input_total,
        "native_tokens_completion": usage.output_total,
        "native_tokens_reasoning": usage.reasoning,
        "native_tokens_cached": usage.cached_read,
        "usage_estimated": usage.estimated,
        "latency": first if first is not None else duration,
        "generation_time": duration,
        "moderation_latency": None,
        "finish_reason": None,
        "native_finish_reason": None,
        "origin": trace.labels.get("referer", "") if trace else "",
        "app_id": None,
    }


def _money(amount: NanoUSD | None) -> msgspec.Raw | None:
    """A JSON number with every digit."""
    if amount is None:
        return None
    return msgspec.Raw(format(usd(amount), "f").encode())


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


def _not_found(id: str) -> ApiError:
    return ApiError(
        status=404,
        type="invalid_request_error",
        code="generation_not_found",
        message=f"This key has made no request {id[:80]!r}.",
        param="id",
        should_retry=False,
    )


def _database_away(error: StoreUnavailable) -> ApiError:
    return ApiError(
        status=503, type="server_error", code="database_unavailable", message=str(error)
    )
