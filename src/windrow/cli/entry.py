"""The beginning and the end of every command: exit codes, and one clear message for what went wrong.

0 complete · 1 failed · 2 wrong usage · 3 finished, but partitions failed or records are missing · 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Sequence

import typer

from windrow.cli.arguments import application
from windrow.errors import UsageError

DEBUG_FLAG = "--debug"
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
CUT_OFF = 141
"""What a shell reports for a program that ended because nobody reads its output any more."""


def main() -> None:
    """The entry point `windrow`: run what was typed and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a site sent need not fit the terminal's encoding
    code = command_line(sys.argv[1:])
    if threading.active_count() > 1:
        # A plain scrape function that is stuck in its thread must not keep the command.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def command_line(typed: Sequence[str]) -> int:
    """Do what `typed` says and return the exit code; messages go to stderr."""
    arguments = [each for each in typed if each != DEBUG_FLAG]
    debug = len(arguments) < len(typed) or os.environ.get("WINDROW_DEBUG", "") not in {"", "0"}
    try:
        code = _do(arguments or ["--help"])
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError as error:
        if not _nobody_reads():
            return _unexpected(error, debug)
        _silence()
        return CUT_OFF
    except Exception as error:
        return _explain(error, debug)


def _do(arguments: Sequence[str]) -> int:
    # Typer only reads what was typed and hands back the work: inside Typer, a broken pipe of the run's own would be
    # taken for one of the terminal and end in silence.
    work = application()(args=arguments, prog_name="windrow", standalone_mode=False)
    return work if isinstance(work, int) else int(work())


def _explain(error: Exception, debug: bool) -> int:
    if isinstance(error, UsageError) and not debug:
        _say(str(error))
        return WRONG_USAGE
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f"; `{context.command_path} --help` says what there is" if context is not None else ""
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        _say(message + hint)
        return WRONG_USAGE
    code = _unexpected(error, debug)
    return WRONG_USAGE if isinstance(error, UsageError) else code


def _unexpected(error: Exception, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    _say(f"{type(error).__name__}: {error}" + ("" if debug else "; WINDROW_DEBUG=1 shows where"))
    return FAILED


def _say(message: str) -> None:
    try:
        print(f"windrow: {message}", file=sys.stderr)
    except OSError:
        _silence()


def _nobody_reads() -> bool:
    """Whether it is stdout or stderr that was closed at its other end, and not a pipe of our own."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _silence() -> None:
    """Let what is still buffered go nowhere: Python would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
