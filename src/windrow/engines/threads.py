"""Workers in threads, each with a loop of its own: for scrape functions that wait more than they compute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from windrow.engines.crew import (
    Built,
    Bulletin,
    Crew,
    Stop,
    building,
    local_send,
    run_loop,
    worker_name,
)
from windrow.worker import Worker


class _Thread:
    """One worker in one thread; `done` is set in the caller's loop when it ends, however it ends."""

    def __init__(self, crew: Crew, number: int, bulletin: Bulletin) -> None:
        self._crew = crew
        self._number = number
        self._bulletin = bulletin
        self._caller = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._asked = ""
        self._lock = threading.Lock()
        self.done: asyncio.Future[None] = self._caller.create_future()

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"windrow-worker-{self._number + 1}", daemon=True).start()

    def ask(self, what: str) -> None:
        """Have the worker `stop` or `drop`, now or as soon as it is there."""
        with self._lock:
            self._asked = what
            if self._loop is not None and self._worker is not None:
                with contextlib.suppress(RuntimeError):  # its loop has just ended by itself
                    self._loop.call_soon_threadsafe(getattr(self._worker, what))

    def _run(self) -> None:
        try:
            run_loop(self._work())
        except BaseException as error:
            self._caller.call_soon_threadsafe(self._finish, error)
        else:
            self._caller.call_soon_threadsafe(self._finish, None)

    def _finish(self, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    async def _work(self) -> None:
        crew, name, slots = self._crew, worker_name(self._number), self._crew.slots(self._number)
        send = local_send(crew, self._bulletin, name)
        async with building(
            crew.job, name=name, slots=slots, send=send, clock=crew.clock, listener=crew.listener
        ) as built:
            self._introduce(built, name)
            try:
                await built.port.hello(name, os.getpid(), built.worker.slots)
                await built.worker.work()
            finally:
                self._bulletin.unsubscribe(name)
                with self._lock:
                    self._loop = None

    def _introduce(self, built: Built, name: str) -> None:
        loop = asyncio.get_running_loop()

        def tell(host: str, seconds: float) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(built.gate.held, host, seconds)

        self._bulletin.subscribe(name, tell)
        with self._lock:
            self._loop, self._worker = loop, built.worker
            if self._asked:
                getattr(built.worker, self._asked)()


async def run(crew: Crew, stop: Stop) -> None:
    """Returns when the run is finished or stopped. Raises what ended a worker, StoreUnavailable among others."""
    bulletin = Bulletin()
    threads = [_Thread(crew, number, bulletin) for number in range(crew.workers)]
    for thread in threads:
        thread.start()
    stopping = asyncio.create_task(_pass_on(stop, threads))
    try:
        await asyncio.gather(*(thread.done for thread in threads))
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


async def _pass_on(stop: Stop, threads: list[_Thread]) -> None:
    await stop.asked.wait()
    for thread in threads:
        thread.ask("stop")
    await stop.forced.wait()
    for thread in threads:
        thread.ask("drop")
