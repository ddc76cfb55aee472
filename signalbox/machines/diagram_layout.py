"""Where the states and transitions of each machine lie on its track diagram.

Data beside the declarations; a test fails when a state, a transition or an event's name has no
place, when a track does not touch its sections, and when names lie on one another. Pixels; x grows
to the right, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

Point = tuple[int, int]
Anchor = Literal["start", "middle", "end"]

SECTION_WIDTH = 134
"""Room for a lamp and the longest state name."""
SECTION_HEIGHT = 44


class Lamp(StrEnum):
    """What it means to be in a section; each lamp has a colour and a shape of its own."""

    WAITING = "waiting"
    MOVING = "moving"
    PROCEED = "proceed"
    DANGER = "danger"


class Line(StrEnum):
    """What kind of track it is."""

    PLAIN = "plain"
    DANGER = "danger"
    RESCUE = "rescue"


class Section(msgspec.Struct, frozen=True):
    """A state. `left` and `top` are those of its box."""

    left: int
    top: int
    lamp: Lamp


class Track(msgspec.Struct, frozen=True):
    """The transitions of one state that share a piece of track: straight lines between points."""

    source: str
    target: str
    events: tuple[str, ...]
    points: tuple[Point, ...]
    line: Line = Line.PLAIN


class Label(msgspec.Struct, frozen=True):
    """An event's name, with its baseline at `y`. `source` None: one name for all its sources."""

    event: str
    x: int
    y: int
    anchor: Anchor = "start"
    source: str | None = None


class Layout(msgspec.Struct, frozen=True):
    width: int
    height: int
    sections: Mapping[str, Section]
    tracks: tuple[Track, ...]
    labels: tuple[Label, ...]


_ENDINGS = ("cancelled", "deadline_exceeded", "crashed")
"""What may end a request in any section; drawn as one trunk that leads to `failed`."""

_REQUEST = Layout(
    width=1200,
    height=496,
    sections={
        "pending": Section(20, 210, Lamp.WAITING),
        "selecting": Section(232, 210, Lamp.MOVING),
        "executing": Section(500, 210, Lamp.MOVING),
        "retrying": Section(500, 78, Lamp.WAITING),
        "falling_back": Section(424, 342, Lamp.MOVING),
        "streaming": Section(814, 210, Lamp.PROCEED),
        "done": Section(1046, 210, Lamp.PROCEED),
        "failed": Section(1046, 422, Lamp.DANGER),
    },
    tracks=(
        # The main line.
        Track("pending", "selecting", ("admitted",), ((154, 232), (232, 232))),
        Track("selecting", "executing", ("route_selected",), ((366, 232), (500, 232))),
        Track("executing", "streaming", ("first_token_received",), ((634, 232), (814, 232))),
        Track("streaming", "done", ("stream_ended",), ((948, 232), (1046, 232))),
        # What stays in its section.
        Track(
            "selecting",
            "selecting",
            ("key_awaited",),
            ((252, 210), (252, 190), (288, 190), (288, 210)),
        ),
        Track(
            "executing",
            "executing",
            ("hedge_started", "attempt_dropped"),
            ((547, 210), (547, 190), (587, 190), (587, 210)),
        ),
        # Above: the retry, the answer in one piece, the rescue.
        Track(
            "executing",
            "retrying",
            ("attempt_failed",),
            ((634, 232), (652, 232), (652, 100), (634, 100)),
        ),
        Track(
            "retrying",
            "executing",
            ("backoff_elapsed",),
            ((500, 100), (482, 100), (482, 232), (500, 232)),
        ),
        Track("retrying", "selecting", ("route_failed",), ((500, 100), (348, 100), (348, 210))),
        Track(
            "executing",
            "done",
            ("answered",),
            ((634, 232), (652, 232), (652, 172), (1113, 172), (1113, 210)),
        ),
        Track(
            "streaming",
            "selecting",
            ("stream_resumed",),
            ((881, 210), (881, 40), (318, 40), (318, 210)),
            Line.RESCUE,
        ),
        # Below: the next route, the next model.
        Track(
            "executing",
            "selecting",
            ("route_failed",),
            ((522, 254), (522, 288), (348, 288), (348, 254)),
        ),
        Track("executing", "falling_back", ("model_failed",), ((522, 254), (522, 342))),
        Track(
            "selecting",
            "falling_back",
            ("routes_exhausted",),
            ((318, 254), (318, 354), (424, 354)),
        ),
        Track(
            "falling_back",
            "selecting",
            ("next_model_chosen",),
            ((424, 374), (288, 374), (288, 254)),
        ),
        # The trunk to `failed`.
        Track(
            "pending",
            "failed",
            ("rejected", *_ENDINGS),
            ((87, 254), (87, 444), (1046, 444)),
            Line.DANGER,
        ),
        Track(
            "selecting",
            "failed",
            ("refused", *_ENDINGS),
            ((252, 254), (252, 444), (1046, 444)),
            Line.DANGER,
        ),
        Track(
            "falling_back",
            "failed",
            ("fallbacks_exhausted", *_ENDINGS),
            ((491, 386), (491, 444), (1046, 444)),
            Line.DANGER,
        ),
        Track(
            "executing",
            "failed",
            ("refused", *_ENDINGS),
            ((622, 254), (622, 444), (1046, 444)),
            Line.DANGER,
        ),
        Track(
            "streaming",
            "failed",
            ("stream_broken", *_ENDINGS),
            ((881, 254), (881, 444), (1046, 444)),
            Line.DANGER,
        ),
        Track(
            "retrying",
            "failed",
            _ENDINGS,
            ((567, 78), (567, 58), (1190, 58), (1190, 444), (1180, 444)),
            Line.DANGER,
        ),
    ),
    labels=(
        Label("admitted", 190, 224, "middle"),
        Label("route_selected", 424, 224, "middle"),
        Label("first_token_received", 732, 224, "middle"),
        Label("stream_ended", 996, 224, "middle"),
        Label("key_awaited", 270, 182, "middle"),
        Label("hedge_started", 567, 166, "middle"),
        Label("attempt_dropped", 567, 182, "middle"),
        Label("attempt_failed", 660, 140),
        Label("backoff_elapsed", 474, 154, "end"),
        Label("route_failed", 415, 92, "middle", source="retrying"),
        Label("answered", 770, 164, "middle"),
        Label("stream_resumed", 600, 32, "middle"),
        Label("route_failed", 435, 280, "middle", source="executing"),
        Label("model_failed", 530, 320),
        Label("routes_exhausted", 326, 324),
        Label("next_model_chosen", 356, 394, "middle"),
        Label("rejected", 95, 324),
        Label("refused", 244, 324, "end", source="selecting"),
        Label("fallbacks_exhausted", 483, 420, "end"),
        Label("refused", 630, 324, source="executing"),
        Label("stream_broken", 889, 324),
        Label("cancelled", 748, 466),
        Label("deadline_exceeded", 828, 466),
        Label("crashed", 966, 466),
    ),
)

