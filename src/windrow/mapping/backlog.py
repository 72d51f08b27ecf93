"""What waits to be handed out to workers. Pure: no clock, no process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from windrow.mapping.orders import Order
from windrow.mapping.stretches import Stretch

LONG_ENOUGH = 4_000


class Backlog:
    """What waits to be handed out: first in, first out, but for what comes back, which goes first."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._shared: deque[_Waiting] = deque()
        self._own: dict[int, deque[_Waiting]] = {lane: deque() for lane in range(lanes)}
        self._items = 0

    def __bool__(self) -> bool:
        return self._items > 0

    def add(self, order: Order, stretch: Stretch) -> None:
        """To the end. Items that come few at a time are put together, so that they can make larger batches."""
        if not len(stretch):
            return
        line = self._line(stretch)
        if not (line and line[-1].order is order and line[-1].join(stretch)):
            line.append(_Waiting(order, stretch))
        self._items += len(stretch)

    def put_back(self, order: Order, stretches: list[Stretch]) -> None:
        """To the front, in this order."""
        for stretch in reversed(stretches):
            self._line(stretch).appendleft(_Waiting(order, stretch))
            self._items += len(stretch)

    def take(self, lane: int) -> tuple[Order, Stretch] | None:
        """A batch for that worker; None when there is nothing for it."""
        for line in (self._own[lane], self._shared):
            while line:
                first = line[0]
                size = first.left if first.order.dropped else self._size(first)
                batch = first.stretch.part(first.begin, first.begin + size)
                first.begin += size
                self._items -= size
                if not first.left:
                    line.popleft()
                if not first.order.dropped:
                    return first.order, batch
        return None

    def seconds(self, lane: int) -> float:
        """About how long what waits would keep one worker; infinity where that is not known, or a list is its own."""
        each = self._shared[0].order.size.seconds if self._shared and not self._own[lane] else None
        return float("inf") if each is None else each * self._items

    def _line(self, stretch: Stretch) -> deque[_Waiting]:
        return self._shared if stretch.lane is None else self._own[stretch.lane]

    def _size(self, waiting: _Waiting) -> int:
        """The last items are shared out evenly, unless the caller chose the batch's size."""
        size = waiting.order.size
        share = waiting.left if size.is_fixed else -(-self._items // self._lanes)
        return min(size.now, share, waiting.left)


@dataclass(slots=True)
class _Waiting:
    """A stretch of which the items up to `begin` have been handed out."""

    order: Order
    stretch: Stretch
    begin: int = 0

    @property
    def left(self) -> int:
        return len(self.stretch) - self.begin

    def join(self, other: Stretch) -> bool:
        """Take in the stretch that follows; False where it does not follow, or this one is long enough."""
        if self.left >= LONG_ENOUGH:
            return False
        joined = self.stretch.part(self.begin, len(self.stretch)).joined(other)
        if joined is None:
            return False
        self.stretch, self.begin = joined, 0
        return True
