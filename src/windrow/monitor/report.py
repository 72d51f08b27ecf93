"""What a run came to, in words: the last lines of `run` and the text of `status`. Pure; lines in plain text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from windrow.clock import iso
from windrow.monitor.snapshot import RunState, Snapshot
from windrow.monitor.wording import duration, number, plural, printable
from windrow.store.reader import HostHold, IdentityRest, PartitionRow

MOST_PROBLEMS = 20
MOST_HOLDS = 5
MOST_RESTING = 10
LONG_HOLD = 5.0
"""Seconds from which on a hold is worth a line."""
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Commands:
    """What to type next. `store`, `job` and `parameters` (`--set`) as the user gave them; job None: not known.

    `manner`: the options that say how to ask, `scope`: those that say for which partitions.
    """

    store: str
    job: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    manner: Sequence[str] = ()
    scope: Sequence[str] = ()

    def run(self) -> str:
        return self._with_job("run", self.scope)

    def retry(self) -> str:
        return self._with_job("retry")

    def monitor(self) -> str:
        return f"windrow monitor {shlex.quote(self.store)}"

    def export(self, job: str) -> str:
        return f"windrow export {shlex.quote(self.store)} -o {shlex.quote(job)}.csv"

    def _with_job(self, command: str, scope: Sequence[str] = ()) -> str:
        words = ["windrow", command, self.job or "JOB", "--store", self.store]
        for name, value in self.parameters.items():
            words += ["--set", f"{name}={value}"]
        return shlex.join([*words, *self.manner, *scope])


def report(
    snapshot: Snapshot,
    problems: Sequence[PartitionRow],
    commands: Commands,
    holds: Sequence[HostHold] = (),
    resting: Sequence[IdentityRest] = (),
) -> list[str]:
    """The lines that say how the run stands: complete, or what failed and what is missing, and what to do next.

    `problems` are the failed and incomplete partitions, at least the first MOST_PROBLEMS of them. `holds`: hosts
    that asked to be left alone for longer than a moment. `resting`: identities that rest or are out.
    """
    return [
        _verdict(snapshot),
        *(f"  {line}" for line in _figures(snapshot)),
        *(f"  {line}" for line in _parked(snapshot, holds)),
        *(f"  {line}" for line in _resting(snapshot, resting)),
        *(f"  {line}" for line in _problems(snapshot, problems)),
        *_next(snapshot, commands),
    ]


def _verdict(snapshot: Snapshot) -> str:
    subject = f"{printable(snapshot.job)}, run {snapshot.run}"
    counts = snapshot.partitions
    if snapshot.complete:
        return f"complete: {subject}"
    if snapshot.state is RunState.RUNNING:
        return f"running: {subject}, {plural(counts.open, 'partition')} to go"
    if snapshot.state is RunState.INTERRUPTED:
        return f"interrupted: {subject}, {plural(counts.open, 'partition')} to go"
    return f"not complete: {subject}, {' and '.join(_lacking(snapshot))}"


def _lacking(snapshot: Snapshot) -> Iterator[str]:
    counts = snapshot.partitions
    if counts.failed:
        yield f"{plural(counts.failed, 'partition')} failed"
    if counts.incomplete:
        yield f"{plural(counts.incomplete, 'partition')} incomplete"
    if snapshot.missing:
        yield f"{plural(snapshot.missing, 'record')} missing"


def _figures(snapshot: Snapshot) -> Iterator[str]:
    counts = snapshot.partitions
    reported = "the site reports no number" if snapshot.reported is None else f"reported {number(snapshot.reported)}"
    yield (
        f"{plural(snapshot.records, 'record')} ({reported}), {number(snapshot.missing)} missing, "
        f"{number(snapshot.invalid)} invalid"
    )
    states = (
        ("done", counts.done),
        ("split", counts.split),
        ("incomplete", counts.incomplete),
        ("failed", counts.failed),
        ("in progress", counts.leased),
        ("pending", counts.pending),
    )
    named = ", ".join(f"{number(count)} {name}" for name, count in states if count)
    yield f"{plural(counts.total, 'partition')}: {named or 'none'}"
    yield (
        f"{plural(snapshot.requests, 'request')}, {plural(snapshot.retries, 'retry', 'retries')}, "
        f"{number(snapshot.throttled)} throttled, {number(snapshot.blocked)} blocked, {duration(snapshot.elapsed)}"
    )


def _parked(snapshot: Snapshot, holds: Sequence[HostHold]) -> Iterator[str]:
    if snapshot.state is RunState.FINISHED:
        return
    for hold in holds[:MOST_HOLDS]:
        left = duration(hold.until - snapshot.at)
        yield f"parked until {iso(hold.until)}: {printable(hold.host)} asks to wait (another {left})"


def _resting(snapshot: Snapshot, resting: Sequence[IdentityRest]) -> Iterator[str]:
    # Those that are out first: they are why a run fails. That one rests is of no interest once the run has finished.
    known = [each for each in resting if each.is_out or snapshot.state is not RunState.FINISHED]
    for each in sorted(known, key=lambda identity: not identity.is_out)[:MOST_RESTING]:
        until = "is out for this run" if each.is_out else f"rests until {iso(each.until)}"
        why = printable(each.reason or "no reason was given", LONGEST_REASON)
        yield f"identity {printable(each.name)} {until}: {why}"
    if len(known) > MOST_RESTING:
        yield f"and {number(len(known) - MOST_RESTING)} more identities"


def _problems(snapshot: Snapshot, problems: Sequence[PartitionRow]) -> Iterator[str]:
    shown = problems[:MOST_PROBLEMS]
    for row in shown:
        missing = f" ({number(row.missing)} missing)" if row.missing else ""
        reason = printable(row.reason or "no reason was given", LONGEST_REASON)
        yield f"{row.state} {printable(row.key)!r}{missing}: {reason}"
    more = snapshot.partitions.failed + snapshot.partitions.incomplete - len(shown)
    if more > 0:
        yield f"and {number(more)} more"


def _next(snapshot: Snapshot, commands: Commands) -> Iterator[str]:
    if snapshot.state is RunState.INTERRUPTED:
        yield f"go on: the same command again, {commands.run()}"
    elif snapshot.state is RunState.RUNNING:
        yield f"watch it: {commands.monitor()}"
    elif snapshot.partitions.failed or snapshot.partitions.incomplete:
        yield f"try them again: {commands.retry()}"
    else:
        yield f"export them: {commands.export(snapshot.job)}"
