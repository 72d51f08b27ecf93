"""Sessions against real servers."""

from __future__ import annotations

import asyncio
import gzip
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from windrow.clock import SystemClock
from windrow.errors import Blocked, FetchFailed, Gone, PageError, Parked, Refused
from windrow.events import Verdict, nobody
from windrow.job import Job, Limits, Pace
from windrow.partitions import values
from windrow.session import Page, SessionFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.conftest import Handler, Kit

PAGE = "<html><body><h1>Hay</h1><form name=search action=/search method=post><input name=_p_text></form></body></html>"


def serving(*answers: web.Response | str, then: str = PAGE) -> Handler:
    """A site that gives these answers in turn, and `then` after them."""
    left = list(answers)

    async def handler(request: web.Request) -> web.Response:
        answer = left.pop(0) if left else then
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/html")
        return answer

    return handler


def status(code: int, text: str = "no", **headers: str) -> web.Response:
    return web.Response(status=code, text=text, headers={name.replace("_", "-"): v for name, v in headers.items()})


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "target": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )


# --- isolation ---


def test_two_sessions_share_neither_cookies_nor_connections_nor_state(kit: Kit) -> None:
    async def counting(request: web.Request) -> web.Response:
        number = int(request.cookies.get("visits", "0")) + 1
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        response = web.json_response({"visits": number, "peer": peer})
        response.set_cookie("visits", str(number))
        return response

    async def main() -> None:
        async with kit.site(counting) as site:
            gate = kit.gate()
            one, two = kit.session(gate, site.url), kit.session(gate, site.url)
            first = [(await one.get("/")).json() for _ in range(3)]
            second = [(await two.get("/")).json() for _ in range(2)]
            assert [found["visits"] for found in first] == [1, 2, 3]
            assert [found["visits"] for found in second] == [1, 2]
            assert one.cookies == {"visits": "3"}
            assert two.cookies == {"visits": "2"}
            assert len({found["peer"] for found in first}) == 1
            assert not {found["peer"] for found in first} & {found["peer"] for found in second}
            one.state["x"] = one.headers["X"] = "1"
            assert (two.state, two.headers) == ({}, {})

    kit.run(main)


def test_one_request_of_a_session_is_in_flight_at_a_time(kit: Kit) -> None:
    flying: set[str] = set()
    most: list[int] = []

    async def slow(request: web.Request) -> web.Response:
        flying.add(request.path)
        most.append(len(flying))
        await asyncio.sleep(0.01)
        flying.discard(request.path)
        return web.Response(text=request.path)

    async def main() -> None:
        async with kit.site(slow) as site:
            session = kit.session(base_url=site.url)
            pages = await asyncio.gather(*(session.get(f"/{n}") for n in range(6)))
            assert [page.html for page in pages] == [f"/{n}" for n in range(6)]
            assert max(most) == 1

    kit.run(main)


# --- what is sent ---


def test_a_post_with_params_has_an_empty_body(kit: Kit) -> None:
    heads: list[bytes] = []

    async def raw(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhay")
        await writer.drain()

    async def main() -> None:
        async with kit.raw(raw) as site:
            await kit.session(base_url=site.url).post("/act?a=1", params={"b": ["2", "3"], "c": None, "d": "é x"})
        head = heads[0].decode()
        assert head.startswith("POST /act?a=1&b=2&b=3&d=%C3%A9+x HTTP/1.1\r\n")
        assert "Content-Length: 0\r\n" in head
        assert "Content-Type" not in head

    kit.run(main)


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        ({"data": {"a": ["1", 2], "b": "é &", "c": None}}, "a=1&a=2&b=%C3%A9+%26", "application/x-www-form-urlencoded"),
        ({"data": [("z", "1"), ("a", "2")]}, "z=1&a=2", "application/x-www-form-urlencoded"),
        ({"json": {"é": [1, None]}}, '{"é":[1,null]}', "application/json"),
        ({"json": []}, "[]", "application/json"),
        ({"body": "text é"}, "text é", "text/plain; charset=utf-8"),
        ({"body": b"hay"}, "hay", "application/octet-stream"),
        ({"body": b"<x/>", "headers": {"content-type": "text/xml"}}, "<x/>", "text/xml"),
        ({"data": {}}, "", "application/x-www-form-urlencoded"),
    ],
)
def test_bodies(kit: Kit, options: dict[str, Any], body: str, content_type: str) -> None:
    async def main() -> None:
        async with kit.site(echo) as site:
            sent = (await kit.session(base_url=site.url).post("/", **options)).json()
            assert (sent["body"], sent["headers"]["content-type"]) == (body, content_type)

    kit.run(main)


