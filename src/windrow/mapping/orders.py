"""What a supervisor works for: a map call, or one submitted call.

`settle` and `fail` are called in the supervisor's thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from windrow.mapping.execution import Recipe
from windrow.mapping.stretches import BatchSize, Block

if TYPE_CHECKING:
    from concurrent.futures import Future

Landing = Callable[[list[Block]], list[Block]]
"""Makes blocks durable, all in one transaction, and returns them as the caller is to see them."""


@dataclass(frozen=True, slots=True)
class PortableRecipe:
    """A recipe, and how a process gets it: its pickle (empty where threads do the work) and `Loader.know`'s files."""

    recipe: Recipe
    pickle: bytes
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an item may take (seconds; None for any time), and how often a failed one is tried again.

    `backoff`: seconds the first pause may be long; it doubles with each retry and a random share of it is taken.
    """

    timeout: float | None = None
    retries: int = 0
    backoff: float = 0.5


class Order(ABC):
    """A function that workers run over stretches of items."""

    def __init__(self, number: int, recipe: PortableRecipe, patience: Patience, size: BatchSize) -> None:
        self.number = number
        self.recipe = recipe
        self.patience = patience
        self.size = size
        self.dropped = False

    def begin(self) -> bool:
        """Items of it are about to be run for the first time; False where nobody wants them any more."""
        return not self.dropped

    @property
    def is_over(self) -> bool:
        """Whether all its items have come to an end; a map's order does not know and is dropped by its caller."""
        return False

    @abstractmethod
    def settle(self, blocks: list[Block]) -> None:
        """These items have come to an end. Raises what keeping them raises."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """The order cannot be carried out."""


class MapOrder(Order):
    """A map call: `outcomes` holds lists of blocks, and perhaps one exception, after which nothing comes."""

    def __init__(
        self,
        number: int,
        recipe: PortableRecipe,
        patience: Patience,
        size: BatchSize,
        landing: Landing | None = None,
    ) -> None:
        super().__init__(number, recipe, patience, size)
        self.outcomes: SimpleQueue[list[Block] | BaseException] = SimpleQueue()
        self._landing = landing

    def settle(self, blocks: list[Block]) -> None:
        self.outcomes.put(blocks if self._landing is None else self._landing(blocks))

    def fail(self, error: BaseException) -> None:
        self.outcomes.put(error)


class CallOrder(Order):
    """One submitted call, and its future."""

    def __init__(self, number: int, recipe: PortableRecipe) -> None:
        from concurrent.futures import Future  # brings `logging`, which a map does without

        super().__init__(number, recipe, Patience(), BatchSize(1))
        self.future: Future[Any] = Future()

    def begin(self) -> bool:
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def settle(self, blocks: list[Block]) -> None:
        (block,) = blocks
        if block.failures:
            self.fail(block.failures[0].error)
        else:
            self.future.set_result(block.values[0])

    @property
    def is_over(self) -> bool:
        return self.future.done()

    def fail(self, error: BaseException) -> None:
        if not self.future.done() and (self.future.running() or self.future.set_running_or_notify_cancel()):
            self.future.set_exception(error)
