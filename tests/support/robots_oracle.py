"""RFC 9309, section 2.2, read word by word and with no thought of speed: what our own reader is compared with.

It shares nothing with it: octets are numbers instead of text, and all ways to match are followed at once. It knows no
misspelling, so that it can say of a file that leaves the RFC only what must be forbidden at least.
"""

from __future__ import annotations

import re
from functools import lru_cache

END, STAR, ESCAPED_SLASH = -1, -2, -3


def allowed(text: str, token: str, path: str) -> bool:
    """Whether the robot of that product token (in small letters) may ask for a path with its query."""
    if path.split("?")[0] == "/robots.txt":
        return True
    groups = read(text)
    mine = [rules for tokens, rules in groups if token in tokens] or [
        rules for tokens, rules in groups if "*" in tokens
    ]
    octets = numbers(path)
    best = (0, True)
    for allow, value in (rule for rules in mine for rule in rules):
        pattern = numbers(value, special=True)
        if matches(pattern, octets):
            best = max(best, (sum(map(written_octets, pattern)), allow))
    return best[1]


@lru_cache(maxsize=1)
def read(text: str) -> list[tuple[set[str], list[tuple[bool, str]]]]:
    """2.1: groups of one or more user agents, then rules; other records are as if they were not there (2.2.4)."""
    groups: list[tuple[set[str], list[tuple[bool, str]]]] = []
    rules_began = True
    for line in re.split("\r\n|\r|\n", text):
        name, colon, value = (part.strip(" \t") for part in line.split("#")[0].partition(":"))
        if not colon:
            continue
        if name.lower() == "user-agent":
            if rules_began:
                groups.append((set(), []))
                rules_began = False
            token = re.match(r"\*$|[A-Za-z0-9_-]*", value)
            groups[-1][0].add(token.group().lower() if token else "")
        elif name.lower() in {"allow", "disallow"} and groups:
            rules_began = True
            if value:
                groups[-1][1].append((name.lower() == "allow", value))
    return groups


def numbers(text: str, special: bool = False) -> list[int]:
    """2.2.2: what is compared, an escape and its octet alike, but for an escaped slash."""
    octets = text.encode()
    found = []
    while octets:
        if escape := re.match(rb"%([0-9A-Fa-f]{2})", octets):
            octet = int(escape[1], 16)
            found.append(ESCAPED_SLASH if octet == 0x2F else octet)
            octets = octets[3:]
        else:
            found.append(END if special and octets == b"$" else STAR if special and octets[:1] == b"*" else octets[0])
            octets = octets[1:]
    return found


def written_octets(number: int) -> int:
    return 1 if number in {END, STAR} or (0x21 <= number <= 0x7E and number != 0x25) else 3


def matches(pattern: list[int], path: list[int]) -> bool:
    """2.2.3, with all positions in the path that the pattern so far may have reached."""
    reached = {0}
    for number in pattern:
        if number == END:
            reached &= {len(path)}
        elif number == STAR:
            reached = set(range(min(reached), len(path) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(path) and path[at] == number}
        if not reached:
            return False
    return True
