"""The cells of the fault matrix: a fault, what is left when it happens, and what must come of it.

What must come of it follows from the fault's row in `fault_table.py` and from what is left; nothing
is said by hand of any one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from signalbox.errors import FailureKind as Kind
from tests.fault_table import STATUS, Break, Fault, Then
from tests.lanes import Lane, Model, served_by
from tests.observed import Seen

ASKED = "asked"
"""The model that a client asks for; its route to the provider that breaks comes first."""
RETRIES = "retry = { attempts = 1, base_delay_ms = 10, max_delay_ms = 20, max_wait_ms = 0 }"


class Left(msgspec.Struct, frozen=True):
    """What a request can still go to. Keys are called as their provider where it has only one."""

    name: str
    model: Model
    broken_key: str = "first"
    sound_key: str | None = None
    """None: nothing is left."""
    sound_model: str = ASKED

    @property
    def sound_provider(self) -> str:
        assert self.sound_key is not None
        return "twin" if self.sound_key == "right" else self.sound_key

    def models(self, at: str | None = None) -> Mapping[str, Model]:
        """The models of the cell's lane. `at`: where the provider is that breaks."""
        own = {ASKED: replace(self.model, at=at)}
        return own if self.sound_model == ASKED else own | {"spare": served_by("spare")}


SECOND_KEY = Left("with a second key", served_by("twin"), "left", "right")
SECOND_PROVIDER = Left("with a second provider", served_by("first", "second"), sound_key="second")
SECOND_MODEL = Left(
    "with a second model",
    served_by("first", more='fallbacks = ["spare-N"]'),
    sound_key="spare",
    sound_model="spare",
)
NOTHING = Left("with nothing left", served_by("first"))
PREFILL = replace(
    SECOND_PROVIDER,
    name="with a second provider that takes a prefill",
    model=served_by("first", "second", prefill=True),
)
EACH = (SECOND_KEY, SECOND_PROVIDER, SECOND_MODEL, NOTHING)

RESCUERS: Mapping[Then, tuple[Left, ...]] = {
    Then.RETRY: (SECOND_KEY, SECOND_PROVIDER, SECOND_MODEL),
    Then.NEXT_KEY: (SECOND_KEY, SECOND_PROVIDER, SECOND_MODEL),
    Then.NEXT_PROVIDER: (SECOND_PROVIDER, SECOND_MODEL),
    Then.NEXT_MODEL: (SECOND_MODEL,),
    Then.REFUSE: (),
}
"""What keeps a failure from the client, by where the request goes after it."""


@dataclass(frozen=True)
class Cell:
    """A fault before the content."""

    fault: Fault
    left: Left

    def __str__(self) -> str:
        return f"{self.fault} {self.left.name}"

    @property
    def models(self) -> Mapping[str, Model]:
        return self.left.models(self.fault.at)

    @property
    def rescued(self) -> bool:
        # An address that does not answer is the same for all keys of a provider.
        if self.left is SECOND_KEY and not self.fault.reaches_provider:
            return False
        return self.left in RESCUERS[self.fault.then]

    @property
    def failed_calls(self) -> int:
        """A retry goes to the key that rested longer: to the sound one, where there are two."""
        retried = self.fault.then is Then.RETRY
        return 2 if retried and not (self.left is SECOND_KEY and self.rescued) else 1

    @property
    def way(self) -> list[tuple[str, str]]:
        """The calls that reach a provider: key and model of each, in order."""
        reached = self.failed_calls if self.fault.reaches_provider else 0
        failed = [(self.left.broken_key, ASKED)] * reached
        return failed + _sound_calls(self.left) if self.rescued else failed

    @property
    def status(self) -> int:
        return STATUS[self.fault.code]


OF_THE_MODEL = frozenset({Kind.CONTEXT_LENGTH, Kind.CONTENT_POLICY})
"""Breaks that no other route of the same model would mend."""


@dataclass(frozen=True)
class StreamCell:
    """A break in the middle of a stream."""

    broken: Break
    left: Left

    def __str__(self) -> str:
        return f"{self.broken} {self.left.name}"

    @property
    def models(self) -> Mapping[str, Model]:
        return self.left.models()

    @property
    def rescued(self) -> bool:
        if self.broken.kind in OF_THE_MODEL:
            return self.left is SECOND_MODEL
        return self.left is not NOTHING and (self.left is not SECOND_KEY or self.broken.of_key)

    @property
    def way(self) -> list[tuple[str, str]]:
        failed = [(self.left.broken_key, ASKED)]
        return failed + _sound_calls(self.left) if self.rescued else failed


def _sound_calls(left: Left) -> list[tuple[str, str]]:
    assert left.sound_key is not None
    return [(left.sound_key, left.sound_model)]


def cells(faults: Sequence[Fault]) -> tuple[Cell, ...]:
    return tuple(Cell(fault, left) for fault in faults for left in EACH)


def stream_cells(breaks: Sequence[Break]) -> tuple[StreamCell, ...]:
    return tuple(StreamCell(broken, left) for broken in breaks for left in (*EACH, PREFILL))


def assert_one_answer(seen: Seen, text: str) -> None:
    """The client sees one answer, whole, and no trace of a failure."""
    assert (seen.status, seen.text, seen.finish_reasons) == (200, text, ["stop"])
    assert (seen.errors, seen.done_marks) == ([], int(seen.streamed))
    assert seen.ended
    assert len(seen.ids) == 1


def assert_broken(seen: Seen, text: str, kinds: list[Kind]) -> None:
    """The client sees `text`, one error that names the failures, and the end mark."""
    assert (seen.status, seen.text, seen.finish_reasons) == (200, text, ["error"])
    assert (seen.error["type"], seen.error["code"]) == ("server_error", "bad_upstream")
    assert [attempt["kind"] for attempt in seen.error["metadata"]["attempts"]] == kinds
    assert (seen.done_marks, seen.ended, len(seen.ids)) == (1, True, 1)


def assert_given_up(lane: Lane, left: Left) -> None:
    """The connection to the provider that was silent is closed."""
    [call] = lane.ended_calls(left.broken_key)
    assert call["ended"] == "client_closed"
