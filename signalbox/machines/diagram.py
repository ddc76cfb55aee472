"""The state machines drawn: Mermaid, Markdown, dot, SVG and SCXML, all from the declarations.

python-statemachine has formatters of its own for Mermaid and Markdown, but they print its names for
people ("Key awaited") and one arrow for each event. Traces, logs and the code say `key_awaited`, so
everything here is written from the derived table, with the ids, and the events between two states
share an arrow. Tests hold the results against the library's formatter and its SCXML reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from types import MappingProxyType

from signalbox.machines import breaker, keys, lifecycle
from signalbox.machines.diagram_layout import LAYOUTS
from signalbox.machines.diagram_svg import Journey, Step, draw
from signalbox.machines.table import (
    MachineClass,
    final_states,
    initial_state,
    states,
    transition_table,
)

MACHINES: Mapping[str, MachineClass] = MappingProxyType(
    {
        "request": lifecycle.RequestLifecycle,
        "key": keys.KeyMachine,
        "breaker": breaker.BreakerMachine,
    }
)
_IGNORED: Mapping[str, Iterable[tuple[str, str]]] = {
    "request": lifecycle.IGNORED,
    "key": keys.IGNORED,
    "breaker": breaker.IGNORED,
}


def render(name: str, format: str) -> str:
    """The machine `name` (of `MACHINES`) in one of `FORMATS`, ending in a newline.

    Raises `ValueError` for another name or format.
    """
    write = _WRITERS.get(format)
    if write is None:
        raise ValueError(f"there is no format {format!r}; known: {', '.join(FORMATS)}")
    _machine(name)
    return write(name)


def render_svg(
    name: str, visits: Mapping[str, int] | None = None, events: Sequence[Step] = ()
) -> str:
    """The track diagram, with a journey over it.

    `events` are (state, event, state that followed) in their order; their tracks are lit. `visits`
    are the times that each state was entered; None: counted along `events`. Raises `ValueError`
    for a state or transition that the machine does not have.
    """
    machine = _machine(name)
    counts = _visits(events) if visits is None else visits
    _refuse_strangers(name, counts, events)
    title = f"The states of the {name} machine"
    described = [_sentence(machine), *([_told(counts)] if counts else [])]
    return draw(title, " ".join(described), LAYOUTS[name], Journey(counts, events))


def trace_mermaid(events: Sequence[Step], name: str = "request") -> str:
    """A journey as a Mermaid state diagram: what happened, each event with its place in the order.

    Raises `ValueError` for a transition that the machine does not have.
    """
    machine = _machine(name)
    visits = _visits(events)
    _refuse_strangers(name, visits, events)
    taken: dict[tuple[str, str], dict[str, list[str]]] = {}
    for number, (source, event, target) in enumerate(events, start=1):
        taken.setdefault((source, target), {}).setdefault(event, []).append(str(number))
    labels = {
        arrow: "<br/>".join(f"{', '.join(numbers)} {event}" for event, numbers in by_event.items())
        for arrow, by_event in taken.items()
    }
    return "\n".join(_mermaid_lines(machine, labels, tuple(visits))) + "\n"


def states_page() -> str:
    """`docs/states.md`."""
    return _PAGE + "".join(_chapter(name) for name in MACHINES)


def _machine(name: str) -> MachineClass:
    try:
        return MACHINES[name]
    except KeyError:
        raise ValueError(f"there is no machine {name!r}; known: {', '.join(MACHINES)}") from None


def _visits(events: Sequence[Step]) -> Mapping[str, int]:
    if not events:
        return {}
    return Counter([events[0][0], *(target for _, _, target in events)])


def _refuse_strangers(name: str, named: Iterable[str], events: Iterable[Step]) -> None:
    known, table = states(MACHINES[name]), transition_table(MACHINES[name])
    for state in named:
        if state not in known:
            raise ValueError(f"the {name} machine has no state {state!r}")
    for source, event, target in events:
        if table.get((source, event)) != target:
            raise ValueError(f"the {name} machine has no {source} --{event}--> {target}")


def _arrows(machine: MachineClass) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """(from, to) → the events that lead there, in the order of the declaration."""
    arrows: dict[tuple[str, str], tuple[str, ...]] = {}
    for (source, event), target in transition_table(machine).items():
        arrows[source, target] = (*arrows.get((source, target), ()), event)
    return arrows


# ── Mermaid ───────────────────────────────────────────────────────────────────────────────────


def _mermaid(name: str) -> str:
    machine = MACHINES[name]
    labels = {arrow: "<br/>".join(events) for arrow, events in _arrows(machine).items()}
    return "\n".join(_mermaid_lines(machine, labels, states(machine))) + "\n"


def _mermaid_lines(
    machine: MachineClass, labels: Mapping[tuple[str, str], str], shown: Sequence[str]
) -> Iterator[str]:
    yield "stateDiagram-v2"
    yield "    direction LR"
    if initial_state(machine) in shown:
        yield f"    [*] --> {initial_state(machine)}"
    for (source, target), label in labels.items():
        yield f"    {source} --> {target} : {label}"
    finals = final_states(machine)
    yield from (f"    {state} --> [*]" for state in shown if state in finals)


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────


def _markdown(name: str) -> str:
    rows = [
        f"| `{source}` | {_listed(events)} | `{target}` |"
        for (source, target), events in _arrows(MACHINES[name]).items()
    ]
    table = ["| from | event | to |", "|---|---|---|", *rows]
    return "\n".join([*table, "", _ignored(name)]) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _ignored(name: str) -> str:
    """Which events are ignored where, by name; each state once."""
    machine = MACHINES[name]
    ignored = _IGNORED[name]
    everything = {event for _, event in transition_table(machine)}
    by_state = {
        state: sorted(event for ignoring, event in ignored if ignoring == state)
        for state in states(machine)
    }
    parts = [
        f"`{state}` ignores {'every event' if set(names) == everything else _listed(names)}"
        for state, names in by_state.items()
        if names
    ]
    return f"{'; '.join(parts)}. Any other pair is illegal."


# ── dot ───────────────────────────────────────────────────────────────────────────────────────


def _dot(name: str) -> str:
    machine = MACHINES[name]
    finals = final_states(machine)
    lines = [
        f"digraph {_quoted(name)} {{",
        "    rankdir=LR;",
        '    node [shape=box, style=rounded, fontname="monospace"];',
        '    edge [fontname="monospace", fontsize=10];',
        '    "" [shape=point];',
        f'    "" -> {_quoted(initial_state(machine))};',
        *(
            f"    {_quoted(state)}{' [peripheries=2]' if state in finals else ''};"
            for state in states(machine)
        ),
        *(
            f"    {_quoted(source)} -> {_quoted(target)} [label={_quoted(*events)}];"
            for (source, target), events in _arrows(machine).items()
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(*lines: str) -> str:
    """A double-quoted string of the dot language; `\\n` there begins a new line."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


