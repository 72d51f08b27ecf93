"""What a contender other than Windrow found: a line of JSON for each page, written at once, for it will be killed."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self


class FoundPages:
    """A context manager over the file. A page is found, with the text of its `h1.title` or None, or given up."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def found(self, page: int, title: str | None) -> None:
        """An answer that the contender took for the page."""
        self._file.write(json.dumps({"page": page, "title": title}) + "\n")

    def given_up(self, page: int) -> None:
        """A page that the contender will not ask for again."""
        self._file.write(json.dumps({"page": page, "given_up": True}) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
