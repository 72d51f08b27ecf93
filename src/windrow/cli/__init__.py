"""The command line: what may be typed (`arguments`), what it does (`commands`), how it ends (`entry`)."""

from windrow.cli.entry import main

__all__ = ["main"]
