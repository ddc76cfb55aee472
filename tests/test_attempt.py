"""One upstream call of a stream: what of it waits in memory for the first content."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.attempt import LONGEST_PRELUDE, Attempt
from signalbox.actors.attempt_tools import AttemptTools, Endpoint
from signalbox.actors.jobs import Call
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Delta
from signalbox.errors import Failure
from signalbox.machines import facts as f
from signalbox.machines.commands import Resume
from signalbox.types import Route, Timeouts
from tests.rig import model, plan, provider_key, scripted_rig, sent
from tests.scripted_upstream import ROLE, STOP, Head, Wait, stream, text

SAID = ["word "] * 200


@pytest.mark.parametrize("resume", [Resume.SPLICE, Resume.PREFILL])
async def test_what_is_only_repeated_is_not_kept(
    resume: Resume, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(), ROLE, *map(text, SAID), Wait(5), text("more"), STOP])
    delivered = list[Delta]()

    async def deliver(deltas: Sequence[Delta]) -> int:
        delivered.extend(deltas)
        return len(deltas)

    async def only_one_call() -> Failure | None:
        raise AssertionError("a stream is one call")

    attempt = Attempt(
        number=2,
        route=Route("a", "m"),
        key=provider_key("a"),
        lease=None,
        endpoint=Endpoint(OpenAIAdapter("a"), "http://a/v1"),
        started_at=0.0,
        timeouts=Timeouts(),
        resume=resume,
        sent_before="".join(SAID),
    )
    tools = AttemptTools(
        upstream=rig.upstream,
        alarms=rig.services.alarms,
        deliver=deliver,
        delivered=f.Delivered,
        may_retry=lambda route_id: True,
        clock=trio.current_time,
        wall_clock=rig.wall_clock,
        rng=random.Random(0),
        payload_limit=0,
        further_call=only_one_call,
    )
    call = Call(attempt, rig.request(stream=True), tools)
    facts = list[f.Fact | None]()
    async with trio.open_nursery() as nursery:

        async def advance() -> None:
            facts.append(await call.step(trio.CancelScope()))

        nursery.start_soon(advance)
        await trio.sleep(4)
        assert attempt.content_chars == len("".join(SAID))
        assert attempt.held == []
    attempt.commit()
    await advance()
    assert "".join(delta.text for delta in delivered) == "more"
    assert [type(fact) for fact in facts] == [f.ContentArrived, f.UpstreamEnded]


async def test_a_stream_that_never_comes_to_the_point_is_given_up(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    roles = [ROLE * 1000] * (LONGEST_PRELUDE // (len(ROLE) * 1000) + 2)
    rig = scripted_rig(tmp_path, [Head(), *roles, text("late"), STOP], stream("hi"))
    async with rig.running():
        pieces = await rig.ask(rig.request(stream=True), plan(model("m", "a")))
    assert b"hi" in sent(pieces)
    assert b"late" not in sent(pieces)
    rig.assert_nothing_is_held()
