"""The published table of decisions, row by row against the request's machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import commands as c
from signalbox.machines.decision_table import (
    GO_ON,
    GO_ON_ELSEWHERE,
    GO_ON_WITH_KEY,
    MEANINGS,
    STANDS_IN,
)
from signalbox.machines.decisions import KEY_IS_AT_FAULT
from signalbox.machines.lifecycle import Event
from signalbox.machines.request import decide
from signalbox.types import Midstream
from tests.dialogue import Dialogue, content, executing, failed, model, plan

PAGE = Path(__file__).parents[1] / "docs" / "decisions.md"
CHAIN = plan(model("m", "a", "b"), model("n", "c"), stream=True, midstream=Midstream.CONTINUE)
NEXT = {
    Event.ROUTE_FAILED: "next provider",
    Event.MODEL_FAILED: "next model",
    Event.REFUSED: "refuse to client",
}


def rows() -> dict[str, list[str]]:
    """Failure → the cells beside it, as published."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): rest for name, *rest in cells}


def told(talk: Dialogue, kind: FailureKind) -> Sequence[c.Command]:
    talk.state, commands = decide(talk.state, failed(1, kind))
    return commands


def step(commands: Sequence[c.Command]) -> str:
    """What the machine did, in the table's words."""
    [move, *_] = [each for each in commands if isinstance(each, c.RecordTransition)]
    if move.event is Event.ATTEMPT_FAILED:
        waits = any(isinstance(each, c.StartTimer) for each in commands)
        return "retry same route" if waits else "next key"
    return NEXT[move.event]


def test_every_failure_is_published() -> None:
    assert set(rows()) == set(FailureKind) == set(MEANINGS)


@pytest.mark.parametrize("kind", FailureKind)
def test_before_content_the_machine_does_what_is_published(kind: FailureKind) -> None:
    commands = told(executing(CHAIN), kind)
    published = rows()[kind][1]
    assert step(commands) == published.removesuffix(", alert").split(": ")[-1]
    alerts = any(isinstance(each, c.RaiseAlert) for each in commands)
    assert alerts == ("alert" in published)


@pytest.mark.parametrize("kind", FailureKind)
def test_in_the_middle_of_a_stream_the_machine_does_what_is_published(kind: FailureKind) -> None:
    talk = executing(CHAIN)
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    told(talk, kind)
    left = talk.state.spent == {"a:m"}
    assert talk.state.burnt == ({("a:m", "k1")} if kind in KEY_IS_AT_FAULT else set())
    elsewhere = GO_ON_ELSEWHERE if talk.state.model.name == "n" else GO_ON
    assert (elsewhere if left else GO_ON_WITH_KEY) == rows()[kind][2]


@pytest.mark.parametrize("kind", FailureKind)
def test_on_the_callers_own_key_the_machine_does_what_is_published(kind: FailureKind) -> None:
    talk = executing(CHAIN)
    assert talk.state.current is not None
    talk.state = replace(talk.state, current=replace(talk.state.current, callers_own=True))
    assert step(told(talk, kind)) == rows()[kind][3].removesuffix(STANDS_IN)


@pytest.mark.parametrize("kind", FailureKind)
def test_where_it_may_the_gateways_own_key_stands_in_as_published(kind: FailureKind) -> None:
    talk = executing(replace(CHAIN, byok_fallback=True))
    assert talk.state.current is not None
    talk.state = replace(talk.state, current=replace(talk.state.current, callers_own=True))
    row = rows()[kind][3]
    found = told(talk, kind)
    if row.endswith(STANDS_IN):
        assert step(found) == "next key"
        assert [each.stands_in for each in found if isinstance(each, c.AcquireLease)] == [True]
    else:
        assert step(found) == row
