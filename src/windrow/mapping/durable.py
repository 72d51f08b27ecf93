"""What a map with a store remembers: one JSON value for each key, under the map's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from windrow.clock import Clock
from windrow.errors import UsageError
from windrow.mapping.functions import bare, origin
from windrow.mapping.outcomes import item_text
from windrow.mapping.stretches import Block

if TYPE_CHECKING:
    from windrow.store.results import StoredResults

Key = Callable[[Any], Any] | str | None


class Memory:
    """Knows which items have a value already, and keeps new ones. `recall` and `keep` may be called by two threads."""

    def __init__(self, stored: StoredResults, key: Key, clock: Clock) -> None:
        self._stored = stored
        self._key_of = _key_function(key)
        self._clock = clock

    def keys(self, items: Sequence[Any]) -> list[str]:
        """The items' keys. Raises UsageError for an item that has none."""
        return [self._key_of(item) for item in items]

    def recall(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are there, by key."""
        return {key: _from_json(text) for key, text in self._stored.find(keys).items()}

    def keep(self, blocks: list[Block]) -> list[Block]:
        """Make the blocks' values durable in one transaction; the blocks with the values as JSON gives them back.

        A key that has a value by now keeps it. Raises StoreUnavailable where the store cannot be written.
        """
        rows: list[tuple[str, str]] = []
        for block in blocks:
            for position, key in enumerate(block.stretch.keys or ()):
                if position not in block.failures:
                    rows.append((key, block.values[position].decode()))
        if rows:
            self._stored.keep(rows, self._clock.now())
        return [_decoded(block) for block in blocks]


def _decoded(block: Block) -> Block:
    values = [None if value is None else _from_json(value) for value in block.values]
    return Block(block.stretch, values, block.seconds, block.failures)


def _from_json(text: str | bytes) -> Any:
    import msgspec  # a map without a store does without it

    return msgspec.json.decode(text)


@contextmanager
def remembering(store: str, name: str, key: Key, clock: Clock) -> Iterator[Memory]:
    """The memory of the map `name` in `store`, which nobody else writes meanwhile. Raises StoreError."""
    # Here, and not above: a map without a store does without the database library.
    from windrow.store.database import open_for_writing
    from windrow.store.results import opened_results

    with open_for_writing(store) as database, opened_results(database, name) as stored:
        yield Memory(stored, key, clock)


def map_name(function: Callable[..., Any]) -> str:
    """`module.function`; for a function of the script itself the module is the script's name."""
    inner = bare(function)
    module = getattr(inner, "__module__", None) or type(inner).__module__
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    file = origin().main_file if module == "__main__" else None
    return f"{Path(file).stem if file else module}.{name}"


def _key_function(key: Key) -> Callable[[Any], str]:
    if key is None:
        return _own_text
    if isinstance(key, str):
        return lambda item: _text(_field(item, key), item)
    if callable(key):
        return lambda item: _text(key(item), item)
    raise UsageError(f"windrow.map: key must be a function of an item or the name of a field, not {key!r}")


def _field(item: Any, name: str) -> Any:
    try:
        return item[name] if isinstance(item, Mapping) else getattr(item, name)
    except (KeyError, AttributeError):
        raise UsageError(f"windrow.map: the item {item_text(item)} has no field {name!r} to be its key") from None


def _text(key: Any, item: Any) -> str:
    if key is None or key == "":
        raise UsageError(f"windrow.map: the key of the item {item_text(item)} is empty")
    text = str(key)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"windrow.map: the key {key!r} holds half a character (a lone surrogate)") from None
    return text


def _own_text(item: Any) -> str:
    kind, plain = type(item), cast(Any, object)
    if kind.__str__ is plain.__str__ and kind.__repr__ is plain.__repr__:
        raise UsageError(
            f"windrow.map: a {kind.__name__} has no text that is the same in the next run; give key=, a function of an "
            "item or the name of a field"
        )
    return _text(str(item), item)
