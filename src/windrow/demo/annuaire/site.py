"""The replica of the directory: a server that behaves like the portal, its options, its truth and its statistics.

    python -m windrow.demo.annuaire.site --people 800 --seed 1 --latency 0.05

As a process of one's own: `with SiteProcess(SiteOptions(people=800)) as site: site.url`. In a running event loop:
`async with running(SiteOptions(people=800)) as site: site.url`. Both also give `truth()`, `stats()` and `reset()`.

**State.** The search, the page number, the person selected (`DetailsPPAction`), the person opened (`infoDetailPP`)
and the tab live in the session. A request changes that state, then the latency passes, then the page is rendered from
the state as it is *by then*. So two requests of one session at once answer with each other's person, or with the
no-selection page, and with status 200.

- a search forgets the person selected and opened; a selection forgets the search (paging then shows `00`) and the
  person opened;
- `infoDetailPP` opens only the person selected last; otherwise nobody is open any more;
- a tab shows the person opened, whichever person its parameters name; with nobody open, the no-selection page;
- an action with a wrong token changes nothing, and its page is rendered as if it had not been asked for; on the
  detail page that is the no-selection page. `Suivant` beyond the last page stays on the last page, as Liferay does.

**Order of refusals.** Robots and inspection paths pass all of this by. Then: site-wide rate (429, before any session
is made), session (a new one for an unknown or expired cookie), pace (403, nothing is done; a redirect that is
followed at once counts too), action, latency, page, fault. A fault ruins the response, not the action: what was asked
for has happened in the session.
"""

import argparse
import asyncio
import json
import random
import secrets
import string
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web

from windrow.demo.annuaire import pages
from windrow.demo.annuaire.people import Person, generate
from windrow.demo.annuaire.search import Directory, Matching, Order
from windrow.demo.serving import Listener, ServedProcess, command_line, serve_forever

ALLOW_ALL = "User-agent: *\nDisallow:\n"
CANONICAL_ORIGIN = "https://annuaire.example"
FAULT_KINDS = ("500", "502", "503", "reset", "truncated", "truncated_gzip", "empty", "stall")
STALL_SECONDS = 1.0

_SESSION_COOKIE = "JSESSIONID"
_TOKEN_LETTERS = string.ascii_letters + string.digits
_MAXIMUM_SESSIONS = 200_000
_LONGEST_QUERY = 150
_RENDERED_PIECES = 8192
_SMALLEST_GZIP = 256
_PACE_TOLERANCE = 0.005
_PATHS: Mapping[str, str] = {
    "/": pages.HOME_PATH,
    "/web/site-pro": pages.HOME_PATH,
    "/web/site-pro/": pages.HOME_PATH,
    "/web/site-pro/recherche": pages.RESULTS_PATH,
    **{path: path for path in pages.SEARCH_PORTLETS},
}


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """How the site is made and how it behaves.

    people, seed: how many people, and from which seed everything that is left to chance comes.
    token_failure: status of a page whose action was skipped for its token, 200 or 403.
    count_shows: `span.nombre` shows all hits (`total`), or 100 where there are more (`capped`).
    cap_text: the notice « seules les cent premières réponses… » stands in a hidden pop-up of every result page
        (`hidden`), or openly on capped results only (`visible`).
    matching, order: see `search.Directory`.
    links: `absolute` (own host, as the request names it), `relative`, or `canonical` (CANONICAL_ORIGIN, as a portal
        behind a reverse proxy writes; redirects still name the own host, as proxies see to).
    latency, jitter: seconds slept in every response; jitter adds up to so many, evenly spread.
    faults: share of responses that are spoilt, 0 to 1, by the FAULT_KINDS in turn. A `truncated_gzip` is a
        `truncated` where the client accepts no gzip.
    session_requests: requests after which a session is forgotten; 0 never.
    pace: seconds that must pass in a session between the end of a response and the next request (5 ms are forgiven);
        sooner: 403.
    robots: text of robots.txt, or None for a site without (404).
    rate: requests the whole site takes in any second; beyond: 429 with `Retry-After: 1`; 0 for no limit.

    Raises ValueError for a share outside 0…1 or a negative number.
    """

    people: int = 800
    seed: int = 1
    token_failure: Literal[200, 403] = 200
    count_shows: Literal["total", "capped"] = "total"
    cap_text: Literal["hidden", "visible"] = "hidden"
    matching: Matching = "words"
    order: Order = "name"
    links: Literal["absolute", "relative", "canonical"] = "absolute"
    latency: float = 0.0
    jitter: float = 0.0
    faults: float = 0.0
    session_requests: int = 0
    pace: float = 0.0
    robots: str | None = ALLOW_ALL
    rate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.faults <= 1:
            raise ValueError(f"faults is {self.faults}; it is a share and must lie between 0 and 1")
        for name in ("people", "latency", "jitter", "session_requests", "pace", "rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")


