"""The guard against slow creep: instructions for a request and for a piece of a stream.

    python -m benchmarks.instructions            fails where the baseline is exceeded by `MARGIN`
    python -m benchmarks.instructions --renew    writes the baseline anew

The gateway runs under valgrind's callgrind; the client and the upstream do not. Its start is not
counted: counting begins when it has answered `WARM_REQUESTS`. One connection asks, one request
after the other, so that the counts hardly depend on time: two runs differ by one or two in a
hundred, by what happens to be written in one batch. What is compared is the ratio to
`calibration.py`, counted in the same way.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import answers
from benchmarks.bed import ROOT, Bed, CannotRun, Process, bed, free_port, program
from benchmarks.servers.base import Ask
from benchmarks.servers.signalbox import Signalbox

BASELINE = Path(__file__).with_name("instructions.json")
MARGIN = 1.15
"""Of the baseline: many times what two runs differ by, and what other builds may add to that."""
REQUESTS = 200
"""For whole answers. A thousand take five times as long and say the same: in one run, 50 and 100
differed by a third of a percent."""
STREAMS = 5
WARM_REQUESTS = 20
TURNS = 20_000
"""Of the calibration, and twice that: the difference leaves out the interpreter's start."""
START_SECONDS = 400.0
"""A start takes some twenty seconds under valgrind on a quiet machine. It only ends a hang."""
ANSWER_SECONDS = 120.0
SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)
UNHASHED = {"PYTHONHASHSEED": "0"}


class Counts(msgspec.Struct, frozen=True):
    """Instructions: for a request, for a piece of a stream with its share of the request, and for
    a turn of the calibration."""

    request: float
    piece: float
    turn: float


class Baseline(msgspec.Struct, frozen=True):
    """Multiples of a turn of the calibration."""

    request: float
    piece: float


def ratios(counts: Counts) -> Baseline:
    return Baseline(round(counts.request / counts.turn, 1), round(counts.piece / counts.turn, 2))


def complaints(found: Counts, baseline: Baseline) -> list[str]:
    """What costs more than the baseline and its margin, in words. Empty: nothing."""
    now = ratios(found)
    told = []
    for name, instructions, ratio, before in (
        ("a request", found.request, now.request, baseline.request),
        ("a piece of a stream", found.piece, now.piece, baseline.piece),
    ):
        if ratio > before * MARGIN:
            told.append(
                f"{name} takes {instructions:,.0f} instructions, {ratio:g} turns of the "
                f"calibration; the baseline is {before:g}, with its margin {before * MARGIN:.2f}. "
                "If that is meant: make instructions ARGS=--renew"
            )
    return told


def measure() -> Counts:
    """Raises `CannotRun` where valgrind is not installed or the gateway does not answer."""
    callgrind = program("valgrind")
    with bed() as made:
        turn = _turn(made, callgrind)
        request, piece = _gateway(made, callgrind)
    return Counts(request, piece, turn)


def _turn(made: Bed, callgrind: str) -> float:
    def count(turns: int) -> int:
        out = made.folder / f"calibration-{turns}"
        script = Path(__file__).with_name("calibration.py")
        command = [callgrind, "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += [sys.executable, "-S", "-P", str(script), str(turns)]
        environ = {**made.environ, **UNHASHED}
        subprocess.run(command, check=True, capture_output=True, env=environ, cwd=made.folder)
        return _summary(out)

    return (count(2 * TURNS) - count(TURNS)) / TURNS


def _gateway(made: Bed, callgrind: str) -> tuple[float, float]:
    gateway = Signalbox()
    config = made.folder / "signalbox.toml"
    config.write_text(gateway.configuration(made, None))
    port = free_port()
    out = made.folder / "callgrind"
    command: list[str | Path] = [callgrind, "--tool=callgrind", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={out}", sys.executable, "-m", "signalbox", "serve"]
    command += ["--config", config, "--data-dir", made.folder / "data", "--port", str(port)]
    environ = {"PYTHONPATH": str(ROOT), **UNHASHED}
    with made.process(command, environ=environ) as process:
        made.wait_for(process, f"http://127.0.0.1:{port}/readyz", START_SECONDS)
        whole = gateway.requests(made, Ask("now"))[0]
        stream = gateway.requests(made, Ask("paced"))[0]
        with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as client:
            _ask(client, [whole] * WARM_REQUESTS + [stream])
            _control(process, "-i", "on")
            request = _counted(process, client, [whole] * REQUESTS, out.with_suffix(".1"))
            pieces = _counted(process, client, [stream] * STREAMS, out.with_suffix(".2"))
    return request / REQUESTS, pieces / (STREAMS * answers.PIECES)


def _counted(process: Process, client: socket.socket, requests: list[bytes], dump: Path) -> int:
    _control(process, "-z")
    _ask(client, requests)
    _control(process, "-d")
    return _summary(dump)


def _ask(client: socket.socket, requests: Sequence[bytes]) -> None:
    for request in requests:
        client.sendall(request)
        answer = b""
        while not answers.is_whole(answer):
            data = client.recv(262_144)
            if not data:
                raise CannotRun("the gateway closed the connection")
            answer += data
        complaint = (
            answers.complaint_about_stream(answer)
            if b"text/event-stream" in answer[:1000]
            else answers.complaint_about_json(answer)
        )
        if complaint is not None:
            raise CannotRun(complaint)


def _control(process: Process, *told: str) -> None:
    command = [program("callgrind_control"), *told, str(process.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "OK" not in done.stdout:
        raise CannotRun(f"callgrind cannot be told {told}: {done.stdout} {done.stderr}")


def _summary(path: Path) -> int:
    found = SUMMARY.search(path.read_text("utf-8", "replace"))
    if found is None:
        raise CannotRun(f"callgrind wrote no count to {path.name}")
    return int(found[1])


def baseline() -> Baseline:
    return msgspec.json.decode(BASELINE.read_bytes(), type=Baseline)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--renew", action="store_true", help="write the baseline anew")
    renew = parser.parse_args().renew
    found = measure()
    now = ratios(found)
    sys.stdout.write(
        f"a request: {found.request:,.0f} instructions, {now.request:g} turns of the calibration\n"
        f"a piece of a stream: {found.piece:,.0f}, {now.piece:g} turns\n"
        f"a turn: {found.turn:,.0f}\n"
    )
    if renew:
        BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
    elif told := complaints(found, baseline()):
        sys.exit("\n".join(told))


if __name__ == "__main__":
    main()
