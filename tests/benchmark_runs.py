"""Runs of the benchmark made up for tests."""

from __future__ import annotations

from benchmarks.cases import AMONG, CASES, HELD, MEASURED
from benchmarks.plan import Outcome
from benchmarks.rows import Missing, Row, Run

SERVERS = ("direct", "nginx", "tensorzero", "portkey", "litellm", "signalbox")
COSTS = {
    "direct": 0.0,
    "nginx": 20e-6,
    "tensorzero": 220e-6,
    "portkey": 2500e-6,
    "litellm": 0.02,
    "signalbox": 200e-6,
}
"""CPU seconds for a request."""


def outcome(
    name: str = MEASURED,
    *,
    answered: int = 1000,
    cost: float = 1e-4,
    p50: float = 0.002,
    pieces: int = 0,
    errors: int = 0,
    mib: float = 50.0,
) -> Outcome:
    return Outcome(
        name=name,
        answered=answered,
        errors=errors,
        complaints=["HTTP/1.1 500 : it | broke"] if errors else [],
        pieces=pieces,
        seconds=2.0,
        cpu_seconds=cost * (pieces or answered),
        store_cpu_seconds=0.0,
        p50=p50,
        p99=p50 * 3,
        worst=p50 * 5,
        stream_p50=None,
        proportional_bytes=int(mib * 2**20),
        resident_bytes=int(mib * 2**20),
    )


def run(*, rounds: int = 3, missing: tuple[Missing, ...] = ()) -> Run:
    """Every case of every server; each round is a tenth dearer than the one before."""
    rows = []
    for number in range(1, rounds + 1):
        for server in SERVERS:
            for case in CASES:
                if server != "signalbox" and not case.others:
                    continue
                cost = COSTS[server] * (1 + number / 10)
                pieces = 3200 if "sse" in case.name else 0
                found = [outcome(cost=cost / 10 if pieces else cost, pieces=pieces)]
                if case.held:
                    found.append(outcome(HELD, answered=case.held, mib=50 + case.held / 64))
                    found.append(outcome(AMONG, cost=cost * 1.2))
                rows += [Row(number, server, case.setup, case.name, each, {}) for each in found]
    return Run(
        rounds=rounds,
        machine={"cpu": "a processor", "cores": "2"},
        servers=dict.fromkeys(SERVERS, "1.0"),
        conditions=dict.fromkeys(SERVERS, "as it is"),
        rows=rows,
        missing=list(missing),
    )
