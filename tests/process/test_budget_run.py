"""Whole runs over worker processes against a server that limits. Ratios, not absolute times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import windrow
from tests.support.limited import LimitedSite
from tests.support.scripts import until
from windrow.store.reader import HostHold, open_reader

JOB = """
from windrow import Job, Pace, values

job = Job(
    "things", key="id", partitions=values([f"{n:03}" for n in range(PARTITIONS)]), sessions=16, workers=2,
    pace=Pace(delay=0.0), base_url="URL", MORE
)


@job.scrape
async def scrape(session, partition):
    for number in range(EACH):
        page = await session.get(f"/{partition.key}/{number}", expect="p")
        yield {"id": f"{partition.key}/{number}", "text": page.text("p")}
"""


class Run:
    """`windrow run` in a process group of its own."""

    def __init__(self, folder: Path, site: LimitedSite, partitions: int, each: int, more: str = "") -> None:
        self.job, self.store = folder / "job.py", folder / "things.db"
        text = (
            JOB.replace("URL", site.url)
            .replace("MORE", more)
            .replace("PARTITIONS", str(partitions))
            .replace("EACH", str(each))
        )
        self.job.write_text(text, encoding="utf-8")
        self.wanted = {f"{n:03}/{m}" for n in range(partitions) for m in range(each)}

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "windrow", "run", str(self.job), "--store", str(self.store), "--quiet"]
        return subprocess.Popen([*command, *options], start_new_session=True, stdout=subprocess.DEVNULL)

    def finish(self, *options: str) -> None:
        assert self.start(*options).wait(100) == 0

    def holds(self) -> list[HostHold]:
        """The holds that the store knows of."""
        with open_reader(str(self.store)) as reader:
            return reader.holds(0.0)

    @property
    def found(self) -> Any:
        frame: Any = windrow.read(str(self.store))
        return frame

    def check_records(self) -> None:
        found = self.found
        assert len(found) == len(self.wanted)
        assert set(found["id"]) == self.wanted
        assert all(text == f"/{key}" for key, text in zip(found["id"], found["text"], strict=True))


def test_a_limit_nobody_named_is_found_and_used(tmp_path: Path) -> None:
    with LimitedSite(60) as site:
        run = Run(tmp_path, site, 240, 5)
        run.finish()
        run.check_records()
        end = site.arrivals[-1]
        # 0.90 to 0.96 on a quiet machine (docs/benchmarks.md). Beside other tests requests are late, one slips over the
        # limit, and the second that the site then asks for is a twentieth of a run this short.
        assert site.goodput(end / 4, end) >= 0.75 * 60
        assert len(site.refused) <= 0.005 * len(site.log)
        assert site.during_holds(grace=0.1) == 0


@pytest.mark.chaos
def test_a_retry_after_outlives_a_kill_of_everything(tmp_path: Path) -> None:
    with LimitedSite(20, retry_after=4.0) as site:
        run = Run(tmp_path, site, 20, 3)
        process = run.start()
        until(lambda: site.log and site.refused and run.holds())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        seen = len(site.log)
        run.finish()
        run.check_records()
        assert site.during_holds(grace=0.1) == 0
        # It goes on with what it has learned instead of a slow start: at once below the limit.
        later = [status for _, status, _ in site.log[seen:]]
        assert later.count(429) <= 2


def has_seen(site: LimitedSite, requests: int) -> bool:
    return len(site.log) >= requests


def check_rate(site: LimitedSite, rate: float) -> None:
    """In no window came more than the rate allows and one second's reserve."""
    arrivals = site.arrivals
    for first, begin in enumerate(arrivals):
        for further, end in enumerate(arrivals[first:]):
            assert further <= rate * (end - begin) + rate


def test_two_processes_keep_a_rate_together(tmp_path: Path) -> None:
    with LimitedSite(1e9) as site:
        run = Run(tmp_path, site, 24, 4)
        run.finish("--rate", "20")
        run.check_records()
        check_rate(site, 20)
        assert site.arrivals[-1] <= 1.25 * len(site.log) / 20 + 2


@pytest.mark.chaos
def test_a_rate_is_kept_over_kills_and_restarts(tmp_path: Path) -> None:
    with LimitedSite(1e9) as site:
        run = Run(tmp_path, site, 24, 4)
        for _ in range(3):
            process, enough = run.start("--rate", "20"), len(site.log) + 12
            until(partial(has_seen, site, enough))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        run.finish("--rate", "20")
        run.check_records()
        check_rate(site, 20)


def most_at_once(site: LimitedSite) -> int:
    """How many requests the site had in hand at one moment, at most."""
    ends = sorted([(begin, 1) for begin, _, _ in site.log] + [(end, -1) for _, _, end in site.log])
    return max(accumulate(step for _, step in ends))


@pytest.mark.parametrize(("options", "least", "most"), [((), 10, 16), (("--rate", "8"), 1, 7)])
def test_sessions_follow_what_the_site_and_the_budget_bear(
    tmp_path: Path, options: tuple[str, ...], least: int, most: int
) -> None:
    # A slow site that bears anything is asked by more and more; with a budget more of them would only wait.
    with LimitedSite(1e9, latency=0.3) as site:
        run = Run(tmp_path, site, 40, 2 if options else 8, more="most_sessions=16,")
        run.finish("--sessions", "auto", *options)
        run.check_records()
        assert least <= most_at_once(site) <= most
