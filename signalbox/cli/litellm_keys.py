"""LiteLLM's virtual keys → gateway keys and their budgets. Pure.

A key is known by its SHA-256 there as here, so clients go on with the keys that they have.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from signalbox.cli.litellm_database import Database, Holder, Limits, Succession, Token
from signalbox.cli.litellm_durations import period_of
from signalbox.persistence.gateway_keys import covers
from signalbox.persistence.records import BudgetRecord, GatewayKeyRecord
from signalbox.persistence.stores import Charge
from signalbox.prices import NANO_PER_USD
from signalbox.types import LONGEST_TAG, MOST_TAGS, NanoUSD, Usage

NO_MODEL = "no-default-models"
"""LiteLLM's word for none: here a name that no model has."""
_ALL, _OF_THE_TEAM = "all-proxy-models", "all-team-models"

_DASHBOARD = "litellm-dashboard"
"""The team of the sessions of LiteLLM's own pages."""
LONGEST_NAME = 200
_MOST = Decimal(9_000_000)
"""US dollars: what a budget can be at most."""
_SHOWN = re.compile(r"[!-~]{1,16}")


class Addition(msgspec.Struct, frozen=True):
    """A key with what belongs to it; `key` is None for a team's budget."""

    key: GatewayKeyRecord | None
    budget: BudgetRecord | None = None
    charge: Charge | None = None
    """What was spent of the budget: the same each time that it is made."""


class Plan(msgspec.Struct):
    """What an import of keys would do, and what is to be said of it."""

    additions: list[Addition] = msgspec.field(default_factory=list)
    there: list[str] = msgspec.field(default_factory=list)
    """Names that keys have here already."""
    remarks: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """What is different or left out → the keys, teams or users that it is said of."""

    def remark(self, text: str, name: str) -> None:
        self.remarks.setdefault(text, []).append(name)


class Existing(msgspec.Struct, frozen=True):
    """What there is already."""

    keys: Sequence[GatewayKeyRecord] = ()
    budgets: Sequence[BudgetRecord] = ()
    declared_names: Collection[str] = ()
    """Of gateway keys and budgets that the configuration declares."""


def plan_keys(
    database: Database,
    existing: Existing,
    *,
    models: Collection[str],
    access_groups: Mapping[str, Sequence[str]],
    now: float,
) -> Plan:
    """`models`: those that were carried over; `access_groups`: LiteLLM's names for sets of them."""
    planner = _Planner(database, existing, models, access_groups, now)
    for token in database.tokens:
        planner.add_token(token)
    for team in database.teams.values():
        planner.add_team(team)
    for user in database.users.values():
        planner.tell_of_user(user)
    if database.models:
        text = "models that LiteLLM keeps encrypted in its database; put them into config.yaml"
        planner.plan.remarks[text] = list(database.models)
    for what, number in database.others.items():
        if number:
            planner.plan.remarks.setdefault(f"{what}: not carried over", []).append(f"{number}")
    return planner.plan


