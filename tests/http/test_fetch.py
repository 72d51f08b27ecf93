"""The transport against servers that do what servers do."""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from windrow.events import Verdict
from windrow.fetch.transport import Answer, Failure, Request, Timeouts
from windrow.fetch.unpack import TooLarge, Undecodable, Unpacker

if TYPE_CHECKING:
    from tests.http.conftest import Kit, RawHandler

PAGE = b"<html><body>" + b"<p>hay</p>" * 500 + b"</body></html>"


def replying(payload: bytes) -> RawHandler:
    """A raw server that sends these bytes and closes."""

    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        await writer.drain()

    return respond


def packed(body: bytes, encoding: str, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (encoding.encode(), size, body)


def fetched(kit: Kit, payload: bytes, **limits: int | float) -> Answer | Failure:
    """What the transport makes of these bytes."""
    found: list[Answer | Failure] = []

    async def main() -> None:
        async with kit.raw(replying(payload)) as site:
            found.append(await kit.fetch(site.url + "/", **limits))

    kit.run(main)
    return found[0]


def failure(answer: Answer | Failure) -> tuple[Verdict, str]:
    assert isinstance(answer, Failure), answer
    assert answer.seconds >= 0
    return answer.verdict, answer.reason


def test_an_answer_carries_status_headers_body_and_sizes(kit: Kit) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=203, body=b"hay", headers={"X-Field": "north"})

    async def main() -> None:
        async with kit.site(page) as site:
            answer = await kit.fetch(f"{site.url}/a?b=%C3%A9")
            assert isinstance(answer, Answer)
            assert (answer.status, answer.body, answer.size, answer.headers["x-field"]) == (203, b"hay", 3, "north")
            assert answer.url == f"{site.url}/a?b=%C3%A9"
            assert 0 < answer.seconds < 5
            assert site.seen[0].target == "/a?b=%C3%A9"
            assert "gzip" in site.seen[0].headers["Accept-Encoding"]

    kit.run(main)


@pytest.mark.parametrize(
    "target", ["/a%2Fb?x=%7e&y=a+b", "/%7Euser/?q=%20", "/?a=1&&b", "/;p=1/?c=%2B", "/?url=http://x/y"]
)
def test_an_address_is_sent_as_it_is_written(kit: Kit, target: str) -> None:
    async def main() -> None:
        async with kit.raw(replying(b"HTTP/1.1 204 No Content\r\n\r\n")) as site:
            await kit.fetch(site.url + target)
            assert site.seen[0].target == target

    kit.run(main)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "raw", "br", "identity", "gzip, gzip"])
def test_bodies_are_unpacked(kit: Kit, encoding: str) -> None:
    body = {
        "deflate": zlib.compress(PAGE),
        "raw": zlib.compress(PAGE)[2:-4],
        "br": None,
        "identity": PAGE,
        "gzip, gzip": gzip.compress(gzip.compress(PAGE)),
    }.get(encoding, gzip.compress(PAGE))
    if body is None:
        body = pytest.importorskip("brotli").compress(PAGE)
    answer = fetched(kit, packed(body, "deflate" if encoding == "raw" else encoding))
    assert isinstance(answer, Answer), answer
    assert answer.body == PAGE
    assert answer.size == len(body)


def test_brotli_is_only_asked_for_where_it_can_be_bounded() -> None:
    brotli = pytest.importorskip("brotli")
    assert ("br" in Unpacker().accepts) == hasattr(brotli.Decompressor, "can_accept_more_data")


def test_several_gzip_members_are_one_body_and_padding_is_none() -> None:
    unpacker = Unpacker()
    members = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"x" * 200_000)
    assert unpacker.unpack(members, "gzip", 1_000_000) == b"one two " + b"x" * 200_000
    assert unpacker.unpack(members + b"\0" * 100, "gzip", 1_000_000) == b"one two " + b"x" * 200_000
    with pytest.raises(Undecodable, match="truncated"):
        unpacker.unpack(members[:-5], "gzip", 1_000_000)
    with pytest.raises(TooLarge):
        unpacker.unpack(members, "gzip", 100_000)


def test_an_endless_row_of_gzip_members_is_given_up() -> None:
    with pytest.raises(TooLarge, match="members"):
        Unpacker().unpack(gzip.compress(b"") * 30_000, "gzip", 1_000_000)


