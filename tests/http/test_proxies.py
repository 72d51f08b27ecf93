"""Through real proxies: HTTP in both forms, SOCKS5, TLS; and what happens when a proxy does not work."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from tests.support.proxies import HttpProxy, SocksProxy, nothing_listens
from tests.support.serving import Served
from windrow import Identity
from windrow import identity as identities_of_windrow
from windrow.errors import FetchFailed, ProxyFailed, SettingError
from windrow.events import Verdict
from windrow.fetch.transport import Answer, Failure, Request

if TYPE_CHECKING:
    from tests.http.conftest import Kit, Site

LOGIN = ("proxy-user", "p:ss/wörd")
ASCII_LOGIN = ("proxy-user", "proxy-secret")


async def page(request: web.Request) -> web.Response:
    body = await request.read()
    response = web.Response(text=f"<p>{request.method} {request.path_qs} {body.decode()}</p>", content_type="text/html")
    response.set_cookie("sid", "1")
    return response


def through(url: str, **more: object) -> Identity:
    return Identity("anna", proxy=url, **more)  # type: ignore[arg-type]


def told(site: Site) -> set[str]:
    return {name.lower() for seen in site.pages for name in seen.headers}


# --- those that work ---


def test_an_http_proxy_in_absolute_form_with_a_login_that_the_site_never_sees(kit: Kit) -> None:
    async def main() -> None:
        with HttpProxy(LOGIN) as proxy:
            async with kit.site(page) as site:
                url = "http://proxy-user:p%3Ass%2Fw%C3%B6rd@127.0.0.1:" + str(proxy.port)
                session = kit.session(base_url=site.url, identity=through(url))
                assert (await session.get("/a")).text("p") == "GET /a"
                assert (await session.post("/b", data={"c": "d"})).text("p") == "POST /b c=d"
                assert session.cookies == {"sid": "1"}
                assert proxy.passed == [site.authority] * 2
                assert not {name for name in told(site) if name.startswith("proxy")}
                assert proxy.heads[0].startswith(f"GET {site.url}/a HTTP/1.1".encode())

    kit.run(main)


@pytest.mark.parametrize("login", [None, ASCII_LOGIN])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_with_and_without_login(kit: Kit, scheme: str, login: tuple[str, str] | None) -> None:
    async def main() -> None:
        with SocksProxy(login) as proxy:
            async with kit.site(page) as site:
                base = site.url.replace("127.0.0.1", "localhost")
                session = kit.session(base_url=base, identity=through(proxy.with_login(scheme)))
                assert (await session.get("/a")).text("p") == "GET /a"
                assert (await session.get("/b")).text("p") == "GET /b"
                # A name is for the proxy to resolve, or for us.
                assert (proxy.names == ["localhost"]) == (scheme == "socks5h")
                assert len(proxy.passed) == 1  # one connection, kept

    kit.run(main)


# --- those that do not ---


def test_a_proxy_that_is_not_there_ends_the_attempt_at_once(kit: Kit) -> None:
    async def main() -> None:
        with nothing_listens() as port:
            for scheme in ("http", "https", "socks5", "socks5h"):
                async with kit.site(page) as site:
                    kit.events.clear()
                    session = kit.session(
                        base_url=site.url, identity=through(f"{scheme}://u:hush-hush@127.0.0.1:{port}")
                    )
                    with pytest.raises(ProxyFailed, match=rf"the proxy {scheme}://127.0.0.1:{port} cannot be used"):
                        await session.get("/a")
                    # It was sent once, and nobody went to the site without it.
                    assert [event.verdict for event in kit.events] == [Verdict.TRANSIENT]
                    assert site.seen == []
                    assert session.rests is not None
                    assert "hush" not in session.rests
                    with pytest.raises(ProxyFailed, match="retired"):
                        await session.get("/a")

    kit.run(main)


@pytest.mark.parametrize("login", [("proxy-user", "wrong-one"), (None, None)])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_that_wants_another_login(kit: Kit, kind: str, login: tuple[str | None, str | None]) -> None:
    async def main() -> None:
        with HttpProxy(ASCII_LOGIN) if kind == "http" else SocksProxy(ASCII_LOGIN) as proxy:
            async with kit.site(page) as site:
                user, password = login
                given = f"{user}:{password}@" if user else ""
                session = kit.session(base_url=site.url, identity=through(f"{kind}://{given}127.0.0.1:{proxy.port}"))
                with pytest.raises(ProxyFailed) as caught:
                    await session.get("/a")
                assert "wrong" not in str(caught.value)
                assert (proxy.refused, proxy.passed, site.seen) == (1, [], [])

    kit.run(main)


def test_a_proxy_that_says_nothing_is_given_up_after_the_time_to_connect(kit: Kit) -> None:
    async def silent(head: bytes, writer: object) -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        async with kit.raw(silent) as proxy:
            way = through(f"http://{proxy.authority}").way
            transport = kit.transport(way, connect=0.2)
            answer = await transport.send(Request("GET", "https://127.0.0.1:9/"))
            assert isinstance(answer, Failure)
            assert answer.of_proxy
            assert "within the time allowed" in answer.reason
            assert answer.seconds < 3

    kit.run(main)


@pytest.mark.parametrize("status", [400, 403, 407, 500])
def test_a_tunnel_that_is_refused_is_the_proxys_fault(kit: Kit, status: int) -> None:
    async def main() -> None:
        with HttpProxy(status=status) as proxy:
            answer = await kit.transport(through(proxy.url).way).send(Request("GET", "https://127.0.0.1:9/"))
            assert isinstance(answer, Failure)
            assert (answer.of_proxy, answer.verdict) == (True, Verdict.TRANSIENT)
            assert f"status {status}" in answer.reason

    kit.run(main)


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_target_that_is_not_reached_is_the_targets_fault_and_is_tried_again(kit: Kit, kind: str) -> None:
    async def main() -> None:
        with HttpProxy(status=502) if kind == "http" else SocksProxy(reply=5) as proxy:
            identity = through(f"{kind}://127.0.0.1:{proxy.port}")
            session = kit.session(base_url="https://127.0.0.1:9", identity=identity)
            with pytest.raises(FetchFailed, match=r"does not reach the site.*still so after 2 retries"):
                await session.get("/a", retries=2)
            assert proxy.refused == 3
            assert session.rests is None

    kit.run(main)


def test_a_socks_proxy_that_fails_by_itself_or_forbids_it_is_at_fault(kit: Kit) -> None:
    async def main() -> None:
        for reply in (1, 2, 7):
            with SocksProxy(reply=reply) as proxy:
                answer = await kit.transport(through(proxy.with_login("socks5")).way).send(
                    Request("GET", "http://127.0.0.1:9/")
                )
                assert isinstance(answer, Failure)
                assert answer.of_proxy

    kit.run(main)


@pytest.mark.parametrize("said", [b"", b"\x05", b"\x05\x00"])
def test_a_socks_proxy_that_hangs_up_is_at_fault(kit: Kit, said: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(said)
        if len(said) == 2:
            await reader.readexactly(10)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            identity = through(f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            session = kit.session(base_url="http://127.0.0.1:9", identity=identity)
            with pytest.raises(ProxyFailed, match="closes the connection"):
                await session.get("/a")
            assert "cannot be used" in (session.rests or "")
            assert len(kit.events) == 1

    kit.run(main)


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_behind_which_nobody_speaks_tls_is_at_fault(kit: Kit, kind: str) -> None:
    # As behind a portal that wants a login first: the tunnel is there, and what answers in it is no site.
    async def main() -> None:
        with SocksProxy() if kind == "socks5" else HttpProxy() as proxy:
            async with kit.site(page) as site:
                session = kit.session(
                    base_url=site.url.replace("http:", "https:"), identity=through(proxy.with_login(kind))
                )
                with pytest.raises(ProxyFailed, match="what comes through it is no TLS"):
                    await session.get("/a")
                assert session.rests is not None

    kit.run(main)


def test_a_407_without_a_proxy_is_the_sites_own(kit: Kit) -> None:
    async def refusing(request: web.Request) -> web.Response:
        return web.Response(status=407)

    async def main() -> None:
        async with kit.site(refusing) as site:
            answer = await kit.fetch(site.url)
            assert isinstance(answer, Answer)
            assert answer.status == 407

    kit.run(main)


def test_a_socks_proxy_without_its_extra_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is here: what is missing is made up by the one question that is asked for it."""
    monkeypatch.setattr(identities_of_windrow, "find_spec", lambda name: None)
    identities_of_windrow.check_ways({"anna": through("http://127.0.0.1:1")})
    with pytest.raises(SettingError, match=r"windrow\[socks\]"):
        identities_of_windrow.check_ways({"anna": through("socks5://127.0.0.1:1")})


