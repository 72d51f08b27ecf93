"""robots.txt by RFC 9309: what an answer means, which group binds us, and whether a path may be asked for.

What an answer means (section 2.3.1): 2xx is parsed; any other 4xx means that there are no rules, everything may be
asked; 5xx or no answer at all means that nothing may. 429 is counted with the 5xx, as Google does: a host that
throttles robots.txt itself did not say that there are no rules. A redirect is followed by whoever fetches.

The RFC is short, and a reader of our own is too: protego, which stood here, allows what the RFC forbids in four ways
that real files show (a Crawl-delay between two user-agent lines parts their group; `Allow: /*.css$` also allows
`/a.css$b`; allowing `/index.html` allows `/`; octets that are not UTF-8 are all alike).

Where a file leaves the RFC it is read as Google reads it, or more strictly, never less: names of fields misspelt or
without their colon, `Disallow: private` without its slash, `Disallow: https://example.org/private`. Google's two
extensions that allow more are left out: `index.html` for its directory, and a robot's name that ends at a digit.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LONGEST = 500 * 1024
"""Bytes that are read, in whole lines; RFC 9309 (2.5) asks for at least 500 KiB."""
UNREACHABLE = 0
"""The status that stands for no answer at all."""
EVERYBODY = "*"

_PRODUCT = re.compile(r"[A-Za-z0-9_-]+")
_LINE_END = re.compile(r"\r\n|\r|\n")
# The misspellings are those that Google takes. Without a colon there must be two words and no more: prose has others.
_RECORD = re.compile(
    r"(user[- ]?agent\w*|(?:dis+all?ow|diasllow|disallaw)\w*|allow|crawl[- ]?delay)(?:\s*:\s*(.*)|\s+(\S+))",
    re.IGNORECASE | re.ASCII,
)
_SECONDS = re.compile(r"[0-9]*[.,]?[0-9]+")
_ADDRESS = re.compile(r"https?://([^/]+)(/.*)", re.IGNORECASE)
_BEFORE_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)")
# A `%` that begins no escape is the octet itself.
_ENCODED_OR_TO_BE = re.compile(rb"%[0-9A-Fa-f]{2}|[^\x21-\x7e]|%")
_NO_UTF8 = re.compile("[\udc80-\udcff]")


def product_token(user_agent: str) -> str:
    """The name that robots.txt knows a user agent by: `windrow/0.1 (…)` → `windrow`; `*` where there is none."""
    found = _PRODUCT.match(user_agent.strip())
    return found.group().lower() if found else EVERYBODY


def is_unreachable(status: int) -> bool:
    """Whether an answer with that status to robots.txt says nothing about the rules, so that nothing may be asked."""
    return status == UNREACHABLE or status == 429 or status >= 500


def text_of(body: bytes) -> str:
    """The text of a file as it came: its first 500 KiB, without the line that is cut there.

    Half a rule is another rule: half a Disallow forbids more than was written, and half an Allow allows more. Octets
    that are no UTF-8 become `%E9`, as which an address has them (2.2.2). UTF-16 is against the RFC, but where its mark
    begins the file it is certain what was meant.
    """
    if len(body) > LONGEST:
        body = body[:LONGEST]
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").replace("\0", "")
    text = body.decode("utf-8", "surrogateescape").replace("\0", "")
    return _NO_UTF8.sub(lambda octet: f"%{ord(octet.group()) - 0xDC00:02X}", text)


@dataclass(frozen=True)
class RobotsRules:
    """What one origin allows. `everything` is True or False where no file was parsed."""

    everything: bool | None
    parsed: _File | None = None

    @classmethod
    def from_answer(cls, status: int, text: str) -> RobotsRules:
        """The rules that an answer to /robots.txt means; `status` 0 stands for no answer. For `text` see `text_of`."""
        if is_unreachable(status):
            return cls(everything=False)
        if not 200 <= status < 300:
            return cls(everything=True)
        return cls(everything=None, parsed=_File(text))

    def allows(self, user_agent: str, url: str) -> bool:
        """Whether `user_agent` (a full text or a product token) may ask for `url` (absolute, or path and query)."""
        if self.parsed is None:
            return bool(self.everything)
        host, path = _host_and_path(url)
        if path.partition("?")[0] == "/robots.txt":
            return True
        binding = self.parsed.binding(product_token(user_agent))
        return binding is None or binding.allows(path, host)

    def crawl_delay(self, user_agent: str) -> float | None:
        """Seconds between two requests that the file asks of `user_agent`, None where it does not say."""
        binding = self.parsed.binding(product_token(user_agent)) if self.parsed else None
        return binding.crawl_delay if binding else None


class _Rule:
    """One Allow or Disallow, made ready to be compared with a path."""

    def __init__(self, allow: bool, value: str) -> None:
        address = _ADDRESS.match(value)
        self.allow = allow
        self._host = address[1].lower() if address else None
        value = address[2] if address else value
        self._to_end = value.endswith("$")
        first, *others = value.removesuffix("$").split("*")
        self.first = _octets(first)
        self._others = [_octets(piece) for piece in others]
        self.is_prefix = not (others or self._to_end or self._host)
        self.length = len(self.first) + sum(1 + len(piece) for piece in self._others) + self._to_end

    def matches(self, path: str, host: str) -> bool:
        """Whether it speaks of the path. A piece is taken where it first occurs, so that nothing is tried twice."""
        if not path.startswith(self.first) or self._host not in (None, host):
            return False
        at, end = len(self.first), len(path)
        pieces = self._others
        if self._to_end:
            if not pieces:
                return at == end
            end -= len(pieces[-1])
            if end < at or not path.endswith(pieces[-1]):
                return False
            pieces = pieces[:-1]
        for piece in pieces:
            at = path.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True


class _Group:
    """One group of a file as it is written."""

    def __init__(self) -> None:
        self.rules: dict[tuple[bool, str], None] = {}
        """(allow, value) in order, each once."""
        self.crawl_delays: list[float] = []

    def add(self, allow: bool, value: str) -> None:
        """A rule as it is written; one without a path says nothing."""
        if value and not value.startswith(("/", "*")):
            # An address, or a path without its slash, is no rule of the RFC's, but plain enough to forbid by.
            value = "" if allow else value if _ADDRESS.match(value) else f"/{value}"
        if value:
            self.rules[allow, value] = None


class _Binding:
    """What is said to one robot, in all groups that name it."""

    def __init__(self, groups: Mapping[_Group, int]) -> None:
        rules = [_Rule(*written) for written in dict.fromkeys(each for group in groups for each in group.rules)]
        self._prefix_rules = [rule for rule in rules if rule.is_prefix]
        self._prefixes = tuple(rule.first for rule in self._prefix_rules)
        self._others = [rule for rule in rules if not rule.is_prefix]
        delays = (delay for group, since in groups.items() for delay in group.crawl_delays[since:])
        self.crawl_delay = max(delays, default=None)

    def allows(self, path: str, host: str) -> bool:
        # One look at all plain prefixes at once, since mostly none matches.
        rules = [*(self._prefix_rules if path.startswith(self._prefixes) else ()), *self._others]
        matching = [(rule.length, rule.allow) for rule in rules if rule.matches(path, host)]
        # The rule with the most octets counts, and Allow where two are alike (2.2.2).
        return max(matching, default=(0, True))[1]


class _File:
    """A parsed file. What binds a robot is made ready when first asked for: a file may speak to thousands."""

    def __init__(self, text: str) -> None:
        self._groups = _groups(text)
        self._bindings: dict[str, _Binding | None] = {}

    def binding(self, token: str) -> _Binding | None:
        """What binds the robot of that name: what is said to it, else what is said to everybody."""
        if token not in self._bindings:
            groups = self._groups.get(token) or self._groups.get(EVERYBODY)
            self._bindings[token] = _Binding(groups) if groups else None
        return self._bindings[token]


def _groups(text: str) -> dict[str, dict[_Group, int]]:
    """Product token → the groups that name it, with the number of Crawl-delays that stood there before.

    A Crawl-delay is meant for those named above it, a rule for all of its group. Each group is kept once, however many
    robots it names, so that time grows with the text only.
    """
    named: dict[str, dict[_Group, int]] = {}
    group = _Group()
    in_rules = False
    for name, value in _records(text):
        if name.startswith("user"):
            # Only a rule ends a list of user agents: what the RFC does not define must not part a group (2.2.4).
            if in_rules:
                group, in_rules = _Group(), False
            named.setdefault(_named(value), {}).setdefault(group, len(group.crawl_delays))
        elif name.startswith("crawl"):
            group.crawl_delays.extend(_seconds(value))
        else:
            in_rules = True
            group.add(name == "allow", value)
    return named


def _records(text: str) -> Iterator[tuple[str, str]]:
    """Name (in small letters) and value of each line that says something about user agents, paths or delays."""
    for line in _LINE_END.split(text):
        # Files that were put together have a mark in the middle, and those from a word processor spaces of all kinds.
        found = _RECORD.fullmatch(line.partition("#")[0].lstrip("\ufeff").strip())
        if found:
            yield found[1].lower(), (found[2] or found[3] or "").strip()


def _named(value: str) -> str:
    """The product token that a user-agent line names, "" for none."""
    # Google reads a `*` with more words behind it as everybody, too.
    if value == EVERYBODY or value.startswith(("* ", "*\t")):
        return EVERYBODY
    found = _PRODUCT.match(value)
    return found.group().lower() if found else ""


def _seconds(value: str) -> list[float]:
    """The number that a value begins with, if it does: some write `10 seconds`, some `0,5`."""
    found = _SECONDS.match(value)
    return [float(found.group().replace(",", "."))] if found else []


def _host_and_path(url: str) -> tuple[str, str]:
    """The authority of an address ("" where it has none), and its path and query in comparable octets."""
    rest = url.partition("#")[0]
    before = _BEFORE_PATH.match(rest)
    path = _octets(rest[before.end() :] if before else rest)
    return before[1].lower() if before else "", path if path.startswith("/") else f"/{path}"


def _octets(text: str) -> str:
    """What is alike by 2.2.2 in one spelling: `%2a` and `*` as `*`, `é` and `%c3%a9` as `%C3%A9`.

    Reserved characters count as their escapes, as the RFC says, but for `/`, which parts a path only where it is bare.
    """
    return _ENCODED_OR_TO_BE.sub(_in_one_spelling, text.encode("utf-8", "surrogatepass")).decode("ascii")


def _in_one_spelling(found: re.Match[bytes]) -> bytes:
    octets = found.group()
    octet = int(octets[1:], 16) if len(octets) == 3 else octets[0]
    return bytes((octet,)) if 0x21 <= octet <= 0x7E and octet not in b"%/" else b"%%%02X" % octet
