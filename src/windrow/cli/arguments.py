"""What may be typed: commands, arguments, options, their checks and their help.

Each function here only reads its arguments and hands back the work to be done (`Work`); nothing heavy is imported
before the work begins, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from windrow.cli import commands

Work = Callable[[], int]


class EngineName(StrEnum):
    """How workers are run."""

    PROCESSES = "processes"
    THREADS = "threads"
    SEQUENTIAL = "sequential"


def _not_negative(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value:g} is no number from 0 up (0 means none)")
    return value


def _sessions(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number from 1 up nor auto")
    return int(text)


def _at_least_one(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise typer.BadParameter(f"{value} is less than 1")
    return value


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="file.py, file.py:name, package.module:name, or a built-in job: annuaire, finviz."
    ),
]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="An SQLite file, or its URL: sqlite:///FILE.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where everything is kept: an SQLite file or its URL. Default: the job's name with .db, in this folder.",
    ),
]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="How workers are run: a process each, a thread each, or one by one.")
]
SessionsOption = Annotated[
    Any,
    typer.Option(
        "--sessions",
        metavar="N|auto",
        parser=_sessions,
        help="Partitions in progress at once, over all workers. auto: as many as bring something.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", callback=_at_least_one, help="Processes. Default: one per core, at most --sessions."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override a parameter of the job; may be repeated."),
]
DelayOption = Annotated[
    float | None,
    typer.Option(
        "--delay",
        metavar="SECONDS",
        callback=_not_negative,
        help="Pace of a session: seconds between its requests; 0 means none.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="PER_SECOND",
        callback=_not_negative,
        help="Most requests per second to a host, over all sessions; below it the budget adapts. 0: no budget.",
    ),
]
RobotsOption = Annotated[
    bool, typer.Option("--ignore-robots", help="Do not obey robots.txt: only where you have the right to.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show no progress, only how it ended.")]


def run(
    job: JobArgument,
    store: StoreOption = None,
    engine: EngineOption = EngineName.PROCESSES,
    sessions: SessionsOption = None,
    workers: WorkersOption = None,
    parameters: SetOption = None,
    delay: DelayOption = None,
    rate: RateOption = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KEY", help="Only this partition; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", callback=_at_least_one, help="At most N partitions."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Abandon an unfinished run and begin anew; records are kept and updated.")
    ] = False,
    ignore_robots: RobotsOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write all records there in the end, as export does."),
    ] = None,
    quiet: QuietOption = False,
) -> Work:
    """Run a job, or go on with its unfinished run.

    Exit code: 0 complete, 1 the run failed, 2 wrong usage, 3 partitions failed or records are missing, 130 interrupted
    (the same command goes on).
    """
    options = _options(job, store, engine, sessions, workers, parameters, delay, rate, ignore_robots)
    options |= {"only": tuple(only or ()), "limit": limit, "fresh": fresh}
    return partial(commands.run, options, quiet=quiet, output=output)


def retry(
    job: JobArgument,
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]...", help="The partitions to try again. Default: all that failed or lack records."
        ),
    ] = None,
    store: StoreOption = None,
    engine: EngineOption = EngineName.PROCESSES,
    sessions: SessionsOption = None,
    workers: WorkersOption = None,
    parameters: SetOption = None,
    delay: DelayOption = None,
    rate: RateOption = None,
    ignore_robots: RobotsOption = False,
    quiet: QuietOption = False,
) -> Work:
    """Try failed and incomplete partitions again.

    Those of the job's last run: all of them, or those named. Exit codes are those of `windrow run`.
    """
    options = _options(job, store, engine, sessions, workers, parameters, delay, rate, ignore_robots)
    return partial(commands.retry, options, list(keys or ()), quiet=quiet)


def status(
    store: StoreArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for scripts.")] = False,
) -> Work:
    """Say how the last run stands: complete, or what is missing."""
    return partial(commands.status, store, as_json=as_json)


def monitor(store: StoreArgument) -> Work:
    """Watch a run while it goes.

    Shows workers, partitions in progress, newest records and problems. Works from a second terminal; Ctrl-C leaves it
    without touching the run. A run that has ended is shown once.
    """
    return partial(commands.monitor, store)


def export(
    store: StoreArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="FILE.csv, FILE.jsonl or FILE.parquet.")
    ],
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="NAME", help="The table of records. Default: that of the last run."),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: write text that a spreadsheet would run as a formula as it is."),
    ] = False,
) -> Work:
    """Write all records to a CSV, JSON lines or Parquet file.

    In a CSV file, text that begins like a formula (= + - @) gets an apostrophe in front; plain numbers do not. The file
    is replaced only when the new one is whole.
    """
    return partial(commands.export, store, output, table=table, raw=raw)


def check(
    job: JobArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The partition to try.")],
    parameters: SetOption = None,
    delay: DelayOption = None,
    rate: RateOption = None,
    ignore_robots: RobotsOption = False,
) -> Work:
    """Try one partition and store nothing.

    Shows every request, how well the records are filled, and how the partition would have ended. Exit code: 0 it
    would be done or split, 3 incomplete, 1 failed.
    """
    options = _options(job, None, EngineName.SEQUENTIAL, None, None, parameters, delay, rate, ignore_robots)
    return partial(commands.check, options, key)


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make.")],
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="JOB", help="Begin with the source of a built-in job: annuaire, finviz."),
    ] = None,
) -> Work:
    """Make a folder with a job to begin with.

    It holds job.py and README.md; a folder that is not empty is left alone.
    """
    return partial(commands.init, name, origin)


def demo(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The built-in job to show.")] = "annuaire",
) -> Work:
    """Run a built-in job against a replica of its site."""
    return partial(commands.demo, name)


EXAMPLES: tuple[tuple[Callable[..., Work], str], ...] = (
    (
        run,
        """Examples:

