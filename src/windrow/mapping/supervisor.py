"""The thread that hands stretches of items to workers and minds what becomes of them.

Each worker has one batch at a time. A worker that dies fails the item it stood at, and only that: what else it had is
given to others. One that stands at an item for too long is killed first. Everything that changes what the supervisor
knows happens in its own thread; others only `post` work to it.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Literal

from windrow.clock import Clock
from windrow.errors import UsageError, WindrowError
from windrow.mapping.backlog import Backlog
from windrow.mapping.execution import BATCH, POSITION, STARTED, Part, Recipe
from windrow.mapping.forking import MOST_FORKED, may_fork, undisturbed
from windrow.mapping.functions import origin
from windrow.mapping.members import Member, Message, ProcessMember, ThreadMember, Work, forked, interpreter
from windrow.mapping.messages import Arrived, Unreadable, Unusable
from windrow.mapping.orders import Order
from windrow.mapping.outcomes import CannotTravel, TimedOut, WorkerDied, WorkersUnusable
from windrow.mapping.stretches import Block, Caught, Stretch
from windrow.politeness.retry import backoff

Kind = Literal["processes", "threads"]

STILLBORN_WORKERS = 3
LOOK_SECONDS = 1.0
"""How often workers are looked at that give no sign: one may have died and left its pipe to a child of its own."""
RETIRE_SECONDS = 1.0
START_SECONDS = 0.1
"""About what it takes to start a process."""


class Closed(WindrowError):
    """The workers were closed before the call came to its end."""


class Supervisor:
    """Up to `count` workers, started when there is work for them. `daemon`: the program may end before it does."""

    def __init__(self, count: int, kind: Kind, clock: Clock, *, daemon: bool) -> None:
        self.count = count
        self.kind = kind
        self._clock = clock
        self._origin = origin()
        self._random = Random(os.urandom(8))
        self._cores = _cores()
        self._numbers = itertools.count(1)
        self._orders: dict[int, Order] = {}
        self._members: dict[int, Member] = {}
        self._backlog = Backlog(count)
        self._parked: list[tuple[float, int, Order, Stretch]] = []
        self._settled: dict[int, list[Block]] = {}
        self._stillborn = 0
        self._posted: deque[Callable[[], None]] = deque()
        self._posting = threading.Lock()
        self._over = False
        self._ending: Literal["no", "when idle", "now"] = "no"
        self._thread = threading.Thread(target=self._live, name="windrow-map", daemon=daemon)

    def fork(self, count: int, recipe: Recipe) -> None:
        """Fork so many workers for that recipe, where that is safe. To be called before `start`, or not at all."""
        if count > MOST_FORKED or not may_fork(recipe, self._origin):
            return
        with undisturbed() as waiting, suppress(OSError):  # no room for more processes: what is there must do
            for lane in range(count):
                self._members[lane] = forked(lane, self._origin, waiting)

    def start(self) -> None:
        """Begin to work."""
        # Not before: what is open when workers are forked would keep them from being forked.
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        for member in self._members.values():
            if isinstance(member, ProcessMember):
                self._listen_to(member)
        for end in (self._bell, self._ring):
            end.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._hear_bell)
        self._thread.start()

    def abandon(self) -> None:
        """What was interrupted while it started is ended."""
        if self._thread.ident is not None:
            self.end_soon(when_idle=False)
            return
        for member in self._members.values():
            member.kill()
            member.close(0.0)

    def number(self) -> int:
        """A number no other order of this supervisor has."""
        return next(self._numbers)

    def add(self, order: Order, stretches: Iterable[Stretch]) -> None:
        """Have these items run. Raises Closed when the supervisor has ended."""
        self._post(partial(self._take_order, order, list(stretches)))

    def drop(self, order: Order) -> None:
        """Nobody wants the rest of this order; workers that are at it are ended. Nothing is settled once it returns."""
        if threading.current_thread() is self._thread:  # the garbage collector may let go of an iterator anywhere
            self._let_go(order)
            return
        done = threading.Event()
        try:
            self._post(partial(self._let_go, order))
            self._post(done.set)
        except Closed:
            return
        done.wait()

    def end(self, *, when_idle: bool) -> None:
        """End, at once or when all is done, and wait for it. Safe to call twice, the second time with less patience."""
        self.end_soon(when_idle=when_idle)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def end_soon(self, *, when_idle: bool) -> None:
        """`end` without waiting for it."""
        with suppress(Closed):
            self._post(partial(self._set_ending, "when idle" if when_idle else "now"))

    # What follows runs in the supervisor's thread, but for _post.

    def _post(self, work: Callable[[], None]) -> None:
        with self._posting:
            if self._over:
                raise Closed("these workers are closed")
            self._posted.append(work)
        with suppress(BlockingIOError):  # the bell is ringing already
            self._ring.send(b"\0")

    def _live(self) -> None:
        reason: BaseException = Closed("the workers were closed before this came to its end")
        try:
            while not self._is_done():
                self._turn()
        except BaseException as error:  # nobody who waits for an order may be left waiting
            reason = error
        finally:
            self._close(reason)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause()):
            key.data()
        self._do_posted()
        self._mind_time()
        self._mind_deaths()
        self._unpark()
        self._settle()
        self._hand_out()

    def _is_done(self) -> bool:
        return self._ending == "now" or (self._ending == "when idle" and (self._is_idle() or _was_interrupted()))

    def _is_idle(self) -> bool:
        return not (self._backlog or self._parked or self._posted or any(m.work for m in self._members.values()))

    def _set_ending(self, ending: Literal["when idle", "now"]) -> None:
        self._ending = ending

    def _hear_bell(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(4096)

    def _do_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def _take_order(self, order: Order, stretches: list[Stretch]) -> None:
        self._orders[order.number] = order
        for stretch in stretches:
            self._backlog.add(order, stretch)

    def _let_go(self, order: Order) -> None:
        order.dropped = True
        self._orders.pop(order.number, None)
        self._settled.pop(order.number, None)
        for member in self._members.values():
            if member.work is not None and member.work.order is order:
                member.kill()

    def _fail(self, order: Order, error: BaseException) -> None:
        self._let_go(order)
        order.fail(error)

    # Time

    def _pause(self) -> float | None:
        """Seconds until something has to be looked at without a sign from outside."""
        if self._posted:
            return 0.0
        now = self._clock.monotonic()
        moments = [due - now for due, *_ in self._parked[:1]]
        for member in self._members.values():
            if member.work is not None:
                moments.append(LOOK_SECONDS)
                left = self._time_left(member, member.work, now)
                moments += [] if left is None else [left]
        return max(0.0, min(moments)) if moments else None

    def _time_left(self, member: Member, work: Work, now: float) -> float | None:
        """Seconds the worker's item has left; the whole time where it is at none; None without a limit."""
        timeout = work.order.patience.timeout
        if timeout is None or member.overdue is not None:
            return None
        if member.standing[BATCH] != work.number or member.standing[POSITION] < 0:
            return timeout
        return member.standing[STARTED] + timeout - now

    def _mind_time(self) -> None:
        now = self._clock.monotonic()
        for member in self._members.values():
            if member.work is None:
                continue
            position = int(member.standing[POSITION])
            left = self._time_left(member, member.work, now)
            # Looked at again: an item that ended in between is not to blame.
            if left is not None and left <= 0 <= position == member.standing[POSITION]:
                member.overdue = position
                member.kill()

    def _unpark(self) -> None:
        now = self._clock.monotonic()
        while self._parked and self._parked[0][0] <= now:
            _, _, order, stretch = heapq.heappop(self._parked)
            self._backlog.add(order, stretch)

    # Handing out

    def _hand_out(self) -> None:
        if self._ending == "now":
            return
        idle = [member for member in self._members.values() if member.work is None and not member.doomed]
        vacant = [lane for lane in range(self.count) if lane not in self._members]
        for member in idle:
            self._employ(member.lane, member)
        for lane in vacant:
            if self._may_hire(lane):
                self._employ(lane, None)

    def _may_hire(self, lane: int) -> bool:
        """Starting processes takes each of them a core: no more at once than there are, none for a moment's work."""
        if self.kind == "threads" or len(self._members) < self._cores:
            return True
        # One that was forked and has had nothing to do yet is not starting: it waits.
        starting = sum(1 for member in self._members.values() if member.work is not None and not member.ready)
        return starting < self._cores and self._backlog.seconds(lane) > START_SECONDS

    def _employ(self, lane: int, member: Member | None) -> None:
        while (taken := self._backlog.take(lane)) is not None:
            order, stretch = taken
            if not order.begin():
                continue
            if member is None:
                member = self._members[lane] = self._hire(lane)
            if self._assign(member, order, stretch):
                return

    def _assign(self, member: Member, order: Order, stretch: Stretch) -> bool:
        try:
            member.assign(Work(self.number(), order, stretch))
        except Exception as error:
            if len(stretch) > 1:
                self._backlog.put_back(order, stretch.singles())
                return False
            reason = CannotTravel(f"the item cannot be pickled ({type(error).__name__}: {error})")
            self._conclude(order, Block.failed(stretch, Caught(reason, final=True)))
            self._settle()
            return False
        self._watch_for_room(member)
        return True

    def _hire(self, lane: int) -> Member:
        if self.kind == "threads":
            return ThreadMember(lane, self._clock, self._hear_thread)
        member = interpreter(lane, self._origin)
        self._listen_to(member)
        return member

    def _listen_to(self, member: ProcessMember) -> None:
        self._selector.register(member.connection, selectors.EVENT_READ, partial(self._hear_process, member))

    def _watch_for_room(self, member: Member) -> None:
        if isinstance(member, ProcessMember) and not member.hung_up:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.has_unsent else 0)
            key = self._selector.get_key(member.connection)
            if key.events != events:
                self._selector.modify(member.connection, events, key.data)

    # What workers say

    def _hear_thread(self, member: ThreadMember, part: Part) -> None:
        """Called in the worker's thread."""
        with suppress(Closed):
            self._post(partial(self._take_in, member, Arrived(part, 0)))

    def _hear_process(self, member: ProcessMember) -> None:
        member.push()
        for message in member.receive():
            self._take_in(member, message)
        if member.hung_up:
            self._selector.unregister(member.connection)
            if member.ended() is None:
                member.kill()  # it has closed its pipe, so nothing more can be heard of it
        else:
            self._watch_for_room(member)

    def _take_in(self, member: Member, message: Message) -> None:
        work = member.work
        if self._members.get(member.lane) is not member or work is None:
            return
        if isinstance(message, Unusable):
            self._refused(member, work, message)
        elif isinstance(message, Unreadable):
            self._unreadable(member, work, message)
        else:
            self._part(member, work, message)

    def _part(self, member: Member, work: Work, arrived: Arrived) -> None:
        part = arrived.part
        member.ready = True
        if part.batch != work.number:
            return
        self._stillborn = 0
        end = part.begin + len(part.values)
        work.reported = end
        work.weight = max(work.weight, arrived.weight)
        if part.values:
            stretch = work.stretch.part(part.begin, end)
            self._conclude(work.order, Block(stretch, part.values, part.seconds, part.failures))
        if part.last:
            work.order.size.learn(end, part.elapsed, work.weight)
            self._free(member, work)

    def _free(self, member: Member, work: Work) -> None:
        """The batch is over; what it gave back is for others."""
        member.work = None
        if work.reported < len(work.stretch):
            self._backlog.put_back(work.order, [work.rest()])

    def _refused(self, member: Member, work: Work, message: Unusable) -> None:
        member.work = None
        if message.recipe:
            self._fail(work.order, unloadable(message.caught))
            member.kill()  # its next order's recipe should find a fresh process, not half a module
        elif len(work.stretch) > 1:
            self._backlog.put_back(work.order, work.stretch.singles())
        else:
            reason = CannotTravel(f"the item cannot be unpickled in a worker: {message.caught.error}")
            self._conclude(work.order, Block.failed(work.stretch, Caught(reason, message.caught.traceback, True)))

    def _unreadable(self, member: Member, work: Work, message: Unreadable) -> None:
        stretch = work.stretch.part(message.begin, message.begin + message.count)
        work.reported = message.begin + message.count
        if len(stretch) == 1:
            self._conclude(work.order, Block.failed(stretch, message.caught))
        else:
            self._backlog.put_back(work.order, stretch.singles())
        if message.last:
            self._free(member, work)

    def _conclude(self, order: Order, block: Block) -> None:
        """Keep what has come to an end until it is settled; park what is to be tried again."""
        if order.dropped:
            return
        patience, attempt = order.patience, block.stretch.attempt
        again: list[int] = []
        if attempt <= patience.retries:
            again = [position for position, caught in block.failures.items() if not caught.final]
        for position in again:
            due = self._clock.monotonic() + backoff(attempt, self._random, base=patience.backoff)
            stretch = block.stretch.part(position, position + 1, failed=True)
            heapq.heappush(self._parked, (due, self.number(), order, stretch))
        if again:
            block = block.without(again)
        if len(block.stretch):
            self._settled.setdefault(order.number, []).append(block)

    def _settle(self) -> None:
        """Hand over what this turn has brought, each order's in one piece: one transaction where there is a store."""
        while self._settled:
            number, blocks = self._settled.popitem()
            order = self._orders.get(number)
            if order is None:
                continue
            try:
                order.settle(blocks)
            except Exception as error:
                self._fail(order, error)
            if order.is_over:
                self._orders.pop(number, None)

    # Deaths

    def _mind_deaths(self) -> None:
        for member in list(self._members.values()):
            how = member.ended()
            if how is not None:
                self._bury(member, how)

    def _bury(self, member: Member, how: str) -> None:
        if isinstance(member, ProcessMember) and not member.hung_up:
            for message in member.receive():
                self._take_in(member, message)
            self._selector.unregister(member.connection)
        del self._members[member.lane]
        member.close(0.0)
        work, member.work = member.work, None
        if work is None or work.order.dropped or work.reported == len(work.stretch):
            return
        position = int(member.standing[POSITION])
        if member.overdue is not None and member.overdue != position:
            self._backlog.put_back(work.order, [work.rest()])  # that item ended just then, and this one is innocent
        elif member.standing[BATCH] < 0:
            self._mourn_stillborn(work, how)
        elif member.standing[BATCH] == work.number and position >= work.reported:
            self._blame(work, position, self._cause(member, work, position, how))
        else:
            self._no_one_to_blame(work, how)

    def _cause(self, member: Member, work: Work, position: int, how: str) -> Caught:
        if member.overdue == position:
            return Caught(TimedOut(f"took longer than {work.order.patience.timeout:g} s"))
        return Caught(WorkerDied(f"its worker process {how} while it ran"))

    def _blame(self, work: Work, position: int, caught: Caught) -> None:
        stretch = work.stretch
        self._conclude(work.order, Block.failed(stretch.part(position, position + 1), caught))
        innocent = [stretch.part(work.reported, position), stretch.part(position + 1, len(stretch))]
        self._backlog.put_back(work.order, [part for part in innocent if len(part)])

    def _no_one_to_blame(self, work: Work, how: str) -> None:
        """It died between items: once that is chance, then the items are tried one by one, and then one is at fault."""
        rest = work.rest()
        if rest.deaths == 0:
            self._backlog.put_back(work.order, [rest.part(0, len(rest), deaths=1)])
        elif len(rest) > 1 or rest.deaths == 1:
            self._backlog.put_back(work.order, rest.singles(deaths=1))
        else:
            self._conclude(work.order, Block.failed(rest, Caught(WorkerDied(f"its worker process {how} beside it"))))

    def _mourn_stillborn(self, work: Work, how: str) -> None:
        self._stillborn += 1
        self._backlog.put_back(work.order, [work.rest()])
        if self._stillborn >= STILLBORN_WORKERS:
            text = f"{self._stillborn} worker processes in a row ended before they began to work; the last {how}"
            for order in list(self._orders.values()):
                self._fail(order, WorkersUnusable(text))

    # The end

    def _close(self, reason: BaseException) -> None:
        with self._posting:
            self._over = True
        self._do_posted()
        for order in list(self._orders.values()):
            order.dropped = True
            order.fail(reason)
        patient = self._ending == "when idle" and self._is_idle()
        for member in self._members.values():
            if patient and member.ready:
                member.retire()
            else:
                member.kill()
        until = self._clock.monotonic() + RETIRE_SECONDS
        for member in self._members.values():
            member.close(max(0.0, until - self._clock.monotonic()))
        self._selector.close()
        self._bell.close()
        self._ring.close()


def _cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _was_interrupted() -> bool:
    """Whether Ctrl-C has ended the program, but for this thread, which would keep it."""
    last: type[BaseException] | None = getattr(sys, "last_type", None)
    return last is KeyboardInterrupt and not threading.main_thread().is_alive()


def unloadable(caught: Caught) -> WindrowError:
    """A worker could not load the function: that is the caller's to mend."""
    text = str(caught.error) if isinstance(caught.error, UsageError) else caught.traceback or str(caught.error)
    return UsageError(f"windrow.map: a worker process could not load the function: {text}")
