"""A session: one isolated identity, and what a scrape function holds.

One request at a time. What happens to one, in this order: the session's pace, the host's gate (robots.txt, holds, the
budget), the transport, the verdict. A transient fault and a throttling are repeated here, hop by hop, so that a
redirect's target that fails does not send the form that led to it twice; everything else ends in a page or in one of
the exceptions of `windrow.errors`. Redirects are followed here and pay at the gate as any other request does.

A session may have an identity. What that sends (headers, Authorization) is put on each hop that goes to the origin of
the job's base_url, and on no other: so a redirect cannot carry it away. What leaves the session as an exception or an
event has been cleaned of its secrets.

A job with an open function: it runs before the scrape function, and again where an answer says that the session has
died; then the request is made anew and sent once more. Its own requests come while the request that met the dead
session waits in its turn. They are known by a context variable, which reaches the tasks that the open function starts
(a `BlockingSession` carries it into threads), and take turns among themselves. What such a task asks for once the
opening has ended waits like any other request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Unpack

from windrow.clock import Clock
from windrow.errors import (
    AttemptFailed,
    Blocked,
    FetchFailed,
    Gone,
    PageError,
    Parked,
    ProxyFailed,
    Refused,
    WindrowError,
)
from windrow.events import Listener, RequestDone, Verdict
from windrow.fetch.address import Origin, Query, clean, local, origin
from windrow.fetch.redirects import RedirectRefused, following, is_redirect
from windrow.fetch.transport import Answer, Failure, Request, Transport
from windrow.gate import Gate
from windrow.identity import Identity, cleaner
from windrow.job import USER_AGENT, Limits
from windrow.politeness.pace import SessionPace, adapted, next_start
from windrow.politeness.retry import backoff, retry_after
from windrow.politeness.verdict import WALL_SIZE, BodyFacts, Judgement, classify
from windrow.session import opening, wanted
from windrow.session.form import Form
from windrow.session.page import Page
from windrow.session.wanted import ACCEPT, Expect, GetOptions, PostOptions, Wanted

if TYPE_CHECKING:
    from windrow.session.blocking import BlockingSession

_NEAR = 4_096
_MOST_THROTTLES = 5
"""How often in a row one request is throttled in place before its partition is parked, though each wait was short."""
_OPENING: ContextVar[Session | None] = ContextVar("windrow_opening", default=None)
"""The session whose open function is running in this context."""


class _SessionDied(Exception):
    """The answer says that the session has to be opened again; the message says how."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session is given by its job.

    `delay`: seconds from the end of an answer to the next request; it adapts between `least_delay` and `most_delay`.
    `judge`: the job's own verdict on a page that looks good. `opener`, `expiry`: see `Job.open` and `Job.expired`.
    """

    partition: str
    base_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    user_agent: str = USER_AGENT
    delay: float = 0.0
    least_delay: float | None = None
    most_delay: float = 60.0
    judge: Callable[[Page], Verdict | None] | None = None
    opener: Callable[[Any], Any] | None = None
    expiry: Callable[[Page], bool] | None = None
    identity: Identity | None = None
    limits: Limits = field(default_factory=Limits)
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Session:
    """One isolated identity: its own cookies, connections, headers and state. One request at a time.

    - `state`: yours, for what the scrape function wants to keep between its parts; it begins with the identity's.
    - `identity`: the name of the identity that the session has; None for a job that declares none.
    - `parameters`, `base_url`: the job's. `headers`: sent with each request; change them as you like.
    - `requests`: how many were sent so far, each retry and each hop of a redirect counted.
    - `retired`: the site no longer serves this session; every further request raises Blocked at once.
    """

    def __init__(
        self,
        settings: SessionSettings,
        gate: Gate,
        transport: Transport,
        clock: Clock,
        listener: Listener,
        random: Random,
    ) -> None:
        self.state: dict[str, Any] = {}
        self.identity = None if settings.identity is None else settings.identity.name
        self.parameters = settings.parameters
        self.base_url = settings.base_url
        self.headers: dict[str, str] = dict(settings.headers)
        self.requests = 0
        self._settings = settings
        self._gate = gate
        self._transport = transport
        self._clock = clock
        self._listener = listener
        self._random = random
        self._one_at_a_time = asyncio.Lock()
        self._one_at_a_time_in_opening = asyncio.Lock()
        self._opened = self._is_opening = False
        self._of_opening: frozenset[str] = frozenset()
        self._clean = cleaner(settings.identity)
        self._own_headers = {} if settings.identity is None else settings.identity.sent
        self._home: Origin | None = None
        self._proxy_failed: str | None = None
        self._not_opened: str | None = None
        self._last_end: float | None = None
        self._pace = SessionPace(settings.delay)
        self._least_delay = settings.delay if settings.least_delay is None else settings.least_delay
        self._blocked: str | None = None
        self._closed = False
        self._begin_as_identity()

    # --- what a scrape function calls -------------------------------------------------------------------------

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies the session holds, name → value."""
        return self._transport.cookies

    @property
    def retired(self) -> bool:
        return self._blocked is not None

    @property
    def delay(self) -> float:
        """Seconds from an answer to the next request, as they are now: the pace adapts."""
        return self._pace.delay

    def local(self, url: str) -> str:
        """The same path and query at the job's base_url, for sites that write their public address into links.

        Raises Refused where the job has no base_url.
        """
        if self.base_url is None:
            raise Refused(f"local({url!r}) needs a base_url, and the job has none")
        return local(self.base_url, url)

    async def get(self, url: str, **options: Unpack[GetOptions]) -> Page:
        """The page at `url`: absolute, or below the job's base_url (also where it begins with `/`).

        Raises FetchFailed, Blocked, Gone, Refused or Parked; a scrape function lets them pass, and the partition is
        tried again within its limits. For `options` see `GetOptions`.
        """
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[PostOptions]) -> Page:
        """As `get`, with POST. Without `data`, `json` and `body` the body is empty, also when there are `params`."""
        return await self.request("POST", url, **options)

    async def submit(
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
        """Fill in a form and send it as a browser would: `submit(page.form("search"), texttofind="a")`.

        `named` and `fields` as in `Form.filled`, `button` as in `Form.submission`, the rest as in `get`.
        """
        sent = form.filled(fields=fields, extra=extra, **named).submission(button)
        own = {} if sent.content_type is None else {"Content-Type": sent.content_type}
        return await self.request(
            sent.method,
            sent.url,
            body=sent.body,
            headers={**own, **(headers or {})},
            expect=expect,
            allow=allow,
            pace=pace,
            timeout=timeout,
            retries=retries,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Query | None = None,
        data: Query | None = None,
        json: Any = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str | None] | None = None,
        expect: Expect | None = None,
        allow: Iterable[int] = (),
        pace: float = 1.0,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> Page:
        """As `get`, with any method."""
        allowed = frozenset(allow)
        # By place, not by name: it is on the way of each request.
        make = partial(
            self._wanted, method, url, params, data, json, body, headers, expect, allowed, pace, timeout, retries
        )
        try:
            if self._is_opening and _OPENING.get() is self:
                async with self._one_at_a_time_in_opening:
                    # While it waited the opening may have ended: then it is a request like any other.
                    if self._is_opening:
                        return await self._page(make())
            async with self._one_at_a_time:
                try:
                    return await self._page(make())
                except _SessionDied:
                    await self._open()
                    # Made anew: the open function may have changed the session's headers.
                    return await self._page(replace(make(), repeated=1))
        except AttemptFailed as error:
            self._clean_error(error)
            raise

    def blocking(self) -> BlockingSession:
        """The twin for a plain scrape function in another thread. Call it where the session's event loop runs."""
        from windrow.session.blocking import BlockingSession

        return BlockingSession(self, asyncio.get_running_loop())

    async def start(self) -> None:
        """Run the job's open function, if there is one. Raises what it raises."""
        if self._settings.opener is not None:
            async with self._one_at_a_time:
                await self._open()

    async def close(self) -> None:
        """Let go of the connections. Closing twice is safe; a request afterwards raises FetchFailed."""
        self._closed = True
        await self._transport.close()

    @property
    def rests(self) -> str | None:
        """Why the identity has to rest after this session: blocked, its proxy or its opening failed. None: no need."""
        blocked = None if self._blocked is None else f"blocked: {self._blocked}"
        why = self._proxy_failed or blocked or self._not_opened
        return None if why is None else self._clean(why)[:2_000].encode(errors="backslashreplace").decode()

    def clean(self, text: str) -> str:
        """`text` without the secrets of the session's identity."""
        return self._clean(text)

    # --- being somebody ---------------------------------------------------------------------------------------

    def _begin_as_identity(self) -> None:
        identity = self._settings.identity
        if identity is not None:
            self.state.update(identity.new_state())
            self._home = None if self.base_url is None else origin(clean(self.base_url))
            if identity.cookies:
                self._transport.hold_cookies(identity.cookies, self._home_address())

    async def _open(self) -> None:
        """Run the open function in a session as good as new, but for what the scrape function keeps in `state`."""
        opener, identity = self._settings.opener, self._settings.identity
        assert opener is not None
        if self._opened:
            for name in self._of_opening:
                self.state.pop(name, None)
            self._transport.hold_cookies({} if identity is None else identity.cookies, self._home_address())
            self.state.update({} if identity is None else identity.new_state())
        before = dict(self.state)
        token = _OPENING.set(self)
        self._is_opening = True
        try:
            await self._called(opener)
            # A task that it started and that lives on may have a request under way.
            async with self._one_at_a_time_in_opening:
                self._is_opening = False
        finally:
            _OPENING.reset(token)
            self._opened, self._is_opening = True, False
            self._of_opening = frozenset(
                name for name, value in self.state.items() if name not in before or before[name] is not value
            )

    async def _called(self, opener: Callable[[Any], Any]) -> None:
        """Call the open function. Where it does not find what it looks for, it is this identity that did not get in."""
        try:
            await opening.run(opener, self)
        except Exception as error:
            if isinstance(error, PageError) or not isinstance(error, WindrowError):
                self._not_opened = f"open failed: {type(error).__name__}: {error}"
            raise

    def _home_address(self) -> str:
        return "http://localhost/" if self.base_url is None else clean(self.base_url)

    def _dressed(self, request: Request, want: Wanted) -> Request:
        """The request with what the identity sends, where it goes to the job's own origin."""
        if not self._own_headers or origin(request.url) != self._home:
            return request
        own = {name: value for name, value in self._own_headers.items() if name.lower() not in want.chosen}
        return replace(request, headers=wanted.merged(request.headers, own))

    def _death(self, page: Page, judgement: Judgement, want: Wanted) -> str | None:
        """How a page says that the session has died; None where it does not, or nothing would come of saying so."""
        settings = self._settings
        if settings.opener is None or self._is_opening or judgement.verdict not in _TELLING:
            return None
        if is_redirect(page.answer) and page.status not in want.allow:
            return None
        if settings.expiry is not None and wanted.holds_expected(page, settings.expiry):
            return "the job's expired() says that the session has died"
        if judgement.verdict is Verdict.BLOCKED and want.expect is not None and _is_success(page.answer):
            return judgement.reason
        return None

    def _clean_error(self, error: AttemptFailed) -> None:
        """What is raised tells no secret, and nor do our reasons for it, which a log's traceback shows.

        Foreign exceptions are left alone: the worker cleans what it says of them.
        """
        told: BaseException | None = error
        while told is not None:
            told.args = tuple(self._clean(each) if isinstance(each, str) else each for each in told.args)
            told = told.__cause__

    # --- one request ------------------------------------------------------------------------------------------

    def _wanted(
        self,
        method: str,
        url: str,
        params: Query | None,
        data: Query | None,
        json: Any,
        body: bytes | str | None,
        headers: Mapping[str, str | None] | None,
        expect: Expect | None,
        allow: frozenset[int],
        pace: float,
        timeout: float | None,
        retries: int | None,
    ) -> Wanted:
        """The request as the session is now."""
        limits = self._settings.limits
        where, authorization = wanted.address(self.base_url, url, params)
        content, content_type = wanted.payload(data, json, body)
        sent = wanted.merged(
            {"User-Agent": self._settings.user_agent, "Accept": ACCEPT},
            self.headers,
            {"Authorization": authorization} if authorization else {},
            {"Content-Type": content_type} if content_type else {},
            headers or {},
        )
        times = wanted.timeouts(limits.connect, limits.silence, timeout)
        request = Request(method.upper(), where, sent, content, times)
        most = limits.retries if retries is None else retries
        chosen = frozenset() if not self._own_headers else self._chosen(headers or {}, authorization)
        return Wanted(request, expect, allow, pace, most, chosen)

    def _chosen(self, headers: Mapping[str, str | None], authorization: str | None) -> frozenset[str]:
        """The headers of which somebody said more than the job does."""
        declared = self._settings.headers
        changed = {name for name, value in self.headers.items() if declared.get(name) != value}
        named = {*headers, *changed, *(("authorization",) if authorization else ())}
        return frozenset(name.lower() for name in named)

    async def _page(self, want: Wanted) -> Page:
        """The page at the end of the redirects."""
        request = want.request
        visited: list[tuple[str, str]] = []
        await self._keep_pace(want)
        while True:
            page = await self._hop(request, want)
            answer = page.answer
            if not is_redirect(answer) or answer.status in want.allow:
                return page
            visited.append((request.method, request.url))
            try:
                request = following(request, answer, visited, self._settings.limits.redirects)
            except RedirectRefused as error:
                raise Refused(str(error)) from error

    async def _hop(self, request: Request, want: Wanted) -> Page:
        """One address: sent, judged, and sent again as long as that helps."""
        faults = throttles = 0
        while True:
            answer, page, judgement = await self._exchange(request, want, faults + throttles)
            if page is not None and judgement.verdict is Verdict.OK:
                return page
            if judgement.verdict is Verdict.THROTTLED:
                throttles += 1
                await self._hold_back(request, answer, judgement, throttles)
            elif isinstance(answer, Failure) and answer.of_proxy:
                self._proxy_failed = answer.reason
                raise ProxyFailed(f"{request.method} {request.url}: {answer.reason}")
            elif judgement.verdict is Verdict.TRANSIENT and faults < want.retries:
                faults += 1
                await self._clock.sleep(backoff(faults, self._random))
            else:
                seconds = self._asked_wait(answer)
                if judgement.verdict is Verdict.BLOCKED and seconds:
                    # Whatever the page says, the host wants a rest, from the other sessions as well.
                    await self._gate.throttled(request.url, seconds)
                raise self._ending(request, answer, judgement, want, faults)
            await self._keep_pace(want)

    async def _exchange(
        self, request: Request, want: Wanted, retry: int
    ) -> tuple[Answer | Failure, Page | None, Judgement]:
        self._check_usable()
        await self._gate.enter(request.url, self._settings.identity)
        self.requests += 1
        answer = await self._transport.send(self._dressed(request, want))
        self._last_end = self._clock.monotonic()
        if isinstance(answer, Failure):
            page, status, size = None, None, 0
            judgement = Judgement(answer.verdict, answer.reason)
        else:
            page, status, size = Page(answer), answer.status, answer.size
            judgement = _judge(page, request, want, self._settings.judge)
        death = None if page is None else self._death(page, judgement, want)
        if death is not None:
            # Once more with a session opened again; a wall would still be there, and this is how it is told apart.
            judgement = Judgement(Verdict.BLOCKED if want.repeated else Verdict.TRANSIENT, death)
        self._pace = adapted(self._pace, judgement.verdict, self._least_delay, self._settings.most_delay)
        self._listener(
            RequestDone(
                self._settings.partition,
                request.method,
                self._clean(request.url),
                status,
                judgement.verdict,
                answer.seconds,
                size,
                judgement.reason and self._clean(judgement.reason),
                retry + want.repeated,
            )
        )
        died = death is not None and not want.repeated
        if not (isinstance(answer, Failure) and answer.of_proxy):
            await self._gate.answered(request.url, Verdict.OK if died else judgement.verdict, answer)
        if died:
            raise _SessionDied(death)
        return answer, page, judgement

    async def _keep_pace(self, want: Wanted) -> None:
        self._check_usable()
        start = next_start(self._last_end, self._pace.delay, want.pace)
        while (left := start - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    async def _hold_back(
        self, request: Request, answer: Answer | Failure, judgement: Judgement, throttles: int
    ) -> None:
        """Tell everybody; the wait itself is the gate's, at the next `enter`."""
        seconds = self._asked_wait(answer)
        await self._gate.throttled(request.url, seconds)
        if throttles > _MOST_THROTTLES:
            wait = max(seconds or 0.0, self._settings.limits.wait)
            raise Parked(f"{request.url}: throttled {throttles} times in a row ({judgement.reason})", wait)

    def _asked_wait(self, answer: Answer | Failure) -> float | None:
        header = answer.headers.get("Retry-After") if isinstance(answer, Answer) else None
        return retry_after(header, self._clock.now())

    def _ending(
        self, request: Request, answer: Answer | Failure, judgement: Judgement, want: Wanted, faults: int
    ) -> AttemptFailed:
        """The exception that a verdict ends in, once nothing more can be done in place."""
        again = f", still so after {faults} retries" if faults else ""
        message = f"{request.method} {request.url}: {judgement.reason}{again}"
        final = judgement.lasting or judgement.verdict
        if final is Verdict.BLOCKED:
            self._blocked = message + wanted.described(want.expect if _is_success(answer) else None)
            return Blocked(self._blocked)
        if final is Verdict.GONE and isinstance(answer, Answer):
            return Gone(message, answer.status)
        if final is Verdict.REFUSED:
            return Refused(message)
        return FetchFailed(message)

    def _check_usable(self) -> None:
        if self._blocked is not None:
            raise Blocked(f"the session is retired: {self._blocked}")
        if self._proxy_failed is not None:
            raise ProxyFailed(f"the session is retired: {self._proxy_failed}")
        if self._closed:
            raise FetchFailed(f"the session of {self._settings.partition!r} is closed")


_TELLING = frozenset({Verdict.OK, Verdict.BLOCKED, Verdict.GONE})
"""Verdicts of answers in which a dead session may show: a login page, a 401."""


def _judge(page: Page, request: Request, want: Wanted, judge: Callable[[Page], Verdict | None] | None) -> Judgement:
    judgement = _classified(page, request, want)
    if judge is None or judgement.verdict is not Verdict.OK or is_redirect(page.answer):
        return judgement
    verdict = judge(page)
    if verdict is None or verdict is Verdict.OK:
        return judgement
    return Judgement(verdict, f"status {page.status}, but the job's verdict is {verdict.value}")


def _classified(page: Page, request: Request, want: Wanted) -> Judgement:
    answer = page.answer
    if is_redirect(answer):
        return Judgement(Verdict.OK)
    has_expected = None
    if want.expect is not None and _is_success(answer) and answer.body:
        has_expected = wanted.holds_expected(page, want.expect)
    elif want.expect is not None:
        has_expected = False
    size = len(answer.body)
    opening = answer.body.decode("utf-8", "replace") if not has_expected and size <= WALL_SIZE else ""
    title = "" if has_expected else _title(answer.body)
    return classify(
        answer.status,
        answer.headers,
        has_expected,
        BodyFacts(size, opening, title),
        page_wanted=request.method == "GET",
        allow=want.allow,
    )


def _title(body: bytes) -> str:
    """The title of a page, as far as it stands near the beginning: without parsing, for pages that may be none."""
    begin = body.find(b"<title", 0, _NEAR)
    if begin < 0:
        return ""
    end = body.find(b"</", begin, begin + _NEAR)
    return body[body.find(b">", begin) + 1 : end].decode("utf-8", "replace") if end > 0 else ""


def _is_success(answer: Answer | Failure) -> bool:
    return isinstance(answer, Answer) and 200 <= answer.status < 300