class _Planner:
    def __init__(
        self,
        database: Database,
        existing: Existing,
        models: Collection[str],
        access_groups: Mapping[str, Sequence[str]],
        now: float,
    ) -> None:
        self.plan = Plan()
        self._database = database
        self._models = tuple(models)
        self._access_groups = access_groups
        self._now = now
        self._by_digest = {key.digest: key.name for key in existing.keys}
        self._by_digest |= {
            key.previous_digest: key.name for key in existing.keys if key.previous_digest
        }
        self._key_names = {key.name for key in existing.keys} | set(existing.declared_names)
        self._budget_names = {each.name for each in existing.budgets} | set(existing.declared_names)
        self._had_budgets = {each.id for each in existing.budgets}
        names = Counter(team.name for team in database.teams.values())
        self._same_names = {name for name, number in names.items() if number > 1}
        self._rotated = {each.new: each for each in sorted(database.successions, key=_end_of)}
        self._recorded: dict[str, NanoUSD] = {}
        """What charges of a team's keys come to, by the team's id."""

    # Keys

    def add_token(self, token: Token) -> None:
        shown = token.alias or token.shown or "a key without a name"
        digest = _digest(token.token)
        if digest is None:
            self.plan.remark("left out: their token is no SHA-256", shown)
        elif token.team_id == _DASHBOARD:
            self.plan.remark("left out: sessions of LiteLLM's own pages", shown)
        elif digest in self._by_digest:
            self.plan.there.append(self._by_digest[digest])
        elif token.expires_at is not None and token.expires_at <= self._now:
            self.plan.remark("left out: they have expired", shown)
        else:
            self._add(token, digest)

    def _add(self, token: Token, digest: bytes) -> None:
        name = self._free_name(token, digest)
        self._by_digest[digest] = name
        team = self._database.teams.get(token.team_id or "")
        limits = self._limits(token)
        record = GatewayKeyRecord(
            id=_id_of(digest),
            name=name,
            digest=digest,
            prefix=_prefix(token),
            created_at=self._now if token.created_at is None else token.created_at,
            expires_at=token.expires_at,
            rpm=self._limit(limits.rpm, "rpm_limit", name),
            tpm=self._limit(limits.tpm, "tpm_limit", name),
            concurrency=self._limit(limits.concurrency, "max_parallel_requests", name),
            models=self._models_of(token, team, name),
            enabled=self._may_be_used(token, team, limits, name),
            tags=self._tags(token, team, name),
            updated_at=self._now,
        )
        record = self._with_old_token(record, token)
        self._tell_of_others(token, name)
        budget = self._budget(record, limits)
        charge = None if budget is None else self._spent(record, token, budget)
        if charge is not None and token.team_id is not None:
            there = self._recorded.get(token.team_id, NanoUSD(0))
            self._recorded[token.team_id] = NanoUSD(there + (charge.amount or 0))
        self.plan.additions.append(Addition(record, budget, charge))

    def _free_name(self, token: Token, digest: bytes) -> str:
        alias = "".join(each for each in token.alias or "" if each.isprintable()).strip()
        wanted = alias[:LONGEST_NAME] or f"litellm-{digest.hex()[:8]}"
        name = _free(wanted, self._key_names)
        if name != wanted:
            self.plan.remark("renamed: a key has that name already", f"{wanted} → {name}")
        return name

    def _limits(self, token: Token) -> Limits:
        """Its own before those of the budget that it refers to."""
        shared = self._database.budgets.get(token.budget_id or "", Limits())
        said = {field: getattr(token.limits, field) for field in Limits.__struct_fields__}
        return Limits(
            **{
                field: getattr(shared, field) if value is None else value
                for field, value in said.items()
            }
        )

    def _limit(self, limit: int | None, word: str, name: str) -> int | None:
        if limit is not None and limit < 0:
            self.plan.remark(f"without {word}, which is negative", name)
        return limit if limit is not None and limit > 0 else None

    def _may_be_used(self, token: Token, team: Holder | None, limits: Limits, name: str) -> bool:
        if token.blocked:
            self.plan.remark("disabled: they are blocked", name)
        elif team is not None and team.blocked:
            self.plan.remark("disabled: their team is blocked", name)
        elif 0 in (limits.rpm, limits.tpm, limits.concurrency):
            self.plan.remark("disabled: they have a limit of 0", name)
        else:
            return True
        return False

    def _with_old_token(self, record: GatewayKeyRecord, token: Token) -> GatewayKeyRecord:
        """A key that was rotated is good under its old text for as long as LiteLLM says."""
        old = self._rotated.get(token.token)
        digest = _digest(old.old) if old is not None and old.until > self._now else None
        if old is None or digest is None:
            return record
        return msgspec.structs.replace(record, previous_digest=digest, previous_until=old.until)

    # What a key may call

    def _models_of(self, token: Token, team: Holder | None, name: str) -> tuple[str, ...]:
        holder = team
        if holder is None:
            holder = self._database.users.get(token.user_id or "")
        own = self._translated(token.models, team, name)
        others = self._translated(holder.models, None, name) if holder is not None else ()
        if own and others:
            both = tuple(model for model in own if covers(others, model))
            both += tuple(model for model in others if model not in both and covers(own, model))
            if not both:
                self.plan.remark(
                    "may call nothing: their team or owner may call none of their models", name
                )
            return both or (NO_MODEL,)
        return own or others

    def _translated(self, models: Iterable[str], team: Holder | None, name: str) -> tuple[str, ...]:
        """Names here; empty: everything."""
        found: dict[str, None] = {}
        for model in models:
            if model == _ALL:
                return ()
            if model == _OF_THE_TEAM:
                if team is None or not team.models:
                    return ()
                found |= dict.fromkeys(self._translated(team.models, None, name))
            elif model in self._access_groups and model not in self._models:
                found |= dict.fromkeys(self._access_groups[model])
            else:
                found[model] = None
                if model != NO_MODEL and not covers(self._models, model):
                    self.plan.remark(
                        f"may call {model}, which is no model that was carried over", name
                    )
        return tuple(found)

    def _tags(self, token: Token, team: Holder | None, name: str) -> tuple[str, ...]:
        tags = [] if team is None else [self._tag_of(team)]
        tags += [tag for tag in token.tags if tag not in tags]
        fitting = [tag for tag in tags if len(tag) <= LONGEST_TAG][:MOST_TAGS]
        if len(fitting) < len(tags):
            self.plan.remark(f"without tags that are too long or past {MOST_TAGS}", name)
        return tuple(fitting)

    # Money

    def _budget(self, key: GatewayKeyRecord, limits: Limits) -> BudgetRecord | None:
        return self._made_budget(limits, key.name, scope="key", subject=key.id, seed=key.digest)

    def _made_budget(
        self, limits: Limits, name: str, *, scope: str, subject: str, seed: bytes
    ) -> BudgetRecord | None:
        if limits.max_budget is None:
            if limits.soft_budget is not None:
                self.plan.remark("without a soft budget that has no max_budget", name)
            return None
        if not 0 <= limits.max_budget <= _MOST:
            self.plan.remark(f"without a budget: expected 0 to {_MOST:,} US dollars", name)
            return None
        id = _id_of(b"budget" + seed)
        if id in self._had_budgets:
            return None
        period = period_of(limits.budget_duration)
        if period is None:
            self.plan.remark(f"have a budget for good: {limits.budget_duration!r} is no time", name)
        elif not period.exact:
            text = (
                f"have a budget a {period.name}" if period.name != "total" else "have it for good"
            )
            self.plan.remark(f"{text}, in the place of {limits.budget_duration}", name)
        alert_at: tuple[float, ...] = (0.8, 1.0)
        if limits.soft_budget is not None and 0 < limits.soft_budget < limits.max_budget:
            alert_at = (float(round(limits.soft_budget / limits.max_budget, 4)), 1.0)
        return BudgetRecord(
            id=id,
            name=_free(f"{name} (LiteLLM)", self._budget_names),
            scope=scope,
            subject=subject,
            limit=_nano(limits.max_budget),
            period=period.name if period is not None else "total",
            created_at=self._now,
            alert_at=alert_at,
        )

    def _spent(self, key: GatewayKeyRecord, token: Token, budget: BudgetRecord) -> Charge | None:
        if token.resets_at is not None and token.resets_at <= self._now:
            return None  # of a window that is over
        amount = _nano(token.spend)
        return self._charge(b"spent" + key.digest, amount, key.id, key.account, key.tags)

    def _charge(
        self, seed: bytes, amount: NanoUSD, key_id: str, account: str, tags: tuple[str, ...]
    ) -> Charge | None:
        if amount <= 0:
            return None
        return Charge(
            id=_id_of(seed),
            request_id=_id_of(seed),
            at=self._now,
            key_id=key_id,
            model="",
            provider="litellm",
            route_model="",
            usage=Usage(),
            amount=amount,
            upstream_cost=None,
            reason="imported",
            price_source="litellm",
            account=account,
            tags=tags,
            note="spent at LiteLLM since the budget began",
        )

    # Teams and users

    def add_team(self, team: Holder) -> None:
        """Its budget is one of the tag that all of its keys have."""
        if team.id == _DASHBOARD:
            return
        if any(limit is not None for limit in (team.limits.rpm, team.limits.tpm)):
            self.plan.remark(
                "teams with rpm_limit or tpm_limit, which keys alone have here", team.name
            )
        tag, seed = self._tag_of(team), b"team" + team.id.encode()
        budget = self._made_budget(team.limits, tag, scope="tag", subject=tag, seed=seed)
        if budget is None:
            return
        rest = NanoUSD(_nano(team.spend) - self._recorded.get(team.id, NanoUSD(0)))
        charge = self._charge(b"spent" + seed, rest, "", "", (tag,))
        self.plan.additions.append(Addition(None, budget, charge))

    def _tag_of(self, team: Holder) -> str:
        """`team:ALIAS`; by its id where the alias is another team's too."""
        tag = f"team:{team.name}"
        is_its_own = team.name not in self._same_names and len(tag) <= LONGEST_TAG
        return tag if is_its_own else f"team:{team.id}"[:LONGEST_TAG]

    def tell_of_user(self, user: Holder) -> None:
        limits = user.limits
        said = (limits.max_budget, limits.rpm, limits.tpm, limits.concurrency)
        if any(limit is not None for limit in said):
            self.plan.remark("users with a budget or limits: declare them at their keys", user.name)

    def _tell_of_others(self, token: Token, name: str) -> None:
        for other in token.others:
            self.plan.remark(f"without {other}, which has no counterpart", name)


def _end_of(succession: Succession) -> float:
    return succession.until


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name = f"{wanted}-{number}"
        number += 1
    taken.add(name)
    return name


def _digest(token: str) -> bytes | None:
    return bytes.fromhex(token) if re.fullmatch(r"[0-9a-fA-F]{64}", token) else None


def _id_of(seed: bytes) -> str:
    """The same for the same key, so that what one import began another one ends."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, seed.hex()))


def _prefix(token: Token) -> str:
    shown = (token.shown or "").replace("...", "…")
    return shown if _SHOWN.fullmatch(shown.replace("…", ".")) else "sk-"


def _nano(dollars: Decimal) -> NanoUSD:
    return NanoUSD(int((dollars * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN)))