# --- TLS: in a process of its own, because aiohttp reads what it trusts when it is imported ---


class TlsSite(Served):
    def __init__(self, authority: trustme.CA) -> None:
        super().__init__()
        self.headers: list[dict[str, str]] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async def answer(request: web.Request) -> web.Response:
            self.headers.append(dict(request.headers))
            return web.Response(text="<h1>tls</h1>", content_type="text/html")

        application = web.Application()
        application.router.add_get("/{tail:.*}", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


JOB = """
from windrow import Identity, Job, values

job = Job("things", key="id", partitions=values(["a"]), base_url="BASE", robots=False,
          identities=[Identity("anna", proxy="PROXY", headers={"X-Own": "header-secret"})])

@job.scrape
async def scrape(session, partition):
    yield {"id": (await session.get("/a", expect="h1", retries=0)).text("h1")}
"""


@contextmanager
def authority(folder: Path) -> Iterator[tuple[trustme.CA, dict[str, str]]]:
    import os

    made = trustme.CA()
    made.cert_pem.write_to_path(folder / "ca.pem")
    yield made, {**os.environ, "SSL_CERT_FILE": str(folder / "ca.pem")}


def check(folder: Path, base: str, proxy: str, environment: dict[str, str]) -> tuple[int, str]:
    (folder / "job.py").write_text(JOB.replace("BASE", base).replace("PROXY", proxy), encoding="utf-8")
    command = [sys.executable, "-m", "windrow", "check", str(folder / "job.py"), "a"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h"])
def test_a_site_behind_tls_through_each_kind_of_proxy(tmp_path: Path, kind: str) -> None:
    with authority(tmp_path) as (ca, environment), TlsSite(ca) as site:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(tls)
        made = (
            SocksProxy(ASCII_LOGIN)
            if kind.startswith("socks")
            else HttpProxy(ASCII_LOGIN, tls=tls if kind == "https" else None)
        )
        with made as proxy:
            status, output = check(tmp_path, site.url, proxy.with_login(kind), environment)
            assert status == 0, output
            assert "as 'anna'" in output
            assert "secret" not in output
            assert proxy.passed == [site.url.removeprefix("https://")]
            assert site.headers[0]["X-Own"] == "header-secret"
            assert not [name for name in site.headers[0] if name.lower().startswith("proxy")]


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_site_that_nobody_vouches_for_is_not_the_proxys_fault(tmp_path: Path, kind: str) -> None:
    made = SocksProxy(ASCII_LOGIN) if kind == "socks5" else HttpProxy(ASCII_LOGIN)
    with authority(tmp_path) as (_, environment), TlsSite(trustme.CA()) as site, made as proxy:
        status, output = check(tmp_path, site.url, proxy.with_login(kind), environment)
        assert status == 1, output
        assert "no trustworthy TLS connection" in output
        assert "cannot be used" not in output


def test_an_https_proxy_that_nobody_vouches_for_cannot_be_used(tmp_path: Path) -> None:
    with authority(tmp_path) as (ca, environment), TlsSite(ca) as site:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
        with HttpProxy(ASCII_LOGIN, tls=tls) as proxy:
            _, output = check(tmp_path, site.url, proxy.with_login("https"), environment)
            assert f"the proxy https://127.0.0.1:{proxy.port} cannot be used" in output
            assert proxy.heads == []
