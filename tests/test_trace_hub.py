from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.trace_hub import Message, Subscription, TraceHub


def started(trace_id: str) -> Message:
    return {
        "type": "started",
        "trace_id": trace_id,
        "at": 1.0,
        "door": "chat",
        "model": "gpt",
        "stream": True,
        "key_name": "ci",
        "user": None,
        "tags": [],
    }


def transition(trace_id: str, to: str, number: int = 0) -> Message:
    return {
        "type": "transition",
        "trace_id": trace_id,
        "at": 1.0,
        "event": "admitted",
        "from": "pending",
        "to": to,
        "attempt": None,
        "provider": None,
        "detail": {"number": number},
    }


def attempt(trace_id: str, number: int, provider: str) -> Message:
    return {
        "type": "attempt",
        "trace_id": trace_id,
        "at": 1.0,
        "attempt": number,
        "provider": provider,
        "route_model": f"{provider}'s gpt",
        "key_label": "key 1",
        "outcome": "started",
        "failure": None,
    }


def finished(trace_id: str) -> Message:
    return {"type": "finished", "trace_id": trace_id, "at": 2.0, "state": "done", "status": 200}


async def receive_waiting(viewer: Subscription) -> list[Message]:
    """What the viewer can have without waiting."""
    messages = []
    with trio.move_on_after(1):
        async for message in viewer:
            messages.append(message)
    return messages


@given(
    steps=st.lists(st.sampled_from(["publish", "receive"]), max_size=60),
    buffer=st.integers(1, 5),
)
def test_what_a_viewer_receives_and_what_it_is_told_it_missed_is_all_there_was(
    steps: list[str], buffer: int
) -> None:
    async def main() -> None:
        hub = TraceHub(viewer_messages=buffer)
        viewer = hub.subscribe()
        received: list[Message] = []
        for number, step in enumerate(steps):
            if step == "publish":
                hub.publish(transition("t", "selecting", number))
            else:
                with trio.move_on_after(1):
                    received.append(await viewer.receive())
        received += await receive_waiting(viewer)

        assert received.pop(0)["type"] == "snapshot"
        seq = 0
        for message in received:
            if message["type"] == "lagged":
                assert message["missed"] > 0
                seq += message["missed"]
            else:
                seq += 1
                assert message["seq"] == seq, "the gap is told before the message after it"
        assert seq == steps.count("publish") == hub.statistics().published

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_slow_viewer_does_not_disturb_a_fast_one(autojump_clock: MockClock) -> None:
    hub = TraceHub(viewer_messages=2)
    slow, fast = hub.subscribe(), hub.subscribe()
    seen = []
    await receive_waiting(fast)
    for number in range(5):
        hub.publish(transition("t", "selecting", number))
        seen += await receive_waiting(fast)
    assert [message["seq"] for message in seen] == [1, 2, 3, 4, 5]
    types = [message["type"] for message in await receive_waiting(slow)]
    assert types == ["snapshot", "lagged", "transition", "transition"]


async def test_a_new_viewer_first_sees_all_that_is_under_way(autojump_clock: MockClock) -> None:
    hub = TraceHub()
    for trace_id in ("a", "b", "c"):
        hub.publish(started(trace_id))
    hub.publish(finished("b"))
    viewer = hub.subscribe()
    hub.publish(transition("a", "selecting"))

    snapshot, message = await receive_waiting(viewer)
    assert snapshot["type"] == "snapshot"
    assert snapshot["seq"] == 4
    assert [summary["trace_id"] for summary in snapshot["requests"]] == ["a", "c"]
    assert {summary["state"] for summary in snapshot["requests"]} == {"pending"}
    assert (message["type"], message["seq"]) == ("transition", 5)


def test_a_summary_is_current_until_the_request_is_finished() -> None:
    hub = TraceHub()
    assert hub.current("a") is None
    hub.publish(started("a"))
    hub.publish(attempt("a", 1, "openai"))
    hub.publish(attempt("a", 2, "azure"))
    hub.publish(transition("a", "streaming"))
    assert hub.current("a") == {
        "trace_id": "a",
        "at": 1.0,
        "door": "chat",
        "model": "gpt",
        "stream": True,
        "key_name": "ci",
        "user": None,
        "tags": [],
        "state": "streaming",
        "attempts": 2,
        "provider": "azure",
        "route_model": "azure's gpt",
    }
    hub.publish(finished("a"))
    assert hub.current("a") is None


async def test_requests_beyond_the_bound_are_told_but_not_kept(autojump_clock: MockClock) -> None:
    hub = TraceHub(max_under_way=1)
    viewer = hub.subscribe()
    for trace_id in ("a", "b"):
        hub.publish(started(trace_id))
    hub.publish(transition("b", "selecting"))
    hub.publish(finished("b"))
    assert [summary["trace_id"] for summary in hub.under_way()] == ["a"]
    assert hub.statistics().untracked == 1
    assert len(await receive_waiting(viewer)) == 5


async def test_a_viewer_that_waits_is_woken_by_a_message_and_by_close(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    hub = TraceHub()
    viewer = hub.subscribe()
    seen: list[str] = []

    async def watch() -> None:
        async for message in viewer:
            seen.append(message["type"])
        seen.append("end")

    nursery.start_soon(watch)
    await wait_all_tasks_blocked()
    hub.publish(started("a"))
    await wait_all_tasks_blocked()
    assert seen == ["snapshot", "started"]
    viewer.close()
    viewer.close()
    await wait_all_tasks_blocked()
    assert seen == ["snapshot", "started", "end"]
    assert hub.statistics().viewers == 0
    with pytest.raises(trio.EndOfChannel):
        await viewer.receive()


async def test_a_cancelled_receive_loses_nothing(autojump_clock: MockClock) -> None:
    hub = TraceHub()
    viewer = hub.subscribe()
    hub.publish(started("a"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await viewer.receive()
    assert [message["type"] for message in await receive_waiting(viewer)] == ["snapshot", "started"]
