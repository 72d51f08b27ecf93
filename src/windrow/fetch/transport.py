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


Send = Callable[[Request], Awaitable[Answer | Failure]]


class Transport(Protocol):
    """Carries requests of one identity: its cookies and connections are nobody else's."""

    async def send(self, request: Request) -> Answer | Failure:
        """The answer to one request, whatever its status; never raises for what a server or the network does."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies held, name → value; of one name held for several paths, the last received."""

    async def close(self) -> None:
        """Let go of all connections. Closing twice is safe."""