\b
  windrow run job.py
  windrow run job.py --sessions 8 --delay 0.5 --store records.db
  windrow run annuaire --only ma --set base_url=http://127.0.0.1:8900 --delay 0""",
    ),
    (
        retry,
        """Examples:

\b
  windrow retry job.py
  windrow retry job.py --store records.db ma du""",
    ),
    (
        status,
        """Examples:

\b
  windrow status records.db
  windrow status records.db --json""",
    ),
    (
        monitor,
        """Example:

\b
  windrow monitor records.db""",
    ),
    (
        export,
        """Examples:

\b
  windrow export records.db -o records.csv
  windrow export records.db -o records.jsonl --table professionals""",
    ),
    (
        check,
        """Example:

\b
  windrow check job.py ma""",
    ),
    (
        init,
        """Examples:

\b
  windrow init shops
  windrow init directory --from annuaire""",
    ),
    (
        demo,
        """Example:

\b
  windrow demo annuaire""",
    ),
)


def application() -> typer.Typer:
    """The command line, as Typer has it."""
    made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    made.callback()(_windrow)
    for command, examples in EXAMPLES:
        made.command(epilog=examples)(command)
    return made


def _windrow(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda asked: _say_version(asked), help="Say which.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; stands anywhere. Also: WINDROW_DEBUG=1.")
    ] = False,
) -> None:
    """Partitioned, parallel web scraping: polite, resumable, every record once, and it says what is missing.

    \b
    Begin:  windrow init shops && windrow check shops/job.py travel_2 && windrow run shops/job.py
    Look:   windrow status shops.db
    Take:   windrow export shops.db -o shops.csv
    """


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"windrow {version('windrow')}")
        raise typer.Exit()


def _options(
    job: str,
    store: str | None,
    engine: EngineName,
    sessions: int | str | None,
    workers: int | None,
    parameters: list[str] | None,
    delay: float | None,
    rate: float | None,
    ignore_robots: bool,
) -> dict[str, Any]:
    """The fields of `windrow.app.RunOptions` that all commands with a job share."""
    return {
        "job": job,
        "store": store,
        "engine": engine.value,
        "sessions": sessions,
        "workers": workers,
        "parameters": commands.parameters(parameters or ()),
        "delay": delay,
        "rate": rate,
        "ignore_robots": ignore_robots,
    }
