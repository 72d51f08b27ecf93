"""What `windrow check` prints: each request as it happens, then what came of the partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from windrow.events import Event, PartitionStarted, RecordInvalid, RecordMade, RequestDone
from windrow.monitor.wording import number, plural, printable, size

LONGEST_URL = 100
LONGEST_EXAMPLE = 60
MOST_CHILDREN = 20
MOST_INVALID = 10


@dataclass(slots=True)
class _Fill:
    """How many records have a value in a column, and the first such value."""

    count: int = 0
    example: object = None


class Teller:
    """A listener that prints requests and invalid records as they come and counts the records.

    Only counts are kept: a partition of any size can be checked.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._records = 0
        self._invalid = 0
        self._requests = 0
        self._fills: dict[str, _Fill] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case PartitionStarted():
                known = f" as {printable(event.identity)!r}" if event.identity else ""
                self._say(f"partition {printable(event.partition)!r}{known}")
            case RequestDone():
                self._requests += 1
                self._say(_request_line(event))
            case RecordMade():
                self._count(event)
            case RecordInvalid():
                self._invalid += 1
                if self._invalid <= MOST_INVALID:
                    self._say(f"  invalid record: {printable(event.error, 300)}")
            case _:
                pass

    def conclude(self, state: str, reason: str | None, reported: int | None, children: Sequence[str]) -> None:
        """Print the records' fill and how the partition would have ended."""
        self._say("")
        self._say_records()
        if self._invalid:
            self._say(f"{plural(self._invalid, 'invalid record')}, kept apart in a run")
        told = "the site reports no number" if reported is None else f"the site reports {number(reported)}"
        self._say(f"{plural(self._requests, 'request')}; {told}")
        why = f": {printable(reason)}" if reason else ""
        self._say(f"it would be {'tried again' if state == 'pending' else state}{why}")
        if children:
            more = f" and {number(len(children) - MOST_CHILDREN)} more" if len(children) > MOST_CHILDREN else ""
            named = ", ".join(repr(printable(child)) for child in children[:MOST_CHILDREN])
            self._say(f"it would split into {plural(len(children), 'partition')}: {named}{more}")
        self._say("nothing was stored")

    def _count(self, event: RecordMade) -> None:
        self._records += 1
        for name, value in event.row.items():
            fill = self._fills.setdefault(name, _Fill())
            if value is not None and value != "":
                fill.example = value if fill.count == 0 else fill.example
                fill.count += 1

    def _say_records(self) -> None:
        if not self._records:
            self._say("no records")
            return
        self._say(f"{plural(self._records, 'record')}; how many have a value, and an example:")
        width = max(len(printable(name)) for name in self._fills)
        for name, fill in self._fills.items():
            example = "" if fill.count == 0 else printable(fill.example, LONGEST_EXAMPLE)
            share = f"{number(fill.count)} of {number(self._records)}"
            self._say(
                f"  {printable(name):<{width}}  {share:>{2 * len(number(self._records)) + 4}}  {example}".rstrip()
            )


def _request_line(event: RequestDone) -> str:
    status = "---" if event.status is None else str(event.status)
    line = (
        f"  {event.verdict.value:<9} {status} {size(event.size):>8} {event.seconds * 1_000:>6.0f} ms  "
        f"{event.method} {printable(event.url, LONGEST_URL)}"
    )
    if event.retry:
        line += f"  (retry {event.retry})"
    return line + (f"  {printable(event.reason, 200)}" if event.reason else "")