@dataclass(slots=True)
class Statistics:
    """What the site was asked since its start or the last reset; inspection paths are not counted."""

    requests: int = 0
    sessions: int = 0
    max_in_flight_per_session: int = 0
    overlapping: int = 0
    wrong_tokens: int = 0
    no_selection: int = 0
    too_fast: int = 0
    throttled: int = 0
    in_flight_max: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    tabs: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def report(self) -> dict[str, Any]:
        """As JSON; `details_mean` is the mean over the tabs that were served at all, null before the first."""
        served = [times for tabs in self.tabs.values() for times in tabs.values()]
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**counts, "details_mean": sum(served) / len(served) if served else None}


@dataclass(slots=True)
class _Session:
    token: str
    identity: str
    is_new: bool = True
    requests: int = 0
    in_flight: int = 0
    finished: float | None = None
    query: str | None = None
    page: int = 1
    selected: Person | None = None
    opened: Person | None = None
    letter: str = "A"
    tab: str = "situation"
    redirected_for: deque[str] = field(default_factory=lambda: deque(maxlen=16))


@dataclass(frozen=True, slots=True)
class _Visit:
    """What a request has come to, once its action is done: a redirect, or a page to be rendered."""

    path: str
    redirect: bool = False
    status: int = HTTPStatus.OK
    skipped: bool = False
    popup: bool = False
    asked: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Reply:
    """A response before faults and encoding; `served` names a person and tab shown to the one who asked for them."""

    body: bytes
    status: int = HTTPStatus.OK
    location: str | None = None
    served: tuple[str, str] | None = None


_Parameters = Mapping[str, str]
_Action = Callable[[_Session, str, _Parameters], _Visit]


