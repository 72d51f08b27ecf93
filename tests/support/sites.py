"""Models of how sites limit, over virtual time, and a client of several workers that asks them by a budget.

A site answers `ask(now)` with an `Answer`: what it says and how long it takes. The client is what the gate and the
store do, without network: slots reserved ahead, a hold that reaches everybody, reports once in a while.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from windrow.politeness import adaptive
from windrow.politeness.adaptive import Adaptive, Observation
from windrow.politeness.budget import HostBudget, hold


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 200 with `wall` is a page that is not what it should be."""

    status: int
    seconds: float
    retry_after: float | None = None
    wall: bool = False


class SiteModel(Protocol):
    """A site: `limit(now)` is what it bears, in requests per second."""

    latency: float

    def limit(self, now: float) -> float: ...

    def ask(self, now: float) -> Answer: ...

    def ended(self, now: float) -> None:
        """An answer was given."""


Limit = Callable[[float], float]


def steps(high: float, low: float, begin: float, end: float) -> Limit:
    """`high`, and `low` between two moments."""
    return lambda now: low if begin <= now < end else high


@dataclass
class _Base:
    rate: float | Limit
    latency: float = 0.05
    retry_after: float | None = 1.0
    walls: bool = False

    def limit(self, now: float) -> float:
        return self.rate(now) if callable(self.rate) else self.rate

    def ended(self, now: float) -> None:
        pass

    def _refused(self) -> Answer:
        if self.walls:
            return Answer(200, self.latency, wall=True)
        return Answer(429, min(self.latency, 0.01), self.retry_after)


@dataclass
class SlidingSecond(_Base):
    """At most `rate` requests are let in in any `window` seconds; refused ones do not count."""

    window: float = 1.0
    _let_in: deque[float] = field(default_factory=deque)

    def ask(self, now: float) -> Answer:
        while self._let_in and self._let_in[0] <= now - self.window:
            self._let_in.popleft()
        if len(self._let_in) >= max(1, self.limit(now) * self.window):
            return self._refused()
        self._let_in.append(now)
        return Answer(200, self.latency)


@dataclass
class FixedWindow(_Base):
    """At most `rate * window` requests from one full window to the next; Retry-After names the next one if `honest`."""

    window: float = 1.0
    honest: bool = True
    _window: int = -1
    _count: int = 0

    def ask(self, now: float) -> Answer:
        number = int(now // self.window)
        if number != self._window:
            self._window, self._count = number, 0
        if self._count >= max(1.0, self.limit(now) * self.window):
            after = float(math.ceil((number + 1) * self.window - now)) if self.honest else None
            return Answer(429, min(self.latency, 0.01), after)
        self._count += 1
        return Answer(200, self.latency)


@dataclass
class TokenBucket(_Base):
    """`burst` tokens at most, `rate` new ones in a second."""

    burst: float = 20.0
    _tokens: float = -1.0
    _at: float = 0.0

    def ask(self, now: float) -> Answer:
        if self._tokens < 0:
            self._tokens = self.burst
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.limit(now))
        self._at = now
        if self._tokens < 1.0:
            return self._refused()
        self._tokens -= 1.0
        return Answer(200, self.latency)


@dataclass
class Concurrency(_Base):
    """`places` requests at once, each for `latency` seconds; beyond it refuses."""

    rate: float | Limit = 0.0
    places: int = 8
    _inside: int = 0

    def limit(self, now: float) -> float:
        return self.places / self.latency

    def ask(self, now: float) -> Answer:
        if self._inside >= self.places:
            self._inside += 1
            return self._refused()
        self._inside += 1
        return Answer(200, self.latency)

    def ended(self, now: float) -> None:
        self._inside -= 1


@dataclass
class SlowsDown(_Base):
    """One queue that works off `rate` requests a second; one that would wait longer than `patience` gets a 503."""

    patience: float = 5.0
    _free_at: float = 0.0

    def ask(self, now: float) -> Answer:
        begin = max(now, self._free_at)
        if begin - now > self.patience:
            return Answer(503, 0.01)
        self._free_at = begin + 1.0 / self.limit(now)
        return Answer(200, self._free_at - now + self.latency)


