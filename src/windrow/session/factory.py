"""Opening sessions: one for each attempt at a partition."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from windrow.clock import Clock
from windrow.events import Listener
from windrow.fetch.transport import Transport
from windrow.gate import Gate
from windrow.identity import Identity, Proxy
from windrow.job import Job, Limits
from windrow.session.session import Session, SessionSettings

OpenTransport = Callable[[Limits, Clock, Proxy | None], Transport]


def over_http(limits: Limits, clock: Clock, proxy: Proxy | None = None) -> Transport:
    """A transport of its own for one session."""
    # Imported here: whoever only names sessions (a job in the supervisor of worker processes) needs no HTTP library.
    from windrow.fetch.http import HttpTransport

    return HttpTransport(limits, clock, proxy)


class SessionFactory:
    """Opens the sessions of one job in one worker process, all behind the same gate.

    `transport` makes the transport of one session; each session has its own and closes it.
    """

    def __init__(
        self,
        job: Job,
        gate: Gate,
        clock: Clock,
        listener: Listener,
        *,
        random: Random | None = None,
        transport: OpenTransport = over_http,
    ) -> None:
        self._job = job
        self._gate = gate
        self._clock = clock
        self._listener = listener
        self._random = random or Random()
        self._transport = transport

    def open(self, partition: str, delay: float | None = None, identity: Identity | None = None) -> Session:
        """A new session for the partition of that key; call it within the event loop, and close what it returns.

        `delay`: what the pace had adapted to where this session takes over; None for the job's. `identity`: who it is.
        """
        job = self._job
        settings = SessionSettings(
            partition=partition,
            base_url=job.base_url,
            headers=job.headers,
            user_agent=job.user_agent,
            delay=job.pace.delay if delay is None else delay,
            least_delay=job.pace.floor,
            most_delay=job.pace.most,
            judge=job.judge,
            opener=job.opener,
            expiry=job.expiry,
            identity=identity,
            limits=job.limits,
            parameters=job.parameters,
        )
        transport = self._transport(job.limits, self._clock, None if identity is None else identity.way)
        return Session(settings, self._gate, transport, self._clock, self._listener, self._random)
