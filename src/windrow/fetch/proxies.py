"""Ways through a proxy: http and https ones by aiohttp itself, SOCKS through aiohttp-socks.

What goes wrong before a connection to the target is there is told apart here: the proxy's own fault (it is gone, it
wants another login, it refuses us) ends the use of this proxy; what the proxy says of the target (it cannot be
reached) is the target's fault and is tried again like any other. A login is never put into a URL, because errors show
URLs; to a target behind TLS it goes with CONNECT alone, which the target does not see.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict

import aiohttp

from windrow.events import Verdict
from windrow.fetch.transport import Request, Unusable
from windrow.identity import SOCKS, Proxy

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_NOT_REACHED = frozenset({502, 503, 504})
"""What a proxy answers to CONNECT when it is the target that cannot be reached."""
_SOCKS_NOT_REACHED = frozenset({3, 4, 5, 6})
"""RFC 1928, 6: network unreachable, host unreachable, connection refused, TTL expired."""


class ProxyOptions(TypedDict, total=False):
    """What aiohttp is told with a request."""

    headers: Mapping[str, str]
    proxy: str
    proxy_headers: Mapping[str, str]


def connector(proxy: Proxy | None) -> aiohttp.TCPConnector:
    """A connector of its own for one session; with a proxy, one whose errors are `Unusable`."""
    if proxy is None:
        return aiohttp.TCPConnector()
    if proxy.scheme not in SOCKS:
        return _HttpProxyConnector(proxy)
    made: aiohttp.TCPConnector = _socks_connector_class()(proxy)
    return made


def proxy_options(proxy: Proxy, request: Request) -> ProxyOptions:
    """How a request is sent through `proxy`. A SOCKS proxy is the connector's business alone."""
    if proxy.scheme in SOCKS:
        return {"headers": request.headers}
    login = {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
    if request.url.startswith("https:"):
        return {"headers": request.headers, "proxy": proxy.address, "proxy_headers": login}
    # The proxy reads the request itself and takes the header off.
    return {"headers": {**request.headers, **login}, "proxy": proxy.address}


class _HttpProxyConnector(aiohttp.TCPConnector):
    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        try:
            return await super().connect(req, traces, timeout)
        except (aiohttp.ClientError, OSError) as error:
            _explain(error, self._proxy)
            raise


@cache
def _socks_connector_class() -> Any:
    """Made when it is first needed: aiohttp-socks is an extra."""
    from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

    class SocksConnector(ProxyConnector):
        def __init__(self, proxy: Proxy) -> None:
            super().__init__(
                proxy.host,
                proxy.port,
                ProxyType.SOCKS5,
                proxy.user,
                proxy.password,
                rdns=proxy.scheme == "socks5h",
            )
            self._way = proxy

        async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
            try:
                return await super().connect(req, traces, timeout)
            except ProxyError as error:
                if error.error_code in _SOCKS_NOT_REACHED:
                    raise _not_reached(self._way, str(error)) from error
                raise _of_proxy(self._way, str(error)) from error
            except (ProxyConnectionError, ProxyTimeoutError) as error:
                raise _of_proxy(self._way, str(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                _explain(error, self._way)
                raise
            except EOFError as error:
                # Of asyncio's streams, and no OSError: the proxy hung up on us before it had answered.
                raise _of_proxy(self._way, "it closes the connection without an answer") from error

    return SocksConnector


def _explain(error: Exception, proxy: Proxy) -> None:
    """Raises Unusable for an error that came before there was a connection, unless it is the target's."""
    if isinstance(error, TimeoutError):
        raise _of_proxy(proxy, "no connection through it within the time allowed (Limits.connect)") from error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status in _NOT_REACHED:
            raise _not_reached(proxy, f"status {error.status}") from error
        wish = "it wants another login" if error.status == 407 else "it opens no tunnel"
        raise _of_proxy(proxy, f"{wish} (status {error.status})") from error
    if _is_no_tls(error):
        # A portal that answers in the target's stead. A certificate that nobody vouches for may be the target's own.
        raise _of_proxy(proxy, f"what comes through it is no TLS: {error}") from error
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        # Inside of the tunnel it is the target that TLS is begun with.
        if (error.host, error.port) == (proxy.host, proxy.port):
            raise _of_proxy(proxy, str(error)) from error
    elif isinstance(error, ssl.SSLError):
        raise Unusable(Verdict.REFUSED, f"no trustworthy TLS connection: {error}") from error
    else:
        raise _of_proxy(proxy, str(error) or type(error).__name__) from error


def _is_no_tls(error: Exception) -> bool:
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return True
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError)


def _of_proxy(proxy: Proxy, why: str) -> Unusable:
    return Unusable(Verdict.TRANSIENT, f"the proxy {proxy.address} cannot be used: {why}", of_proxy=True)


def _not_reached(proxy: Proxy, why: str) -> Unusable:
    return Unusable(Verdict.TRANSIENT, f"the proxy {proxy.address} does not reach the site: {why}")
