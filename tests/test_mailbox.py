from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.mailbox import AskCycle, AskTimedOut, Mailbox, MailboxClosed
from signalbox.errors import ActorCrashed, MailboxFull

Words = Mailbox[str, str]


class Boom(Exception):
    pass


async def echo(mailbox: Words) -> None:
    while batch := await mailbox.receive_batch(8):
        for envelope in batch:
            envelope.reply(f"echo {envelope.message}")


async def collect(results: dict[str, object], mailbox: Words, message: str) -> None:
    """Asks, and notes the reply or the error."""
    try:
        results[message] = await mailbox.ask(message, 10)
    except (ActorCrashed, MailboxClosed, AskTimedOut, AskCycle) as error:
        results[message] = type(error)


async def test_ask_returns_the_reply(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mailbox = Words("echo", 1)
    nursery.start_soon(mailbox.run, echo)
    assert await mailbox.ask("a", 1) == "echo a"
    mailbox.close()


async def test_ask_raises_what_the_actor_answers_with(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def refuse(mailbox: Words) -> None:
        [envelope] = await mailbox.receive_batch(1)
        envelope.fail(Boom("no"))

    mailbox = Words("refuser", 1)
    nursery.start_soon(mailbox.run, refuse)
    with pytest.raises(Boom, match="no"):
        await mailbox.ask("a", 1)


async def test_a_tell_to_a_full_mailbox_is_refused_and_counted() -> None:
    mailbox = Words("slow", 2)
    mailbox.tell("a")
    mailbox.tell("b")
    with pytest.raises(MailboxFull, match="slow: 2 messages wait"):
        mailbox.tell("c")
    seen = mailbox.statistics()
    assert (seen.depth, seen.capacity, seen.tells_refused) == (2, 2, 1)


@pytest.mark.parametrize("queued", [0, 1], ids=["no reply", "no room"])
async def test_one_deadline_covers_room_and_reply(autojump_clock: MockClock, queued: int) -> None:
    mailbox = Words("dead", 1)
    for _ in range(queued):
        mailbox.tell("before")
    start = trio.current_time()
    with pytest.raises(AskTimedOut, match="dead did not reply within 3 s"):
        await mailbox.ask("a", 3)
    assert trio.current_time() - start == 3
    assert mailbox.statistics().asks_timed_out == 1


async def test_a_reply_after_the_asker_left_is_dropped(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def slow_echo(mailbox: Words) -> None:
        while batch := await mailbox.receive_batch(1):
            await trio.sleep(2)
            batch[0].reply(batch[0].message)

    mailbox = Words("slow", 8)
    nursery.start_soon(mailbox.run, slow_echo)
    with pytest.raises(AskTimedOut):
        await mailbox.ask("late", 1)
    assert mailbox.statistics().in_hand == 0
    assert await mailbox.ask("in time", 5) == "in time"
    mailbox.close()


@given(
    messages=st.lists(st.sampled_from(["reply", "crash"]), max_size=20),
    limit=st.integers(1, 6),
)
def test_a_crash_fails_the_batch_in_hand_and_nothing_else(messages: list[str], limit: int) -> None:
    """A batch is answered up to its first crash; the rest of it fails, the next is untouched."""
    expected: dict[str, object] = {}
    for start in range(0, len(messages), limit):
        crashed = False
        for number in range(start, min(start + limit, len(messages))):
            crashed = crashed or messages[number] == "crash"
            message = f"{number} {messages[number]}"
            expected[message] = ActorCrashed if crashed else "done"

    async def fragile(mailbox: Words) -> None:
        while batch := await mailbox.receive_batch(limit):
            for envelope in batch:
                if "crash" in envelope.message:
                    raise Boom
                envelope.reply("done")

    async def main() -> None:
        mailbox = Words("fragile", 20)
        results: dict[str, object] = {}
        async with trio.open_nursery() as nursery:
            for number, message in enumerate(messages):
                nursery.start_soon(collect, results, mailbox, f"{number} {message}")
                await wait_all_tasks_blocked()
            mailbox.close()
            while len(results) < len(messages):
                try:
                    await mailbox.run(fragile)
                except Boom:
                    await wait_all_tasks_blocked()
                await trio.lowlevel.checkpoint()
        assert results == expected
        assert mailbox.statistics().in_hand == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_the_error_of_a_crash_names_the_actor_and_its_cause(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def dies(mailbox: Words) -> None:
        await mailbox.receive_batch(1)
        raise Boom("disk on fire")

    async def run() -> None:
        with pytest.raises(Boom):
            await mailbox.run(dies)

    mailbox = Words("ledger", 1)
    nursery.start_soon(run)
    with pytest.raises(ActorCrashed, match=r"ledger died .*disk on fire") as caught:
        await mailbox.ask("a", 1)
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_closed_mailbox_is_drained_and_takes_nothing_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    results: dict[str, object] = {}
    mailbox = Words("closing", 2)
    mailbox.tell("a")
    mailbox.tell("b")
    nursery.start_soon(collect, results, mailbox, "waits for room")
    await wait_all_tasks_blocked()
    mailbox.close()

    with pytest.raises(MailboxClosed, match="closing"):
        mailbox.tell("c")
    assert [envelope.message for envelope in await mailbox.receive_batch(8)] == ["a", "b"]
    assert await mailbox.receive_batch(8) == []
    await wait_all_tasks_blocked()
    assert results == {"waits for room": MailboxClosed}


async def test_asks_that_wait_in_an_abandoned_mailbox_fail(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    results: dict[str, object] = {}
    mailbox = Words("gone", 2)
    nursery.start_soon(collect, results, mailbox, "queued")
    await wait_all_tasks_blocked()
    mailbox.abandon()
    await collect(results, mailbox, "after")
    await wait_all_tasks_blocked()
    assert results == {"queued": ActorCrashed, "after": MailboxClosed}


async def test_a_cancelled_receive_takes_nothing(autojump_clock: MockClock) -> None:
    mailbox = Words("patient", 2)
    with trio.move_on_after(1):
        await mailbox.receive_batch(8)
    mailbox.tell("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.receive_batch(8)
    assert [envelope.message for envelope in await mailbox.receive_batch(8)] == ["a"]


def forward(target: Words) -> Callable[[Words], Awaitable[None]]:
    """An actor that answers with what `target` replies."""

    async def actor(mailbox: Words) -> None:
        while batch := await mailbox.receive_batch(1):
            try:
                batch[0].reply(await target.ask(batch[0].message, 10))
            except AskCycle as error:
                batch[0].reply(str(error))

    return actor


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (["a"], "a would wait for itself: a → a"),
        (["a", "b", "c"], "c would wait for itself: c → a → b → c"),
    ],
)
async def test_an_ask_that_would_wait_for_itself_is_refused_at_once(
    mock_clock: MockClock, nursery: trio.Nursery, names: list[str], path: str
) -> None:
    mailboxes = [Words(name, 1) for name in names]
    for mailbox, target in zip(mailboxes, [*mailboxes[1:], mailboxes[0]], strict=True):
        nursery.start_soon(mailbox.run, forward(target))
    assert await mailboxes[0].ask("hello", 10) == path
    nursery.cancel_scope.cancel()


async def test_asks_one_way_are_no_cycle_whatever_was_asked_before(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    first, second, third = Words("first", 1), Words("second", 1), Words("third", 1)
    nursery.start_soon(first.run, forward(second))
    nursery.start_soon(second.run, forward(third))
    nursery.start_soon(third.run, echo)
    assert await first.ask("one", 10) == "echo one"
    assert await second.ask("two", 10) == "echo two"
    assert await first.ask("three", 10) == "echo three"
    nursery.cancel_scope.cancel()


async def test_two_actors_may_ask_each_other_one_after_the_other(mock_clock: MockClock) -> None:
    one, other = Words("one", 1), Words("other", 1)
    for asking, asked in ((one, other), (other, one)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking.run, forward(asked))
            nursery.start_soon(asked.run, echo)
            assert await asking.ask("hello", 10) == "echo hello"
            nursery.cancel_scope.cancel()
