"""A streamed call of Amazon Bedrock from its start to its end, and how it is labelled."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.attempt import Attempt
from signalbox.actors.attempt_tools import AttemptTools, Endpoint
from signalbox.actors.jobs import Call
from signalbox.adapters.converse import ConverseAdapter
from signalbox.adapters.doors import door_of
from signalbox.adapters.protocol import Delta
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.machines import facts as f
from signalbox.types import Dialect, Route, Timeouts
from tests.aws_events import event
from tests.rig import provider_key, scripted_rig
from tests.scripted_upstream import Head

SAID = [
    event("messageStart", role="assistant"),
    event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Once"}),
    event("messageStop", stopReason="end_turn"),
    event("metadata", usage={"inputTokens": 3, "outputTokens": 1}),
]


@pytest.mark.parametrize(
    ("label", "ended"),
    [("application/vnd.amazon.eventstream", True), ("text/event-stream", False)],
)
async def test_only_its_own_label_is_a_stream(
    label: str, ended: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Head(headers=(("content-type", label),)), *SAID])
    facts, delivered = list[f.Fact | None](), list[Delta]()

    async def deliver(deltas: Sequence[Delta]) -> int:
        delivered.extend(deltas)
        return len(deltas)

    async def only_one_call() -> None:
        raise AssertionError("a stream is one call")

    adapter = TranslatedAdapter(ConverseAdapter("a"), door_of(Dialect.CHAT))
    attempt = Attempt(
        number=1,
        route=Route("a", "anthropic.claude-sonnet-4-5"),
        key=provider_key("a"),
        lease=None,
        endpoint=Endpoint(adapter, "http://a"),
        started_at=0.0,
        timeouts=Timeouts(),
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
    while not call.over:
        facts.append(await call.step(trio.CancelScope()))
    assert ("".join(delta.text for delta in delivered) == "Once") is ended
    assert isinstance(facts[-1], f.UpstreamEnded) is ended
    if ended:
        assert attempt.usage is not None
        assert (attempt.usage.prompt, attempt.usage.completion) == (3, 1)
        assert attempt.finish_reasons == {0: "stop"}