_KEY = Layout(
    width=960,
    height=320,
    sections={
        "active": Section(20, 110, Lamp.PROCEED),
        "cooling": Section(330, 110, Lamp.WAITING),
        "half_open": Section(690, 110, Lamp.MOVING),
        "evicted": Section(690, 246, Lamp.DANGER),
    },
    tracks=(
        Track("active", "cooling", ("rate_limited",), ((154, 132), (330, 132))),
        Track("cooling", "half_open", ("cooldown_elapsed",), ((464, 132), (690, 132))),
        Track(
            "cooling",
            "cooling",
            ("rate_limited", "suspected"),
            ((380, 110), (380, 90), (420, 90), (420, 110)),
        ),
        Track(
            "half_open",
            "half_open",
            ("probe_started", "probe_abandoned", "suspected"),
            ((764, 110), (764, 90), (804, 90), (804, 110)),
        ),
        Track(
            "half_open",
            "active",
            ("probe_succeeded",),
            ((712, 110), (712, 40), (90, 40), (90, 110)),
        ),
        Track(
            "half_open",
            "cooling",
            ("rate_limited", "probe_failed"),
            ((712, 154), (712, 190), (440, 190), (440, 154)),
        ),
        Track(
            "active",
            "half_open",
            ("suspected",),
            ((90, 154), (90, 304), (940, 304), (940, 132), (824, 132)),
        ),
        Track(
            "cooling",
            "evicted",
            ("rejected",),
            ((400, 154), (400, 268), (690, 268)),
            Line.DANGER,
        ),
        Track("half_open", "evicted", ("rejected",), ((760, 154), (760, 246)), Line.DANGER),
        Track("evicted", "half_open", ("cooldown_elapsed",), ((800, 246), (800, 154))),
    ),
    labels=(
        Label("rate_limited", 245, 124, "middle", source="active"),
        Label("cooldown_elapsed", 580, 124, "middle", source="cooling"),
        Label("suspected", 400, 66, "middle", source="cooling"),
        Label("rate_limited", 400, 82, "middle", source="cooling"),
        Label("suspected", 784, 50, "middle", source="half_open"),
        Label("probe_started", 784, 66, "middle"),
        Label("probe_abandoned", 784, 82, "middle"),
        Label("probe_succeeded", 400, 32, "middle"),
        Label("probe_failed", 576, 182, "middle"),
        Label("rate_limited", 576, 206, "middle", source="half_open"),
        Label("suspected", 98, 206, source="active"),
        Label("rejected", 392, 206, "end", source="cooling"),
        Label("rejected", 752, 222, "end", source="half_open"),
        Label("cooldown_elapsed", 808, 206, source="evicted"),
    ),
)

_BREAKER = Layout(
    width=960,
    height=230,
    sections={
        "closed": Section(20, 110, Lamp.PROCEED),
        "open": Section(400, 110, Lamp.DANGER),
        "half_open": Section(780, 110, Lamp.MOVING),
    },
    tracks=(
        Track("closed", "open", ("tripped",), ((154, 132), (400, 132)), Line.DANGER),
        Track("open", "half_open", ("delay_elapsed",), ((534, 132), (780, 132))),
        Track(
            "closed",
            "closed",
            ("succeeded", "failed"),
            ((94, 110), (94, 90), (134, 90), (134, 110)),
        ),
        Track(
            "half_open",
            "half_open",
            ("probe_started", "probe_abandoned"),
            ((854, 110), (854, 90), (894, 90), (894, 110)),
        ),
        Track(
            "half_open",
            "closed",
            ("probe_succeeded",),
            ((802, 110), (802, 40), (58, 40), (58, 110)),
        ),
        Track(
            "half_open",
            "open",
            ("probe_failed",),
            ((850, 154), (850, 190), (470, 190), (470, 154)),
            Line.DANGER,
        ),
    ),
    labels=(
        Label("tripped", 280, 124, "middle"),
        Label("delay_elapsed", 660, 124, "middle"),
        Label("succeeded", 114, 66, "middle"),
        Label("failed", 114, 82, "middle"),
        Label("probe_started", 874, 66, "middle"),
        Label("probe_abandoned", 874, 82, "middle"),
        Label("probe_succeeded", 430, 32, "middle"),
        Label("probe_failed", 660, 182, "middle"),
    ),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {"request": _REQUEST, "key": _KEY, "breaker": _BREAKER}
)
"""The layout of each machine, by the names of `diagram.MACHINES`."""
