"""What a request waits for: an upstream call, a backoff, a key's queue. Each ends in facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from signalbox.actors.attempt import Attempt
from signalbox.actors.attempt_tools import AttemptTools
from signalbox.machines import facts as f
from signalbox.types import Request


class Job(Protocol):
    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        ...

    async def step(self, scope: trio.CancelScope) -> f.Fact | None:
        """Waits in `scope` for the next fact."""
        ...

    def cut_short(self) -> f.Fact | None:
        """The fact in place of the one that `step`, cancelled by its scope, did not give; None
        where somebody else cancelled it, and so knows why."""
        ...

    async def decided(self) -> None:
        """Until its last fact was decided on, so far as the next step depends on that."""
        ...


class Pause:
    """A job of one fact."""

    def __init__(self, awaited: Callable[[], Awaitable[f.Fact]]) -> None:
        self._awaited = awaited
        self.over = False

    async def step(self, scope: trio.CancelScope) -> f.Fact | None:
        self.over = True
        return await self._awaited()

    def cut_short(self) -> None:
        return None

    async def decided(self) -> None:
        return


class Call:
    """An upstream call: `ContentArrived` in a stream, then how it ended."""

    def __init__(self, attempt: Attempt, request: Request, tools: AttemptTools) -> None:
        self._attempt = attempt
        self._request = request
        self._tools = tools

    @property
    def over(self) -> bool:
        return self._attempt.over

    async def step(self, scope: trio.CancelScope) -> f.Fact | None:
        return await self._attempt.advance(self._request, self._tools, scope)

    def cut_short(self) -> f.Fact | None:
        return self._attempt.cut_short(self._request, self._tools)

    async def decided(self) -> None:
        attempt = self._attempt
        while not (attempt.over or attempt.committed):
            await attempt.changed()
