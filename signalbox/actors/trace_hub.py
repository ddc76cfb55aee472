"""The trace hub: tells live viewers what happens to requests, as it happens.

The hub has no task of its own. It owns a few dictionaries in memory, and every call on it is
synchronous and never waits, so that a slow viewer costs a request nothing.

Where nobody watches, a publisher may leave a message out and only say what it changes in the
request's summary (`moved`, `called`, `ended`).

Messages are dictionaries of JSON values. A publisher gives `type`, `trace_id` and `at` (Unix
seconds) in every one, and gives it away: nobody changes it afterwards. The hub adds `seq`, which
grows by one with each message of this process.

`started`: a request was received. The rest is its summary so far:
    `door` str, `model` str (as the client asked), `stream` bool, `key_name` str,
    `user` str | None, `tags` list of str.
`transition`: the request's machine took a step.
    `event` str, `from` str, `to` str (lifecycle names), `attempt` int | None,
    `provider` str | None (of that attempt), `detail` object: what else the event is about, `{}`
    when there is nothing to say.
`attempt`: a call to a provider began or ended.
    `attempt` int (from 1), `provider` str, `route_model` str, `key_label` str,
    `outcome` `"started"`, `"answered"`, `"failed"` or `"dropped"`,
    `failure` `{"kind", "message", "status"}` | None.
`finished`: the request is over and leaves the hub. The fields of `TraceRecord` that say how:
    `state` `"done"` or `"failed"`, `status` int, `model` str, `attempts` int,
    `provider` str | None, `route_model` str | None, `error_code` str | None,
    `first_token_ms` float | None, `duration_ms` float, `cost` int (nano-USD) | None.

Two more come from the hub itself, to one viewer:

`snapshot`: the first message of every viewer. `seq` is that of the last message before it;
    `requests` is a list of the summaries of all requests under way, oldest first.
`lagged`: the viewer was too slow. `missed` messages, the ones before the next, are lost to it.

A summary is the request's `started` message without `type` and `seq`, with `state` (the lifecycle
state, `"pending"` at first), `attempts` (int), `provider` and `route_model` (of the last attempt,
None before the first).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import trio

Message = dict[str, Any]

VIEWER_MESSAGES = 2048
"""About ten messages a request: two seconds of 100 requests a second, in 1 MB."""

MAX_UNDER_WAY = 10_000
"""More than one process carries at a time; half a kilobyte each."""


class TraceHubStatistics(msgspec.Struct, frozen=True):
    published: int
    viewers: int
    under_way: int
    untracked: int
    """Requests that started when `MAX_UNDER_WAY` were under way: told to viewers, not kept."""


class Subscription:
    """One viewer's messages. Read it in one task, by `async for` or `receive`; close it after."""

    def __init__(self, hub: TraceHub, snapshot: Message, buffer_messages: int) -> None:
        self._hub = hub
        self._snapshot: Message | None = snapshot
        self._buffer: deque[Message] = deque(maxlen=buffer_messages)
        self._missed = 0
        self._arrival = trio.lowlevel.ParkingLot()
        self._closed = False

    async def receive(self) -> Message:
        """The next message. Raises `trio.EndOfChannel` after `close`. Cancelled, it takes none."""
        await trio.lowlevel.checkpoint()
        while not self._closed:
            message = self._next()
            if message is not None:
                return message
            await self._arrival.park()
        raise trio.EndOfChannel

    def close(self) -> None:
        """Ends the subscription. Never waits; may be called more than once."""
        self._closed = True
        self._buffer.clear()
        self._hub._forget(self)
        self._arrival.unpark_all()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def _next(self) -> Message | None:
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            return snapshot
        if self._missed:
            missed, self._missed = self._missed, 0
            return {"type": "lagged", "missed": missed}
        return self._buffer.popleft() if self._buffer else None

    def _put(self, message: Message) -> None:
        if len(self._buffer) == self._buffer.maxlen:
            self._missed += 1
        self._buffer.append(message)
        self._arrival.unpark()


class TraceHub:
    """What is under way, and who watches. See the module's docstring for the messages."""

    def __init__(
        self, *, viewer_messages: int = VIEWER_MESSAGES, max_under_way: int = MAX_UNDER_WAY
    ) -> None:
        self._viewer_messages = viewer_messages
        self._max_under_way = max_under_way
        self._viewers: set[Subscription] = set()
        self._under_way: dict[str, Message] = {}
        self._seq = 0
        self._untracked = 0

    def publish(self, message: Message) -> None:
        """Tells every viewer, and keeps the request's summary current. Never waits."""
        self._seq += 1
        self._summarise(message)
        if self._viewers:
            stamped = {**message, "seq": self._seq}
            for viewer in self._viewers:
                viewer._put(stamped)

    @property
    def watched(self) -> bool:
        return bool(self._viewers)

    def moved(self, trace_id: str, state: str) -> None:
        """The request is in this state now."""
        summary = self._under_way.get(trace_id)
        if summary is not None:
            summary["state"] = state

    def called(self, trace_id: str, attempt: int, provider: str, route_model: str) -> None:
        """A call of the request began or ended."""
        summary = self._under_way.get(trace_id)
        if summary is not None:
            summary["attempts"] = max(summary["attempts"], attempt)
            summary["provider"] = provider
            summary["route_model"] = route_model

    def ended(self, trace_id: str) -> None:
        self._under_way.pop(trace_id, None)

    def subscribe(self) -> Subscription:
        """A new viewer. It gets a snapshot first, then every message published from now on."""
        snapshot = {"type": "snapshot", "seq": self._seq, "requests": self.under_way()}
        viewer = Subscription(self, snapshot, self._viewer_messages)
        self._viewers.add(viewer)
        return viewer

    def under_way(self) -> list[Message]:
        """The summaries of all requests under way, oldest first."""
        return [dict(summary) for summary in self._under_way.values()]

    def current(self, trace_id: str) -> Message | None:
        """The summary of a request under way; None where there is none of that id."""
        summary = self._under_way.get(trace_id)
        return None if summary is None else dict(summary)

    def statistics(self) -> TraceHubStatistics:
        return TraceHubStatistics(
            published=self._seq,
            viewers=len(self._viewers),
            under_way=len(self._under_way),
            untracked=self._untracked,
        )

    def _forget(self, viewer: Subscription) -> None:
        self._viewers.discard(viewer)

    def _summarise(self, message: Mapping[str, Any]) -> None:
        trace_id = message["trace_id"]
        match message["type"]:
            case "started":
                self._start(trace_id, message)
            case "transition":
                self.moved(trace_id, message["to"])
            case "attempt":
                number, provider = message["attempt"], message["provider"]
                self.called(trace_id, number, provider, message["route_model"])
            case "finished":
                self.ended(trace_id)

    def _start(self, trace_id: str, message: Mapping[str, Any]) -> None:
        if len(self._under_way) >= self._max_under_way:
            self._untracked += 1
            return
        summary = {key: value for key, value in message.items() if key != "type"}
        summary |= {"state": "pending", "attempts": 0, "provider": None, "route_model": None}
        self._under_way[trace_id] = summary
