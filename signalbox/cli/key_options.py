"""What a gateway key may be given on the command line, and what it comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import click
import msgspec
from msgspec.structs import replace

from signalbox.cli.common import fail, new_id
from signalbox.config import Settings
from signalbox.config_report import did_you_mean
from signalbox.machines.budget import MOST, Period
from signalbox.persistence.record_store import Change, Delete, Insert, Update
from signalbox.persistence.records import (
    BudgetRecord,
    GatewayKeyRecord,
    PresetRecord,
    UserRecord,
)
from signalbox.persistence.stores import Store
from signalbox.prices import NANO_PER_USD
from signalbox.types import LONGEST_TAG, MOST_TAGS, NanoUSD, usd

SECONDS_PER_DAY = 86_400
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]{1,9})?)/([a-z]+)(?::(hard|soft))?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": SECONDS_PER_DAY}

Command = TypeVar("Command", bound=Callable[..., object])


class Ceiling(msgspec.Struct, frozen=True):
    limit: NanoUSD
    period: str
    hard: bool


class BudgetType(click.ParamType[Ceiling]):
    """`10/day`, `2.50/month:soft`."""

    name = "USD/PERIOD[:soft]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Ceiling:
        if isinstance(value, Ceiling):
            return value
        periods = [period.value for period in Period]
        found = _BUDGET.fullmatch(value)
        if found is None or found[2] not in periods:
            self.fail(
                f"{value!r} is no budget, expected one like 10/day or 2.50/month:soft; "
                f"periods are {', '.join(periods)}",
                param,
                ctx,
            )
        limit = NanoUSD(int(Decimal(found[1]) * NANO_PER_USD))
        if limit > MOST:
            self.fail(f"{value!r} is more than ${usd(MOST):f}", param, ctx)
        return Ceiling(limit, found[2], found[3] != "soft")


class DurationType(click.ParamType[float]):
    """`24h`, `30m`, `7d`, `0`: seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
        if found is None or (not found[2] and found[1] != "0"):
            self.fail(f"{value!r} is no duration, expected one like 24h, 30m or 7d", param, ctx)
        return float(int(found[1]) * _UNITS.get(found[2], 0))


CLEARED: Mapping[str, object] = {
    "owner": None,
    "expiry": None,
    "rpm": None,
    "tpm": None,
    "concurrency": None,
    "models": (),
    "providers": (),
    "tags": (),
    "preset": None,
}
"""What can be taken away, and what is left then."""
_FIELDS = {"expiry": "expires_at"}
BUDGETS = "budgets"

_OPTIONS = (
    click.option("--owner", help="The user whose credits pay for it, by name or id."),
    click.option("--rpm", type=click.IntRange(1), help="Requests per minute."),
    click.option("--tpm", type=click.IntRange(1), help="Tokens per minute."),
    click.option("--concurrency", type=click.IntRange(1), help="Requests at once."),
    click.option(
        "--model",
        "models",
        multiple=True,
        help="A model that it may call, also `vendor/*`; may be given again. All without it.",
    ),
    click.option(
        "--provider",
        "providers",
        multiple=True,
        help="A provider that may serve it; may be given again. All without it.",
    ),
    click.option(
        "--tag", "tags", multiple=True, help="Put on each of its requests; may be given again."
    ),
    click.option("--preset", help="What its requests have where they name none."),
    click.option(
        "--budget",
        "budgets",
        type=BudgetType(),
        multiple=True,
        help="What it may spend, like 10/day, or 100/month:soft to be told only.",
    ),
    click.option("--expires-in-days", type=click.FloatRange(0, min_open=True)),
    click.option(
        "--byok-fallback/--no-byok-fallback",
        default=None,
        help="Whether the gateway's keys stand in for a caller's own key that fails.",
    ),
)


def key_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def record_fields(
    given: Mapping[str, Any], settings: Settings, store: Store, now: float
) -> dict[str, Any]:
    """The record's fields that the options say; what refers to nothing ends the command."""
    fields = {
        name: given[name]
        for name in ("rpm", "tpm", "concurrency", "models", "providers", "tags", "preset")
        if given[name] not in (None, ())
    }
    if given["byok_fallback"] is not None:
        fields["byok_fallback"] = given["byok_fallback"]
    if given["expires_in_days"] is not None:
        fields["expires_at"] = now + given["expires_in_days"] * SECONDS_PER_DAY
    if given["owner"] is not None:
        fields["owner"] = user_of(given["owner"], store.records(UserRecord)).id
    _must_be_known("provider", given["providers"], settings.providers)
    if given["preset"] is not None:
        known = {*settings.presets, *(record.slug for record in store.records(PresetRecord))}
        _must_be_known("preset", [given["preset"]], known)
    tags = given["tags"]
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        fail(f"expected at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters")
    return fields


def cleared_fields(names: Iterable[str]) -> dict[str, Any]:
    return {_FIELDS.get(name, name): CLEARED[name] for name in names if name != BUDGETS}


def user_of(name_or_id: str, users: Sequence[UserRecord]) -> UserRecord:
    """An id wins over a name that looks like it."""
    by_id = {user.id: user for user in users}
    by_name = {user.name: user for user in users}
    found = by_id.get(name_or_id) or by_name.get(name_or_id)
    if found is None:
        hint = did_you_mean(name_or_id, by_name)
        fail(f"there is no user of the name or id {name_or_id!r}{hint}")
    return found


def budget_changes(
    key: GatewayKeyRecord, wanted: Sequence[Ceiling], there: Sequence[BudgetRecord], now: float
) -> list[Change]:
    """A ceiling takes the place of the key's budget of the same period and kind."""
    changes: list[Change] = []
    known = {(budget.period, budget.hard): budget for budget in there}
    for ceiling in {(each.period, each.hard): each for each in wanted}.values():
        old = known.get((ceiling.period, ceiling.hard))
        if old is not None:
            changed = replace(old, limit=ceiling.limit, enabled=True, updated_at=now)
            changes.append(Update(changed, was=old))
        else:
            changes.append(Insert(_budget(key, ceiling, now)))
    return changes


def without_budgets(there: Sequence[BudgetRecord]) -> list[Change]:
    return [Delete(budget) for budget in there]


def budgets_of(key: GatewayKeyRecord, store: Store) -> list[BudgetRecord]:
    return store.records(BudgetRecord, {"scope": "key", "subject": key.id})


def _budget(key: GatewayKeyRecord, ceiling: Ceiling, now: float) -> BudgetRecord:
    soft = "" if ceiling.hard else ", soft"
    return BudgetRecord(
        id=new_id(),
        name=f"{key.name}, per {ceiling.period}{soft}",
        scope="key",
        subject=key.id,
        limit=ceiling.limit,
        period=ceiling.period,
        created_at=now,
        hard=ceiling.hard,
    )


def _must_be_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            fail(f"there is no {kind} {name!r}{did_you_mean(name, known)}")