class Control(Protocol):
    """What decides how fast the simulated client goes."""

    def take(self, worker: int, slots: int, seen: Observation, now: float) -> list[float]: ...

    def report(self, worker: int, seen: Observation, now: float) -> None: ...

    def hold(self, until: float) -> None: ...


@dataclass
class Ours:
    """The adaptive budget, as the store carries it out."""

    state: Adaptive = field(default_factory=Adaptive)
    budget: HostBudget = field(default_factory=HostBudget)
    takers: dict[str, float] = field(default_factory=dict)
    least_interval: float = 0.0

    def take(self, worker: int, slots: int, seen: Observation, now: float) -> list[float]:
        self.state = adaptive.observe(self.state, seen, now)
        self.budget, self.takers, grant = adaptive.take(
            self.state, self.budget, self.takers, str(worker), slots, self.least_interval, now
        )
        return grant.times

    def report(self, worker: int, seen: Observation, now: float) -> None:
        self.state = adaptive.observe(self.state, seen, now)

    def hold(self, until: float) -> None:
        self.budget = hold(self.budget, until)


@dataclass
class Log:
    """What a simulated run came to. Each entry: (moment sent, status: 200, 429 …, latency, while a Retry-After ran)."""

    requests: list[tuple[float, int, float, bool]] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)

    def good(self, begin: float, end: float) -> int:
        return sum(1 for at, status, _, _ in self.requests if status == 200 and begin <= at < end)

    def refused(self, begin: float = 0.0) -> int:
        return sum(1 for at, status, _, _ in self.requests if status != 200 and at >= begin)

    def refused_share(self, begin: float = 0.0) -> float:
        return self.refused(begin) / max(1, sum(1 for each in self.requests if each[0] >= begin))

    def goodput(self, begin: float, end: float) -> float:
        return self.good(begin, end) / (end - begin)

    @property
    def during_holds(self) -> int:
        return sum(1 for each in self.requests if each[3])


