"""LiteLLM's settings of router, library and proxy: retries, timeouts, limits, Redis, master key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

from signalbox.cli.litellm_deployments import Deployment, Seconds, read_seconds
from signalbox.cli.litellm_durations import period_of
from signalbox.cli.litellm_reasons import BODY_FIELDS, PARAMS, reason
from signalbox.cli.litellm_secrets import Variables
from signalbox.cli.litellm_tables import Reference, Table, plain
from signalbox.config_access import MIN_GATEWAY_KEY_CHARS
from signalbox.config_check import MAX_PRICE, PRICE_DECIMALS
from signalbox.types import Timeouts

MASTER_KEY = "litellm-master"
"""The name of the gateway key that LiteLLM's master key becomes."""

_MIB = 1024 * 1024
_MAX_MIB = 1024
_DAY = Decimal(86_400)
_STRATEGIES = {
    "simple-shuffle": None,
    "least-busy": None,
    "usage-based-routing": None,
    "usage-based-routing-v2": None,
    "latency-based-routing": "fast",
    "cost-based-routing": "cheap",
}
_REDIS_KEYS = ("redis_url", "redis_host", "redis_port", "redis_password", "redis_db")
_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]")


class Sections(msgspec.Struct, frozen=True):
    """The three tables of settings; each may be missing."""

    library: Table | None
    router: Table | None
    general: Table | None

    def tables(self) -> list[Table]:
        """Those that are there; what the first one says holds."""
        return [table for table in (self.router, self.library) if table is not None]

    def holding(self, *keys: str) -> tuple[Table, str] | None:
        """Where one of the keys holds: the router's settings go before the library's."""
        found = [(table, key) for table in self.tables() for key in keys if key in table]
        for table, key in found[1:]:
            first = found[0][0].path[-1]
            table.left(key, f"{first}.{found[0][1]} goes before it")
        return found[0] if found else None


def retry_table(sections: Sections) -> dict[str, Any]:
    """`[retry]`."""
    retry: dict[str, Any] = {}
    held = sections.holding("num_retries", "max_retries")
    if held is not None:
        table, key = held
        attempts = table.count(key)
        if attempts is not None:
            retry["attempts"] = _at_most(table, key, attempts, 100)
    held = sections.holding("retry_after")
    if held is not None:
        table, key = held
        seconds = table.number(key)
        if seconds:
            milliseconds = _at_most(table, key, int(seconds * 1000), 3_600_000)
            retry["base_delay_ms"] = milliseconds
            retry["max_delay_ms"] = max(milliseconds, 4000)
    return retry


def _at_most(table: Table, key: str, number: int, most: int) -> int:
    if number > most:
        table.changed(key, f"is at most {most} here")
    return min(number, most)


# Timeouts


def all_seconds(sections: Sections) -> Seconds:
    """What holds for every deployment that says nothing itself."""
    library = sections.library
    seconds = Seconds()
    for table in sections.tables():
        whole = "request_timeout" if table is library else "timeout"
        own = read_seconds(table, whole)
        for field in Seconds.__struct_fields__:
            if getattr(seconds, field) is None:
                seconds = msgspec.structs.replace(seconds, **{field: getattr(own, field)})
    return seconds


def timeouts(seconds: Seconds) -> dict[str, Decimal]:
    """A table of timeouts. LiteLLM's one number is how long an answer that is not streamed may
    take, and how long a stream may be silent."""
    silence = seconds.stream or seconds.whole
    table = {
        "first_token": seconds.first_token or silence,
        "idle": seconds.idle or silence,
        "response": seconds.whole,
    }
    told = {name: value for name, value in table.items() if value is not None}
    longest = max(told.values(), default=Decimal(0))
    if longest > Decimal(str(Timeouts().total)):
        told["total"] = min(longest, _DAY)
    return told


def model_timeouts(deployments: Sequence[Deployment], common: Seconds) -> dict[str, Any]:
    """`timeouts` of a model: here they are the model's, so the longest of its deployments holds."""
    longest = Seconds()
    for deployment in deployments:
        for field in Seconds.__struct_fields__:
            own = getattr(deployment.seconds, field)
            there = getattr(longest, field)
            if own is not None and (there is None or own > there):
                longest = msgspec.structs.replace(longest, **{field: own})
    if longest == Seconds():
        return {}
    merged = {
        field: getattr(longest, field) or getattr(common, field)
        for field in Seconds.__struct_fields__
    }
    table = timeouts(Seconds(**merged))
    return {name: value for name, value in table.items() if value != timeouts(common).get(name)}


# Everything else


def routing_table(sections: Sections) -> dict[str, Any]:
    """`[routing]` without fallbacks."""
    held = sections.holding("routing_strategy")
    if held is None:
        return {}
    table, key = held
    word = table.text(key)
    if word is None:
        return {}
    if word not in _STRATEGIES:
        table.left(key, "Signalbox has no such strategy: `balanced` holds")
        return {}
    strategy = _STRATEGIES[word]
    if strategy is None:
        table.changed(key, "is `balanced`: drawn by weight and price, down and busy routes last")
        return {}
    table.changed(key, f"is `{strategy}`")
    return {"strategy": strategy}


