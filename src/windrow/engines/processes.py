"""Workers in processes of their own, and the supervisor that owns the store.

Each worker is `python -m windrow.engines.process_worker` with two inherited descriptors: its end of the relay, and the
reading end of a lifeline. The supervisor holds the lifeline's other end and never writes to it: when the supervisor
dies, however it dies, every lifeline closes and every worker ends.

A worker that ends before the run does is replaced, and its partitions are claimed again. One that gives no sign of
life is killed first. Workers that die before they have begun to work are a fault of the job or of the machine: after
some in a row the run fails with what they said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

from windrow.engines.crew import Bulletin, Crew, Stop, worker_name
from windrow.errors import StoreUnavailable, WindrowError
from windrow.store.context import LEASE_SECONDS
from windrow.store.messages import Answer, Command, Failure, Finished, Hello
from windrow.store.relay import Boot, Channel, HostHeld, StopWork, supervisor_end

STILLBORN_WORKERS = 3
SILENCE_SECONDS = LEASE_SECONDS * 1.5
EXIT_SECONDS = 10.0
LOOK_SECONDS = 5.0


class RunFailed(WindrowError):
    """The run cannot go on."""


@dataclass(eq=False)
class _Process:
    """One worker process and the supervisor's end of its pipes."""

    name: str
    process: subprocess.Popen[bytes]
    channel: Channel[Command]
    lifeline: int
    begun: bool = False
    finished: bool = False
    """Whether it was told that the run has no partition left."""
    last_heard: float = 0.0

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


async def run(crew: Crew, stop: Stop) -> None:
    """Returns when the run is finished or stopped. Raises RunFailed where workers cannot begin."""
    supervisor = _Supervisor(crew, stop)
    passing_on = asyncio.create_task(supervisor.pass_on_stop())
    watching = asyncio.create_task(supervisor.watch_silence())
    try:
        async with asyncio.TaskGroup() as places:
            for number in range(crew.workers):
                places.create_task(supervisor.keep_place(number))
    except* (WindrowError, OSError) as group:
        raise group.exceptions[0] from None
    finally:
        supervisor.kill_all()
        for task in (passing_on, watching):
            task.cancel()
        await asyncio.gather(passing_on, watching, return_exceptions=True)


class _Supervisor:
    def __init__(self, crew: Crew, stop: Stop) -> None:
        self._crew = crew
        self._stop = stop
        self._bulletin = Bulletin()
        self._processes: dict[str, _Process] = {}

    async def keep_place(self, number: int) -> None:
        """Keep one worker at work: replace it when it dies, until it says that the run is finished."""
        generation = stillborn = 0
        while not self._stop.asked.is_set():
            worker = await self._start(number, generation)
            try:
                await self._serve(worker)
            finally:
                status = await self._end(worker)
            if worker.finished:
                return
            stillborn = 0 if worker.begun else stillborn + 1
            if stillborn >= STILLBORN_WORKERS:
                raise RunFailed(f"{stillborn} workers in a row ended before they began to work ({_cause(status)})")
            generation += 1

    async def pass_on_stop(self) -> None:
        """Once asked, workers are told to stop; when forced, they are killed."""
        await self._stop.asked.wait()
        for worker in self._processes.values():
            worker.channel.put(0, StopWork())
        await self._stop.forced.wait()
        self.kill_all()

    async def watch_silence(self) -> None:
        """Kill workers that give no sign of life: their leases have run out, and their place is needed."""
        clock = self._crew.clock
        while True:
            before = clock.monotonic()
            await clock.sleep(LOOK_SECONDS)
            away = clock.monotonic() - before - LOOK_SECONDS
            for worker in list(self._processes.values()):
                worker.last_heard += away  # this process was stopped (Ctrl-Z) meanwhile: nobody could be heard
                if worker.process.poll() is not None:
                    # Its pipe closes with it, unless a child of its own holds it open.
                    asyncio.get_running_loop().call_later(LOOK_SECONDS, worker.channel.abort)
                    continue
                if clock.monotonic() - worker.last_heard > SILENCE_SECONDS:
                    worker.kill()

    def kill_all(self) -> None:
        for worker in self._processes.values():
            worker.kill()

    async def _start(self, number: int, generation: int) -> _Process:
        crew, name = self._crew, worker_name(number, generation)
        ours, theirs = socket.socketpair()
        lifeline_end, lifeline = os.pipe()
        with theirs:
            command = [sys.executable, "-m", "windrow.engines.process_worker", str(theirs.fileno()), str(lifeline_end)]
            process = subprocess.Popen(  # noqa: ASYNC220 (it returns once the child is forked)
                # A process group of its own: what the terminal's Ctrl-C means is for the supervisor to say.
                command,
                pass_fds=(theirs.fileno(), lifeline_end),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        os.close(lifeline_end)
        worker = _Process(name, process, await supervisor_end(ours), lifeline, last_heard=crew.clock.monotonic())
        self._processes[name] = worker
        settings = dict(crew.settings)
        worker.channel.put(0, Boot(crew.reference, dict(crew.parameters), settings, name, crew.slots(number)))
        self._bulletin.subscribe(name, lambda host, seconds: worker.channel.put(0, HostHeld(host, seconds)))
        if self._stop.asked.is_set():
            worker.channel.put(0, StopWork())
        return worker

    async def _serve(self, worker: _Process) -> None:
        """Take the worker's commands until its pipe closes. Answers go out as they come, in any order."""
        unanswered: set[asyncio.Future[Answer]] = set()
        while (taken := await worker.channel.take()) is not None:
            number, command = taken
            worker.last_heard = self._crew.clock.monotonic()
            worker.begun = worker.begun or isinstance(command, Hello)
            self._bulletin.note(worker.name, command)
            try:
                reply = self._crew.writer.ask(command)
            except StoreUnavailable as error:
                self._answer(worker, number, Failure(str(error), fatal=True))
                continue
            unanswered.add(reply)
            reply.add_done_callback(unanswered.discard)
            # No task for each: the answers of one transaction come together, and leave in one write.
            reply.add_done_callback(partial(self._pass_on, worker, number))
        await asyncio.gather(*unanswered)

    def _pass_on(self, worker: _Process, number: int, reply: asyncio.Future[Answer]) -> None:
        if not reply.cancelled():
            self._answer(worker, number, reply.result())

    def _answer(self, worker: _Process, number: int, answer: Answer) -> None:
        if isinstance(answer, Failure) and answer.fatal:
            self._stop.fail(answer.message)
        worker.finished = worker.finished or isinstance(answer, Finished)
        worker.channel.put(number, answer)

    async def _end(self, worker: _Process) -> int:
        """The worker's pipe has closed: see its process off and take its partitions back. Its exit status."""
        self._bulletin.unsubscribe(worker.name)
        await worker.channel.close()
        try:
            status = await asyncio.to_thread(worker.process.wait, EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            status = await asyncio.to_thread(worker.process.wait)
        finally:
            # Not before: a worker that is about to end by itself would take it for the supervisor's death.
            os.close(worker.lifeline)
        del self._processes[worker.name]
        blameless = self._stop.asked.is_set() or worker.finished
        cause = _cause(status)
        with contextlib.suppress(StoreUnavailable):
            bury = self._crew.writer.call(lambda keeper: keeper.bury(worker.name, cause, blameless=blameless))
            await asyncio.wrap_future(bury)
        return status


def _cause(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"
