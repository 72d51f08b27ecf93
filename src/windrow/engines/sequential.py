"""One worker with one session in the caller's own loop: for a first look, and for debugging."""

from __future__ import annotations

import asyncio
import os

from windrow.engines.crew import Bulletin, Crew, Stop, building, local_send, until_stopped, worker_name


async def run(crew: Crew, stop: Stop) -> None:
    """Returns when the run is finished or stopped. Raises StoreUnavailable when the store is gone."""
    name = worker_name(0)
    send = local_send(crew, Bulletin(), name)
    async with building(
        crew.job, name=name, slots=crew.sessions, send=send, clock=crew.clock, listener=crew.listener
    ) as built:
        stopping = asyncio.create_task(until_stopped(built.worker, stop))
        try:
            await built.port.hello(name, os.getpid(), built.worker.slots)
            await built.worker.work()
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
