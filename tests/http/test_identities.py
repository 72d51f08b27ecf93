"""A session's identity: what it sends where, how it is opened, and opened again when it has died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.http.test_session_budget import adaptive_gate
from tests.support.proxies import nothing_listens
from windrow import Identity
from windrow.errors import Blocked, FetchFailed, Gone, JobError, ProxyFailed
from windrow.events import Verdict

if TYPE_CHECKING:
    from tests.http.conftest import Handler, Kit
    from windrow.session import BlockingSession, Page, Session

SECRETS = ("header-secret", "cookie-secret", "password-secret")


def anna(**more: Any) -> Identity:
    return Identity(
        "anna",
        **{
            "headers": {"X-Key": "header-secret"},
            "cookies": {"sid": "cookie-secret"},
            "auth": ("anna", "password-secret"),
            **more,
        },
    )


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


# --- what is sent, and where ---


def test_an_identity_is_sent_to_the_jobs_own_origin(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(lambda request: answered(html("<p>"))) as site:
            session = kit.session(base_url=site.url, identity=anna(), headers={"X-Key": "the job's", "X-Job": "1"})
            await session.get("/a")
            sent = site.pages[0].headers
            assert (sent["X-Key"], sent["X-Job"]) == ("header-secret", "1")
            assert sent["Authorization"] == "Basic YW5uYTpwYXNzd29yZC1zZWNyZXQ="
            assert sent["Cookie"] == "sid=cookie-secret"
            assert session.identity == "anna"

    kit.run(main)


def test_robots_txt_is_fetched_as_nobody(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(lambda request: answered(html("<p>"))) as site:
            session = kit.session(kit.gate(robots=True), site.url, identity=anna())
            await session.get("/a")
            robots, page = site.seen
            assert robots.target == "/robots.txt"
            assert not {"X-Key", "Authorization", "Cookie"} & set(robots.headers)
            assert {"X-Key", "Authorization", "Cookie"} <= set(page.headers)

    kit.run(main)


async def answered(response: web.StreamResponse) -> web.StreamResponse:
    return response


def test_what_the_scrape_function_says_comes_before_the_identity(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(lambda request: answered(html("<p>"))) as site:
            session = kit.session(base_url=site.url, identity=anna())
            await session.get("/a", headers={"X-Key": "of this request", "authorization": None})
            session.headers["X-Key"] = "of the session"
            await session.get("/b")
            await session.get(site.url.replace("//", "//ben:pw@") + "/c")
            keys = [(seen.headers.get("X-Key"), seen.headers.get("Authorization", "")[:12]) for seen in site.pages]
            assert keys == [
                ("of this request", ""),
                ("of the session", "Basic YW5uYT"),
                ("of the session", "Basic YmVuOn"),
            ]

    kit.run(main)


def test_another_origin_gets_nothing_of_it_neither_asked_nor_by_a_redirect_and_back_home_it_is_there(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(
            lambda request: answered(web.Response(status=302, headers={"Location": f"{home.url}/back"}))
        ) as other:

            async def at_home(request: web.Request) -> web.Response:
                if request.path == "/away":
                    raise web.HTTPFound(other.url.replace("127.0.0.1", "localhost") + "/there")
                return html("<p>")

            async with kit.site(at_home) as home:
                session = kit.session(
                    base_url=home.url, identity=anna(headers={"User-Agent": "agent-secret", "X-Key": "header-secret"})
                )
                await session.get("/away")
                await session.get(other.url + "/asked")
                assert [seen.target for seen in other.pages] == ["/there", "/asked"]
                there, asked = other.pages
                for seen in other.pages:
                    told = " ".join(f"{name}: {value}" for name, value in seen.headers.items())
                    assert "header-secret" not in told
                    assert "agent-secret" not in told
                    assert "Authorization" not in seen.headers
                # Cookies belong to a host, whatever its port: that is how jars are, and 127.0.0.1 is the same host.
                assert "Cookie" not in there.headers
                assert asked.headers["Cookie"] == "sid=cookie-secret"
                assert [seen.target for seen in home.pages] == ["/away", "/back", "/back"]
                assert all(seen.headers["X-Key"] == "header-secret" for seen in home.pages)

    kit.run(main)


def test_a_state_is_the_sessions_own_copy(kit: Kit) -> None:
    async def main() -> None:
        identity = anna(state={"pins": [1]})
        one, two = (kit.session(base_url="http://127.0.0.1:1", identity=identity) for _ in range(2))
        one.state["pins"].append(2)
        assert two.state == {"pins": [1]}

    kit.run(main)


def test_the_jar_sends_a_cookie_as_it_was_given(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(lambda request: answered(html("<p>"))) as site:
            identity = anna(cookies={"a": 'x="1, 2"', "b": "é/+="})
            session = kit.session(base_url=site.url + "/deep/down", identity=identity)
            await session.get("/x")
            assert site.pages[0].headers["Cookie"].encode("utf-8", "surrogateescape").decode() == 'a=x="1, 2"; b=é/+='

    kit.run(main)


def test_an_own_rate_is_kept_beside_the_hosts(kit: Kit) -> None:
    async def main() -> None:
        book = kit.book()
        async with kit.site(lambda request: answered(html("<p>"))) as site:
            gate = kit.gate(book)
            session = kit.session(gate, site.url, identity=anna(rate=5.0))
            other = kit.session(gate, site.url, identity=Identity("ben"))
            started = time.monotonic()
            for number in range(5):
                await session.get(f"/{number}")
                await other.get("/other")
            arrivals = [seen.at for seen in site.pages if seen.target != "/other"]
            gaps = [b - a for a, b in pairwise(arrivals)]
            assert min(gaps) > 0.1  # 0.2, less what a loaded machine takes from one and adds to the next
            assert time.monotonic() - started < 4
            assert {host for host, _ in book.reserved} == {f"{site.authority} as anna"}

    kit.run(main)


def test_an_own_rate_is_kept_where_the_host_lets_it_wait_and_another_worker_goes_on(kit: Kit) -> None:
    async def main() -> None:
        book = kit.book()
        one, other = kit.gate(book), kit.gate(book)
        await one.throttled("http://127.0.0.1:9/", 0.8)
        await one.enter("http://127.0.0.1:9/", anna(rate=2.0))
        first = time.monotonic()
        await other.enter("http://127.0.0.1:9/", anna(rate=2.0))
        assert time.monotonic() - first >= 0.49

    kit.run(main)


# --- what leaves a session ---


def test_neither_errors_nor_events_tell_a_secret(kit: Kit) -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        code = int(request.path.rsplit("/", 1)[1])
        if code == 302:
            raise web.HTTPFound("ftp://x/?q=header-secret")
        return html("no", code)

    async def main() -> None:
        async with kit.site(failing) as site:
            for code in (302, 403, 404, 500):
                session = kit.session(
                    base_url=site.url, identity=anna(auth=("anna", "password-secret"), state={"pin": "pin/secret"})
                )
                with pytest.raises(Exception, match=r"\[secret\]") as caught:
                    await session.get(f"/{code}", params={"key": "header-secret", "pin": "pin/secret"}, retries=0)
                if code == 404:
                    assert isinstance(caught.value, Gone)
                    assert caught.value.status == 404
                text = f"{caught.value!r} {caught.value} {kit.events} {session.rests}"
                text += repr(caught.value.__cause__)
                assert not [secret for secret in (*SECRETS, "pin/secret", "pin%2Fsecret") if secret in text]
                assert (session.rests is not None) == (code == 403)

    kit.run(main)


# --- opening ---


class Members:
    """A login site: `/login` gives a session that lives for `lives` requests, then `over` is the answer to all."""

    def __init__(self, lives: int, over: Callable[[], web.Response]) -> None:
        self.lives = lives
        self.over = over
        self.logins = 0
        self.left: dict[str, int] = {}
        self.log: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.log.append(request.path)
        if request.path == "/login":
            self.logins += 1
            self.left[str(self.logins)] = self.lives
            response = html("<form name=login></form>")
            response.set_cookie("member", str(self.logins))
            return response
        token = request.headers.get("X-Token", request.cookies.get("member", ""))
        if self.left.get(token, 0) <= 0 or request.path == "/wall":
            return self.over()
        self.left[token] -= 1
        return html(f"<h1>{request.path}</h1>")


async def log_in(session: Session) -> None:
    page = await session.get("/login", expect="form")
    session.state["logins"] = session.state.get("logins", 0) + 1
    assert page.has("form")


def plain_log_in(session: BlockingSession) -> None:
    session.get("/login", expect="form")
    session.state["logins"] = session.state.get("logins", 0) + 1


def is_over(page: Page) -> bool:
    return page.status == 401 or page.has("form[name=login]")


ENDS: dict[str, tuple[Callable[[], web.Response], dict[str, Any], dict[str, Any]]] = {
    "a page without what is expected": (lambda: html("<p>log in</p>"), {}, {"expect": "h1"}),
    "a login page that expired() knows": (lambda: html("<form name=login></form>"), {"expiry": is_over}, {}),
    "a 401 that expired() knows": (lambda: html("no", 401), {"expiry": is_over}, {}),
    "a redirect to the login page": (
        lambda: web.Response(status=302, headers={"Location": "/login"}),
        {"expiry": is_over},
        {},
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("opener", [log_in, plain_log_in])
def test_a_session_that_died_is_opened_again_and_the_request_is_sent_once_more(kit: Kit, opener: Any, end: str) -> None:
    over, settings, options = ENDS[end]

    async def main() -> None:
        members = Members(3, over)
        async with kit.site(members) as site:
            session = kit.session(base_url=site.url, opener=opener, **settings)
            await session.start()
            session.state["kept"] = "the scrape function's"
            found = [(await session.get(f"/{number}", **options)).text("h1") for number in range(8)]
            assert found == [f"/{number}" for number in range(8)]
            # 1 at the start, and before the 4th and the 7th page; the state that open() made is made anew.
            assert members.logins == (3 if "redirect" not in end else members.logins)
            assert session.state == {"logins": 1, "kept": "the scrape function's"}
            assert session.rests is None
            assert Verdict.BLOCKED not in kit.verdicts
            assert [event.retry for event in kit.events].count(1) == 2

    kit.run(main)


def test_an_identitys_cookies_and_state_are_there_again(kit: Kit) -> None:
    seen: list[tuple[dict[str, str], Any]] = []

    async def opener(session: Session) -> None:
        seen.append((session.cookies, session.state.get("pin")))
        session.state["pin"] = "changed"
        await log_in(session)

    async def main() -> None:
        members = Members(1, lambda: html("<p>over</p>"))
        async with kit.site(members) as site:
            session = kit.session(
                base_url=site.url, opener=opener, identity=Identity("anna", cookies={"sid": "s"}, state={"pin": "1"})
            )
            await session.start()
            for number in range(2):
                await session.get(f"/{number}", expect="h1")
            assert seen == [({"sid": "s"}, "1")] * 2
            assert session.cookies == {"sid": "s", "member": "2"}

    kit.run(main)


def test_the_repeated_request_bears_the_headers_that_open_set(kit: Kit) -> None:
    async def opener(session: Session) -> None:
        await session.get("/login")
        session.headers["X-Token"] = session.cookies["member"]

    async def main() -> None:
        members = Members(1, lambda: html("no", 401))
        async with kit.site(members) as site:
            session = kit.session(base_url=site.url, opener=opener, expiry=is_over)
            await session.start()
            assert [(await session.get(f"/{n}")).text("h1") for n in range(3)] == ["/0", "/1", "/2"]

    kit.run(main)


def test_neither_a_dead_session_nor_a_dead_proxy_is_trouble_of_the_hosts(kit: Kit) -> None:
    async def main() -> None:
        book = kit.book()
        gate = adaptive_gate(kit, book)
        members = Members(2, lambda: html("<p>over</p>"))
        async with kit.site(members) as site:
            session = kit.session(gate, site.url, opener=log_in)
            await session.start()
            for number in range(6):
                await session.get(f"/{number}", expect="h1")
            with nothing_listens() as port:
                other = kit.session(gate, site.url, identity=Identity("anna", proxy=f"http://127.0.0.1:{port}"))
                with pytest.raises(ProxyFailed):
                    await other.get("/a")
            # A throttling has all reported that was seen.
            await gate.throttled(site.url, None)
            assert sum(seen.trouble for seen in book.observed) == 0
            assert sum(seen.ok for seen in book.observed) == 6 + 2 + 3

    kit.run(main)


def test_redirects_are_no_pages_to_be_asked_about(kit: Kit) -> None:
    asked: list[int] = []

    def noting(page: Page) -> bool:
        asked.append(page.status)
        return False

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/a":
            raise web.HTTPFound("/b")
        return html("<h1>b</h1>", 404 if request.path == "/gone" else 200)

    async def main() -> None:
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url, opener=log_in_nowhere, expiry=noting)
            await session.get("/a")
            assert asked == [200]
            await session.get("/a", allow=(302,))
            with pytest.raises(Gone):
                await session.get("/gone")
            assert asked == [200, 302, 404]

    kit.run(main)


async def log_in_nowhere(session: Session) -> None: ...


@pytest.mark.parametrize("settings", [{"expiry": is_over}, {}])
def test_a_wall_is_still_a_wall_after_one_more_opening(kit: Kit, settings: dict[str, Any]) -> None:
    async def main() -> None:
        members = Members(99, lambda: html("<form name=login></form>"))
        async with kit.site(members) as site:
            session = kit.session(base_url=site.url, opener=log_in, **settings)
            await session.start()
            with pytest.raises(Blocked):
                await session.get("/wall", expect="h1")
            assert members.log == ["/login", "/wall", "/login", "/wall"]
            assert session.retired
            assert session.rests is not None
            assert session.rests.startswith("blocked")

    kit.run(main)


def test_a_login_that_fails_is_no_endless_opening(kit: Kit) -> None:
    async def opener(session: Session) -> None:
        await session.get("/page", expect="h1")

    async def main() -> None:
        members = Members(0, lambda: html("<p>no</p>"))
        async with kit.site(members) as site:
            session = kit.session(base_url=site.url, opener=opener, expiry=lambda page: True)
            with pytest.raises(Blocked):
                await session.start()
            assert members.log == ["/page"]

    kit.run(main)


def test_pages_asked_for_side_by_side_wait_for_one_opening(kit: Kit) -> None:
    async def main() -> None:
        members = Members(3, lambda: html("<p>over</p>"))
        running = most = 0

        async def watched(request: web.Request) -> web.StreamResponse:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            response = await members(request)
            running -= 1
            return response

        async with kit.site(watched) as site:
            session = kit.session(base_url=site.url, opener=log_in)
            await session.start()
            pages = await asyncio.gather(*(session.get(f"/{number}", expect="h1") for number in range(9)))
            assert sorted(page.text("h1") for page in pages) == [f"/{number}" for number in range(9)]
            assert members.logins == 3
            assert most == 1

    kit.run(main)


def asking_in_a_thread(session: BlockingSession) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(plain_log_in, session).result()


async def asking_in_an_executor(session: Session) -> None:
    await asyncio.get_running_loop().run_in_executor(None, plain_log_in, session.blocking())


@pytest.mark.parametrize("opener", [asking_in_a_thread, asking_in_an_executor])
def test_what_open_asks_for_in_a_thread_that_it_starts_does_not_wait_for_the_opening(kit: Kit, opener: Any) -> None:
    async def main() -> None:
        members = Members(2, lambda: html("<p>over</p>"))
        async with kit.site(members) as site, asyncio.timeout(20):
            session = kit.session(base_url=site.url, opener=opener)
            await session.start()
            assert [(await session.get(f"/{n}", expect="h1")).text("h1") for n in range(3)] == ["/0", "/1", "/2"]
            assert members.logins == 2

    kit.run(main)


def test_a_task_that_open_leaves_behind_waits_its_turn(kit: Kit) -> None:
    running = most = 0
    tasks: list[asyncio.Task[None]] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return html("<h1>")

    async def opener(session: Session) -> None:
        async def stay() -> None:
            for _ in range(10):
                await session.get("/stay")

        tasks.append(asyncio.create_task(stay()))
        await session.get("/login")

    async def main() -> None:
        async with kit.site(slow) as site:
            session = kit.session(base_url=site.url, opener=opener)
            await session.start()
            for number in range(5):
                await session.get(f"/{number}")
            await asyncio.gather(*tasks)
            assert len(site.pages) == 16
            assert most == 1

    kit.run(main)


def test_a_plain_scrape_function_has_its_session_opened_again_too(kit: Kit) -> None:
    def scrape(session: BlockingSession) -> list[str]:
        assert session.identity == "anna"
        return [session.get(f"/{number}", expect="h1").text("h1") for number in range(4)]

    async def main() -> None:
        members = Members(2, lambda: html("<p>over</p>"))
        async with kit.site(members) as site:
            session = kit.session(base_url=site.url, opener=plain_log_in, identity=Identity("anna"))
            await session.start()
            with ThreadPoolExecutor(1) as thread:
                found = await asyncio.get_running_loop().run_in_executor(thread, scrape, session.blocking())
            assert found == ["/0", "/1", "/2", "/3"]
            assert members.logins == 2

    kit.run(main)


def test_what_open_raises_is_what_the_session_raises(kit: Kit) -> None:
    async def main() -> None:
        session = kit.session(opener=lambda session: session.state["token"])
        with pytest.raises(KeyError, match="token"):
            await session.start()
        session = kit.session(opener=lambda session: log_in(session))
        with pytest.raises(JobError, match="async def"):
            await session.start()
        session = kit.session(opener=lambda session: next(iter(())))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await session.start()
        session = kit.session()
        await session.start()
        await session.close()
        with pytest.raises(FetchFailed, match="closed"):
            await session.get("http://127.0.0.1:1/")

    kit.run(main)


def test_without_open_an_expectation_that_is_not_met_blocks_at_once(kit: Kit) -> None:
    async def main() -> None:
        handler: Handler = Members(0, lambda: html("<p>no</p>"))
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url)
            with pytest.raises(Blocked):
                await session.get("/a", expect="h1")
            assert len(site.pages) == 1

    kit.run(main)
