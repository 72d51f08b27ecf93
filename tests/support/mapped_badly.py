"""A module that works where it is first imported, and ends every worker process that imports it."""

from __future__ import annotations

import os
import sys

if getattr(sys.modules["__main__"].__spec__, "name", "") == "windrow.mapping.worker":
    os._exit(9)


def harmless(number: int) -> int:
    return number
