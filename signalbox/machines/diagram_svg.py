"""The track diagram of a machine as SVG: sections with lamps, tracks with their events' names.

A page that shows the drawing inline finds a section by `[data-state="executing"]` and a transition
by `[data-from="executing"][data-events~="attempt_failed"]`. All styles are below the class
`track-diagram`, so that they touch nothing else of the page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from html import escape

import msgspec

from signalbox.machines.diagram_layout import (
    SECTION_HEIGHT,
    SECTION_WIDTH,
    Label,
    Lamp,
    Layout,
    Line,
    Point,
    Section,
    Track,
)

Step = tuple[str, str, str]
"""(state, event, state that followed)."""

CORNER = 6
HEAD = 7
"""Length of an arrowhead."""


class Journey(msgspec.Struct, frozen=True):
    """What has run over the tracks; nothing: the diagram alone."""

    visits: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Times that each state was entered."""
    steps: Sequence[Step] = ()

    def took(self, source: str | None, events: Collection[str]) -> bool:
        """Whether one of `events` happened in `source` (None: in any state)."""
        return any(
            event in events and source in (None, state) for state, event, _target in self.steps
        )


def draw(title: str, description: str, layout: Layout, journey: Journey) -> str:
    """A whole SVG document; `description` is what those who do not see the drawing are told."""
    size = f'width="{layout.width}" height="{layout.height}"'
    # Without steps there is nothing that would have to stand out from the other tracks.
    classes = "track-diagram travelled" if journey.steps else "track-diagram"
    # The rescue passes over the tracks that it crosses.
    tracks = sorted(layout.tracks, key=lambda track: track.line is Line.RESCUE)
    # Lit tracks must not lie under the dim ones that share a part with them.
    tracks.sort(key=lambda track: journey.took(track.source, track.events))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{classes}"'
        f' {size} viewBox="0 0 {layout.width} {layout.height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(description)}</desc>",
        f"<style>{_STYLE}</style>",
        # Lines of one pixel are sharp where they run through the middle of the pixels.
        '<g transform="translate(0.5 0.5)">',
        f'<rect class="panel" width="{layout.width - 1}" height="{layout.height - 1}"'
        f' rx="{CORNER}"/>',
        *(_track(track, journey) for track in tracks),
        *(_label(label, journey) for label in layout.labels),
        *(_section(name, place, journey) for name, place in layout.sections.items()),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _lit(name: str, lit: bool) -> str:
    return f"{name} lit" if lit else name


# ── tracks ────────────────────────────────────────────────────────────────────────────────────


def _track(track: Track, journey: Journey) -> str:
    lit = journey.took(track.source, track.events)
    path = _rounded(track.points)
    bed = f'<path class="bed" d="{path}"/>' if track.line is Line.RESCUE else ""
    title = f"{track.source} → {track.target}: {', '.join(track.events)}"
    return (
        f'<g class="{_lit(f"track {track.line}", lit)}" data-from="{escape(track.source)}"'
        f' data-to="{escape(track.target)}" data-events="{escape(" ".join(track.events))}">'
        f"<title>{escape(title)}</title>{bed}"
        f'<path class="rail" d="{path}"/><path class="head" d="{_head(track.points)}"/></g>'
    )


def _rounded(points: Sequence[Point]) -> str:
    """The path along the points with every corner rounded, ending inside the arrowhead."""
    start, *corners, end = points
    before_end = _towards(end, points[-2], HEAD - 1)
    path = [f"M{_pair(start)}"]
    previous = start
    for index, corner in enumerate(corners):
        following = corners[index + 1] if index + 1 < len(corners) else before_end
        path.append(f"L{_pair(_towards(corner, previous, CORNER))}")
        path.append(f"Q{_pair(corner)} {_pair(_towards(corner, following, CORNER))}")
        previous = corner
    path.append(f"L{_pair(before_end)}")
    return " ".join(path)


