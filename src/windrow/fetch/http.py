"""HTTP over aiohttp. The only file that knows it, with `proxies.py`.

One `HttpTransport` is one identity: its own cookie jar and its own connector, because sessions that share a connector
reuse each other's connections and can be linked. What aiohttp would do by itself and gets wrong for us is off:
redirects (they would escape politeness), unpacking (a truncated gzip passes silently, a bomb is unpacked), and the
refusal of cookies from hosts that are IP addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http.cookies import SimpleCookie

import aiohttp
from yarl import URL

from windrow.clock import Clock
from windrow.events import Verdict
from windrow.fetch.proxies import ProxyOptions, connector, proxy_options
from windrow.fetch.transport import Answer, Failure, Request, Timeouts, Unusable
from windrow.fetch.unpack import TooLarge, Undecodable, Unpacker
from windrow.identity import Proxy
from windrow.job import Limits

_BUFFER = 262_144
_LONGEST_HEADER = 16_384
_MOST_HEADERS = 256
_HEADER_ERRORS = ("Got more than", "Too many headers")


class HttpTransport:
    """A `Transport` over HTTP/1.1, through `proxy` where there is one. Make it within the event loop of its use."""

    def __init__(self, limits: Limits, clock: Clock, proxy: Proxy | None = None) -> None:
        self._proxy = proxy
        self._limits = limits
        self._clock = clock
        self._unpacker = _unpacker()
        self._timeout = _client_timeout(Timeouts(limits.connect, limits.silence, limits.request))
        self._jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        self._client = aiohttp.ClientSession(
            connector=connector(proxy),
            cookie_jar=self._jar,
            headers={"Accept-Encoding": self._unpacker.accepts},
            # Otherwise a POST without a body would claim to bring an octet stream.
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            timeout=self._timeout,
            read_bufsize=_BUFFER,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )
        # aiohttp sends an idempotent request again by itself when a kept connection was dead: unseen, unpaced, twice.
        self._client._retry_connection = False

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._jar}

    def hold_cookies(self, cookies: Mapping[str, str], url: str) -> None:
        """See `Transport.hold_cookies`. Behind an https address they are not sent to http ones."""
        self._jar.clear()
        held: SimpleCookie = SimpleCookie()
        home = URL(url, encoded=True)
        for name, value in cookies.items():
            held[name] = value
            # As it is: SimpleCookie would put quotes around what it takes for special.
            held[name].set(name, value, value)
            held[name]["path"] = "/"
            held[name]["secure"] = home.scheme == "https"
        self._jar.update_cookies(held, home)

    async def send(self, request: Request) -> Answer | Failure:
        """See `Transport.send`. A Failure's reason says what happened in plain words."""
        started = self._clock.monotonic()
        try:
            return await self._exchange(request, started)
        except Unusable as error:
            return Failure(error.verdict, str(error), self._clock.monotonic() - started, error.of_proxy)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = _explained(error, request)
        return Failure(*failure, self._clock.monotonic() - started)

    async def close(self) -> None:
        await self._client.close()

    async def _exchange(self, request: Request, started: float) -> Answer:
        response = await self._client.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            allow_redirects=False,
            timeout=self._timeout if request.timeouts is None else _client_timeout(request.timeouts),
            **self._way(request),
        )
        try:
            if response.status == 407 and self._proxy is not None:
                raise Unusable(
                    Verdict.TRANSIENT,
                    f"the proxy {self._proxy.address} wants another login (status 407)",
                    of_proxy=True,
                )
            packed = await self._read(response)
        finally:
            # Behind a body that was read to its end this gives the connection back, otherwise it closes it.
            response.release()
        body = self._unpacked(packed, response.headers.get("Content-Encoding"))
        seconds = self._clock.monotonic() - started
        return Answer(response.status, request.url, response.headers, body, seconds, len(packed))

    def _way(self, request: Request) -> ProxyOptions:
        if self._proxy is None:
            return {"headers": request.headers}
        return proxy_options(self._proxy, request)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        most = self._limits.body
        announced = response.content_length
        if announced is not None and announced > most and response.method != "HEAD":
            raise Unusable(Verdict.REFUSED, f"the body has {announced} bytes, more than Limits.body = {most}")
        content = response.content
        chunks: list[bytes] = []
        size = 0
        while size <= most and (chunk := await content.readany()):
            chunks.append(chunk)
            size += len(chunk)
        if size > most:
            raise Unusable(Verdict.REFUSED, f"the body has more than Limits.body = {most} bytes")
        return b"".join(chunks)

    def _unpacked(self, packed: bytes, encoding: str | None) -> bytes:
        most = self._limits.decompressed
        try:
            if encoding:
                return self._unpacker.unpack(packed, encoding, most)
        except Undecodable as error:
            raise Unusable(Verdict.TRANSIENT, f"the body cannot be unpacked: {error}") from error
        except TooLarge as error:
            raise Unusable(
                Verdict.REFUSED, f"the body unpacks to more than Limits.decompressed = {most} bytes"
            ) from error
        if len(packed) > most:
            raise Unusable(Verdict.REFUSED, f"the body has more than Limits.decompressed = {most} bytes")
        return packed


@cache
def _unpacker() -> Unpacker:
    """One for all sessions: it holds nothing of theirs, and to look for its decoders takes a while."""
    return Unpacker()


def _client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeouts.total, connect=timeouts.connect, sock_read=timeouts.silence)


def _explained(error: Exception, request: Request) -> tuple[Verdict, str]:
    """The verdict and the reason that an error of aiohttp stands for."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return Verdict.REFUSED, f"no trustworthy TLS connection: {error}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Verdict.TRANSIENT, "no connection within the time allowed (Limits.connect)"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return Verdict.TRANSIENT, "silence for longer than allowed (Limits.silence)"
    if isinstance(error, TimeoutError):
        return Verdict.TRANSIENT, "the request took longer than allowed (Limits.request)"
    if isinstance(error, aiohttp.ClientPayloadError):
        return Verdict.TRANSIENT, f"the body is truncated: {error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Verdict.TRANSIENT, "the server closed the connection without an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return _malformed(error)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Verdict.REFUSED, f"{request.url!r} is not an address that can be asked"
    if isinstance(error, aiohttp.ClientError | OSError):
        return Verdict.TRANSIENT, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # A ValueError is aiohttp's word for headers or a method that cannot be sent.
    return Verdict.REFUSED, f"the request cannot be sent: {error}"


def _malformed(error: aiohttp.ClientResponseError) -> tuple[Verdict, str]:
    message = " ".join(error.message.split())[:200]
    if message.startswith(_HEADER_ERRORS):
        return Verdict.REFUSED, f"the answer's headers are larger than {_LONGEST_HEADER} bytes each or too many"
    return Verdict.TRANSIENT, f"the answer is not HTTP: {message}"