def test_two_bodies_are_one_too_many(kit: Kit) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="one of data"):
            await kit.session(base_url="http://x").post("/", data={"a": 1}, json={})

    kit.run(main)


def test_headers_of_job_session_and_request(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(echo) as site:
            session = kit.session(
                base_url=site.url, headers={"X-A": "job", "X-B": "job", "X-C": "job"}, user_agent="me/1"
            )
            session.headers["X-B"] = "session"
            sent = (await session.get("/", headers={"x-a": "request", "X-C": None})).json()["headers"]
            assert (sent["x-a"], sent["x-b"], sent["user-agent"]) == ("request", "session", "me/1")
            assert "x-c" not in sent
            assert (await session.get("/", headers={"User-Agent": "you"})).json()["headers"]["user-agent"] == "you"

    kit.run(main)


def test_addresses_are_below_the_base_or_as_they_are(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(echo) as site:
            session = kit.session(base_url=f"{site.url}/copy/")
            for url, target in (
                ("/x", "/copy/x"),
                ("y?a=b", "/copy/y?a=b"),
                (f"{site.url}/z", "/z"),
                ("?q=1", "/copy/?q=1"),
            ):
                assert (await session.get(url)).json()["target"] == target
            assert session.local("https://public.example/web/a?b=c") == f"{site.url}/copy/web/a?b=c"
            with_name = site.url.replace("http://", "http://user:p%20w@")
            page = await session.get(f"{with_name}/")
            assert page.json()["headers"]["authorization"] == "Basic dXNlcjpwIHc="
            assert "user" not in page.url

    kit.run(main)


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "http://", "javascript:x", "http://a b/"])
def test_what_is_no_http_address_is_refused(kit: Kit, url: str) -> None:
    async def main() -> None:
        with pytest.raises(Refused):
            await kit.session(base_url="http://127.0.0.1:1").get(url)
        with pytest.raises(Refused, match="no base_url"):
            await kit.session().get("/x")
        with pytest.raises(Refused, match="base_url"):
            kit.session().local("/x")
        assert kit.events == []

    kit.run(main)


# --- redirects ---


def test_redirects_are_followed_hop_by_hop_and_each_is_told(kit: Kit) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/form":
            response = web.Response(status=302, headers={"Location": "next?x=1#top"})
            response.set_cookie("seen", "form")
            return response
        return await echo(request)

    async def main() -> None:
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url)
            page = await session.post("/form", data={"a": "b"})
            sent = page.json()
            assert (sent["method"], sent["target"], sent["body"]) == ("GET", "/next?x=1", "")
            assert sent["headers"]["cookie"] == "seen=form"
            assert page.url == f"{site.url}/next?x=1"
            assert [(event.method, event.status) for event in kit.events] == [("POST", 302), ("GET", 200)]
            assert session.requests == 2

    kit.run(main)


def test_credentials_and_cookies_stay_behind_when_the_origin_changes(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(echo) as other:

            async def away(request: web.Request) -> web.Response:
                response = web.Response(status=307, headers={"Location": f"{other.url}/there"})
                response.set_cookie("own", "1")
                return response

            async with kit.site(away) as site:
                session = kit.session(base_url=site.url, headers={"Authorization": "Bearer t", "X-Api-Key": "k"})
                page = await session.post("/", data={"a": "b"}, headers={"Cookie": "mine=1"})
                assert site.seen[0].headers["Authorization"] == "Bearer t"
                assert site.seen[0].headers["Cookie"] == "mine=1"
                told = page.json()["headers"]
                assert not {"authorization", "x-api-key"} & set(told)
                assert "mine" not in told.get("cookie", "")
                assert (page.json()["method"], page.json()["body"]) == ("POST", "a=b")

    kit.run(main)


def test_loops_chains_and_other_schemes_are_refused(kit: Kit) -> None:
    async def handler(request: web.Request) -> web.Response:
        number = request.query.get("n")
        where = {"/loop": "/loop", "/file": "file:///etc/passwd"}.get(request.path, f"/?n={int(number or 0) + 1}")
        return web.Response(status=302, headers={"Location": where})

    async def main() -> None:
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url, limits=kit.limits(redirects=3))
            for url, word in (("/loop", "loop"), ("/file", "no http"), ("/", "more than 3")):
                with pytest.raises(Refused, match=word):
                    await session.get(url)
            assert len(site.seen) == 1 + 1 + 4

    kit.run(main)