def test_damaged_streams_are_taken_and_refused_as_zlib_does() -> None:
    # What unpacks is not the standard library's zlib: it must neither let through nor refuse anything else.
    source = random.Random("damaged")
    texts = [b"", b"a", PAGE, bytes(range(256)) * 40, source.randbytes(3_000)]
    refused = 0
    for number in range(6_000):
        stream = zlib.compressobj(source.choice((0, 1, 6, 9)), zlib.DEFLATED, 31, strategy=source.choice((0, 2, 3, 4)))
        body = bytearray(stream.compress(source.choice(texts)) + stream.flush())
        for _ in range(number % 3):
            body[source.randrange(len(body))] ^= 1 << source.randrange(8)
        cut = bytes(body[: source.randrange(len(body))] if number % 5 == 0 else body)
        if not cut:
            continue
        try:
            judge = zlib.decompressobj(31)
            expected = judge.decompress(cut, 1_000_000)
            whole = judge.eof and not judge.unused_data.startswith(b"\x1f\x8b")
        except zlib.error:
            whole = False
        if whole:
            assert Unpacker().unpack(cut, "gzip", 1_000_000) == expected
        else:
            refused += 1
            with pytest.raises(Undecodable):
                Unpacker().unpack(cut, "gzip", 1_000_000)
    assert 2_000 < refused < 5_000


@pytest.mark.parametrize("cut", [1, 8, 9, 200])
def test_a_gzip_stream_that_stops_early_is_transient(kit: Kit, cut: int) -> None:
    verdict, reason = failure(fetched(kit, packed(gzip.compress(bytes(range(256)) * 40)[:-cut], "gzip")))
    assert (verdict, "truncated" in reason) == (Verdict.TRANSIENT, True)


@pytest.mark.parametrize("encoding", ["deflate", "br"])
def test_other_streams_that_stop_early_are_transient(kit: Kit, encoding: str) -> None:
    whole = zlib.compress(PAGE) if encoding == "deflate" else pytest.importorskip("brotli").compress(PAGE)
    assert failure(fetched(kit, packed(whole[:-3], encoding)))[0] is Verdict.TRANSIENT


@pytest.mark.parametrize(("encoding", "word"), [("gzip", "damaged"), ("zstd", "not one that was asked for")])
def test_a_body_that_is_not_what_it_says_is_transient(kit: Kit, encoding: str, word: str) -> None:
    verdict, reason = failure(fetched(kit, packed(PAGE, encoding)))
    assert (verdict, word in reason) == (Verdict.TRANSIENT, True), reason


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_refused_before_it_is_allocated(kit: Kit, encoding: str) -> None:
    size = 80_000_000
    if encoding == "br":
        bomb = pytest.importorskip("brotli").compress(b"\0" * size, quality=5)
    else:
        stream = zlib.compressobj(6, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        bomb = stream.compress(b"\0" * size) + stream.flush()
    tracemalloc.start()
    try:
        verdict, reason = failure(fetched(kit, packed(bomb, encoding), decompressed=1_000_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert verdict is Verdict.REFUSED
    assert "Limits.decompressed = 1000000" in reason
    assert peak < 8_000_000


def test_an_answer_of_exactly_the_limit_is_let_through(kit: Kit) -> None:
    answer = fetched(kit, packed(gzip.compress(b"x" * 1000), "gzip"), decompressed=1000)
    assert isinstance(answer, Answer)
    assert failure(fetched(kit, packed(gzip.compress(b"x" * 1001), "gzip"), decompressed=1000))[0] is Verdict.REFUSED
    assert isinstance(fetched(kit, packed(b"x" * 1000, "identity"), body=1000), Answer)
    assert failure(fetched(kit, packed(b"x" * 1001, "identity"), body=1000))[0] is Verdict.REFUSED


def test_an_announced_body_beyond_the_limit_is_not_read(kit: Kit) -> None:
    verdict, reason = failure(fetched(kit, packed(b"x", "identity", length=10**12)))
    assert verdict is Verdict.REFUSED
    assert "Limits.body" in reason


def test_an_endless_body_is_given_up_at_the_limit(kit: Kit) -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    async def main() -> None:
        async with kit.raw(endless) as site:
            verdict, reason = failure(await kit.fetch(site.url + "/", body=1_000_000))
            assert verdict is Verdict.REFUSED
            assert "Limits.body = 1000000" in reason

    kit.run(main)


@pytest.mark.parametrize(
    "payload",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"\x00\x01\x02 this is no HTTP\r\n\r\n",
    ],
)
def test_a_cut_or_garbled_answer_is_transient(kit: Kit, payload: bytes) -> None:
    assert failure(fetched(kit, payload))[0] is Verdict.TRANSIENT


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"a" * 100_000,
        b"X" * 100_000 + b": a",
        b"\r\n".join(b"X-%d: a" % number for number in range(2_000)),
    ],
)
def test_huge_headers_are_refused(kit: Kit, head: bytes) -> None:
    verdict, reason = failure(fetched(kit, b"HTTP/1.1 200 OK\r\n" + head + b"\r\nContent-Length: 0\r\n\r\n"))
    assert verdict is Verdict.REFUSED
    assert "headers" in reason


