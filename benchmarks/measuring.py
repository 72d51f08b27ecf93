"""What the benchmarks share: their environment, runs that are measured from outside, and what machine this is.

The environment is `.venv-bench` beside `.venv`: Windrow as it stands here, and what it is compared with, each at the
version that `constraints.txt` here and at the root pin. What cannot be installed is left out, and its reason is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-bench"
RESULTS = Path(__file__).parent / "results"
_CONSTRAINTS = (ROOT / "constraints.txt", Path(__file__).parent / "constraints.txt")
_SAMPLE_SECONDS = 0.1
_FLUSHES = 200

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "windrow": ("--editable", str(ROOT)),
        "scrapy": ("scrapy",),
        "crawlee": ("crawlee[parsel]",),
        "requests": ("requests", "beautifulsoup4"),
        "matplotlib": ("matplotlib",),
    }
)
"""What a benchmark may ask for → what pip installs for it."""


# --- the environment -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """`missing`: part → why it could not be installed."""

    python: Path
    missing: Mapping[str, str]

    def versions(self, *packages: str) -> dict[str, str]:
        """Package → installed version, for those that are installed."""
        code = (
            "import importlib.metadata as m, json, sys\nfound = {}\nfor name in sys.argv[1:]:\n"
            "    try:\n        found[name] = m.version(name)\n    except m.PackageNotFoundError:\n        pass\n"
            "print(json.dumps(found))"
        )
        answer = subprocess.run([self.python, "-c", code, *packages], check=True, capture_output=True, text=True)
        found: dict[str, str] = json.loads(answer.stdout)
        return found


def environment(*parts: str) -> Environment:
    """The environment with those of PARTS; made the first time, which takes a minute. SystemExit without Windrow."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"setting up {ENVIRONMENT.name} (once; a minute or two)", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        (ENVIRONMENT / ".gitignore").write_text("*\n")
    missing = {part: reason for part in ("windrow", *parts) if (reason := _install(python, part)) is not None}
    if "windrow" in missing:
        raise SystemExit(f"Windrow itself cannot be installed in {ENVIRONMENT}: {missing['windrow']}")
    return Environment(python, missing)


def _install(python: Path, part: str) -> str | None:
    """Install a part unless that was done with these versions before; why it failed, None where it did not."""
    stamp = ENVIRONMENT / f".{part}"
    pinned = "".join(path.read_text() for path in _CONSTRAINTS)
    if stamp.exists() and stamp.read_text() == pinned:
        return None
    constraints = [option for path in _CONSTRAINTS for option in ("--constraint", str(path))]
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [str(python), *install, *constraints, *PARTS[part]], check=False, capture_output=True, text=True
    )
    if done.returncode:
        return next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), f"pip: {done.returncode}")
    stamp.write_text(pinned)
    return None


# --- runs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cores:
    """The core that what is measured may use, and the one that the server has. None: they cannot be told apart."""

    client: int | None
    server: int | None


def cores() -> Cores:
    """Two cores of those this process may use, where the system lets a process be bound to one."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    mine = sorted(os.sched_getaffinity(0))
    return Cores(mine[0], mine[-1]) if len(mine) > 1 else Cores(None, None)


@dataclass(frozen=True)
class Spent:
    """What one program and all the processes it started took: seconds, seconds of CPU, bytes at the worst moment."""

    wall: float
    cpu: float
    memory: int


class RunFailed(Exception):
    """The program ended with another status than 0; the text is the end of what it said."""


def measured(command: Sequence[str | Path], core: int | None = None) -> Spent:
    """Run a program to its end on one core (None: on all). Raises RunFailed.

    CPU is what the kernel counted for the program and its descendants. Memory is the sum over its processes of the
    most each ever held; pages they share are counted in each, so several processes look a little larger than they are.
    """
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(each) for each in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _bind(process.pid, core)
        with _watching_memory(process.pid) as peaks:
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise RunFailed(said.read().decode("utf-8", "replace")[-2_000:].strip() or f"exit status {status}")
    unit = 1 if sys.platform == "darwin" else 1_024
    return Spent(wall, usage.ru_utime + usage.ru_stime, max(sum(peaks.values()), usage.ru_maxrss * unit))


def _bind(process: int, core: int | None) -> None:
    """Right after its start, before it has begun with anything; what it starts inherits the core."""
    if core is not None:
        os.sched_setaffinity(process, {core})


@contextlib.contextmanager
def _watching_memory(root: int) -> Iterator[dict[int, int]]:
    """Process id → the most bytes it has held, for a process and its descendants; empty where there is no /proc."""
    peaks: dict[int, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            for process in _tree(root):
                peaks[process] = max(peaks.get(process, 0), _peak(process))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _tree(root: int) -> Iterator[int]:
    yield root
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _peak(process: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1_024
    return 0


@contextlib.contextmanager
def serving(command: Sequence[str | Path], core: int | None = None) -> Iterator[str]:
    """A server that prints one line when it listens and ends when its standard input does; that line."""
    process = subprocess.Popen(
        [str(each) for each in command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _bind(process.pid, core)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{' '.join(map(str, command))} did not begin to listen; its errors stand above")
        yield line
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


# --- the machine ---------------------------------------------------------------------------------------------------


def machine_facts(folder: Path) -> list[str]:
    """What figures depend on: processor, memory, system, how fast `folder` makes data durable, what else runs."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [
        f"{_processor()}, {usable} cores usable, {memory:.0f} GiB of memory",
        f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}",
        f"a write of 4 kB is durable after {_flush_seconds(folder) * 1000:.2f} ms (mean of {_FLUSHES})",
        f"load average when it began: {os.getloadavg()[0]:.1f} (0 would be a machine with nothing else to do)",
    ]


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _flush_seconds(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for _ in range(_FLUSHES):
            os.write(file.fileno(), b"\0" * 4_096)
            os.fsync(file.fileno())
        return (time.perf_counter() - started) / _FLUSHES


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
