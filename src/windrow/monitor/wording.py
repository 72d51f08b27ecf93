"""Numbers, times and foreign text as people read them."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def printable(text: object, longest: int | None = None) -> str:
    """`text` on one line without control characters, cut to `longest` characters.

    What a site sent reaches terminals here: an escape sequence in it must not move the cursor or change colours.
    """
    line = " ".join(str(text).split())
    safe = line if line.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return safe if longest is None or len(safe) <= longest else safe[: longest - 1] + "…"


def number(value: int) -> str:
    """12345 as 12,345."""
    return f"{value:,}"


def plural(count: int, singular: str, several: str | None = None) -> str:
    """1 as `1 record`, 12345 as `12,345 records`."""
    return f"{number(count)} {singular if count == 1 else several or singular + 's'}"


def per_second(rate: float | None) -> str:
    """A rate as `12.3/s`; unknown as `–/s`."""
    if rate is None:
        return "–/s"
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s"


def duration(seconds: float | None) -> str:
    """Seconds as `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; unknown as `–`."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def size(count: int) -> str:
    """Bytes as `812 B`, `12.3 kB`, `4.5 MB`."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1_000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
