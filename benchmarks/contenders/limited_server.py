"""A site that limits, in a process of its own.

    python -m benchmarks.contenders.limited_server SITE SECONDS LOG

Prints its port when it listens, and ends when its standard input does. LOG gets a line for each request as soon as it
is answered: moment of arrival, moment of the answer (seconds of this process's clock), status, 1 if it was refused (a
wall has status 200), and the Retry-After, 0 for none. robots.txt (there is none) is neither counted nor logged.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from aiohttp import web

from benchmarks.contenders.limited_sites import SITES, WALL, title
from tests.support.sites import SiteModel


class LimitedServer:
    """Answers as the model says; its clock begins with the first request for a page."""

    def __init__(self, model: SiteModel, log: TextIO) -> None:
        self._model = model
        self._log = log
        self._began: float | None = None

    async def answer(self, request: web.Request) -> web.Response:
        """One page, wall or refusal."""
        arrived = time.monotonic()
        if self._began is None:
            self._began = arrived
        found = self._model.ask(arrived - self._began)
        await asyncio.sleep(found.seconds)
        answered = time.monotonic()
        self._model.ended(answered - self._began)
        is_refused = found.wall or found.status != 200
        wait = found.retry_after or 0.0
        self._log.write(f"{arrived:.6f} {answered:.6f} {found.status} {is_refused:d} {wait:g}\n")
        if found.status != 200:
            headers = {"Retry-After": f"{found.retry_after:g}"} if found.retry_after is not None else {}
            return web.Response(status=found.status, headers=headers, text="refused")
        page = int(request.match_info["page"])
        text = WALL if found.wall else f'<html><body><h1 class="title">{title(page)}</h1></body></html>'
        return web.Response(text=text, content_type="text/html")


async def _serve(server: LimitedServer) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    application = web.Application()
    application.router.add_get(r"/page/{page:\d+}", server.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024).start()
    threading.Thread(target=_wait_for_end_of_input, args=(loop, ended), daemon=True).start()
    print(runner.addresses[0][1], flush=True)
    await ended.wait()
    await runner.cleanup()


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 4_096):
        pass
    loop.call_soon_threadsafe(ended.set)


def main() -> None:
    """Serve the site that the command line names."""
    name, seconds, log = sys.argv[1:]
    site = next(each for each in SITES if each.name == name)
    with Path(log).open("w", buffering=1) as lines:
        asyncio.run(_serve(LimitedServer(site.make(float(seconds)), lines)))


if __name__ == "__main__":
    main()
