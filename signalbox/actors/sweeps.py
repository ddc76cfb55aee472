"""The loop of an actor that nothing is told: it tidies up now and then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from signalbox.actors.mailbox import Mailbox


async def sweep_until_closed(
    mailbox: Mailbox[None, None], interval: float, sweep: Callable[[], Awaitable[object]]
) -> None:
    """Calls `sweep` at once and then every `interval` seconds until the mailbox is closed."""
    while True:
        await sweep()
        with trio.move_on_after(interval):
            # Nothing is told to such an actor: its mailbox only says when to stop.
            while await mailbox.receive_batch(1):
                pass
            return
