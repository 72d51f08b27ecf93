"""What stands between the sessions of one worker process and the hosts they ask.

`Gate.enter` returns when a request may be sent: robots.txt allows it, no Retry-After runs, and a slot of the host's
budget has come. All sessions of a process share one gate; all processes share the hosts' rows of the store, which a
gate reaches through a `HostBook`.

How turns are taken. The sessions that wait for a host stand in a queue (an asyncio.Lock, which is first come, first
served). Whoever is at its head takes the next reserved slot, sleeps until it comes, and lets the next one forward. So
slots are used in order, a worker reserves no more than are waiting, at most a second's worth, and nothing is left
behind when a waiting session is cancelled: its slot is lost or falls to the next. Without a rate and a Crawl-delay
there is no queue and no reservation, only the hold.

What parks. Only a hold (Retry-After) that lasts longer than `Limits.wait` raises Parked. Waiting for one's turn never
does: with 50 sessions at 1 request per second everybody waits 50 s for each request, and a partition that was parked
for it would begin anew each time and never end.

With an adaptive budget (`politeness/adaptive.py`) the queue is the same, but the store sets the interval: a worker
takes slots and reports what it saw since its last report in one command, about once a second, and a throttling at once.
It takes as many as it used lately and a little more, not only as many as wait: else a fast site would cost a command
for each page. Sessions tell what an answer meant by `Gate.answered`.

Times here are of the process's monotonic clock; the store answers with seconds from now.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median
from typing import Protocol

from windrow.clock import Clock
from windrow.errors import FetchFailed, Parked, Refused
from windrow.events import Verdict
from windrow.fetch.address import Origin, origin
from windrow.fetch.redirects import RedirectRefused, following, is_redirect
from windrow.fetch.transport import Answer, Failure, Request, Send
from windrow.identity import Identity
from windrow.job import Limits
from windrow.politeness import retry
from windrow.politeness.adaptive import Observation
from windrow.politeness.allowance import Allowance, allowance
from windrow.politeness.robots import UNREACHABLE, RobotsRules, is_unreachable, text_of
from windrow.store.messages import HostNotes, Slots

ROBOTS_DAY = 86_400.0
"""Seconds after which a robots.txt is fetched again, whoever fetched it (RFC 9309, 2.4)."""
ROBOTS_AGAIN = 30.0
"""Seconds that an unreachable robots.txt is believed; then it is asked for again."""
ROBOTS_REDIRECTS = 5
ROBOTS_RETRIES = 2
ROBOTS_TURN = 10.0
"""Seconds that other workers leave to the one that fetches a robots.txt, before they fetch it themselves."""
ROBOTS_POLL = 0.2
AFTER_HOLD = 0.25
STALE = 0.02
"""Seconds after which a slot that nobody used is lost."""
EARLY = 0.002
"""Seconds before its time that a slot may be used where the alternative is a timer: about what those are late."""
CATCH_UP = 0.005
"""Seconds by which a request may follow another closer than the interval, to make up for a timer that fired late."""


class HostBook(Protocol):
    """What a gate asks of the store: some methods of `StorePort`."""

    async def reserve(self, host: str, slots: int, interval: float) -> list[float]: ...

    async def take(self, host: str, worker: str, slots: int, interval: float, seen: Observation) -> Slots: ...

    async def observe(self, host: str, seen: Observation) -> None: ...

    async def hold(self, host: str, seconds: float, seen: Observation | None = None) -> None: ...

    async def notes(self, host: str) -> HostNotes: ...

    async def keep_robots(self, host: str, status: int, text: str) -> None: ...


@dataclass(eq=False)
class _Sight:
    """What this process saw of a host since its last report; see `Observation`."""

    since: float
    ok: int = 0
    throttled: int = 0
    trouble: int = 0
    entered: int = 0
    waited: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return self.ok + self.throttled + self.trouble


@dataclass(eq=False)
class _Host:
    """One host's turns. `name` is its authority, which http and https share: `example.org`, `127.0.0.1:8900`."""

    name: str
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    counted: float = 0.0
    """Until when it was counted how long those have waited."""
    slots: deque[float] = field(default_factory=deque)
    crawl_delay: float = 0.0
    last_start: float = -math.inf
    hold_until: float = -math.inf
    holds: int = 0
    """Grows with each hold: slots reserved before it are worth nothing any more."""
    streak: int = 0
    """How often in a row the host throttled without saying for how long."""
    interval: float = 0.0
    """Seconds between two slots of this process, by the last grant of an adaptive budget."""
    sight: _Sight = field(default_factory=lambda: _Sight(-math.inf))
    speed: float = 0.0
    """Requests per second that were let through before the last report."""
    lag: float = 0.0
    """How late this process wakes up: what it adds to latencies is no sign of the host's."""
    allowance: Allowance | None = None
    held_at: float = -math.inf
    """When the hold began that runs or ran last."""
    sent: deque[float] = field(default_factory=deque)
    """When the requests were sent that were answered well, of the last second or of the one before the hold."""
    borne: int | None = None
    """How many of those were reported since the hold began; None where that second is no measure."""
    asked: bool = False
    """Whether the store was asked for a hold that others met."""


