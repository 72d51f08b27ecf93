"""What a run looks like at one moment, and how fast it goes: rows in, values out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from windrow.clock import iso
from windrow.store.reader import Overview, PartitionCounts

RATE_SECONDS = 15.0
"""Throughput is over this long: short enough to show a change, long enough not to flicker."""

HISTORY_SECONDS = 300.0
"""What is left is judged over this long: partitions come to an end in bursts."""


class RunState(StrEnum):
    """What a run is doing."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One run at one moment (`at`). Times are epoch seconds, `active` is the seconds worked so far.

    `records` are the distinct records saved in this run; `reported` and `missing` are the ledger's.
    """

    at: float
    job: str
    run: int
    state: RunState
    partitions: PartitionCounts
    records: int
    reported: int | None
    missing: int
    invalid: int
    requests: int
    retries: int
    throttled: int
    blocked: int
    started: float
    finished: float | None
    active: float

    @property
    def complete(self) -> bool:
        """Finished, and nothing failed or is missing."""
        bad = self.missing or self.partitions.failed or self.partitions.incomplete
        return self.state is RunState.FINISHED and not bad

    @property
    def elapsed(self) -> float:
        """Seconds worked on the run; from its begin where its supervisor has not yet said how many."""
        return self.active or max(0.0, (self.at if self.finished is None else self.finished) - self.started)


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, over the last seconds; `remaining` is how many seconds the rest will take. None: not known."""

    records: float | None = None
    pages: float | None = None
    remaining: float | None = None


def snapshot(overview: Overview, now: float) -> Snapshot:
    """The overview of a run as a snapshot of the moment `now` (epoch seconds)."""
    run, finished = overview.run, overview.run.state == "finished"
    return Snapshot(
        at=now,
        job=run.job,
        run=run.id,
        state=_state(run.state, run.alive_until, now),
        partitions=overview.counts,
        records=run.records,
        reported=overview.ledger.reported,
        # A finished run has its books balanced: what one partition missed another may have found.
        missing=run.missing if finished else overview.ledger.missing,
        invalid=run.invalid,
        requests=run.requests,
        retries=run.retries,
        throttled=run.throttled,
        blocked=run.blocked,
        started=run.started,
        finished=run.finished if finished else None,
        active=run.active_seconds,
    )


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """What `windrow status --json` prints; its names are a contract with scripts (DESIGN.md, section 5)."""
    counts = snapshot.partitions
    return {
        "job": snapshot.job,
        "run": snapshot.run,
        "state": snapshot.state.value,
        "partitions": {
            "total": counts.total,
            "pending": counts.pending,
            "leased": counts.leased,
            "done": counts.done,
            "split": counts.split,
            "incomplete": counts.incomplete,
            "failed": counts.failed,
        },
        "records": snapshot.records,
        "reported": snapshot.reported,
        "missing": snapshot.missing,
        "invalid": snapshot.invalid,
        "requests": snapshot.requests,
        "retries": snapshot.retries,
        "throttled": snapshot.throttled,
        "blocked": snapshot.blocked,
        "started": iso(snapshot.started),
        "finished": iso(snapshot.finished),
    }


def remember(history: Sequence[Snapshot], latest: Snapshot) -> tuple[Snapshot, ...]:
    """`history` with `latest` at its end, without what is too old, of another run, or of a clock set back since."""
    kept = [each for each in history if each.run == latest.run and latest.at - HISTORY_SECONDS <= each.at < latest.at]
    return (*kept, latest)


def rates(history: Sequence[Snapshot]) -> Rates:
    """How fast the run goes, by the differences of its snapshots; `history` is ascending and of one run."""
    if len(history) < 2 or history[-1].state is not RunState.RUNNING:
        return Rates()
    latest = history[-1]
    recent = next(each for each in history if latest.at - each.at <= RATE_SECONDS)
    before = history[-2] if recent is latest else recent
    seconds = latest.at - before.at
    return Rates(
        records=max(0, latest.records - before.records) / seconds,
        pages=max(0, latest.requests - before.requests) / seconds,
        remaining=_remaining(history[0], latest),
    )


def _state(state: str, alive_until: float, now: float) -> RunState:
    if state == "finished":
        return RunState.FINISHED
    return RunState.RUNNING if state == "running" and alive_until >= now else RunState.INTERRUPTED


def _remaining(first: Snapshot, latest: Snapshot) -> float | None:
    ended = latest.partitions.ended - first.partitions.ended
    if ended <= 0:
        return None
    return latest.partitions.open * (latest.at - first.at) / ended
