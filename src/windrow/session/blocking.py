"""The twin of a session for plain scrape functions: the same methods without `await`, from another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from typing import Any, TypeVar, Unpack

from windrow.errors import FetchFailed
from windrow.session.form import Form
from windrow.session.page import Page
from windrow.session.session import Session
from windrow.session.wanted import Expect, GetOptions, PostOptions

Result = TypeVar("Result")


class BlockingSession:
    """As `Session`. Each call hands the work to the session's event loop and waits for it.

    It is for one thread at a time, and that must not be the loop's own: there a call would wait for itself.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        # A thread that the caller starts has none of its context: that a call is part of an opening must not be lost.
        self._context = copy_context()
        self._running: Future[Any] | None = None
        self._cancelled = False

    @property
    def state(self) -> dict[str, Any]:
        return self._session.state

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._session.parameters

    @property
    def base_url(self) -> str | None:
        return self._session.base_url

    @property
    def headers(self) -> dict[str, str]:
        return self._session.headers

    @property
    def identity(self) -> str | None:
        return self._session.identity

    @property
    def requests(self) -> int:
        return self._session.requests

    @property
    def cookies(self) -> dict[str, str]:
        return self._session.cookies

    @property
    def retired(self) -> bool:
        return self._session.retired

    def local(self, url: str) -> str:
        """See `Session.local`."""
        return self._session.local(url)

    def get(self, url: str, **options: Unpack[GetOptions]) -> Page:
        """See `Session.get`."""
        return self._wait(self._session.get(url, **options))

    def post(self, url: str, **options: Unpack[PostOptions]) -> Page:
        """See `Session.post`."""
        return self._wait(self._session.post(url, **options))

    def request(self, method: str, url: str, **options: Unpack[PostOptions]) -> Page:
        """See `Session.request`."""
        return self._wait(self._session.request(method, url, **options))

    def submit(
        self,
        form: Form,
        *,
        button: str | None = None,
        fields: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        expect: Expect | None = None,
        allow: Iterable[int] = (),
        pace: float = 1.0,
        timeout: float | None = None,
        retries: int | None = None,
        **named: Any,
    ) -> Page:
        """See `Session.submit`."""
        return self._wait(
            self._session.submit(
                form,
                button=button,
                fields=fields,
                extra=extra,
                headers=headers,
                expect=expect,
                allow=allow,
                pace=pace,
                timeout=timeout,
                retries=retries,
                **named,
            )
        )

    def cancel(self) -> None:
        """End the call in progress and all later ones with FetchFailed. For another thread than the caller's."""
        self._cancelled = True
        running = self._running
        if running is not None:
            running.cancel()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._cancelled:
            work.close()
            raise FetchFailed("the session was cancelled")
        future: Future[Result] = self._context.copy().run(asyncio.run_coroutine_threadsafe, work, self._loop)
        self._running = future
        if self._cancelled:
            # It came between the check above and the line before: nobody else would end this call.
            future.cancel()
        try:
            return future.result()
        except CancelledError as error:
            raise FetchFailed("the session was cancelled") from error
        finally:
            self._running = None