@dataclass(frozen=True)
class _Robots:
    rules: RobotsRules
    status: int
    until: float
    crawl_delay: float


class Gate:
    """Lets requests through one by one. `fetch_robots` sends one request for a robots.txt and follows no redirect.

    `rate` is requests per second to one host over all workers, None for no such bound; with `adaptive` the budget finds
    its way below it. `worker` is this process's name among those who share the budget. `host` in `held` and in the
    `HostBook` is the authority of an address (`example.org`, `127.0.0.1:8900`); robots.txt is kept by origin
    (`https://example.org`).
    """

    def __init__(
        self,
        port: HostBook,
        *,
        user_agent: str,
        obey_robots: bool,
        rate: float | None,
        limits: Limits,
        clock: Clock,
        fetch_robots: Send,
        random: Random | None = None,
        adaptive: bool = False,
        worker: str = "",
    ) -> None:
        self._port = port
        self._user_agent = user_agent
        self._obey_robots = obey_robots
        self._interval = 1.0 / rate if rate else 0.0
        self._adaptive = adaptive
        self._worker = worker
        self._limits = limits
        self._clock = clock
        self._fetch_robots = fetch_robots
        self._random = random or Random()
        self._hosts: dict[str, _Host] = {}
        self._robots: dict[Origin, _Robots] = {}
        self._robots_locks: dict[Origin, asyncio.Lock] = {}
        self._queued: set[_Host] = set()
        self._waited = self._held_back = 0.0

    @property
    def waited(self) -> float:
        """Seconds that sessions have waited for their turns so far, all of them together; holds do not count."""
        self._count_queued()
        return self._waited

    @property
    def held_back(self) -> float:
        """Seconds that sessions have waited for the end of a hold so far, all of them together."""
        self._count_queued()
        return self._held_back

    async def enter(self, url: str, identity: Identity | None = None) -> None:
        """Return when a request to `url` (a clean address) may be sent, by `identity`: at once, then.

        Raises Refused where robots.txt forbids it or asks for a Crawl-delay above `Limits.crawl_delay`, FetchFailed
        where robots.txt cannot be had (nothing may be asked until it can), and Parked where the host's hold lasts
        longer than `Limits.wait`.
        """
        where = origin(url)
        host = self._host(where.authority)
        if self._obey_robots:
            self._check(await self._rules(where), where, url)
        if identity is None or identity.rate is None:
            await self._take_turn(host)
            return
        own = self._host(f"{host.name} as {identity.name}")
        async with own.turns:
            await self._use_slot(own, 1.0 / identity.rate)
            await self._take_turn(host)
            # The host may have let it wait: the next one of its own is counted from here, in whichever worker.
            late = self._clock.monotonic() - own.last_start
            if late > CATCH_UP:
                await self._port.reserve(own.name, 1, min(late, 1.0 / identity.rate))
            own.last_start = self._clock.monotonic()

    async def throttled(self, url: str, retry_after: float | None) -> None:
        """The host asked for less: hold everybody back for `retry_after` seconds, or for a little and growing while."""
        host = self._host(origin(url).authority)
        # Where nothing was answered well since the last refusal, the host's own word was too short.
        seconds = max(retry_after or 0.0, self._own_hold(host, patient=bool(retry_after)))
        if seconds > 0:
            # First for this process, at once, then for the others: nothing may slip out while the store is asked.
            self.held(host.name, seconds)
            await self._port.hold(host.name, seconds, self._seen(host) if self._adaptive else None)
        elif self._adaptive:
            await self._port.observe(host.name, self._seen(host))

    async def answered(self, url: str, verdict: Verdict, answer: Answer | Failure) -> None:
        """What an answer meant, and what it says about the host's limits. Call `throttled` as well for such a one."""
        host = self._host(origin(url).authority)
        if verdict is Verdict.OK and host.streak and self._clock.monotonic() > host.hold_until:
            host.streak = 0
        if not self._adaptive:
            return
        sight = host.sight
        if verdict is Verdict.THROTTLED:
            sight.throttled += 1
        elif verdict in (Verdict.BLOCKED, Verdict.TRANSIENT):
            sight.trouble += 1
        else:
            sight.ok += 1
            sight.latencies.append(answer.seconds)
            self._count_sent(host, answer.seconds)
        if isinstance(answer, Answer):
            await self._heed(host, allowance(answer.headers, self._clock.now()))

    def held(self, host: str, seconds: float) -> None:
        """Nothing may be sent to `host` for `seconds`; also called when another worker met the hold."""
        entry = self._host(host)
        now = self._clock.monotonic()
        until = now + seconds
        if until > entry.hold_until:
            self._count_waiting(entry)
            if now >= entry.hold_until:
                # A second with a hold in it is no measure of what the host bears in one.
                entry.borne = 0 if now > entry.hold_until + 1.0 else None
                entry.held_at = now
            entry.hold_until = until
            entry.holds += 1
            entry.slots.clear()

    # --- turns ------------------------------------------------------------------------------------------------

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name)
        return host

    def _own_hold(self, host: _Host, *, patient: bool) -> float:
        """A hold for a host that does not say how long, or whose word (`patient`) proves too short.

        It grows once per hold, however many sessions report it, as long as nothing is answered well in between.
        """
        now = self._clock.monotonic()
        if now < host.hold_until:
            return 0.0
        recovered = now > host.hold_until + 60.0
        host.streak = 1 if recovered else host.streak + 1
        return 0.0 if patient and host.streak == 1 else retry.default_hold(host.streak, self._random)

    async def _take_turn(self, host: _Host) -> None:
        if not host.asked:
            await self._ask_for_hold(host)
        interval = max(self._interval, host.crawl_delay)
        if self._adaptive and self._has_come(host):
            return
        self._queue(host, 1)
        try:
            if not self._adaptive and interval <= 0:
                await self._pass_hold(host, AFTER_HOLD)
                return
            async with host.turns:
                await (self._use_granted(host) if self._adaptive else self._use_slot(host, interval))
        finally:
            self._queue(host, -1)

    def _queue(self, host: _Host, more: int) -> None:
        """So many more sessions wait for the host."""
        self._count_waiting(host)
        host.waiting += more
        (self._queued.add if host.waiting else self._queued.discard)(host)

    def _count_queued(self) -> None:
        for host in self._queued:
            self._count_waiting(host)

    def _count_waiting(self, host: _Host) -> None:
        """Add up what was waited since this was last done: a turn that takes minutes is to be seen while it lasts."""
        now = self._clock.monotonic()
        since, host.counted = host.counted, now
        if host.waiting:
            held = max(0.0, min(now, host.hold_until) - max(since, host.held_at))
            self._held_back += host.waiting * held
            self._waited += host.waiting * (now - since - held)

    async def _ask_for_hold(self, host: _Host) -> None:
        """Learn once of a hold that another worker met before this process began."""
        async with host.turns:
            if not host.asked:
                self._note_hold(host, (await self._port.notes(host.name)).hold)
                host.asked = True

    async def _pass_hold(self, host: _Host, spread: float = 0.0) -> None:
        """Wait until no hold runs. The hold may grow meanwhile, so it is looked at again after each sleep.

        `spread` seconds are where those who waited scatter, so that they do not all come back at one moment.
        """
        while (left := host.hold_until - self._clock.monotonic()) > 0:
            self._park_if_long(host, left)
            await self._clock.sleep(left + self._random.uniform(0.0, spread))

    async def _use_slot(self, host: _Host, interval: float) -> None:
        """Sleep until the next slot and use it; a slot that a hold overtook is thrown away for a new one."""
        while True:
            await self._pass_hold(host)
            holds = host.holds
            slot = await self._next_slot(host, interval)
            earliest = max(slot, host.last_start + interval - min(CATCH_UP, interval / 2))
            while host.holds == holds and (left := earliest - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)
            if host.holds == holds:
                host.last_start = self._clock.monotonic()
                return

    async def _next_slot(self, host: _Host, interval: float) -> float:
        """When the next slot of this process comes; reserves some for all who wait when there is none."""
        kept = _fresh(host.slots, self._clock.monotonic() - max(interval, STALE))
        if kept is not None:
            return kept
        wanted = min(host.waiting, math.ceil(1.0 / interval))
        holds = host.holds
        delays = await self._port.reserve(host.name, max(1, wanted), interval)
        now = self._clock.monotonic()
        if delays[0] > self._limits.wait:
            # Others may only be before us in the budget, or somebody met a hold that this process does not know of.
            self._note_hold(host, (await self._port.notes(host.name)).hold)
            self._park_if_long(host, host.hold_until - now)
        slots = [now + delay for delay in delays]
        if host.holds == holds:
            host.slots.extend(slots[1:])
        return slots[0]

    # --- the adaptive budget ----------------------------------------------------------------------------------

    def _has_come(self, host: _Host) -> bool:
        """Use a slot that has come, or all but come, while nobody waits: a fast host costs neither queue nor timer."""
        now = self._clock.monotonic()
        if host.turns.locked() or not host.slots or now < host.hold_until or now < self._earliest(host):
            return False
        too_old = now - max(host.interval, STALE)
        while host.slots and host.slots[0] < too_old:
            host.slots.popleft()
        if not host.slots or host.slots[0] > now + EARLY:
            return False
        host.sight.waited += host.slots.popleft() > now
        host.sight.entered += 1
        host.last_start = now
        return True

    def _earliest(self, host: _Host) -> float:
        """A request may follow the one before a little closer than the interval."""
        return host.last_start + max(0.0, host.interval - CATCH_UP)

    async def _use_granted(self, host: _Host) -> None:
        """As `_use_slot`, with slots at the rate that the store allows."""
        while True:
            if host.hold_until > self._clock.monotonic():
                if host.sight.answers or host.borne == 0:
                    # What was answered before somebody was refused says what the host bears: it must not come late.
                    await self._port.observe(host.name, self._seen(host))
                await self._pass_hold(host)
            holds = host.holds
            slot = _fresh(host.slots, self._clock.monotonic() - max(host.interval, STALE))
            if slot is None:
                slot = await self._granted(host)
            waits = slot > self._clock.monotonic()
            await self._until(host, slot, holds)
            if host.holds == holds:
                host.last_start = self._clock.monotonic()
                host.sight.entered += 1
                host.sight.waited += waits
                return

    async def _until(self, host: _Host, slot: float, holds: int) -> None:
        """Sleep until the slot, unless a hold comes."""
        earliest = max(slot, self._earliest(host))
        slept = False
        while host.holds == holds and (left := earliest - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
            slept = True
        if slept and host.holds == holds:
            host.lag += 0.1 * (self._clock.monotonic() - earliest - host.lag)

    async def _granted(self, host: _Host) -> float:
        """Report what was seen and take slots for about as many requests as there lately were in a second."""
        seen = self._seen(host)
        least = max(self._interval, host.crawl_delay)
        wanted = max(host.waiting, math.ceil(1.25 * host.speed))
        holds = host.holds
        slots = await self._port.take(host.name, self._worker, wanted, least, seen)
        now = self._clock.monotonic()
        host.interval = slots.interval
        if slots.delays[0] > self._limits.wait:
            self._note_hold(host, (await self._port.notes(host.name)).hold)
            self._park_if_long(host, host.hold_until - now)
        if host.holds == holds:
            host.slots.extend(now + delay for delay in slots.delays[1:])
        return now + slots.delays[0]

    def _seen(self, host: _Host) -> Observation:
        """What was seen since this was last asked."""
        now = self._clock.monotonic()
        sight, host.sight = host.sight, _Sight(now)
        seconds = min(60.0, max(1e-3, now - sight.since))
        host.speed = sight.entered / max(seconds, 0.05)
        latency = median(sight.latencies) - 4 * host.lag if sight.latencies else 0.0
        bound, host.allowance = host.allowance, None
        borne = 0
        if host.borne is not None and now < host.hold_until:
            borne = sum(1 for at in host.sent if host.held_at - 1.0 < at <= host.held_at) - host.borne
            host.borne += borne
        return Observation(
            seconds=seconds,
            ok=sight.ok,
            throttled=sight.throttled,
            trouble=sight.trouble,
            borne=borne,
            latency=max(latency, 1e-4) if sight.latencies else 0.0,
            entered=sight.entered,
            waited=sight.waited,
            bound=bound.rate if bound else 0.0,
            bound_seconds=bound.seconds if bound else 0.0,
        )

    def _count_sent(self, host: _Host, seconds: float) -> None:
        """Note when a request was sent that was answered well just now, after so many seconds."""
        now = self._clock.monotonic()
        host.sent.append(now - seconds)
        oldest = (host.held_at if now < host.hold_until else now) - 1.0
        while host.sent[0] <= oldest:
            host.sent.popleft()
            if not host.sent:
                break

    async def _heed(self, host: _Host, bound: Allowance | None) -> None:
        """A host that names what it bears: a bound for the budget; where nothing is left, a hold."""
        if bound is None:
            return
        if bound.rate > 0:
            host.allowance = bound
            if host.interval * bound.rate < 1:
                # The slots in hand are closer than that.
                host.slots.clear()
        elif host.hold_until < self._clock.monotonic() + bound.seconds - 1.0:
            self.held(host.name, bound.seconds)
            await self._port.hold(host.name, bound.seconds, self._seen(host))

    def _note_hold(self, host: _Host, seconds: float) -> None:
        if seconds > 0:
            self.held(host.name, seconds)

    def _park_if_long(self, host: _Host, seconds: float) -> None:
        if seconds > self._limits.wait:
            raise Parked(f"{host.name} asks to wait {seconds:.0f} s; the partition comes back then", seconds)

    # --- robots.txt -------------------------------------------------------------------------------------------

    def _check(self, robots: _Robots, where: Origin, url: str) -> None:
        if robots.rules.allows(self._user_agent, url):
            if robots.crawl_delay > self._limits.crawl_delay:
                raise Refused(
                    f"{where.name}/robots.txt asks for {robots.crawl_delay:.0f} s between two requests, and "
                    f"Limits.crawl_delay is {self._limits.crawl_delay:.0f} s (raise it, or --ignore-robots if you may)"
                )
            return
        if is_unreachable(robots.status):
            what = f"answered {robots.status}" if robots.status else "could not be reached"
            raise FetchFailed(
                f"{where.name}/robots.txt {what}: nothing may be fetched there until it can be read "
                "(RFC 9309; --ignore-robots if you may)"
            )
        raise Refused(f"{where.name}/robots.txt does not allow {url} (--ignore-robots if you may)")

    async def _rules(self, where: Origin) -> _Robots:
        """The rules of an origin: known, from the store, or fetched; one session at a time sees to it."""
        known = self._robots.get(where)
        if known is not None and self._clock.monotonic() < known.until:
            return known
        lock = self._robots_locks.setdefault(where, asyncio.Lock())
        async with lock:
            known = self._robots.get(where)
            if known is None or self._clock.monotonic() >= known.until:
                known = self._remembered(where, *await self._robots_text(where))
            return known

    def _remembered(self, where: Origin, status: int, text: str, age: float) -> _Robots:
        lasts = ROBOTS_AGAIN if is_unreachable(status) else ROBOTS_DAY - age
        rules = RobotsRules.from_answer(status, text)
        delay = rules.crawl_delay(self._user_agent) or 0.0
        robots = self._robots[where] = _Robots(rules, status, self._clock.monotonic() + lasts, delay)
        # http and https share the host's turns. Where a delay is beyond the limit nothing passes: no turn is for it.
        self._host(where.authority).crawl_delay = max(
            known.crawl_delay if known.crawl_delay <= self._limits.crawl_delay else 0.0
            for other, known in self._robots.items()
            if other.authority == where.authority
        )
        return robots

    async def _robots_text(self, where: Origin) -> tuple[int, str, float]:
        """Status, text and age of an origin's robots.txt; of all workers, one at a time goes and asks the site."""
        found = await self._kept_robots(where)
        if found is not None:
            return found
        await self._pass_hold(self._host(where.authority))
        # A budget of one turn in ten seconds serves as the workers' lock: whoever gets a later turn waits for the
        # first one's result, and takes over if that worker died.
        turn = (await self._port.reserve(f"{where.name}/robots.txt", 1, ROBOTS_TURN))[0]
        mine = self._clock.monotonic() + turn
        while (left := mine - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, ROBOTS_POLL))
            found = await self._kept_robots(where)
            if found is not None:
                return found
        status, text = await self._fetched_robots(where)
        await self._port.keep_robots(where.name, status, text)
        return status, text, 0.0

    async def _kept_robots(self, where: Origin) -> tuple[int, str, float] | None:
        """What the store remembers, unless it is that robots.txt was unreachable: that may have passed."""
        notes = await self._port.notes(where.name)
        if notes.robots_status is None or is_unreachable(notes.robots_status):
            return None
        return notes.robots_status, notes.robots_text, notes.robots_age

    async def _fetched_robots(self, where: Origin) -> tuple[int, str]:
        for attempt in range(ROBOTS_RETRIES + 1):
            if attempt:
                await self._clock.sleep(retry.backoff(attempt, self._random))
            status, text = await self._asked_robots(where)
            if not is_unreachable(status):
                break
        return status, text

    async def _asked_robots(self, where: Origin) -> tuple[int, str]:
        """Ask once, following redirects also to other hosts; each hop waits its turn as any other request."""
        request = Request("GET", f"{where.name}/robots.txt", {"User-Agent": self._user_agent, "Accept": "text/plain"})
        visited: list[tuple[str, str]] = []
        while True:
            await self._take_turn(self._host(origin(request.url).authority))
            answer = await self._fetch_robots(request)
            if isinstance(answer, Failure):
                return UNREACHABLE, ""
            if answer.status in {429, 503}:
                after = retry.retry_after(answer.headers.get("Retry-After"), self._clock.now())
                await self.throttled(request.url, after)
            if not is_redirect(answer):
                return answer.status, text_of(answer.body) if 200 <= answer.status < 300 else ""
            visited.append((request.method, request.url))
            try:
                request = replace(following(request, answer, visited, ROBOTS_REDIRECTS), body=None)
            except RedirectRefused:
                # RFC 9309, 2.3.1.2: a robots.txt behind too many redirects counts as not there. So does one behind a
                # loop, or where nobody can go (`about:blank`): waiting for it would not help.
                return 404, ""


def _fresh(slots: deque[float], too_old: float) -> float | None:
    """The next slot that is not too old; those before it are lost."""
    while slots:
        slot = slots.popleft()
        if slot >= too_old:
            return slot
    return None
