"""Replica sites as processes: how one serves until it is told to stop, and how another program starts and asks it.

A replica is a module that can be run (`python -m windrow.demo.annuaire.site --port 0 …`). It prints one line on
standard output when it is ready, its URL, and nothing else. It ends cleanly on SIGTERM and SIGINT. With
`--with-parent` it also ends when its standard input reaches its end: the starter holds the other end of that pipe, so
however the starter dies, the kernel closes it and no site is left behind. (A child that the starter *forks* without
exec holds a copy: the site then outlives the starter until that child has ended too.)

Beside its pages, a replica answers `GET /__truth__` (JSON: what a perfect scrape holds), `GET /__stats__` (JSON: what
it was asked) and `POST /__reset__` (empties the statistics).
"""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Handler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_ASK_SECONDS = 60.0
_GRACE_SECONDS = 0.2
_SOURCE_ROOT = Path(__file__).parents[2]


class Listener:
    """An aiohttp handler listening on a TCP port; async context manager. `url` has no trailing slash."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self._runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=_GRACE_SECONDS)
        self._host, self._port = host, port

    @property
    def url(self) -> str:
        """`http://HOST:PORT` with the port that was found; RuntimeError before it listens."""
        if not self._runner.addresses:
            raise RuntimeError("the site is not listening: enter its context first")
        return f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def serve_forever(listener: Callable[[], Listener], *, with_parent: bool) -> None:
    """Serve until SIGTERM or SIGINT, or, `with_parent`, until standard input ends; prints the URL when ready.

    `listener` is called inside the event loop, which is uvloop's where that can be imported. OSError when the port is
    taken.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(listener, with_parent))


async def _serve(listener: Callable[[], Listener], with_parent: bool) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if with_parent:
        _call_at_end_of_input(loop, told.set)
    async with listener() as listening:
        sys.stdout.write(f"{listening.url}\n")
        sys.stdout.flush()
        await told.wait()


def _call_at_end_of_input(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    def watch() -> None:
        while os.read(0, 4096):
            pass
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)

    threading.Thread(target=watch, name="end of input", daemon=True).start()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class ServedProcess:
    """A replica site as a child process: a context manager, started on entry, stopped on exit.

    module: what `python -m` runs, e.g. `windrow.demo.annuaire.site`.
    arguments: its command line; `--port 0 --with-parent` is put before them.

    `start` and `stop` may be called instead of `with`; stopping twice is safe. The site dies with this process, but
    not of the Ctrl-C that interrupts it.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", module, "--port", "0", "--with-parent", *arguments]
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; RuntimeError when the site is not running."""
        if not self._url:
            raise RuntimeError("the site is not running: use `with` or call start() first")
        return self._url

    @property
    def pid(self) -> int:
        """The process id; RuntimeError when the site is not running."""
        if self._process is None:
            raise RuntimeError("the site is not running: use `with` or call start() first")
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until it is ready; RuntimeError when it ends or says nothing for a minute instead."""
        if self._process is not None:
            raise RuntimeError(f"the site is already running at {self._url}")
        environment = {**os.environ, "PYTHONPATH": _joined_path(str(_SOURCE_ROOT), os.environ.get("PYTHONPATH", ""))}
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C at a terminal reaches the starter's group: the site must outlive the run
        )
        try:
            self._url = self._read_url(self._process)
        except BaseException:  # Ctrl-C while it starts, which it does not hear itself
            self.stop()
            raise
        return self

    def _read_url(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline().strip() if ready else ""
        if not line.startswith("http://"):
            self.stop()
            raise RuntimeError(
                f"{' '.join(self._command)} did not print its URL within {_START_SECONDS:g} s "
                f"(it printed {line!r}, exit status {process.returncode}); its errors stand on standard error"
            )
        return line

    def stop(self) -> None:
        """End the site: SIGTERM, after five seconds SIGKILL. Does nothing when it is not running."""
        process, self._process, self._url = self._process, None, ""
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def truth(self) -> dict[str, Any]:
        """What a perfect scrape holds, as the site says; OSError when it does not answer."""
        return self._ask("/__truth__")

    def stats(self) -> dict[str, Any]:
        """What the site was asked since its start or the last `reset`; OSError when it does not answer."""
        return self._ask("/__stats__")

    def reset(self) -> None:
        """Empty the statistics; OSError when the site does not answer."""
        self._ask("/__reset__", data=b"")

    def _ask(self, path: str, data: bytes | None = None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, data=data, timeout=_ASK_SECONDS) as answer:
            content: dict[str, Any] = json.load(answer)
        return content

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def command_line(settings: Mapping[str, object]) -> list[str]:
    """Settings as options: `{"people": 800, "cap_text": "hidden"}` → `["--people=800", "--cap-text=hidden"]`.

    `None` leaves an option out; so does `False`, and `True` gives the bare option.
    """
    options = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not None and value is not False:
            options.append(f"{option}={value}")
    return options


def _joined_path(*folders: str) -> str:
    return os.pathsep.join(folder for folder in folders if folder)
