from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.supervisor import (
    ChildSpec,
    ChildState,
    RestartPolicy,
    Supervisor,
    SupervisorGaveUp,
)
from signalbox.errors import ActorCrashed
from tests.fakes import supervised

Words = Mailbox[str, str]


class Boom(Exception):
    pass


def child(
    name: str, actor: Callable[[Words], Awaitable[None]], *, drain_seconds: float = 5.0
) -> ChildSpec[str, str]:
    return ChildSpec(name, actor, 4, "enough for a test", drain_seconds)


def noting(log: list[str], name: str) -> ChildSpec[str, str]:
    """An actor that writes down its start, its messages and its end."""

    async def actor(mailbox: Words) -> None:
        log.append(f"{name} starts")
        while batch := await mailbox.receive_batch(1):
            await trio.sleep(1)
            log.append(f"{name} did {batch[0].message}")
        log.append(f"{name} ends")

    return child(name, actor)


def crashing(times: list[float], *, after: float = 0.0) -> ChildSpec[str, str]:
    """An actor that notes when it starts and crashes `after` seconds."""

    async def actor(mailbox: Words) -> None:
        times.append(trio.current_time())
        await trio.sleep(after)
        raise Boom("as always")

    return child("crashing", actor)


async def answering(mailbox: Words) -> None:
    """Replies to everything but `crash`."""
    while batch := await mailbox.receive_batch(1):
        if batch[0].message == "crash":
            raise Boom
        batch[0].reply("fine")


async def test_actors_start_in_order_and_are_drained_in_reverse(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    supervisor = Supervisor()
    mailboxes = [supervisor.add(noting(log, name)) for name in ("a", "b")]
    async with supervised(supervisor):
        for mailbox in mailboxes:
            mailbox.tell("one")
            mailbox.tell("two")
    assert log[:2] == ["a starts", "b starts"]
    assert log.index("b did two") < log.index("b ends") < log.index("a ends")
    assert log.index("a did two") < log.index("a ends")
    assert {seen.state for seen in supervisor.statistics()} == {ChildState.STOPPED}


async def test_a_crashed_actor_runs_again_with_its_mailbox_and_disturbs_no_other(
    autojump_clock: MockClock,
) -> None:
    supervisor = Supervisor()
    fragile = supervisor.add(child("fragile", answering))
    other = supervisor.add(child("other", answering))
    async with supervised(supervisor):
        with pytest.raises(ActorCrashed, match="fragile"):
            await fragile.ask("crash", 1)
        assert await other.ask("hello", 1) == "fine"
        assert await fragile.ask("hello", 1) == "fine"
        assert [seen.restarts for seen in supervisor.statistics()] == [1, 0]
        assert supervisor.statistics()[0].last_crash == "Boom()"


async def test_restarts_back_off_until_the_supervisor_gives_up(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []
    log: list[str] = []
    supervisor = Supervisor(RestartPolicy(intensity=3, within=5, base_delay=0.5, backoff=2))
    sibling = supervisor.add(noting(log, "sibling"))
    supervisor.add(crashing(times))
    sibling.tell("its work")
    with pytest.raises(
        SupervisorGaveUp, match=r"crashing crashed 4 times within 5 s, last: Boom\('as always'\)"
    ) as caught:
        await supervisor.run()
    assert times == [0, 0.5, 1.5, 3.5]
    assert isinstance(caught.value.__cause__, Boom)
    assert log == ["sibling starts", "sibling did its work", "sibling ends"]


async def test_rare_crashes_are_never_too_many(autojump_clock: MockClock) -> None:
    times: list[float] = []
    supervisor = Supervisor(RestartPolicy(intensity=3, within=5, base_delay=0.1, backoff=2))
    supervisor.add(crashing(times, after=2))
    with trio.move_on_after(60):
        await supervisor.run()
    assert len(times) > 20


async def test_messages_of_a_crashed_actor_are_drained_when_it_is_stopped(
    autojump_clock: MockClock,
) -> None:
    served: list[str] = []

    async def actor(mailbox: Words) -> None:
        while batch := await mailbox.receive_batch(1):
            if batch[0].message == "crash":
                raise Boom
            served.append(batch[0].message)

    supervisor = Supervisor()
    mailbox = supervisor.add(child("fragile", actor))
    mailbox.tell("crash")
    mailbox.tell("after")
    async with supervised(supervisor):
        pass
    assert served == ["after"]


async def test_an_actor_that_does_not_stop_is_cancelled_at_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async def raise_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    async def deaf(mailbox: Words) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(raise_when_cancelled)

    log: list[str] = []
    supervisor = Supervisor()
    sibling = supervisor.add(noting(log, "sibling"))
    supervisor.add(child("deaf", deaf, drain_seconds=7))
    async with supervised(supervisor):
        sibling.tell("its work")
        await trio.sleep(1)
    assert trio.current_time() == 8
    assert log[-2:] == ["sibling did its work", "sibling ends"]


async def test_an_actor_that_returns_early_has_crashed(autojump_clock: MockClock) -> None:
    async def lazy(mailbox: Words) -> None:
        await mailbox.receive_batch(1)

    supervisor = Supervisor()
    mailbox = supervisor.add(child("lazy", lazy))
    async with supervised(supervisor):
        with pytest.raises(ActorCrashed, match="lazy ended without an answer"):
            await mailbox.ask("work", 1)
        assert "returned although" in str(supervisor.statistics()[0].last_crash)


def test_two_actors_of_one_name_are_refused() -> None:
    supervisor = Supervisor()
    supervisor.add(child("a", answering))
    with pytest.raises(ValueError, match="an actor named a already"):
        supervisor.add(child("a", answering))


async def test_the_tree_can_be_read(autojump_clock: MockClock) -> None:
    supervisor = Supervisor()
    supervisor.add(child("ledger", answering)).tell("waiting")
    supervisor.add(child("writer", answering))
    assert supervisor.tree().splitlines() == [
        "supervisor",
        "├─ ledger: new, 0 restarts, mailbox 1/4 (enough for a test)",
        "└─ writer: new, 0 restarts, mailbox 0/4 (enough for a test)",
    ]
