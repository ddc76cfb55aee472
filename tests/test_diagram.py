"""Every drawing of a machine shows all of its transitions, and nothing lies on anything else."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from statemachine.io import load

from signalbox.machines.diagram import (
    FORMATS,
    MACHINES,
    render,
    render_svg,
    states_page,
    trace_mermaid,
)
from signalbox.machines.diagram_layout import (
    LAYOUTS,
    SECTION_HEIGHT,
    SECTION_WIDTH,
    Label,
    Lamp,
    Layout,
    Section,
    Track,
)
from signalbox.machines.diagram_svg import Journey, draw
from signalbox.machines.table import (
    Table,
    events,
    final_states,
    initial_state,
    states,
    transition_table,
)

RETRIED = [
    ("pending", "admitted", "selecting"),
    ("selecting", "route_selected", "executing"),
    ("executing", "attempt_failed", "retrying"),
    ("retrying", "backoff_elapsed", "executing"),
    ("executing", "attempt_failed", "retrying"),
    ("retrying", "route_failed", "selecting"),
    ("selecting", "route_selected", "executing"),
    ("executing", "answered", "done"),
]
SVG = "{http://www.w3.org/2000/svg}"

every_machine = pytest.mark.parametrize("name", MACHINES)
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


# ── what the formats say ──────────────────────────────────────────────────────────────────────


def table_of_matches(pattern: str, separator: str, text: str) -> Table:
    """`pattern` names the groups `source`, `events` and `target`."""
    return {
        (match["source"], event): match["target"]
        for match in re.finditer(pattern, text, re.MULTILINE)
        for event in match["events"].split(separator)
    }


def read_mermaid(text: str) -> Table:
    return table_of_matches(
        r"^    (?P<source>\w+) --> (?P<target>\w+) : (?P<events>.+)$", "<br/>", text
    )


def read_markdown(text: str) -> Table:
    row = r"^\| `(?P<source>\w+)` \| `(?P<events>.+)` \| `(?P<target>\w+)` \|$"
    return table_of_matches(row, "`, `", text)


def read_dot(text: str) -> Table:
    edge = r'^    "(?P<source>\w+)" -> "(?P<target>\w+)" \[label="(?P<events>.+)"\];$'
    return table_of_matches(edge, r"\n", text)


def read_scxml(text: str) -> Table:
    return transition_table(load(text, format="scxml"))


def tracks_of(svg: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{SVG}g[@data-events]")


def read_svg(text: str) -> Table:
    return {
        (track.attrib["data-from"], event): track.attrib["data-to"]
        for track in tracks_of(text)
        for event in track.attrib["data-events"].split()
    }


READERS: Mapping[str, Callable[[str], Table]] = {
    "mermaid": read_mermaid,
    "md": read_markdown,
    "dot": read_dot,
    "svg": read_svg,
    "scxml": read_scxml,
}


@every_machine
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_tells_the_transitions_of_the_declaration(name: str, form: str) -> None:
    assert READERS[form](render(name, form)) == transition_table(MACHINES[name])


@every_machine
def test_the_library_reads_our_scxml_as_the_machine_that_it_is(name: str) -> None:
    read, declared = load(render(name, "scxml"), format="scxml"), MACHINES[name]
    assert states(read) == states(declared)
    assert set(events(read)) == set(events(declared))
    assert initial_state(read) == initial_state(declared)
    assert final_states(read) == final_states(declared)


@every_machine
def test_the_library_draws_the_same_mermaid(name: str) -> None:
    """Its names for people are our ids with a capital and spaces; its arrows are one an event."""
    theirs = {
        (source, label.lower().replace(" ", "_")): target
        for (source, label), target in read_mermaid(f"{MACHINES[name]:mermaid}").items()
    }
    assert read_mermaid(render(name, "mermaid")) == theirs


@every_machine
def test_the_start_and_the_ends_are_marked(name: str) -> None:
    mermaid = render(name, "mermaid")
    assert f"[*] --> {initial_state(MACHINES[name])}\n" in mermaid
    assert set(re.findall(r"(\w+) --> \[\*\]", mermaid)) == final_states(MACHINES[name])


def test_markdown_says_what_is_ignored() -> None:
    assert "`done` ignores every event; `failed` ignores every event." in render("request", "md")
    assert "`evicted` ignores `rate_limited`, `rejected`." in render("key", "md")


def test_an_unknown_name_or_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no machine 'train'; known: request, key, breaker"):
        render("train", "svg")
    with pytest.raises(ValueError, match=r"no format 'png'; known: mermaid, md, dot, svg, scxml"):
        render("request", "png")


def test_the_page_has_every_machine() -> None:
    page = states_page()
    for name in MACHINES:
        assert render(name, "md") in page
        assert f"```mermaid\n{render(name, 'mermaid')}```\n" in page


# ── a journey over the tracks ─────────────────────────────────────────────────────────────────


def test_a_journey_lights_its_tracks_and_counts_its_visits() -> None:
    svg = render_svg("request", events=RETRIED)
    lit = [
        (track.attrib["data-from"], track.attrib["data-to"])
        for track in tracks_of(svg)
        if "lit" in track.attrib["class"].split()
    ]
    assert sorted(lit) == sorted({(source, target) for source, _, target in RETRIED})
    lit_names = ElementTree.fromstring(svg).findall(f".//{SVG}text[@class='event lit']")
    assert sorted(text.text or "" for text in lit_names) == sorted({e for _, e, _ in RETRIED})
    assert visits_in(svg) == {
        "pending": "×1",
        "selecting": "×2",
        "executing": "×3",
        "retrying": "×2",
        "done": "×1",
    }


def test_counts_without_a_journey_dim_no_track() -> None:
    svg = render_svg("request", visits={"selecting": 40, "streaming": 2})
    assert visits_in(svg) == {"selecting": "×40", "streaming": "×2"}
    assert "travelled" not in ElementTree.fromstring(svg).attrib["class"]


def visits_in(svg: str) -> dict[str, str | None]:
    sections = ElementTree.fromstring(svg).findall(f".//{SVG}g[@data-state]")
    counts = {
        section.attrib["data-state"]: section.find(f"{SVG}text[@class='visits']")
        for section in sections
    }
    return {state: text.text for state, text in counts.items() if text is not None}


def test_a_journey_in_mermaid_numbers_its_events() -> None:
    assert trace_mermaid(RETRIED) == (
        "stateDiagram-v2\n"
        "    direction LR\n"
        "    [*] --> pending\n"
        "    pending --> selecting : 1 admitted\n"
        "    selecting --> executing : 2, 7 route_selected\n"
        "    executing --> retrying : 3, 5 attempt_failed\n"
        "    retrying --> executing : 4 backoff_elapsed\n"
        "    retrying --> selecting : 6 route_failed\n"
        "    executing --> done : 8 answered\n"
        "    done --> [*]\n"
    )


def test_a_step_that_the_machine_does_not_have_is_refused() -> None:
    for step in [("pending", "<script>", "failed"), ("pending", "admitted", "failed")]:
        with pytest.raises(ValueError, match=r"the request machine has no pending --"):
            render_svg("request", events=[step])
        with pytest.raises(ValueError, match=r"the request machine has no pending --"):
            trace_mermaid([step])


def test_visits_of_an_unknown_state_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the key machine has no state 'streaming'"):
        render_svg("key", visits={"streaming": 1})


# ── the track diagram ─────────────────────────────────────────────────────────────────────────


@every_machine
def test_the_drawing_is_told_to_those_who_do_not_see_it(name: str) -> None:
    root = ElementTree.fromstring(render(name, "svg"))
    title, description = root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")
    assert root.attrib["role"] == "img"
    assert title == f"The states of the {name} machine"
    assert description is not None
    assert all(event in description for event in events(MACHINES[name]))


def test_text_is_escaped() -> None:
    hostile = """<script>alert("1" & '2')</script>"""
    layout = Layout(
        width=400,
        height=100,
        sections={hostile: Section(20, 20, Lamp.MOVING)},
        tracks=(Track(hostile, hostile, (hostile,), ((154, 42), (200, 42))),),
        labels=(Label(hostile, 20, 90),),
    )
    svg = draw(hostile, hostile, layout, Journey(visits={hostile: 1}))
    root = ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert root.findtext(f"{SVG}title") == hostile
    assert [text.text for text in root.iter(f"{SVG}text")] == [hostile, hostile, "×1"]


@every_machine
def test_every_state_and_transition_has_its_place(name: str) -> None:
    layout, machine = LAYOUTS[name], MACHINES[name]
    assert set(layout.sections) == set(states(machine))
    placed = [
        ((track.source, event), track.target) for track in layout.tracks for event in track.events
    ]
    assert len(placed) == len(dict(placed))
    assert dict(placed) == transition_table(machine)


@every_machine
def test_every_transition_has_its_events_name_once(name: str) -> None:
    table = transition_table(MACHINES[name])
    named = Counter(
        (source, event)
        for label in LAYOUTS[name].labels
        for source, event in table
        if event == label.event and label.source in (None, source)
    )
    assert named == dict.fromkeys(table, 1)


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def grown(self, by: float) -> "Box":
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)


CHARACTER = 7.25
"""Width in the widest of the fonts named (DejaVu Sans Mono), at 12 px."""
ASCENT, DESCENT = 10, 3


def section_box(section: Section) -> Box:
    right, bottom = section.left + SECTION_WIDTH, section.top + SECTION_HEIGHT
    return Box(section.left, section.top, right, bottom)


def label_box(label: Label) -> Box:
    width = CHARACTER * len(label.event)
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return Box(left, label.y - ASCENT, left + width, label.y + DESCENT)


def rails(layout: Layout) -> Iterator[tuple[Track, Box]]:
    """The straight pieces of all tracks, one pixel thin."""
    for track in layout.tracks:
        for (x0, y0), (x1, y1) in pairwise(track.points):
            assert x0 == x1 or y0 == y1, "tracks run along the axes"
            yield track, Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)).grown(0.5)


@every_layout
def test_every_track_goes_from_its_source_to_its_target(layout: Layout) -> None:
    for track in layout.tracks:
        for state, (x, y) in ((track.source, track.points[0]), (track.target, track.points[-1])):
            box = section_box(layout.sections[state])
            on_side = x in (box.left, box.right) and box.top < y < box.bottom
            on_edge = y in (box.top, box.bottom) and box.left < x < box.right
            assert on_side or on_edge, f"{track} does not touch {state}"


@every_layout
def test_no_track_runs_through_a_section(layout: Layout) -> None:
    for track, rail in rails(layout):
        for state, section in layout.sections.items():
            assert not rail.overlaps(section_box(section).grown(-0.5)), f"{track} crosses {state}"


@every_layout
def test_nothing_lies_on_a_name_and_all_is_inside(layout: Layout) -> None:
    names = {label: label_box(label) for label in layout.labels}
    for (label, box), (other, other_box) in combinations(names.items(), 2):
        assert not box.overlaps(other_box), f"{label} and {other}"
    sections = [section_box(section) for section in layout.sections.values()]
    for label, box in names.items():
        for section in sections:
            assert not box.overlaps(section), f"{label} on a section"
        for track, rail in rails(layout):
            assert not box.overlaps(rail), f"{label} on {track}"
    for box in [*names.values(), *sections, *(rail for _, rail in rails(layout))]:
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= layout.width
        assert box.bottom <= layout.height