@dataclass
class _Worker:
    slots: deque[float] = field(default_factory=deque)
    queue: deque[int] = field(default_factory=deque)
    awake: float = math.inf
    reported: float = 0.0
    ok: int = 0
    trouble: int = 0
    entered: int = 0
    waited: int = 0
    recent: float = 0.0
    latencies: list[float] = field(default_factory=list)
    waiting: bool = False
    sent: list[float] = field(default_factory=list)
    counted: int = 0

    def borne(self, held_at: float) -> int:
        """Good answers to requests of the second before the hold that were not counted yet."""
        fresh = sum(1 for at in self.sent if held_at - 1.0 < at <= held_at) - self.counted
        self.counted += fresh
        return fresh

    def seen(self, now: float, throttled: int = 0, held_at: float = -math.inf) -> Observation:
        ordered = sorted(self.latencies)
        seen = Observation(
            seconds=max(1e-3, now - self.reported),
            ok=self.ok,
            throttled=throttled,
            trouble=self.trouble,
            borne=self.borne(held_at) if held_at > 0 else 0,
            latency=ordered[len(ordered) // 2] if ordered else 0.0,
            entered=self.entered,
            waited=self.waited,
        )
        self.recent = self.entered / seen.seconds
        self.reported, self.ok, self.trouble, self.entered, self.waited = now, 0, 0, 0, 0
        self.latencies = []
        return seen


def simulate(
    site: SiteModel,
    control: Control,
    *,
    seconds: float,
    sessions: int = 16,
    workers: int = 2,
    delay: float = 0.0,
    random: Random | None = None,
) -> Log:
    """Ask the site for so long; moments in the log are from 0."""
    return _Simulation(site, control, sessions, workers, delay, random or Random(1)).run(seconds)


BEGIN = 1_000.0
JITTER = 0.002


class _Simulation:
    def __init__(
        self, site: SiteModel, control: Control, sessions: int, workers: int, delay: float, random: Random
    ) -> None:
        self.site, self.control, self.delay, self.random = site, control, delay, random
        self.log = Log()
        self.staff = [_Worker(reported=BEGIN) for _ in range(workers)]
        self.events: list[tuple[float, int, Callable[[int, float], None], int]] = []
        self.order = itertools.count()
        self.held_at = self.held_until = -math.inf
        self.word = (-math.inf, -math.inf)  # the site's own: from when it was heard until when it counts
        self.streak = 0
        self.pending: dict[int, tuple[Answer, float]] = {}
        for session in range(sessions):
            self.put(BEGIN + session * 1e-4, self.ready, session)

    def run(self, seconds: float) -> Log:
        while self.events and self.events[0][0] < BEGIN + seconds:
            now, _, what, number = heapq.heappop(self.events)
            what(number, now)
        return self.log

    def put(self, at: float, what: Callable[[int, float], None], number: int) -> None:
        heapq.heappush(self.events, (at, next(self.order), what, number))

    def wake(self, number: int, at: float) -> None:
        worker = self.staff[number]
        if at < worker.awake:
            worker.awake = at
            self.put(at, self.turn, number)

    def ready(self, session: int, now: float) -> None:
        number = session % len(self.staff)
        self.staff[number].queue.append(session)
        self.wake(number, now)

    def turn(self, number: int, now: float) -> None:
        worker = self.staff[number]
        if now < worker.awake - 1e-12 or worker.awake == math.inf:
            return
        worker.awake = math.inf
        if not worker.queue:
            return
        if now < self.held_until:
            if worker.ok:
                self.control.report(number, worker.seen(now, held_at=self.held_at), now)
            self.wake(number, self.held_until)
            return
        while worker.slots and worker.slots[0] < now - 0.02:
            worker.slots.popleft()
        if not worker.slots:
            wanted = max(len(worker.queue), math.ceil(1.25 * worker.recent))
            worker.slots.extend(self.control.take(number, wanted, worker.seen(now), now))
        if worker.slots[0] > now + 1e-9:
            worker.waited += not worker.waiting
            worker.waiting = True
            self.wake(number, worker.slots[0])
            return
        worker.slots.popleft()
        worker.waiting = False
        worker.entered += 1
        self.send(worker.queue.popleft(), now)
        if worker.queue:
            self.wake(number, now)

    def send(self, session: int, now: float) -> None:
        self.log.starts[session] = self.log.starts.get(session, 0) + 1
        answer = self.site.ask(now - BEGIN)
        took = answer.seconds * self.random.uniform(0.8, 1.2) + self.random.uniform(0.0, JITTER)
        status = 0 if answer.wall else answer.status
        self.log.requests.append((now - BEGIN, status, took, self.word[0] < now < self.word[1]))
        if answer.retry_after is not None and answer.status == 429 and now >= self.word[1]:
            self.word = (now + took, now + took + answer.retry_after - 1e-6)
        self.pending[session] = (answer, took)
        self.put(now + took, self.answered, session)

    def answered(self, session: int, now: float) -> None:
        answer, took = self.pending.pop(session)
        worker = self.staff[session % len(self.staff)]
        self.site.ended(now - BEGIN)
        again = now + self.delay
        if answer.status == 429:
            self.refused(session % len(self.staff), answer.retry_after, now)
            again = now
        elif answer.wall or answer.status >= 500:
            worker.trouble += 1
            again += self.random.uniform(0.0, 0.5)
        else:
            worker.ok += 1
            oldest = (self.held_at if now < self.held_until else now) - 1.0
            worker.sent = [*(at for at in worker.sent if at > oldest), now - took]
            worker.latencies.append(took)
            self.streak = 0
        self.put(again, self.ready, session)

    def refused(self, number: int, retry_after: float | None, now: float) -> None:
        """Everybody stops at once, and the others say what they saw until then."""
        wait = retry_after or 0.0
        if now >= self.held_until:
            # A second with a hold in it is no measure of what the site bears in one.
            self.held_at = now if now > self.held_until + 1.0 else -math.inf
            for worker in self.staff:
                worker.counted = 0
        if now >= self.held_until:
            self.streak += 1
            if not wait or self.streak > 1:
                wait = max(wait, min(60.0, 2.0 ** (self.streak - 1)) * self.random.uniform(0.75, 1.25))
        self.control.report(number, self.staff[number].seen(now, throttled=1, held_at=self.held_at), now)
        if not wait:
            return
        self.held_until = max(self.held_until, now + wait)
        self.control.hold(self.held_until)
        for other, worker in enumerate(self.staff):
            worker.slots.clear()
            worker.waiting = False
            if other != number:
                self.control.report(other, worker.seen(now + 0.002, held_at=self.held_at), now + 0.002)
            if worker.queue:
                worker.awake = math.inf
                self.wake(other, self.held_until)
