"""The simulator as a process of its own."""

from __future__ import annotations

import os
import signal
import sys

import trio

from signalbox.simulator.server import Simulator, SimulatorSettings

READ_BYTES = 4096


def run_simulator(settings: SimulatorSettings, *, until_stdin_closes: bool = False) -> None:
    """Serves until SIGINT or SIGTERM; prints one line when it accepts connections.

    With `until_stdin_closes` the end of standard input ends it too: a child whose parent keeps
    the other end of the pipe never outlives it, however the parent dies.
    Raises SimulatorError as `serve_simulator` does.
    """
    trio.run(_run, settings, until_stdin_closes)


async def _run(settings: SimulatorSettings, until_stdin_closes: bool) -> None:
    simulator = Simulator(settings)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        listeners = await simulator.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(simulator.serve_on, listeners)
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            port = listeners[0].socket.getsockname()[1]
            sys.stdout.write(f"simulator listening on http://{host}:{port}/v1\n")
            sys.stdout.flush()
            if until_stdin_closes:
                nursery.start_soon(_stdin_closed, nursery.cancel_scope)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


async def _stdin_closed(scope: trio.CancelScope) -> None:
    # os.read, not sys.stdin: a thread left behind in a buffered read holds a lock that the
    # interpreter needs to exit.
    descriptor = sys.stdin.fileno()
    read = trio.to_thread.run_sync  # noqa: TID251 - one thread, for this process's own stdin
    while await read(os.read, descriptor, READ_BYTES, abandon_on_cancel=True):
        pass
    scope.cancel()