def test_an_endless_header_is_given_up(kit: Kit) -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"a" * 65_536)
            await writer.drain()

    async def main() -> None:
        async with kit.raw(endless) as site:
            assert failure(await kit.fetch(site.url + "/"))[0] is Verdict.REFUSED

    kit.run(main)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"])
def test_silence_ends_a_request(kit: Kit, start: bytes) -> None:
    async def silent(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await asyncio.Event().wait()

    async def main() -> None:
        async with kit.raw(silent) as site:
            verdict, reason = failure(await kit.fetch(site.url + "/", silence=0.1))
            assert verdict is Verdict.TRANSIENT
            assert "Limits.silence" in reason

    kit.run(main)


def test_a_trickle_ends_with_the_time_for_the_whole_request(kit: Kit) -> None:
    async def trickle(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with kit.raw(trickle) as site:
            request = Request("GET", site.url + "/", timeouts=Timeouts(connect=1, silence=1, total=0.2))
            verdict, reason = failure(await kit.transport().send(request))
            assert verdict is Verdict.TRANSIENT
            assert "Limits.request" in reason

    kit.run(main)


def test_a_reset_and_a_closed_port_are_transient(kit: Kit) -> None:
    async def reset(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def main() -> None:
        async with kit.raw(reset) as site:
            assert failure(await kit.fetch(site.url + "/"))[0] is Verdict.TRANSIENT
        assert failure(await kit.fetch(site.url + "/"))[0] is Verdict.TRANSIENT

    kit.run(main)


def test_a_name_that_does_not_resolve_is_transient(kit: Kit) -> None:
    async def main() -> None:
        assert failure(await kit.fetch("http://nobody.invalid/"))[0] is Verdict.TRANSIENT

    kit.run(main)


def test_what_cannot_be_sent_is_refused(kit: Kit) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response()

    async def main() -> None:
        async with kit.site(page) as site:
            split = Request("GET", site.url + "/", {"X": "a\r\nEvil: yes"})
            assert failure(await kit.transport().send(split))[0] is Verdict.REFUSED
            assert not site.seen

    kit.run(main)


def test_cookies_of_an_address_are_kept_and_their_values_are_not_quoted(kit: Kit) -> None:
    async def page(request: web.Request) -> web.Response:
        response = web.Response()
        response.headers.add("Set-Cookie", "JSESSIONID=AB.node1; Path=/; HttpOnly")
        response.headers.add("Set-Cookie", 'odd=a=b c,{"d":1}; Path=/')
        return response

    async def main() -> None:
        async with kit.site(page) as site:
            transport = kit.transport()
            await transport.send(Request("GET", site.url + "/"))
            await transport.send(Request("GET", site.url + "/"))
            assert transport.cookies["JSESSIONID"] == "AB.node1"
            assert 'odd=a=b c,{"d":1}' in site.seen[1].headers["Cookie"]

    kit.run(main)


def test_redirects_are_not_followed_here(kit: Kit) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def main() -> None:
        async with kit.site(page) as site:
            answer = await kit.fetch(site.url + "/")
            assert isinstance(answer, Answer)
            assert answer.status == 302
            assert len(site.seen) == 1

    kit.run(main)


def test_a_cancelled_request_leaves_nothing_behind_and_closing_twice_is_safe(kit: Kit) -> None:
    async def silent(head: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    arrived = asyncio.Event()

    async def main() -> None:
        async with kit.raw(silent) as site:
            transport = kit.transport()
            task = asyncio.create_task(transport.send(Request("GET", site.url + "/")))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await transport.close()
            await transport.close()

    kit.run(main)
