"""What the caller of `windrow.map` gets: results, and the errors that stand for items that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from windrow.errors import WindrowError

Item = TypeVar("Item")
Value = TypeVar("Value")

LONGEST_ITEM_TEXT = 120


class WorkerDied(WindrowError):
    """The item's worker process ended while it ran the item: killed, crashed, or left with `os._exit`."""


class TimedOut(WindrowError, TimeoutError):
    """The item took longer than `timeout` seconds."""


class CannotTravel(WindrowError):
    """An item or a result that cannot be pickled; trying again would not help."""


class NotStorable(WindrowError):
    """A result that JSON cannot hold, so a map with a store cannot keep it; trying again would not help."""


class RemoteError(WindrowError):
    """Stands for an exception that cannot be brought here as it is; the text names its type and message."""


class WorkersUnusable(WindrowError):
    """Worker processes do not even begin to work."""


class WorkerTraceback(Exception):
    """The cause of an error that came from a worker process: the traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class ItemFailed(WindrowError):
    """An item failed for good. Attributes: `item`, `error` (what the function raised), `attempts`, `traceback`."""

    def __init__(self, item: Any, error: BaseException, attempts: int, traceback: str | None) -> None:
        times = "" if attempts == 1 else f" (attempt {attempts})"
        super().__init__(f"item {item_text(item)} failed{times}: {type(error).__name__}: {error}")
        self.item = item
        self.error = error
        self.attempts = attempts
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Result(Generic[Item, Value]):
    """What became of one item.

    - `value`: what the function returned; None where it failed.
    - `error`: what it raised, or WorkerDied, TimedOut, CannotTravel, NotStorable; None where all went well.
    - `attempts`: how often the item was run; 0 for a value that came from the store.
    - `seconds`: how long the last attempt took in its worker; 0.0 where that is not known.
    - `traceback`: the error's traceback in the worker, as text.
    """

    item: Item
    value: Value | None
    error: BaseException | None
    attempts: int
    seconds: float
    traceback: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.error is None

    def get(self) -> Value:
        """The value. Raises the item's error where there is one."""
        if self.error is not None:
            raise self.error
        return cast(Value, self.value)


def item_text(item: object) -> str:
    """An item in one line of a message, cut to a bearable length."""
    try:
        text = repr(item)
    except Exception:
        text = f"<{type(item).__name__} whose repr() fails>"
    return text if len(text) <= LONGEST_ITEM_TEXT else text[: LONGEST_ITEM_TEXT - 1] + "…"
