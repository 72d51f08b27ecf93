"""Scripts as users write them, in processes of their own. Their workers are forked or interpreters, as a test wants."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Way = Literal["forked", "interpreters"]

WAIT_SECONDS = 20.0
_ROOT = Path(__file__).resolve().parents[2]
_HOLD_SOMETHING_OPEN = "import os; HELD = os.open(__file__, os.O_RDONLY)\n"
_FIRST_IMPORT = "from windrow.mapping"


def start_script(folder: Path, text: str, way: Way = "forked", **options: Any) -> subprocess.Popen[str]:
    """The script, started. One that holds something open gets interpreters as workers."""
    text = textwrap.dedent(text)
    if way == "interpreters":
        assert _FIRST_IMPORT in text
        text = text.replace(_FIRST_IMPORT, _HOLD_SOMETHING_OPEN + _FIRST_IMPORT, 1)
    path = folder / "script.py"
    path.write_text(text)
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("PYTHONUNBUFFERED", None)  # output is buffered where people run scripts
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(path)], cwd=folder, env=environment, **pipes | options)


def run_script(folder: Path, text: str, way: Way = "forked", **options: Any) -> tuple[str, str, int]:
    """What the script wrote to standard output and standard error, and its exit code."""
    process = start_script(folder, text, way, **options)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    return out, err, process.returncode


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def lines(path: Path) -> list[str]:
    """The words of a file that may not be there yet."""
    return path.read_text().split() if path.exists() else []


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for is none."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