class Site:
    """The directory's server: answers requests (`handle`), tells the truth, keeps statistics. One event loop only."""

    def __init__(self, options: SiteOptions) -> None:
        self.options = options
        self.statistics = Statistics()
        self.directory = Directory(generate(options.people, options.seed), options.matching, options.order)
        self._url: Callable[[], str] | None = None
        self._sessions: dict[str, _Session] = {}
        self._in_flight = 0
        self._jitter = random.Random(f"jitter {options.seed}")
        self._faults = _Faults(options.faults, options.seed)
        self._rate = _SlidingSecond(options.rate)
        self._renderer = _Renderer(self.directory, options)
        self._actions = self._table_of_actions()

    # -- outside the site: for checking only

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, without trailing slash; RuntimeError when it is not listening."""
        if self._url is None:
            raise RuntimeError("the site is not listening: use running() or SiteProcess")
        return self._url()

    def listener(self, port: int = 0) -> Listener:
        """This site on a port of 127.0.0.1; 0 takes a free one."""
        listening = Listener(self.handle, port=port)
        self._url = lambda: listening.url
        return listening

    def truth(self) -> dict[str, Any]:
        """`{"people": {rpps: {column: value}}}`, written as the head of `people` says."""
        return {"people": {person.rpps: person.truth() for person in self.directory.people}}

    def stats(self) -> dict[str, Any]:
        """The statistics as JSON, and `people`: how many the directory holds."""
        return {**self.statistics.report(), "people": len(self.directory.people)}

    def reset(self) -> None:
        """Empty the statistics; sessions go on."""
        self.statistics = Statistics()

    # -- a request

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path.startswith("/__"):
            return self._inspect(request)
        self.statistics.requests += 1
        if request.path == "/robots.txt":
            return await self._robots()
        if self._rate.is_full(asyncio.get_running_loop().time()):
            self.statistics.throttled += 1
            return web.Response(status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
        parameters = await _parameters(request)
        session = self._session(request.cookies.get(_SESSION_COOKIE))
        is_too_fast = self._is_too_fast(session)
        with self._counted(session):
            if is_too_fast:
                self.statistics.too_fast += 1
                return await self._send(request, session, _Reply(b"<html></html>", HTTPStatus.FORBIDDEN), fault=None)
            reply = await self._reply(request, session, parameters)
            return await self._send(request, session, reply, self._faults.draw())

    async def _reply(self, request: web.BaseRequest, session: _Session, parameters: _Parameters) -> _Reply:
        path = _PATHS.get(request.path)
        if path is None:
            await self._latency()
            return _Reply(b"<html><body><h1>404</h1></body></html>", HTTPStatus.NOT_FOUND)
        token = parameters.get("p_auth", request.headers.get("X-CSRF-Token", ""))
        visit = self._visit(session, path, parameters, token)
        await self._latency()
        own_origin = f"{request.scheme}://{request.host}"
        if visit.redirect:
            return _Reply(b"<html></html>", HTTPStatus.FOUND, self._location(own_origin, visit.path))
        return self._render(session, visit, own_origin)

    async def _latency(self) -> None:
        seconds = self.options.latency + self.options.jitter * self._jitter.random()
        if seconds:
            await asyncio.sleep(seconds)

    def _location(self, own_origin: str, path: str) -> str:
        return path if self.options.links == "relative" else own_origin + path

    async def _robots(self) -> web.Response:
        await self._latency()
        if self.options.robots is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return web.Response(text=self.options.robots)

    def _inspect(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/__truth__":
            return _json(self.truth())
        if request.path == "/__stats__":
            return _json(self.stats())
        if request.path == "/__reset__" and request.method == "POST":
            self.reset()
            return _json({})
        return web.Response(status=HTTPStatus.NOT_FOUND)

    # -- sessions

    def _session(self, identity: str | None) -> _Session:
        session = self._sessions.get(identity or "")
        limit = self.options.session_requests
        if session is not None and limit and session.requests >= limit:
            del self._sessions[session.identity]
            session = None
        if session is None:
            session = self._new_session()
        session.requests += 1
        return session

    def _new_session(self) -> _Session:
        self.statistics.sessions += 1
        if len(self._sessions) >= _MAXIMUM_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(8))
        session = _Session(token, f"{secrets.token_hex(16).upper()}.node1")
        self._sessions[session.identity] = session
        return session

    def _is_too_fast(self, session: _Session) -> bool:
        if not self.options.pace:
            return False
        if session.in_flight:
            return True
        now = asyncio.get_running_loop().time()
        return session.finished is not None and now - session.finished < self.options.pace - _PACE_TOLERANCE

    @contextmanager
    def _counted(self, session: _Session) -> Iterator[None]:
        session.in_flight += 1
        self._in_flight += 1
        statistics = self.statistics
        statistics.overlapping += session.in_flight > 1
        statistics.max_in_flight_per_session = max(statistics.max_in_flight_per_session, session.in_flight)
        statistics.in_flight_max = max(statistics.in_flight_max, self._in_flight)
        try:
            yield
        finally:
            session.in_flight -= 1
            self._in_flight -= 1

    # -- actions: they change the session, and say what the request comes to

    def _table_of_actions(self) -> Mapping[tuple[str, str], _Action]:
        tabs: dict[tuple[str, str], _Action] = {
            ("resultatsportlet", action): partial(self._turn_to, tab) for tab, action in pages.TAB_ACTIONS.items()
        }
        return {
            ("rechercheportlet", "rechercheAction"): self._search,
            **{(portlet, "DetailsPPAction"): self._select for portlet in ("mapportlet", "resultatportlet")},
            **{(portlet, "infoDetailPP"): self._open for portlet in ("mapportlet", "resultatportlet")},
            **tabs,
        }

    def _visit(self, session: _Session, path: str, parameters: _Parameters, token: str) -> _Visit:
        if parameters.get("p_p_lifecycle") != "1":
            return self._look(session, path, parameters)
        if token != session.token:
            self.statistics.wrong_tokens += 1
            return _Visit(path, status=self.options.token_failure, skipped=True)
        portlet = parameters.get("p_p_id", "")
        prefix = f"_{portlet}_"
        own = {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}
        action = self._actions.get((portlet.partition("_INSTANCE_")[0], own.get("javax.portlet.action", "")))
        return action(session, path, own) if action else _Visit(path)

    def _look(self, session: _Session, path: str, parameters: _Parameters) -> _Visit:
        """A page without an action. Only the portlet with one `t` turns the pages of a result; the other leads back
        to the first."""
        portlet = parameters.get("p_p_id")
        if path == pages.RESULTS_PATH and portlet == "resultatportlet":
            session.page = _page_number(parameters.get("_resultatportlet_cur"), session.page)
        elif path == pages.RESULTS_PATH and portlet == "resultatsportlet":
            session.page = 1
        elif path == pages.DETAIL_PATH and session.redirected_for:
            return _Visit(path, asked=(session.redirected_for.popleft(), "situation"))
        return _Visit(path)

    def _search(self, session: _Session, _: str, own: _Parameters) -> _Visit:
        session.query, session.page = own.get("texttofind", "")[:_LONGEST_QUERY], 1
        session.selected = session.opened = None
        return _Visit(pages.RESULTS_PATH, redirect=True)

    def _select(self, session: _Session, _: str, own: _Parameters) -> _Visit:
        person = self.directory.by_rpps.get(own.get("idRpps", ""))
        if person is None:
            return _Visit(pages.RESULTS_PATH)
        session.selected, session.opened, session.query = person, None, None
        session.letter = own.get("resultatIndex", "A")[:1]
        return _Visit(pages.RESULTS_PATH, popup=True)

    def _open(self, session: _Session, _: str, own: _Parameters) -> _Visit:
        person = session.selected
        is_selected = person is not None and (own.get("idRpps"), own.get("idNat")) == (
            person.rpps,
            pages.national_id(person),
        )
        session.opened, session.tab = person if is_selected else None, "situation"
        session.redirected_for.append(own.get("idRpps", ""))
        return _Visit(pages.DETAIL_PATH, redirect=True)

    def _turn_to(self, tab: str, session: _Session, _: str, own: _Parameters) -> _Visit:
        session.tab = tab
        return _Visit(pages.DETAIL_PATH, asked=(own.get("idRpps", ""), tab))

    # -- pages: from the session as it is when the latency has passed

    def _render(self, session: _Session, visit: _Visit, own_origin: str) -> _Reply:
        fill = partial(
            pages.Template.fill,
            token=session.token,
            base={"absolute": own_origin, "relative": "", "canonical": CANONICAL_ORIGIN}[self.options.links],
            letter=session.letter,
            query=session.query or "",
        )
        if visit.path == pages.HOME_PATH:
            return _Reply(fill(self._renderer.home), visit.status)
        if visit.path == pages.RESULTS_PATH:
            selected = session.selected if visit.popup else None
            return _Reply(fill(self._renderer.results(session.query, session.page, selected)), visit.status)
        if session.opened is None or visit.skipped:
            self.statistics.no_selection += 1
            return _Reply(fill(self._renderer.no_selection), visit.status)
        shown = session.opened.rpps, session.tab
        served = shown if visit.asked in (None, shown) else None
        return _Reply(fill(self._renderer.detail(*shown)), visit.status, served=served)

    # -- sending

    async def _send(
        self, request: web.BaseRequest, session: _Session, reply: _Reply, fault: str | None
    ) -> web.StreamResponse:
        if fault:
            self.statistics.faults[fault] += 1
        if fault == "stall":
            await asyncio.sleep(STALL_SECONDS)
        session.finished = asyncio.get_running_loop().time()
        accepts_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        response = _spoilt(reply, fault, accepts_gzip) or _response(reply, accepts_gzip)
        if session.is_new:
            _set_cookies(response, session)
            session.is_new = False
        try:
            await _deliver(request, response, reply, fault)
        except ConnectionError:
            return response
        if reply.served and fault in (None, "stall"):
            rpps, tab = reply.served
            self.statistics.tabs[rpps][tab] += 1
        return response


class _Renderer:
    """Renders pages; what a person's pages hold is rendered once and kept, the frames around it too."""

    def __init__(self, directory: Directory, options: SiteOptions) -> None:
        self._directory, self._options = directory, options
        self._results_shell, self._detail_shell = pages.results_shell(), pages.detail_shell()
        self.home = pages.home_shell().around(pages.home_content().encode())
        self.no_selection = self._detail_shell.around(pages.no_selection_content().encode())
        self._card = lru_cache(maxsize=_RENDERED_PIECES)(self._render_card)
        self._detail = lru_cache(maxsize=_RENDERED_PIECES)(self._render_detail)

    def results(self, query: str | None, page: int, selected: Person | None) -> pages.Template:
        found = self._directory.find(query) if query is not None else ()
        limit = pages.PAGE_SIZE * pages.MAXIMUM_PAGES
        is_capped, shown = len(found) > limit, found[:limit]
        last = max(1, -(-len(shown) // pages.PAGE_SIZE))
        page = min(max(page, 1), last)
        people = shown[(page - 1) * pages.PAGE_SIZE : page * pages.PAGE_SIZE]
        cards = "".join(self._card(person.rpps, letter) for person, letter in zip(people, pages.LETTERS, strict=False))
        count = len(shown) if self._options.count_shows == "capped" else len(found)
        content = pages.results_content(
            cards,
            count=f"{count:02d}",
            page=page,
            pages=last,
            popup=pages.popup_content(selected) if selected else "",
            cap_notice=self._cap_notice(is_capped),
        )
        return self._results_shell.around(content.encode())

    def detail(self, rpps: str, tab: str) -> pages.Template:
        return self._detail_shell.around(self._detail(rpps, tab))

    def _cap_notice(self, is_capped: bool) -> str:
        is_hidden = self._options.cap_text == "hidden"
        return pages.cap_notice(hidden=is_hidden) if is_hidden or is_capped else ""

    def _render_card(self, rpps: str, letter: str) -> str:
        return pages.card(self._directory.by_rpps[rpps], letter)

    def _render_detail(self, rpps: str, tab: str) -> bytes:
        return pages.detail_content(self._directory.by_rpps[rpps], tab).encode()


class _Faults:
    """Draws which responses are spoilt, by chance; how, in turn."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._drawn, self._source = share, 0, random.Random(f"faults {seed}")

    def draw(self) -> str | None:
        if not self._share or self._source.random() >= self._share:
            return None
        self._drawn += 1
        return FAULT_KINDS[(self._drawn - 1) % len(FAULT_KINDS)]


class _SlidingSecond:
    """Takes so many requests in any second; those refused do not count. A limit of 0 takes all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[float] = deque()

    def is_full(self, now: float) -> bool:
        if not self._limit:
            return False
        while self._taken and self._taken[0] <= now - 1:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return True
        self._taken.append(now)
        return False


async def _parameters(request: web.BaseRequest) -> dict[str, str]:
    """Query and body together; the body wins."""
    parameters = dict(request.query)
    if request.can_read_body:
        posted = await request.post()
        parameters.update({name: value for name, value in posted.items() if isinstance(value, str)})
    return parameters


def _page_number(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    return int(text[:6]) if text.isdecimal() else 1


def _response(reply: _Reply, accepts_gzip: bool) -> web.Response:
    headers = {"Content-Type": "text/html;charset=UTF-8", "Cache-Control": "private, no-cache, no-store"}
    body = reply.body
    if reply.location:
        headers["Location"] = reply.location
    if accepts_gzip and len(body) >= _SMALLEST_GZIP:
        headers["Content-Encoding"], headers["Vary"] = "gzip", "Accept-Encoding"
        body = _gzip(body)
    return web.Response(status=reply.status, headers=headers, body=body)


def _spoilt(reply: _Reply, fault: str | None, accepts_gzip: bool) -> web.StreamResponse | None:
    """The response a fault makes of the reply; None where the fault spoils nothing but the time or the connection."""
    if fault in ("500", "502", "503"):
        return web.Response(status=int(fault), text=f"<html><h1>{HTTPStatus(int(fault)).phrase}</h1></html>")
    if fault == "empty":
        return web.Response(headers={"Content-Type": "text/html;charset=UTF-8"})
    if fault == "truncated" or (fault == "truncated_gzip" and not accepts_gzip):
        response = web.StreamResponse(status=reply.status, headers={"Content-Type": "text/html;charset=UTF-8"})
        response.content_length = len(reply.body)
        return response
    if fault == "truncated_gzip":
        whole = _gzip(reply.body)
        headers = {"Content-Type": "text/html;charset=UTF-8", "Content-Encoding": "gzip"}
        return web.Response(status=reply.status, headers=headers, body=whole[: len(whole) * 2 // 3])
    return None


async def _deliver(request: web.BaseRequest, response: web.StreamResponse, reply: _Reply, fault: str | None) -> None:
    """Write the response, and wait until it is written; ConnectionError when the client has gone."""
    if fault == "reset":
        if request.transport is not None:
            request.transport.abort()
        return
    await response.prepare(request)
    if isinstance(response, web.Response):
        await response.write_eof()
        return
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()


def _set_cookies(response: web.StreamResponse, session: _Session) -> None:
    response.set_cookie(_SESSION_COOKIE, session.identity, path="/", httponly=True)
    response.set_cookie("COOKIE_SUPPORT", "true", path="/", max_age=31_536_000)
    response.set_cookie("GUEST_LANGUAGE_ID", "fr_FR", path="/", max_age=31_536_000)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=31)
    return compressor.compress(body) + compressor.flush()


def _json(content: Mapping[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(content, ensure_ascii=False), content_type="application/json")


# -- starting it


@asynccontextmanager
async def running(options: SiteOptions) -> AsyncIterator[Site]:
    """The site in this event loop, on a free port of 127.0.0.1, for the time of the context."""
    site = Site(options)
    async with site.listener():
        yield site


class SiteProcess(ServedProcess):
    """The site as a child process: `with SiteProcess(SiteOptions(people=800)) as site: site.url`; see
    `ServedProcess`."""

    def __init__(self, options: SiteOptions | None = None) -> None:
        settings = asdict(options or SiteOptions())
        settings["robots"] = "none" if settings["robots"] is None else settings["robots"]
        super().__init__("windrow.demo.annuaire.site", command_line(settings))


def main(arguments: list[str] | None = None) -> None:
    """Run the site as the command line says; prints its URL, serves until it is told to stop."""
    settings = vars(_parser().parse_args(arguments))
    port, with_parent = settings.pop("port"), settings.pop("with_parent")
    site = Site(SiteOptions(**settings))
    serve_forever(lambda: site.listener(port), with_parent=with_parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("annuaire", description="A replica of a directory of health professionals.")
    usual = SiteOptions()
    add = partial(parser.add_argument, metavar="N")
    add("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    add("--people", type=int, default=usual.people, help="how many people (default: %(default)s)")
    add("--seed", type=int, default=usual.seed, help="of all that is left to chance")
    add(
        "--session-requests",
        type=int,
        default=usual.session_requests,
        help="a session lasts so many requests; 0: for ever",
    )
    add("--rate", type=int, default=usual.rate, help="requests a second for the whole site, beyond: 429; 0: any")
    add("--token-failure", type=int, choices=(200, 403), default=usual.token_failure, help="status of a skipped action")
    add = partial(parser.add_argument, metavar="SECONDS", type=float)
    add("--latency", default=usual.latency, help="time of every response")
    add("--jitter", default=usual.jitter, help="up to so much more")
    add("--pace", default=usual.pace, help="what a session must wait between response and request, sooner: 403")
    parser.add_argument(
        "--faults", type=float, metavar="FRACTION", default=usual.faults, help="share of spoilt responses"
    )
    parser.add_argument(
        "--robots", type=_robots_text, metavar="TEXT|none", default=usual.robots, help=r"\n is a new line"
    )
    for name, choices in _CHOICES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", choices=choices, default=getattr(usual, name))
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    return parser


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "count_shows": ("total", "capped"),
    "cap_text": ("hidden", "visible"),
    "matching": ("words", "field", "substring"),
    "order": ("name", "shuffled"),
    "links": ("absolute", "relative", "canonical"),
}


def _robots_text(text: str) -> str | None:
    return None if text == "none" else text.replace(r"\n", "\n")


if __name__ == "__main__":
    main()
