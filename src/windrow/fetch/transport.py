"""The seam between a session and the network: one request, one answer, no redirects, no retries, no politeness.

Everything above decides; a transport only carries. Another transport (HTTP/2, a browser, a replay) implements
`Transport` and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from windrow.events import Verdict


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for a connection, for the next bytes, for the whole request."""

    connect: float = 20.0
    silence: float = 30.0
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `url` is clean (`windrow.fetch.address.clean`): absolute, http(s), ASCII, without fragment."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeouts: Timeouts | None = None
    """None for the transport's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read to its end. `headers` finds names without case; `body` is unpacked."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    """From sending to the end of the body."""
    size: int
    """Bytes of the body as they were transferred."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No usable answer. `verdict`: TRANSIENT (it may pass) or REFUSED (a limit of ours, an address, a certificate)."""

    verdict: Verdict
    reason: str
    seconds: float
    of_proxy: bool = False
    """The proxy cannot be used: the host never heard of the request, and sending it again would not help."""


class Unusable(Exception):
    """A connection or an answer that a transport gives up while it makes or reads it; becomes a Failure."""

    def __init__(self, verdict: Verdict, reason: str, *, of_proxy: bool = False) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.of_proxy = of_proxy


Send = Callable[[Request], Awaitable[Answer | Failure]]


class Transport(Protocol):
    """Carries requests of one identity: its cookies and connections are nobody else's."""

    async def send(self, request: Request) -> Answer | Failure:
        """The answer to one request, whatever its status; never raises for what a server or the network does."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies held, name → value; of one name held for several paths, the last received."""

    def hold_cookies(self, cookies: Mapping[str, str], url: str) -> None:
        """Forget all cookies and hold these instead, for the host of `url` and no other."""

    async def close(self) -> None:
        """Let go of all connections. Closing twice is safe."""
