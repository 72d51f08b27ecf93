"""What each command does. Everything heavy is imported inside: a command pays only for what it uses.

A command returns its exit code and prints its result to stdout; progress goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from windrow.errors import SettingError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.app import RunResult
    from windrow.monitor.live import LiveProgress
    from windrow.monitor.report import Commands
    from windrow.store.reader import RunRow

Options = dict[str, Any]

EXIT_CODES = MappingProxyType({"complete": 0, "failed": 1, "incomplete": 3, "interrupted": 130})

CHECK_CODES = MappingProxyType({"done": 0, "split": 0, "incomplete": 3, "pending": 3, "failed": 1})
"""A partition that is pending again lacks records, or the site asked to come back later."""


def parameters(texts: Sequence[str]) -> dict[str, str]:
    """`--set NAME=VALUE` texts as a mapping. Raises SettingError for a text without `=` or without a name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingError(f"--set {text}: needs NAME=VALUE")
        found[name.strip()] = value
    return found


def run(options: Options, *, quiet: bool, output: Path | None = None) -> int:
    """Run a job and write its records to `output`; the exit code of the run's outcome."""
    from windrow import app
    from windrow.export import check_target

    if output is not None:
        check_target(output)
    result = app.run(app.RunOptions(**options), watch=_watch(quiet))
    code = _conclude(result, options)
    if output is not None:
        export(result.store, output, table=None, raw=False)
    return code


def retry(options: Options, keys: Sequence[str], *, quiet: bool) -> int:
    """Run failed and incomplete partitions again; the exit code of the outcome."""
    from windrow import app

    return _conclude(app.retry(app.RunOptions(**options), keys, watch=_watch(quiet)), options)


def status(store: str, *, as_json: bool) -> int:
    """Print how the run that was active last stands: 0 when it could be said."""
    from windrow.clock import SystemClock, iso
    from windrow.errors import StoreError
    from windrow.monitor.live import describe, take_snapshot
    from windrow.monitor.snapshot import as_json as contract
    from windrow.store.reader import open_reader

    with open_reader(store) as reader:
        if not as_json:
            print("\n".join(describe(reader, _next_commands(store, reader.run()), SystemClock())))
            return 0
        latest = take_snapshot(reader, SystemClock())
        if latest is None:
            raise StoreError(
                f"{store}: there is no run in this store yet; `windrow run JOB --store {store}` begins one"
            )
        resting = [
            {"name": each.name, "until": None if each.is_out else iso(each.until), "reason": each.reason}
            for each in reader.resting(latest.run, latest.at)
        ]
        # Beyond the contract, and only where there is something to say.
        more = {"resting": resting} if resting else {}
        print(json.dumps({**contract(latest), **more}, indent=2, ensure_ascii=False))
    return 0


def monitor(store: str) -> int:
    """Show a run while it goes. Ctrl-C is how one leaves it, so that is no error."""
    from windrow.monitor.live import watch_store

    try:
        watch_store(store, _console(sys.stdout))
    except KeyboardInterrupt:
        print()
    return 0


def export(store: str, target: Path, *, table: str | None, raw: bool) -> int:
    """Write all records to a file."""
    from windrow.export import export as write
    from windrow.monitor.wording import plural

    print(f"{plural(write(store, target, table, raw=raw), 'record')} in {target}")
    return 0


def check(options: Options, key: str) -> int:
    """Scrape one partition and tell all about it."""
    from windrow import app
    from windrow.cli.checking import Teller

    teller = Teller(print)
    result = app.check(app.RunOptions(**options), key, teller)
    teller.conclude(result.state, result.reason, result.reported, result.children)
    return CHECK_CODES.get(result.state, 1)


def init(name: str, origin: str | None) -> int:
    """Make a folder with a job to begin with."""
    from windrow.cli.scaffold import make

    for line in make(Path(name), origin):
        print(line)
    return 0


def demo(name: str) -> int:
    """Run a built-in job against a replica of its site."""
    from windrow.job import BUILT_IN

    if name not in BUILT_IN:
        raise UsageError(f"there is no demo {name!r}; there are {', '.join(sorted(BUILT_IN))}")
    from windrow.demo.command import demo as show

    return show(name)


def _watch(quiet: bool) -> Callable[[str], LiveProgress]:
    from windrow.monitor.live import LiveProgress

    console = _console(sys.stderr)
    return lambda store: LiveProgress(store, console, quiet)


def _conclude(result: RunResult, options: Options) -> int:
    """Print the last lines of a run; its exit code. Lines that cannot be shown do not change how it ended."""
    from windrow.app import RunOptions
    from windrow.clock import SystemClock
    from windrow.monitor.live import describe
    from windrow.monitor.report import Commands
    from windrow.store.reader import open_reader

    if result.message is not None:
        print(f"windrow: {result.message}", file=sys.stderr)
    try:
        with open_reader(result.store) as reader:
            given = RunOptions(**options)
            commands = Commands(result.store, given.job, given.parameters, given.manner(), given.scope())
            lines = describe(reader, commands, SystemClock(), result.run)
        print("\n".join(lines), flush=True)
    except UsageError as error:
        print(f"windrow: {error}", file=sys.stderr)
    return EXIT_CODES[result.outcome.value]


def _next_commands(store: str, run: RunRow | None) -> Commands:
    """What to type next, as far as the run kept how it was begun."""
    from windrow.monitor.report import Commands

    settings = {} if run is None else run.settings
    reference, given = settings.get("reference"), settings.get("parameters")
    job = reference if isinstance(reference, str) else None
    manner, scope = settings.get("manner"), settings.get("scope_words")
    return Commands(
        store,
        job,
        given if isinstance(given, dict) else {},
        manner if isinstance(manner, list) else (),
        scope if isinstance(scope, list) else (),
    )


def _console(file: Any) -> Console:
    from rich.console import Console

    return Console(file=file)
