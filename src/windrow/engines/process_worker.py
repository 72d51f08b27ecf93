"""The main function of a worker process; see `processes` for how it is started.

It is not in the terminal's process group and ignores SIGINT: what Ctrl-C means is for the supervisor to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading

from windrow.clock import SystemClock
from windrow.engines.crew import HeldListener, building, run_loop
from windrow.errors import StoreUnavailable, UsageError
from windrow.job import load_job
from windrow.store.relay import Boot, HostHeld, Order, RelayClient, StopWork, worker_end
from windrow.worker import Worker

ORPHANED = 3
JOB_DOES_NOT_LOAD = 2
STORE_GONE = 4


def main() -> None:
    """Work until the run is finished (exit status 0), the worker is stopped (0), or the supervisor is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    relay, lifeline = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_follow_into_death, args=(lifeline,), name="windrow-lifeline", daemon=True).start()
    status = run_loop(_work(socket.socket(fileno=relay)))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a scrape function stuck in a thread must not keep the process.
    os._exit(status)


def _follow_into_death(lifeline: int) -> None:
    """Nothing is ever written to the lifeline: reading it ends when the supervisor does."""
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)
    os._exit(ORPHANED)


async def _work(end: socket.socket) -> int:
    channel = await worker_end(end)
    first = await channel.take()
    if first is None or not isinstance(first[1], Boot):
        return ORPHANED
    boot = first[1]
    try:
        job = load_job(boot.reference).with_parameters(boot.parameters).with_run_settings(boot.settings)
    except UsageError as error:
        print(f"windrow: worker: {error}", file=sys.stderr)
        return JOB_DOES_NOT_LOAD
    orders = _Orders()
    client = RelayClient(channel, orders.take)
    listening = asyncio.create_task(client.listen())
    try:
        async with building(job, name=boot.worker, slots=boot.slots, send=client.send, clock=SystemClock()) as built:
            orders.follow(built.worker, built.gate.held)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, built.worker.stop)
            await built.port.hello(boot.worker, os.getpid(), built.worker.slots)
            await built.worker.work()
    except UsageError as error:
        # What the identities name (a variable, a file) is looked up here too.
        print(f"windrow: worker: {error}", file=sys.stderr)
        return JOB_DOES_NOT_LOAD
    except StoreUnavailable:
        return STORE_GONE
    finally:
        listening.cancel()
        await channel.close()
    return 0


class _Orders:
    """What the supervisor says unasked; what comes before the worker is there waits for it."""

    def __init__(self) -> None:
        self._early: list[Order] = []
        self._worker: Worker | None = None
        self._held: HeldListener = lambda host, seconds: None

    def follow(self, worker: Worker, held: HeldListener) -> None:
        self._worker, self._held = worker, held
        early, self._early = self._early, []
        for order in early:
            self.take(order)

    def take(self, order: Order) -> None:
        if self._worker is None:
            self._early.append(order)
        elif isinstance(order, StopWork):
            self._worker.stop()
        elif isinstance(order, HostHeld):
            self._held(order.host, order.seconds)


if __name__ == "__main__":
    main()
