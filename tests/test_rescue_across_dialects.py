"""Streams that break at a provider of one dialect and go on at another's, behind each door."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.adapters.splice import prefill_text
from signalbox.machines.plan import RequestPlan
from signalbox.types import Dialect, Midstream
from tests.dialect_streams import (
    APIS,
    BODIES,
    CHAT,
    GENERATE,
    MESSAGES,
    PREFILLED,
    RESPONSES,
    Api,
    Told,
    model_of,
    request_of,
    rig_of,
    told_by,
)
from tests.recordings import cut
from tests.rig import Rig, plan, sent
from tests.scripted_upstream import LOST, Call, Head, Script, Step, Wait

SAID = "The signal"
REST = " is at danger."
WHOLE = SAID + REST
DOORS = list(BODIES)
WAYS = [
    (CHAT, PREFILLED),
    (CHAT, MESSAGES),
    (CHAT, GENERATE),
    (MESSAGES, CHAT),
    (MESSAGES, GENERATE),
    (GENERATE, CHAT),
    (GENERATE, PREFILLED),
    (RESPONSES, MESSAGES),
    (PREFILLED, RESPONSES),
]
ENDS = {
    Dialect.CHAT: "stop",
    Dialect.RESPONSES: "response.completed",
    Dialect.MESSAGES: "end_turn",
    Dialect.GENERATE: "STOP",
}
BROKEN = {
    Dialect.CHAT: "bad_upstream",
    Dialect.RESPONSES: "bad_upstream",
    Dialect.MESSAGES: "api_error",
    Dialect.GENERATE: "UNAVAILABLE",
}
"""What a break that cannot be mended is called at each door."""


def names(value: Any) -> Any:
    return value.name if isinstance(value, Api) else None


def chain(*apis: Api) -> RequestPlan:
    return replace(plan(model_of(*apis)), midstream=Midstream.CONTINUE)


def scripts(*each: Script) -> Any:
    return lambda call: each[call.number - 1]


async def ask(rig: Rig, door: Dialect, chain: RequestPlan, **fields: Any) -> Told:
    async with rig.running():
        pieces = await rig.ask(request_of(rig, door, **fields), chain)
    rig.assert_nothing_is_held()
    return told_by(door, sent(pieces))


def second(api: Api, said: str, whole: str, places: Sequence[int] = ()) -> list[Step]:
    """The whole stream of the provider that goes on."""
    left = whole[len(prefill_text(said)) :] if api.prefills else whole
    return api.stream(*cut(left, places))


def begun_by(call: Call) -> str | None:
    """The beginning of the answer that the call holds, whatever its dialect."""
    turns = call.body.get("messages") or call.body.get("contents") or call.body["input"]
    last = turns[-1]
    if isinstance(last, str) or last["role"] not in ("assistant", "model"):
        return None
    return json.dumps(last)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("first", "next_"), WAYS, ids=names)
async def test_a_broken_text_goes_on_in_another_dialect(
    first: Api, next_: Api, door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    broken = first.broken("The ", "signal")
    rig = rig_of(tmp_path, scripts(broken, second(next_, SAID, WHOLE, [5, 12])))
    told = await ask(rig, door, chain(first, next_))
    assert told == Told(WHOLE, [ENDS[door]])
    assert [call.url.split("/")[2] for call in rig.calls] == [first.name, next_.name]
    begun = begun_by(rig.calls[1])
    assert (begun is not None and SAID in begun) if next_.prefills else begun is None
    assert rig.only_trace.state == "done"
    [charge] = rig.store.charges.values()
    assert (charge.usage.prompt, charge.provider) == (10, next_.name)


@pytest.mark.parametrize(
    ("first", "door"), list(zip(APIS.values(), cycle(DOORS), strict=False)), ids=names
)
@pytest.mark.parametrize("by", ["error", "end", "garbage"])
async def test_whatever_breaks_the_stream(
    by: str, first: Api, door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """An error in the provider's dialect, an end without a finish reason, bytes that are none."""
    breaks: dict[str, Step | None] = {
        "error": first.error,
        "end": None,
        "garbage": b"data: {nonsense}\n\n",
    }
    broken = first.broken("The ", "signal", by=breaks[by])
    others = GENERATE if first is not GENERATE else CHAT
    rig = rig_of(tmp_path, scripts(broken, others.stream(SAID, REST)))
    told = await ask(rig, door, chain(first, others))
    assert told == Told(WHOLE, [ENDS[door]])
    assert len(rig.calls) == 2


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("first", "next_"), WAYS[::2], ids=names)
async def test_after_reasoning_alone_the_answer_starts_again(
    first: Api, next_: Api, door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    thinking = first.script(*first.thought("Well, "), LOST)
    rig = rig_of(tmp_path, scripts(thinking, next_.stream(SAID, REST)))
    told = await ask(rig, door, chain(first, next_))
    assert told == Told(WHOLE, [ENDS[door]])
    assert begun_by(rig.calls[1]) is None


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("first", APIS.values(), ids=names)
async def test_after_a_tool_call_the_client_is_told_in_its_own_dialect(
    first: Api, door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    calling = first.script(*first.opening, first.text(SAID), *first.call, LOST)
    other = CHAT if first is not CHAT else MESSAGES
    rig = rig_of(tmp_path, scripts(calling, other.stream(WHOLE)))
    told = await ask(rig, door, chain(first, other))
    if door is Dialect.GENERATE and first is not GENERATE:
        # There calls are told whole: the client has heard of none.
        assert told == Told(WHOLE, [ENDS[door]])
        return
    assert (told.text, told.error) == (SAID, BROKEN[door])
    assert told.ends == (["error"] if door is Dialect.CHAT else [])
    assert len(rig.calls) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_another_text_is_not_joined_on_in_any_dialect(
    door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    other = "All clear."
    rig = rig_of(
        tmp_path, scripts(CHAT.broken(SAID), GENERATE.stream(other), MESSAGES.stream(other))
    )
    told = await ask(rig, door, chain(CHAT, GENERATE, MESSAGES))
    assert (told.text, told.error) == (SAID, BROKEN[door])
    assert len(rig.calls) == 3


LIVES = given(
    door=st.sampled_from(DOORS),
    ways=st.permutations(list(APIS.values())).map(lambda ways: ways[:3]),
    whole=st.text(min_size=1, max_size=40),
    breaks=st.lists(st.integers(1, 40), min_size=2, max_size=2),
    places=st.lists(st.integers(0, 40), max_size=4),
)


def reads_the_text_once(
    door: Dialect, ways: list[Api], whole: str, breaks: list[int], places: list[int]
) -> None:
    """Each attempt but the last breaks after so many characters of what it says."""
    said = ""

    def script(call: Call) -> Script:
        nonlocal said
        api = ways[min(call.number, len(ways)) - 1]
        left = whole[len(prefill_text(said)) :] if begun_by(call) else whole
        if call.number >= len(ways):
            return api.stream(*cut(left, places))
        told = left[: breaks[call.number - 1]]
        said = max(said, whole[: len(whole) - len(left) + len(told)], key=len)
        return api.broken(*cut(told, places))

    with tempfile.TemporaryDirectory() as folder:
        rig = rig_of(Path(folder), script)
        run = partial(ask, rig, door, chain(*ways))
        told = trio.run(run, clock=MockClock(autojump_threshold=0))
    assert told == Told(whole, [ENDS[door]])


@settings(max_examples=12, deadline=None)
@LIVES
def test_the_client_reads_the_text_once_wherever_it_breaks(**drawn: Any) -> None:
    reads_the_text_once(**drawn)


@pytest.mark.long
@settings(max_examples=600, deadline=None)
@LIVES
def test_the_client_reads_every_text_once_wherever_it_breaks(**drawn: Any) -> None:
    reads_the_text_once(**drawn)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("slow", "quick"), [(CHAT, MESSAGES), (MESSAGES, GENERATE)], ids=names)
async def test_a_hedge_in_another_dialect_answers_while_the_first_is_late(
    slow: Api, quick: Api, door: Dialect, autojump_clock: MockClock, tmp_path: Path
) -> None:
    late: list[Step] = [Head(), Wait(5), *slow.stream("slow")[1:]]
    rig = rig_of(tmp_path, scripts(late, quick.stream("quick")))
    in_haste = replace(chain(slow, quick), hedge=True, hedge_after=2.0)
    assert await ask(rig, door, in_haste) == Told("quick", [ENDS[door]])
    assert [call.at for call in rig.calls] == [0, pytest.approx(2)]
    assert rig.only_trace.provider == quick.name
