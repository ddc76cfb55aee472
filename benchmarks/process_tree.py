"""What a server's whole process tree has used: CPU time to the nanosecond, and memory.

A process's own CPU clock (`clock_getcpuclockid`) counts all of its threads, also those that have
ended. What a child used that was waited for is in its parent's /proc/PID/stat, in clock ticks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `proportional` counts what processes share once (PSS), `resident` once each (RSS)."""

    proportional: int
    resident: int


def stat_fields(text: str) -> tuple[int, float]:
    """Of /proc/PID/stat: the parent, and the seconds that children used that were waited for."""
    # The program's name comes in parentheses and may hold anything, parentheses too.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), (int(fields[13]) + int(fields[14])) / TICKS


def tree(roots: Iterable[int]) -> list[int]:
    """The processes of `roots` that live, and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent, _ = stat_fields((entry / "stat").read_text())
            except OSError:
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry.name))
    found = list(roots)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of the tree so far, user and system. 0.0 where there is none."""
    return sum(_cpu_seconds_of(pid) for pid in tree(roots))


def _cpu_seconds_of(pid: int) -> float:
    try:
        _, of_children = stat_fields(Path(f"/proc/{pid}/stat").read_text())
        # Linux: the clock of a process is its inverted number, shifted, and CPUCLOCK_SCHED.
        return of_children + time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def memory(roots: Iterable[int]) -> Memory:
    proportional = resident = 0
    for pid in tree(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
        proportional += int(sizes["Pss"]) * 1024
        resident += int(sizes["Rss"]) * 1024
    return Memory(proportional, resident)