# ── SCXML ─────────────────────────────────────────────────────────────────────────────────────


def _scxml(name: str) -> str:
    """The W3C's State Chart XML (https://www.w3.org/TR/scxml/)."""
    machine = MACHINES[name]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<scxml xmlns="http://www.w3.org/2005/07/scxml" version="1.0"'
        f' name="{escape(name)}" initial="{escape(initial_state(machine))}">',
        *(line for state in states(machine) for line in _scxml_state(machine, state)),
        "</scxml>",
    ]
    return "\n".join(lines) + "\n"


def _scxml_state(machine: MachineClass, state: str) -> Iterator[str]:
    if state in final_states(machine):
        yield f'  <final id="{escape(state)}"/>'
        return
    yield f'  <state id="{escape(state)}">'
    for (source, event), target in transition_table(machine).items():
        if source == state:
            yield f'    <transition event="{escape(event)}" target="{escape(target)}"/>'
    yield "  </state>"


# ── words ─────────────────────────────────────────────────────────────────────────────────────


def _sentence(machine: MachineClass) -> str:
    """Every transition in words, for those who do not see the drawing."""
    arrows = [
        f"{source} to {target} by {', '.join(events)}"
        for (source, target), events in _arrows(machine).items()
    ]
    return f"Starts in {initial_state(machine)}. {'; '.join(arrows)}."


def _told(visits: Mapping[str, int]) -> str:
    return f"Visited: {', '.join(f'{state} ×{count}' for state, count in visits.items())}."


def _chapter(name: str) -> str:
    summary = (MACHINES[name].__doc__ or "").strip()
    return _CHAPTER.format(
        heading=name.capitalize(),
        summary=summary,
        name=name,
        table=_markdown(name),
        mermaid=_mermaid(name),
    )


_WRITERS: Mapping[str, Callable[[str], str]] = {
    "mermaid": _mermaid,
    "md": _markdown,
    "dot": _dot,
    "svg": render_svg,
    "scxml": _scxml,
}
FORMATS = tuple(_WRITERS)
"""What `render` writes."""

_PAGE = """# State machines

The machines that decide, as they are declared in `signalbox/machines/`. This page and its drawings
are generated from the declarations; a test holds them equal. `signalbox diagram NAME` prints any of
them, `--format` one of mermaid, md, dot, svg, scxml.
"""

_CHAPTER = """
## {heading}

{summary}

![The states of the {name} machine](diagrams/{name}.svg)

{table}
<details><summary>The same in Mermaid</summary>

```mermaid
{mermaid}```

</details>
"""
