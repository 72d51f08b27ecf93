"""Calling a job's open function, `async` or plain, for a session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from windrow.errors import JobError

if TYPE_CHECKING:
    from windrow.session.session import Session


async def run(opener: Callable[[Any], Any], session: Session) -> None:
    """Returns when the open function has; raises what it raises. A plain one runs in a thread of its own."""
    if inspect.iscoroutinefunction(opener):
        await opener(session)
        return
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="windrow-open")
    blocking = session.blocking()
    try:
        made = await loop.run_in_executor(thread, _called, opener, blocking)
        if inspect.iscoroutine(made):
            made.close()
            raise JobError("the open function returned something to be awaited; declare it with async def")
    finally:
        blocking.cancel()
        thread.shutdown(wait=False, cancel_futures=True)


def _called(opener: Callable[[Any], Any], session: Any) -> Any:
    try:
        return opener(session)
    except StopIteration as error:
        # A future of asyncio takes none: whoever waits for it would wait for ever.
        raise RuntimeError("StopIteration: next() found nothing").with_traceback(error.__traceback__) from error