def _towards(point: Point, other: Point, distance: int) -> Point:
    """At most half of the way from one to the other; tracks run along the axes."""
    (x, y), (other_x, other_y) = point, other
    step = min(distance, (abs(other_x - x) + abs(other_y - y)) // 2)
    return x + step * _sign(other_x - x), y + step * _sign(other_y - y)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _pair(point: Point) -> str:
    return f"{point[0]} {point[1]}"


def _head(points: Sequence[Point]) -> str:
    """A triangle at the end, in the direction of the last piece."""
    (before_x, before_y), (x, y) = points[-2:]
    along_x, along_y = _sign(x - before_x), _sign(y - before_y)
    back_x, back_y = x - HEAD * along_x, y - HEAD * along_y
    wing = HEAD // 2 + 1
    left = (back_x - wing * along_y, back_y + wing * along_x)
    right = (back_x + wing * along_y, back_y - wing * along_x)
    return f"M{_pair(left)} L{_pair((x, y))} L{_pair(right)} Z"


def _label(label: Label, journey: Journey) -> str:
    lit = journey.took(label.source, (label.event,))
    return (
        f'<text class="{_lit("event", lit)}" data-event="{escape(label.event)}" x="{label.x}"'
        f' y="{label.y}" text-anchor="{label.anchor}">{escape(label.event)}</text>'
    )


# ── sections ──────────────────────────────────────────────────────────────────────────────────


def _section(name: str, place: Section, journey: Journey) -> str:
    return "".join(_section_parts(name, place, journey.visits.get(name, 0)))


def _section_parts(name: str, place: Section, visits: int) -> Iterator[str]:
    middle = place.top + SECTION_HEIGHT // 2
    text = f'x="{place.left + 34}" dominant-baseline="central"'
    yield f'<g class="{_lit(f"section {place.lamp}", visits > 0)}" data-state="{escape(name)}">'
    yield f"<title>{escape(name)}</title>"
    yield f'<rect x="{place.left}" y="{place.top}" width="{SECTION_WIDTH}"'
    yield f' height="{SECTION_HEIGHT}" rx="{CORNER}"/>'
    yield f'<path class="lamp" transform="translate({place.left + 18} {middle})"'
    yield f' d="{_LAMPS[place.lamp]}"/>'
    if visits:
        yield f'<text class="state" {text} y="{middle - 8}">{escape(name)}</text>'
        yield f'<text class="visits" {text} y="{middle + 9}">×{visits}</text>'
    else:
        yield f'<text class="state" {text} y="{middle}">{escape(name)}</text>'
    yield "</g>"


_LAMPS = {
    Lamp.WAITING: "M-6 0 a6 6 0 1 0 12 0 a6 6 0 1 0 -12 0 M-2 -3 V3 M2 -3 V3",
    Lamp.MOVING: "M-5 -6 L6 0 L-5 6 Z",
    Lamp.PROCEED: "M-6 0 a6 6 0 1 0 12 0 a6 6 0 1 0 -12 0 Z",
    Lamp.DANGER: "M0 -7 L7 0 L0 7 L-7 0 Z",
}
"""Around (0, 0): a ring with two bars, an arrow, a disc, a diamond."""

_DARK = (
    "--ground: #0f1416; --panel: #171e21; --line: #2a3439; --ink: #e6ecee; --quiet: #93a1a6;"
    " --set: #f2f5e9; --rim: #0f1416"
)
_LIGHT = (
    "--ground: #f6f7f5; --panel: #ffffff; --line: #d9dedb; --ink: #16201f; --quiet: #5d6b68;"
    " --set: #3b4a47; --rim: #3b4a47"
)
_STYLE = f"""
.track-diagram {{ {_DARK}; --waiting: #4f93d2; --moving: #e8a33d; --proceed: #3fae6a;
  --danger: #d9483b; --rescue: #9a7bd0; max-width: 100%; height: auto;
  font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
@media (prefers-color-scheme: light) {{ .track-diagram {{ {_LIGHT}; }} }}
.track-diagram .panel {{ fill: var(--panel); stroke: var(--line); }}
.track-diagram .track {{ --color: var(--quiet); }}
.track-diagram .track.danger {{ --color: var(--danger); }}
.track-diagram .track.rescue {{ --color: var(--rescue); }}
.track-diagram .rail {{ fill: none; stroke: var(--color); }}
.track-diagram .rescue .rail {{ stroke-dasharray: 6 3; }}
.track-diagram .bed {{ fill: none; stroke: var(--panel); stroke-width: 7; }}
.track-diagram .head {{ fill: var(--color); }}
.track-diagram .event {{ fill: var(--quiet); font-size: 12px; }}
.track-diagram .section rect {{ fill: var(--ground); stroke: var(--quiet); }}
.track-diagram .section.waiting {{ --color: var(--waiting); }}
.track-diagram .section.moving {{ --color: var(--moving); }}
.track-diagram .section.proceed {{ --color: var(--proceed); }}
.track-diagram .section.danger {{ --color: var(--danger); }}
.track-diagram .lamp {{ fill: var(--color); stroke: var(--rim); }}
.track-diagram .waiting .lamp {{ fill: none; stroke: var(--color); stroke-width: 1.5; }}
.track-diagram .state {{ fill: var(--ink); font-size: 13px; }}
.track-diagram .visits {{ fill: var(--ink); font-size: 12px; }}
.track-diagram.travelled .track:not(.lit) {{ --color: var(--line); }}
.track-diagram.travelled .track.plain.lit {{ --color: var(--set); }}
.track-diagram.travelled .lit .rail {{ stroke-width: 3; }}
.track-diagram.travelled .event.lit {{ fill: var(--ink); }}
.track-diagram.travelled .section:not(.lit) {{ --color: var(--line); --rim: var(--line); }}
.track-diagram.travelled .section:not(.lit) rect {{ stroke: var(--line); }}
.track-diagram.travelled .section:not(.lit) .state {{ fill: var(--quiet); }}
.track-diagram.travelled .section.lit rect {{ stroke: var(--set); }}
"""
