"""The runner: streams that break in the middle, and a second route beside a slow one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Output
from signalbox.adapters.openai_door import ChatEncoder
from signalbox.adapters.protocol import Delta
from signalbox.machines.plan import RequestPlan
from signalbox.types import Midstream
from tests.folding import fold_bytes
from tests.rig import PRICE, Rig, model, plan, scripted_rig, sent
from tests.scripted_upstream import (
    DONE,
    LOST,
    ROLE,
    STOP,
    Head,
    Step,
    Wait,
    chunk,
    error,
    event,
    stream,
    text,
)

SAID = "The signal"
REST = " is at danger."
WHOLE = SAID + REST
CUT: list[Step] = [Head(), ROLE, text("The "), text("signal"), LOST]


def going_on(prefill: bool = False) -> RequestPlan:
    """Two routes; the second one takes a prefill or does not."""
    chain = plan(model("m", "a", "b"))
    first, second = chain.models[0].routes
    routes = (first, replace(second, prefill=prefill))
    models = (replace(chain.models[0], routes=routes),)
    return replace(chain, models=models, midstream=Midstream.CONTINUE)


def told(pieces: Sequence[Output]) -> str:
    return fold_bytes(sent(pieces)).text


def finish_reasons(pieces: Sequence[Output]) -> list[str]:
    return fold_bytes(sent(pieces)).finish.get(0, [])


async def ask(rig: Rig, chain: RequestPlan) -> list[Output]:
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), chain)
    rig.assert_nothing_is_held()
    return pieces


async def test_a_route_that_takes_a_prefill_goes_on_where_the_other_stopped(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, CUT, stream(REST))
    pieces = await ask(rig, going_on(prefill=True))
    assert told(pieces) == WHOLE
    assert finish_reasons(pieces) == ["stop"]
    assert rig.calls[1].body["messages"][-1] == {"role": "assistant", "content": SAID}
    assert rig.only_trace.state == "done"


async def test_another_route_starts_again_and_what_was_sent_is_left_out(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, CUT, stream("The sig", "nal is", " at danger."))
    pieces = await ask(rig, going_on())
    assert told(pieces) == WHOLE
    assert finish_reasons(pieces) == ["stop"]
    assert b": " in sent(pieces), "a comment marks the seam"


async def test_a_refused_prefill_is_not_the_final_error(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    refused = error(400, "this model does not support assistant message prefill")
    rig = scripted_rig(tmp_path, CUT, refused, stream(WHOLE))
    pieces = await ask(rig, going_on(prefill=True))
    assert told(pieces) == WHOLE
    assert [call.body["messages"][-1]["role"] for call in rig.calls] == [
        "user",
        "assistant",
        "user",
    ]


async def test_an_answer_that_the_client_itself_began_is_not_begun_for_a_route_that_echoes(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, CUT, stream(WHOLE))
    request = rig.request(stream=True)
    own = [*request.body["messages"], {"role": "assistant", "content": "Listen: "}]
    request = replace(request, body={**request.body, "messages": own}, begun=True)
    async with rig.running():
        pieces = await rig.ask(request, going_on(prefill=True))
    assert told(pieces) == WHOLE
    assert [call.body["messages"] for call in rig.calls] == [own, own]


async def test_a_second_answer_that_says_something_else_is_not_joined_on(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, CUT, stream("All clear."))
    pieces = await ask(rig, going_on())
    assert told(pieces) == SAID
    assert finish_reasons(pieces) == ["error"]
    assert len(rig.calls) == 2
    [charge] = rig.store.charges.values()
    assert charge.reason == "broken"


async def test_after_reasoning_alone_the_answer_starts_again(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    thought: list[Step] = [Head(), ROLE, chunk({"reasoning_content": "hm"}), LOST]
    rig = scripted_rig(tmp_path, thought, stream(WHOLE))
    pieces = await ask(rig, going_on(prefill=True))
    assert told(pieces) == WHOLE
    assert rig.calls[1].body["messages"][-1]["role"] == "user"


async def test_after_a_tool_call_nothing_goes_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}
    rig = scripted_rig(tmp_path, [Head(), ROLE, chunk({"tool_calls": [call]}), LOST])
    pieces = await ask(rig, going_on())
    assert finish_reasons(pieces) == ["error"]
    assert len(rig.calls) == 1


async def test_words_that_could_be_a_repetition_go_before_a_tool_call(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    tool = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ends = chunk({}, "tool_calls")
    calls: list[Step] = [Head(), text("The "), chunk({"tool_calls": [tool]}), ends, DONE]
    rig = scripted_rig(tmp_path, CUT, calls)
    pieces = await ask(rig, going_on(prefill=True))
    assert told(pieces) == f"{SAID}The "
    seam = f": resumed at b m after {len(SAID)} characters (prefill)\n\n".encode()
    first, *_ = sent(pieces).partition(seam)[2].split(b"\n\n")
    assert b"The " in first


async def test_a_rescue_that_has_nothing_to_add_ends_the_stream(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, CUT, stream(SAID))
    pieces = await ask(rig, going_on())
    assert told(pieces) == SAID
    assert finish_reasons(pieces) == ["stop"]
    assert rig.only_trace.state == "done"


async def test_a_stream_that_falls_silent_goes_on_elsewhere_at_its_idle_clock(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    silent: list[Step] = [*CUT[:-1], Wait(1000)]
    rig = scripted_rig(tmp_path, silent, stream(WHOLE))
    pieces = await ask(rig, going_on())
    assert told(pieces) == WHOLE
    assert rig.calls[1].at == pytest.approx(60)


async def test_the_only_key_is_waited_for_when_its_limit_breaks_the_stream(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    limited = event({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    rig = scripted_rig(tmp_path, [*CUT[:-1], limited], stream(WHOLE))
    chain = replace(plan(model("m", "a")), midstream=Midstream.CONTINUE)
    assert told(await ask(rig, chain)) == WHOLE
    assert rig.calls[1].at > 0


@pytest.mark.parametrize(
    ("prefill", "rescue", "output"),
    [(True, stream(REST), 3 + 5), (False, stream(WHOLE), 5)],
    ids=["prefill", "splice"],
)
async def test_the_charge_covers_what_was_delivered_once_and_the_cost_all_of_it(
    prefill: bool, rescue: list[Step], output: int, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The first attempt's ten characters are estimated as three tokens, the second reports five."""
    rig = scripted_rig(tmp_path, CUT, rescue)
    await ask(rig, going_on(prefill))
    [charge] = rig.store.charges.values()
    assert (charge.usage.prompt, charge.usage.output_total) == (10, output)
    assert charge.usage.estimated is prefill
    assert PRICE.input is not None
    assert PRICE.output is not None
    assert charge.amount == (10 * PRICE.input + output * PRICE.output) * 1000
    assert charge.upstream_cost == (20 * PRICE.input + 8 * PRICE.output) * 1000