def test_a_redirects_target_that_fails_does_not_send_the_form_again(kit: Kit) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.Response(status=302, headers={"Location": "/results"})
        return status(502) if len(site_seen) < 3 else web.Response(text=PAGE, content_type="text/html")

    site_seen: list[object] = []

    async def main() -> None:
        async with kit.site(handler) as site:
            nonlocal site_seen
            site_seen = site.seen  # type: ignore[assignment]
            page = await kit.session(base_url=site.url).post("/search", data={"q": "a"}, expect="h1")
            assert page.has("h1")
            assert [seen.method for seen in site.seen] == ["POST", "GET", "GET"]
            assert [event.retry for event in kit.events] == [0, 0, 1]

    kit.run(main)


def test_a_redirect_can_be_asked_for_itself(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(status(302, Location="/x"))) as site:
            page = await kit.session(base_url=site.url).get("/", allow=(302,))
            assert (page.status, page.headers["location"]) == (302, "/x")

    kit.run(main)


def test_robots_txt_is_asked_for_every_hop(kit: Kit) -> None:
    async def robots(request: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /private")

    async def main() -> None:
        async with kit.site(serving(status(302, Location="/private/x")), robots) as site:
            with pytest.raises(Refused, match="does not allow"):
                await kit.session(kit.gate(robots=True), site.url).get("/open")
            assert [seen.target for seen in site.pages] == ["/open"]

    kit.run(main)


# --- verdicts ---


def test_a_transient_fault_is_retried_and_told(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(status(500), status(503), "", then=PAGE)) as site:
            page = await kit.session(base_url=site.url).get("/", expect="h1")
            assert page.text("h1") == "Hay"
            assert kit.verdicts == [Verdict.TRANSIENT] * 3 + [Verdict.OK]
            assert [event.retry for event in kit.events] == [0, 1, 2, 3]
            assert [event.status for event in kit.events] == [500, 503, 200, 200]
            assert kit.events[-1].size == len(PAGE)
            assert kit.events[-1].partition == "p"
            assert all(0 <= event.seconds < 5 for event in kit.events)

    kit.run(main)


@pytest.mark.parametrize(("retries", "sent"), [(0, 1), (2, 3)])
def test_retries_have_an_end(kit: Kit, retries: int, sent: int) -> None:
    async def main() -> None:
        async with kit.site(serving(*[status(500) for _ in range(9)])) as site:
            with pytest.raises(FetchFailed, match=r"GET http://127.*: status 500"):
                await kit.session(base_url=site.url).get("/", retries=retries)
            assert len(site.seen) == sent

    kit.run(main)


def test_a_truncated_page_is_fetched_again(kit: Kit) -> None:
    payload = gzip.compress(PAGE.encode() * 20)
    sent: list[bytes] = []

    async def raw(head: bytes, writer: asyncio.StreamWriter) -> None:
        body = payload if sent else payload[:-20]
        sent.append(body)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async def main() -> None:
        async with kit.raw(raw) as site:
            page = await kit.session(base_url=site.url).get("/")
            assert page.html == PAGE * 20
            assert kit.verdicts == [Verdict.TRANSIENT, Verdict.OK]

    kit.run(main)


@pytest.mark.parametrize("code", [403, 401, 451])
def test_a_block_retires_the_session(kit: Kit, code: int) -> None:
    async def main() -> None:
        async with kit.site(serving(status(code))) as site:
            session = kit.session(base_url=site.url)
            with pytest.raises(Blocked, match=f"status {code}"):
                await session.get("/")
            assert session.retired
            with pytest.raises(Blocked, match=f"retired: .*status {code}"):
                await session.get("/other")
            assert (len(site.seen), session.requests) == (1, 1)
            assert not kit.session(base_url=site.url).retired

    kit.run(main)


def some_hay(page: Page) -> bool:
    return page.text("h1").startswith("H")


@pytest.mark.parametrize("expect", ["h1", ("h2", "h1"), some_hay])
def test_expectations(kit: Kit, expect: str | tuple[str, ...] | Callable[[Page], bool]) -> None:
    async def main() -> None:
        async with kit.site(serving(PAGE, "<html><body>Please enable JavaScript</body></html>")) as site:
            session = kit.session(base_url=site.url)
            assert (await session.get("/", expect=expect)).status == 200
            word = "some_hay" if callable(expect) else "'h1'"
            with pytest.raises(Blocked, match=f"does not hold what was expected .*{word}"):
                await session.get("/", expect=expect)
            assert session.retired
            assert kit.verdicts == [Verdict.OK, Verdict.BLOCKED]

    kit.run(main)


def test_an_expectation_that_is_no_selector_is_an_error_of_the_function(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving()) as site:
            with pytest.raises(PageError, match="no valid CSS selector"):
                await kit.session(base_url=site.url).get("/", expect="div[")

    kit.run(main)


def test_an_empty_page_is_blocked_in_the_end(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(then="")) as site:
            session = kit.session(base_url=site.url)
            with pytest.raises(Blocked, match="empty body, still so after 1 retries"):
                await session.get("/", retries=1)
            assert session.retired
            assert (await kit.session(base_url=site.url).post("/")).body == b""
            assert (await kit.session(base_url=site.url).get("/", allow=(200,))).body == b""

    kit.run(main)


def test_gone_and_what_is_allowed(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(status(404), status(410), status(404, "not here"), status(403, "wall"))) as site:
            session = kit.session(base_url=site.url)
            for code in (404, 410):
                with pytest.raises(Gone) as gone:
                    await session.get("/")
                assert gone.value.status == code
            assert (await session.get("/", allow=[404], expect="h1")).html == "not here"
            assert (await session.get("/", allow={403, 404})).status == 403
            assert not session.retired

    kit.run(main)


def test_a_wall_and_a_429_are_waited_out_in_place(kit: Kit) -> None:
    wall = web.Response(text="Too many requests.  ", content_type="text/html")

    async def main() -> None:
        async with kit.site(serving(status(429, Retry_After="0.2"), wall)) as site:
            page = await kit.session(base_url=site.url).get("/", expect="h1")
            assert page.has("h1")
            assert kit.verdicts == [Verdict.THROTTLED, Verdict.THROTTLED, Verdict.OK]
            times = [seen.at for seen in site.seen]
            assert times[1] - times[0] >= 0.2
            assert times[2] - times[1] >= 0.5

    kit.run(main)


def test_a_long_retry_after_parks(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(status(503, Retry_After="600"))) as site:
            with pytest.raises(Parked) as parked:
                await kit.session(base_url=site.url).get("/")
            assert parked.value.seconds == pytest.approx(600, abs=1)
            assert len(site.seen) == 1

    kit.run(main)


def test_a_site_that_never_stops_throttling_parks(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(*[status(429, Retry_After="0.01") for _ in range(20)])) as site:
            # The site's own word is a hundredth of a second; each time that proves too short, the hold doubles.
            with pytest.raises(Parked, match="asks to wait"):
                await kit.session(base_url=site.url, limits=kit.limits(wait=1.0)).get("/")
            assert len(site.seen) == 2

    kit.run(main)


def test_a_limit_is_refused_and_not_retried(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving(then="x" * 5000)) as site:
            with pytest.raises(Refused, match=r"Limits.body = 1000"):
                await kit.session(base_url=site.url, limits=kit.limits(body=1000)).get("/")
            assert kit.verdicts == [Verdict.REFUSED]
            assert len(site.seen) == 1

    kit.run(main)


def test_a_timeout_of_ones_own(kit: Kit) -> None:
    async def never(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with kit.raw(never) as site:
            with pytest.raises(FetchFailed, match="longer than allowed"):
                await kit.session(base_url=site.url).get("/", timeout=0.1, retries=0)

    kit.run(main)


# --- pace, forms, closing ---


def test_the_pace_of_a_session_and_what_a_request_makes_of_it(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving()) as site:
            session = kit.session(base_url=site.url, delay=0.1)
            for pace in (1.0, 1.0, 0.0, 2.0):
                await session.get("/", pace=pace)
            gaps = [b.at - a.at for a, b in pairwise(site.seen)]
            assert gaps[0] >= 0.1
            assert gaps[1] < 0.1
            assert gaps[2] >= 0.2

    kit.run(main)


def test_a_form_with_short_names(kit: Kit) -> None:
    async def handler(request: web.Request) -> web.Response:
        return await echo(request) if request.method == "POST" else web.Response(text=PAGE, content_type="text/html")

    async def main() -> None:
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url)
            home = await session.get("/home", expect="form[name=search]")
            found = (await session.submit(home.form("search"), text="é", extra={"t": 1}, headers={"X": "y"})).json()
            assert (found["method"], found["target"]) == ("POST", "/search")
            assert parse_qsl(found["body"]) == [("_p_text", "é"), ("t", "1")]
            assert found["headers"]["content-type"] == "application/x-www-form-urlencoded"
            assert found["headers"]["x"] == "y"
            with pytest.raises(PageError, match="no field 'txt'"):
                await session.submit(home.form("search"), txt="a")

    kit.run(main)


def test_the_captured_search_form(kit: Kit, annuaire: Path) -> None:
    captured = (annuaire / "home_after_bad_token_200.html").read_bytes()

    async def handler(request: web.Request) -> web.Response:
        if request.method == "POST":
            return await echo(request)
        return web.Response(body=captured, content_type="text/html", charset="utf-8")

    async def main() -> None:
        async with kit.site(handler) as site:
            session = kit.session(base_url=site.url)
            form = (await session.get("/web/site-pro", expect="form[name=fmRecherche]")).form("fmRecherche")
            url = session.local(form.action)
            sent = form.filled(texttofind="dubois").submission()
            found = (await session.post(url, body=sent.body, headers={"Content-Type": sent.content_type})).json()
            assert "texttofind=dubois" in found["body"]
            assert "p_auth=" in found["target"]

    kit.run(main)


def test_a_closed_session_sends_nothing(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(serving()) as site:
            session = kit.session(base_url=site.url)
            await session.close()
            await session.close()
            with pytest.raises(FetchFailed, match="closed"):
                await session.get("/")
            assert site.seen == []

    kit.run(main)


def test_closing_ends_a_request_that_is_under_way(kit: Kit) -> None:
    arrived = asyncio.Event()

    async def never(head: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with kit.raw(never) as site:
            session = kit.session(base_url=site.url)
            task = asyncio.create_task(session.get("/"))
            await arrived.wait()
            await session.close()
            with pytest.raises(FetchFailed):
                await task

    kit.run(main)


def test_a_cancelled_request_leaves_the_session_usable(kit: Kit) -> None:
    arrived = asyncio.Event()

    async def first_never(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /never"):
            arrived.set()
            await asyncio.Event().wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhay")
        await writer.drain()

    async def main() -> None:
        async with kit.raw(first_never) as site:
            session = kit.session(base_url=site.url)
            task = asyncio.create_task(session.get("/never"))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await session.get("/")).html == "hay"

    kit.run(main)


def test_a_factory_opens_sessions_as_the_job_says(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(echo) as site:
            job = Job(
                "hay",
                key="id",
                partitions=values(["a"]),
                base_url=site.url,
                pace=Pace(delay=0.0),
                headers={"X-Job": "1"},
                user_agent="me/1 (x)",
                parameters={"year": 2024},
                limits=Limits(retries=0),
            )
            session = SessionFactory(job, kit.gate(), SystemClock(), nobody).open("a")
            try:
                sent = (await session.get("/x")).json()["headers"]
                assert (sent["x-job"], sent["user-agent"]) == ("1", "me/1 (x)")
                assert session.parameters["year"] == 2024
                session.headers["X-Job"] = "2"
                assert job.headers["X-Job"] == "1"
            finally:
                await session.close()

    kit.run(main)
