"""SIGKILL at any moment, to any part of a run: afterwards the same command brings the rest, and nothing twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_directory import (
    DEADLINE,
    directory_command,
    job_file,
    kill_all,
    processes_of,
    proof_of,
    rows,
    saved,
    started,
    things,
    wait_until,
)
from windrow.app import Outcome, RunOptions, run
from windrow.demo.annuaire.site import SiteOptions, SiteProcess

pytestmark = pytest.mark.chaos

PEOPLE, LATENCY = 160, 0.015
SESSIONS, WORKERS = 8, 2
KILLS = 14
MOST_AGAIN = 1
"""People fetched again for each session that was killed. The promise is three; while a person takes much longer than a
commit, it is the one in the making and no other."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "professionals.db")


# --- who is killed -------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """The command, started as often as it was killed."""

    command: list[str]
    store: str
    process: subprocess.Popen[str] | None = None
    kills: int = 0
    sessions_killed: int = 0

    def begin(self) -> None:
        """Start the command, unless it is under way."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, start_new_session=True
            )

    def workers(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in processes_of(self.process.pid) if pid != self.process.pid]

    def kill_worker(self, chance: random.Random) -> None:
        """The run goes on by itself."""
        wait_until(lambda: bool(self.workers()), "there is a worker to be killed")
        victim = chance.choice(self.workers())
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not self._holds_anything(victim), "its partitions are taken back")
        self._note(SESSIONS // WORKERS)

    def _holds_anything(self, pid: int) -> bool:
        held = """SELECT count(*) FROM windrow_partitions JOIN windrow_workers ON worker = name
                  WHERE pid = ? AND state = 'leased'"""
        return rows(self.store, held, pid) != [(0,)]

    def kill_supervisor(self, chance: random.Random) -> None:
        assert self.process is not None
        self.process.kill()
        self._end()

    def kill_everything(self, chance: random.Random) -> None:
        assert self.process is not None
        kill_all(self.process.pid)
        self._end()

    def _end(self) -> None:
        assert self.process is not None
        process, self.process = self.process, None
        assert process.wait(DEADLINE) == -signal.SIGKILL, "it had not ended before"
        wait_until(lambda: not processes_of(process.pid), "no process outlives its supervisor", within=5.0)
        self._note(SESSIONS)

    def _note(self, sessions: int) -> None:
        self.kills += 1
        self.sessions_killed += sessions

    def finish(self) -> int:
        """Let it come to its end, undisturbed; its exit code."""
        self.begin()
        assert self.process is not None
        return self.process.wait(DEADLINE)


@contextmanager
def running(site: SiteProcess, store: str) -> Iterator[Run]:
    run = Run(directory_command(site, store, sessions=SESSIONS, workers=WORKERS), store)
    try:
        yield run
    finally:
        if run.process is not None:
            kill_all(run.process.pid)
            run.process.wait()


VICTIMS: dict[str, Callable[[Run, random.Random], None]] = {
    "worker": Run.kill_worker,
    "supervisor": Run.kill_supervisor,
    "everything": Run.kill_everything,
}


def assert_everybody_once(site: SiteProcess, store: str, run: Run) -> None:
    """Set and content equal the truth, in one run; hardly anybody was asked for again."""
    proof = proof_of(site, store)
    assert proof.is_exact, proof
    assert (proof.overlapping, proof.wrong_tokens) == (0, 0)
    assert fetched_again(site) <= MOST_AGAIN * run.sessions_killed
    ((runs, state, records, missing),) = rows(
        store, "SELECT count(*), max(state), max(records), max(missing) FROM windrow_runs"
    )
    assert (runs, state, missing) == (1, "finished", 0)
    assert records == proof.expected, "nothing was counted as new twice"
    assert rows(store, "SELECT count(*) FROM windrow_partitions WHERE state IN ('pending', 'leased')") == [(0,)]
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]


def fetched_again(site: SiteProcess) -> int:
    """How many people were fetched again, in whole or in part."""
    people = site.stats()["tabs"].values()
    return sum(max(times.values()) - 1 for times in people)


# --- the tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", VICTIMS)
def test_one_kill(victim: str, store: str) -> None:
    with SiteProcess(SiteOptions(people=80, latency=LATENCY)) as site, running(site, store) as run:
        run.begin()
        wait_until(lambda: saved(store) >= 20, "some people are saved")
        VICTIMS[victim](run, random.Random(1))
        assert run.finish() == 0
        assert_everybody_once(site, store, run)


def test_many_kills_at_any_moment(store: str) -> None:
    with SiteProcess(SiteOptions(people=PEOPLE, latency=LATENCY)) as site, running(site, store) as run:
        kill_many_times(site, store, run)
        assert run.finish() == 0
        print(f"{fetched_again(site)} people fetched again, {run.sessions_killed} sessions killed")
        assert_everybody_once(site, store, run)


def kill_many_times(site: SiteProcess, store: str, run: Run) -> None:
    seed = int(os.environ.get("WINDROW_CHAOS_SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"to see it again: WINDROW_CHAOS_SEED={seed}")  # pytest shows it when the test fails
    chance = random.Random(seed)
    for _ in range(KILLS):
        run.begin()
        wait_a_moment(site, chance)
        # A partition that three workers in a row held when they died is to blame and fails; not so here.
        spared = {"worker"} if is_any_suspect(store) else set()
        victim = chance.choice([name for name in VICTIMS if name not in spared])
        print(f"after {site.stats()['requests']} requests, {saved(store)} people: {victim}")
        VICTIMS[victim](run, chance)
    assert saved(store) < PEOPLE, "there was something left to be lost"


def is_any_suspect(store: str) -> bool:
    """Whether a partition has seen two of its workers die."""
    try:
        return rows(store, "SELECT count(*) FROM windrow_partitions WHERE deaths >= 2") != [(0,)]
    except sqlite3.OperationalError:
        return False  # there is no store yet


def wait_a_moment(site: SiteProcess, chance: random.Random) -> None:
    """Until the site was asked some more; now and then not at all, so that a kill comes while processes begin."""
    if chance.random() < 0.2:
        return
    until = site.stats()["requests"] + chance.randrange(1, 100)
    wait_until(lambda: site.stats()["requests"] >= until, "the run goes on")


POISON = """
import os
from windrow import Job, values