def limits_table(sections: Sections) -> dict[str, Any]:
    """`[limits]`."""
    general = sections.general
    if general is None:
        return {}
    concurrency = general.count("global_max_parallel_requests")
    return {"concurrency": concurrency} if concurrency else {}


def server_table(sections: Sections) -> dict[str, Any]:
    """`[server]`."""
    general = sections.general
    megabytes = general.number("max_request_size_mb") if general is not None else None
    if general is None or not megabytes:
        return {}
    if not Decimal("0.001") <= megabytes <= _MAX_MIB:
        general.left("max_request_size_mb", f"expected at most {_MAX_MIB} MiB")
        return {}
    return {"max_body_bytes": int(megabytes * _MIB)}


def drop_params(sections: Sections) -> None:
    for table in sections.tables():
        drops = table.flag("drop_params")
        if drops:
            table.changed(
                "drop_params",
                "is how Signalbox works; what was dropped is named in x-signalbox-dropped",
            )
        elif drops is False:
            table.left(
                "drop_params",
                "Signalbox drops hints that a provider does not take; a request that must not "
                'lose one says extra.unsupported = "refuse"',
            )


def keys_table(sections: Sections, variables: Variables) -> dict[str, Any]:
    """`[keys]`: the master key, as a key that may call everything."""
    general = sections.general
    if general is None:
        return {}
    secret = general.secret("master_key")
    if secret is None:
        return {}
    node = general.origin("master_key")
    name = secret.name if isinstance(secret, Reference) else ""
    known = general.context.environ.get(name) if name else secret
    if isinstance(known, str) and len(known) < MIN_GATEWAY_KEY_CHARS:
        general.left(
            "master_key",
            f"keys that are declared have {MIN_GATEWAY_KEY_CHARS} or more characters: choose a "
            "new one for clients that used it",
        )
        return {}
    source = variables.source(secret, "LITELLM_MASTER_KEY", general.at("master_key"), node)
    general.changed(
        "master_key",
        f"is the gateway key {MASTER_KEY}, which may call every model; what it managed is managed "
        "with the admin token ($SIGNALBOX_ADMIN_TOKEN)",
    )
    return {MASTER_KEY: {"key": source}}


def redis_url(sections: Sections) -> str | None:
    """`storage.redis`; None where there is none, or a password that must not stand in the file."""
    router = sections.router
    if router is None:
        return None
    names = [key for key in _REDIS_KEYS if key in router]
    if not names:
        return None
    secret = router.secret("redis_password")
    host = router.text("redis_host")
    port, number = router.count("redis_port") or 6379, router.count("redis_db") or 0
    is_plain = host is not None and _HOST.fullmatch(host) is not None
    has_more = secret is not None or "redis_url" in names
    if has_more or not is_plain or port > 65_535 or number > 9999:
        for key in names:
            router.left(key, "a URL that may hold a password must not stand in the file")
        router.log.task(
            router.origin(names[0]),
            "set SIGNALBOX_STORAGE__REDIS to redis://:PASSWORD@HOST:PORT/DB of a Redis 7 that does "
            "not evict, if several instances are to share limits",
        )
        return None
    for key in names:
        router.changed(key, "is `storage.redis`; it must be Redis 7 or newer and must not evict")
    return f"redis://{host}:{port}/{number}"


def budget(sections: Sections) -> dict[str, Any] | None:
    """The budget of the whole gateway, as `[budgets]` has it."""
    library = sections.library
    if library is None:
        return None
    limit = library.number("max_budget")
    if not limit:
        return None
    duration = library.text("budget_duration")
    period = period_of(duration)
    if period is None:
        library.mistake("budget_duration", 'expected a time such as "30d"')
        return None
    if not period.exact:
        library.changed("budget_duration", f"is `{period.name}`: nobody may spend more than before")
    exact = limit.quantize(Decimal(1).scaleb(-PRICE_DECIMALS), ROUND_HALF_EVEN)
    if limit > MAX_PRICE:
        library.left("max_budget", f"a budget here is at most {MAX_PRICE:,} US dollars")
        return None
    return {"scope": "global", "limit": exact.normalize(), "per": period.name}


def declared_environment(root: Mapping[str, Any]) -> dict[str, str]:
    """What `environment_variables` sets: LiteLLM puts it into its environment."""
    node = root.get("environment_variables")
    if node is None or not isinstance(node.value, dict):
        return {}
    return {
        name: (item.value if isinstance(item.value, str) else item.text)
        for name, item in node.value.items()
        if item.value is not None and not isinstance(item.value, dict | tuple)
    }


def default_params(table: Table) -> dict[str, Any]:
    """`default_params` of every model, out of `default_litellm_params`."""
    params: dict[str, Any] = {}
    for key in table.nodes():
        node = table.take(key)
        if node is None:
            continue
        if key not in BODY_FIELDS:
            table.left(key, reason(key, PARAMS) or "is no field of a request's body")
            continue
        try:
            params[key] = plain(node)
        except ValueError as error:
            table.mistake(key, f"expected {error}")
    return params
