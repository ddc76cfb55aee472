"""The plan that a recorded request would have under today's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace

from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.cli.replanning import differences, todays_plan
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.types import RetryPolicy, Timeouts
from tests.configs import CANARY, load

THEN = f"""
[routing]
fallbacks = ["last"]
[providers.a]
base_url = "http://127.0.0.1:1"
keys = []
[models.chat]
routes = [{{ provider = "a", model = "x", headers = {{ x-org = "{CANARY}" }} }}]
fallbacks = ["own"]
context_fallbacks = ["long"]
[models.own]
routes = [{{ provider = "a", model = "own", input = 1, output = 2 }}]
[models.long]
routes = [{{ provider = "a", model = "long" }}]
[models.asked]
routes = [{{ provider = "a", model = "asked" }}]
[models.last]
routes = [{{ provider = "a", model = "last" }}]
"""
UNPLANNED = RequestPlan((), stream=True)


def planned(
    tmp_path: Path, toml: str, recorded: RequestPlan = UNPLANNED, key_models: Sequence[str] = ()
) -> RequestPlan:
    settings = load(tmp_path, toml)
    models = ModelTable(settings, Catalogue.load(date(2026, 1, 1)))
    plan = todays_plan(recorded, "chat", settings, models, key_models)
    assert not isinstance(plan, UnknownModel)
    return plan


def chain(plan: RequestPlan) -> list[str]:
    return [model.name for model in plan.models]


def test_the_chain_is_the_configured_one_but_for_what_the_request_asked(tmp_path: Path) -> None:
    assert chain(planned(tmp_path, THEN)) == ["chat", "own", "last"]
    asked = replace(UNPLANNED, asked_fallbacks=("asked",))
    assert chain(planned(tmp_path, THEN, asked)) == ["chat", "asked", "last"]


def test_models_that_the_key_may_not_call_are_left_out(tmp_path: Path) -> None:
    plan = planned(tmp_path, THEN, key_models=["chat", "la*"])
    assert chain(plan) == ["chat", "last"]
    assert plan.context_fallbacks == ()


def test_what_the_request_had_set_itself_stays(tmp_path: Path) -> None:
    own = replace(
        UNPLANNED,
        retry=RetryPolicy(attempts=9),
        retry_overridden=True,
        timeouts=Timeouts(total=7),
        timeouts_tightened=True,
    )
    kept = planned(tmp_path, THEN, own)
    assert (kept.retry, kept.timeouts) == (own.retry, own.timeouts)
    now = planned(tmp_path, THEN, replace(own, retry_overridden=False, timeouts_tightened=False))
    assert (now.retry, now.timeouts) == (RetryPolicy(), Timeouts())


def test_a_plan_holds_no_secret_and_a_changed_one_is_no_difference(tmp_path: Path) -> None:
    plan = planned(tmp_path, THEN)
    [(name, hidden)] = plan.models[0].routes[0].headers
    assert (name, hidden.reveal()) == ("x-org", "…")
    assert differences(plan, planned(tmp_path, THEN.replace(CANARY, "sk-another"), plan)) == []


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ("output = 2", "output = 2.5", ("models.own.routes.a:own.price.output", "2", "2.5")),
        ('["own"]', "[]", ("models.chat.fallbacks", "own", "none")),
        ('model = "asked"', 'model = "b"', None),
        ("[routing]", "[routing]\nstrategy = 'cheap'", ("strategy", "balanced", "cheap")),
        (
            '["own"]',
            '["own"]\nretry = { attempts = 1 }',
            (
                "models.chat.retry",
                "none",
                '{"attempts":1,"base_delay":0.4,"backoff":2.0,"max_delay":4.0,"max_wait":30.0,'
                '"max_attempts_total":12}',
            ),
        ),
    ],
)
def test_each_setting_that_changed_is_named_with_both_values(
    tmp_path: Path, then: str, now: str, told: tuple[str, str, str] | None
) -> None:
    plan = planned(tmp_path, THEN)
    found = differences(plan, planned(tmp_path, THEN.replace(then, now), plan))
    words = [(each.setting, each.then, each.now) for each in found]
    assert told in words if told else not words


def test_a_plan_that_state_pinned_stays_cut_to_its_route(tmp_path: Path) -> None:
    pin = Pin("previous_response_id", "a:own", "a/1", required=True)
    assert chain(planned(tmp_path, THEN, replace(UNPLANNED, pin=pin))) == ["own"]
    gone = replace(pin, route_id="a:gone")
    assert chain(planned(tmp_path, THEN, replace(UNPLANNED, pin=gone))) == ["chat", "own", "last"]