job = Job("things", key="id", partitions=values(["a", "poison", *range(12)]), sessions=4, workers=2)

@job.scrape
async def scrape(session, partition):
    if partition.key == "poison":
        os._exit(7)
    yield {"id": partition.key}
"""


def test_a_partition_that_kills_its_worker_fails_and_the_others_are_complete(tmp_path: Path) -> None:
    place = str(tmp_path / "things.db")
    assert run(RunOptions(job=job_file(tmp_path, POISON), store=place)).outcome is Outcome.INCOMPLETE
    assert things(place) == sorted(["a", *map(str, range(12))])
    states = rows(place, "SELECT key, state, reason FROM windrow_partitions WHERE state != 'done'")
    assert states == [("poison", "failed", "it killed its worker 3 times: exit code 7")]


STUCK = """
import time
from windrow import Job, values

job = Job("things", key="id", partitions=values(["a"]), workers=1, parameters={"mark": ""})

@job.scrape
async def scrape(session, partition):
    open(session.parameters["mark"], "w").close()
    time.sleep(600)  # holds up the whole event loop of its worker
    yield {"id": partition.key}
"""


def test_a_worker_that_is_stuck_ends_with_its_supervisor(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = windrow_run(job_file(tmp_path, STUCK), tmp_path / "things.db", mark=mark)
    with started(command) as supervisor:
        wait_until(mark.exists, "the worker is stuck")
        assert len(processes_of(supervisor.pid)) == 2
        supervisor.kill()
        supervisor.wait(DEADLINE)
        wait_until(lambda: not processes_of(supervisor.pid), "the stuck worker is gone", within=5.0)


def windrow_run(job: str, store: Path, **parameters: Any) -> list[str]:
    options = [word for name, value in parameters.items() for word in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "windrow", "run", job, "--store", str(store), *options]
