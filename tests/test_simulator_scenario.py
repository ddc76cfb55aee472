"""Scenarios: what they may say, whom they match, which step is next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.simulator import (
    KeyRule,
    Match,
    Rule,
    Scenario,
    ScenarioError,
    Step,
    load_scenario,
    parse_scenario,
    scenario,
)
from signalbox.simulator.player import Features, ScenarioPlayer


def features(model: str = "m", key: str = "k") -> Features:
    return Features(model, key, {"x-team": "red"}, b'{"messages": "find me"}')


@given(st.integers(1, 4), st.integers(0, 12), st.sampled_from(["repeat_last", "loop", "ok"]))
def test_steps_are_taken_in_order_and_then(count: int, asked: int, then: Any) -> None:
    steps = tuple(Step(status=500 + index) for index in range(count))
    player = ScenarioPlayer(Scenario(rules=(Rule(steps=steps, then=then),)))
    taken = [player.next_step(features()) for _ in range(asked)]
    after: dict[str, list[Step | None]] = {
        "repeat_last": [steps[-1]] * asked,
        "loop": [*steps] * asked,
        "ok": [None] * asked,
    }
    assert taken == [*steps, *after[then]][:asked]


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (Match(), True),
        (Match(model="m"), True),
        (Match(model="n"), False),
        (Match(model="m*"), True),
        (Match(model="*.m"), False),
        (Match(key="k", header={"X-Team": "red"}), True),
        (Match(key="other"), False),
        (Match(header={"x-team": "blue"}), False),
        (Match(body_contains="find me"), True),
        (Match(model="m", body_contains="absent"), False),
    ],
)
def test_all_conditions_of_a_match_must_hold(match: Match, matches: bool) -> None:
    player = ScenarioPlayer(Scenario(rules=(Rule(match=match, steps=(Step(status=500),)),)))
    assert (player.next_step(features()) is not None) == matches


@given(st.integers(1, 5), st.lists(st.integers(0, 30), max_size=40))
def test_no_minute_admits_more_than_a_keys_limit(rpm: int, gaps: list[int]) -> None:
    player = ScenarioPlayer(Scenario(keys={"k": KeyRule(rpm=rpm)}))
    now, admitted = 0, list[int]()
    for gap in gaps:
        now += gap
        state = player.admit("k", now)
        assert state is not None
        if state.admitted:
            admitted.append(now)
        else:
            assert 0 < state.reset <= 60
            assert len([at for at in admitted if at > now - 60]) == rpm
    for first, last in zip(admitted, admitted[rpm:], strict=False):
        assert last - first >= 60


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"[", "not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"rule": [], "key": 1}', r"rule: unknown field.*; key: unknown field"),
        (b'{"rules": [{"steps": [{}, {"stauts": 1}]}]}', r"rules\[0\].steps\[1\].stauts: unknown"),
        (b'{"rules": [{"steps": [{"ratelimit": {"x": 1}}]}]}', r"ratelimit.x: unknown field"),
        (b'{"keys": {"sk": {"rmp": 1}}}', r'keys."sk".rmp: unknown field'),
        (b'{"rules": [{"steps": []}]}', r"length >= 1.*steps"),
        (b'{"rules": [{"steps": [{"status": 99}]}]}', r">= 200.*status"),
        (b'{"rules": [{"steps": [{"status": 204}]}]}', "204 has no body"),
        (b'{"rules": [{"steps": [{"delay": -1}]}]}', r">= 0.0.*delay"),
        (b'{"rules": [{"steps": [{"error": "oops"}]}]}', "'oops' is none of invalid_request"),
        (b'{"rules": [{"steps": [{"how": "rst"}]}]}', "cut_after"),
        (b'{"rules": [{"steps": [{"silence": true, "status": 500}]}]}', "only one of silence"),
        (b'{"rules": [{"steps": [{"headers": {"a b": "c"}}]}]}', "not a header name"),
        (b'{"rules": [{"steps": [{"headers": {"a": "b\\r\\nc"}}]}]}', "not a header value"),
        (b'{"rules": [{"steps": [{"headers": {"Content-Length": 1}}]}]}', "simulator's own"),
    ],
)
def test_a_wrong_scenario_is_named_with_its_source(content: bytes, named: str) -> None:
    with pytest.raises(ScenarioError, match=f"(?s)^faults.json: .*{named}"):
        parse_scenario(content, source="faults.json")


def test_scenario_files(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(
        'rules = [{ match = { model = "a" }, steps = [{ cut_after = 1, how = "rst" }] }]\n'
        '[keys."sk-1"]\nrpm = 3\n'
    )
    loaded = load_scenario(file)
    assert loaded.rules[0].steps == (Step(cut_after=1, how="rst"),)
    assert parse_scenario(loaded.to_json(), source="x") == loaded
    file.write_text("rules = [")
    with pytest.raises(ScenarioError, match=r"faults\.toml: not TOML"):
        load_scenario(file)
    with pytest.raises(ScenarioError, match=r"absent\.json: No such file"):
        load_scenario(tmp_path / "absent.json")


def test_the_documented_examples_can_be_played(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        (tmp_path / "example.toml").write_text(example)
        assert load_scenario(tmp_path / "example.toml").rules


def test_every_field_of_a_step_is_documented() -> None:
    assert scenario.__doc__ is not None
    undocumented = [name for name in Step.__struct_fields__ if f"`{name}`" not in scenario.__doc__]
    assert undocumented == []