async def test_the_first_token_is_the_one_that_the_client_saw_first(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    cut: list[Step] = [Head(), Wait(1), ROLE, text(SAID), Wait(10), LOST]
    rig = scripted_rig(tmp_path, cut, stream(WHOLE))
    await ask(rig, going_on())
    assert rig.only_trace.first_token_ms == pytest.approx(1000)


async def test_what_could_not_be_sent_is_not_taken_for_sent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The gateway's own fault in one chunk leaves no hole in the text."""
    rig = scripted_rig(tmp_path, [Head(), ROLE, text("The "), text("lost")], stream(WHOLE))
    encode = ChatEncoder.delta

    def encode_or_crash(encoder: ChatEncoder, delta: Delta) -> bytes:
        assert delta.text != "lost"
        return encode(encoder, delta)

    monkeypatch.setattr(ChatEncoder, "delta", encode_or_crash)
    assert told(await ask(rig, going_on())) == WHOLE


# ── hedging ───────────────────────────────────────────────────────────────────────────────────


def in_haste() -> RequestPlan:
    return replace(plan(model("m", "a", "b")), hedge=True, hedge_after=2.0)


SLOW: list[Step] = [Head(), Wait(5), ROLE, text("slow"), STOP, DONE]


async def test_a_second_route_answers_while_the_first_is_late(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, SLOW, stream("quick"))
    pieces = await ask(rig, in_haste())
    assert told(pieces) == "quick"
    assert [call.at for call in rig.calls] == [0, pytest.approx(2)]
    assert not rig.upstream.open_calls
    assert rig.only_trace.provider == "b"
    [late] = await rig.services.health.snapshots(["a:m"], trio.current_time())
    assert late.first_token == pytest.approx(2), "at least as long as it was waited for"


async def test_a_first_route_that_comes_in_time_after_all_wins(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, SLOW, [Head(), Wait(50), *stream("quick")[1:]])
    pieces = await ask(rig, in_haste())
    assert told(pieces) == "slow"
    assert len(rig.calls) == 2
    [charge] = rig.store.charges.values()
    assert charge.provider == "a"


async def test_a_first_token_in_time_starts_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(), ROLE, text("a"), Wait(9), STOP, DONE])
    await ask(rig, in_haste())
    assert len(rig.calls) == 1
