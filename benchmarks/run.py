"""The run: servers in turn, round after round, and their rows."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cases, machine
from benchmarks.bed import Bed, CannotRun, bed, raise_file_limit
from benchmarks.cases import Case
from benchmarks.lookup import OWN
from benchmarks.plan import Plan
from benchmarks.rows import Missing, Row, Run
from benchmarks.servers.base import Ask, NotServed, Running, Server
from benchmarks.servers.direct import Direct
from benchmarks.servers.litellm import LiteLLM
from benchmarks.servers.nginx import Nginx
from benchmarks.servers.portkey import Portkey
from benchmarks.servers.signalbox import ADMIN_TOKEN, Signalbox
from benchmarks.servers.tensorzero import TensorZero
from benchmarks.viewers import handshake

SETUPS: dict[str, Server] = {
    "plain": Signalbox(),
    "keys-1000": Signalbox("keys-1000", keys=1000),
    "models-1000": Signalbox("models-1000", models=1000),
    "fallback": Signalbox("fallback", models=1000, failing=True),
    "traces-off": Signalbox("traces-off", payloads="off"),
    "redis": Signalbox("redis", redis=True),
    "two": Signalbox("two", redis=True, instances=2),
    "idle-2000": Signalbox("idle-2000"),
    "idle-5000": Signalbox("idle-5000"),
}
"""Of this gateway."""
SPARE_FILES = 1000
OTHERS: dict[str, Server] = {
    server.name: server for server in (Direct(), Nginx(), TensorZero(), Portkey(), LiteLLM())
}
SERVERS = [*OTHERS, OWN]


@dataclass(frozen=True, slots=True)
class Turn:
    """One server in one setup, with the cases that it runs before it ends."""

    server: str
    setup: str
    program: Server
    cases: list[Case]


def turns(servers: Sequence[str], wanted: Sequence[Case]) -> list[Turn]:
    found = [
        Turn(name, "plain", OTHERS[name], [case for case in wanted if case.others])
        for name in servers
        if name in OTHERS
    ]
    if OWN in servers:
        found += [
            Turn(OWN, setup, program, [case for case in wanted if case.setup == setup])
            for setup, program in SETUPS.items()
        ]
    return [turn for turn in found if turn.cases]


class Runner:
    def __init__(self, servers: Sequence[str], wanted: Sequence[Case], rounds: int) -> None:
        self._turns = turns(servers, wanted)
        self._rounds = rounds
        self._rows: list[Row] = []
        self._missing: dict[tuple[str, str], str] = {}
        self._begun = time.monotonic()

    def run(self) -> Run:
        for turn in self._turns:
            try:
                turn.program.install()
            except CannotRun as error:
                self._missing[turn.server, ""] = str(error)
        with bed() as made:
            for number in range(1, self._rounds + 1):
                for turn in self._turns:
                    if (turn.server, "") not in self._missing:
                        self._take(made, number, turn)
        programs = {turn.server: turn.program for turn in reversed(self._turns)}
        names = list(dict.fromkeys(turn.server for turn in self._turns))
        return Run(
            rounds=self._rounds,
            machine=machine.facts(),
            servers={
                name: "not installed" if (name, "") in self._missing else programs[name].version()
                for name in names
            },
            conditions={name: programs[name].conditions for name in names},
            rows=self._rows,
            missing=[Missing(*key, reason) for key, reason in self._missing.items()],
        )

    def _take(self, made: Bed, number: int, turn: Turn) -> None:
        try:
            with turn.program.running(made) as running:
                for case in turn.cases:
                    if number > 1 and turn.server in case.once:
                        continue
                    self._measure(made, number, turn, running, case)
        except CannotRun as error:
            # A whole setup: the others of this server may do.
            for case in turn.cases:
                self._miss(turn, case, str(error))

    def _measure(self, made: Bed, number: int, turn: Turn, running: Running, case: Case) -> None:
        program = turn.program
        # A stream is two connections there, and one file each.
        if 2 * case.held + SPARE_FILES > (most := raise_file_limit()):
            self._miss(turn, case, f"{most} open files are too few for it")
            return
        try:
            requests = program.requests(made, Ask(case.lane, case.prompt))
            held = program.requests(made, Ask("idle")) if case.held else []
            warm = program.requests(made, Ask("now"))
        except NotServed as error:
            self._miss(turn, case, str(error))
            return
        plan = Plan(
            ports=running.ports,
            steps=cases.steps(case, requests, held, warm),
            gateway=running.pids,
            store=running.store,
            viewers=case.viewers,
            viewer_request=handshake("/traces/live", ADMIN_TOKEN) if case.viewers else b"",
        )
        before = made.upstream_counts()
        try:
            report = made.load(plan)
        except CannotRun as error:
            self._miss(turn, case, str(error))
            return
        calls = {
            name: count - before.get(name, 0) for name, count in made.upstream_counts().items()
        }
        calls = {name: count for name, count in calls.items() if count}
        for outcome in report.outcomes:
            if outcome.name in {cases.MEASURED, cases.HELD, cases.AMONG}:
                row = Row(number, turn.server, turn.setup, case.name, outcome, calls)
                self._rows.append(row)
                self._say(row)

    def _miss(self, turn: Turn, case: Case, reason: str) -> None:
        self._missing.setdefault((turn.server, case.name), reason)
        if turn.server != "direct":
            self._write(
                f"{turn.server:>10} {case.name:<16} not measured: {reason.splitlines()[-1][-200:]}"
            )

    def _say(self, row: Row) -> None:
        outcome = row.outcome
        count = outcome.pieces or outcome.answered
        cost = f"{outcome.cpu_seconds / count * 1e6:8.1f} µs" if count else "       -"
        what = "piece  " if outcome.pieces else "request"
        rate = outcome.answered / outcome.seconds if outcome.seconds else 0.0
        line = f"{row.server:>10} {row.case:<16} {outcome.name:<8} {cost} CPU a {what}"
        line += f" {rate:9.1f}/s  p50 {(outcome.p50 or 0) * 1e3:8.2f} ms"
        line += f"  p99 {(outcome.p99 or 0) * 1e3:8.2f} ms"
        line += f"  {outcome.proportional_bytes / 2**20:6.1f} MiB  {outcome.answered} answered"
        if outcome.errors:
            line += f"  {outcome.errors} ERRORS: {outcome.complaints[0]}"
        self._write(line)

    def _write(self, line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._begun:6.0f} s {line}\n")
        sys.stdout.flush()
