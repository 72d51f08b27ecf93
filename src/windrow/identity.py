"""Identities: who a session is to the site. And how they are read without their secrets standing anywhere.

An identity is a login, a proxy, or both. One live session at a time has it, over all workers and machines: the store
leases it by its name, together with a partition. Each worker loads the job itself, so what an identity holds crosses
no pipe and reaches no store; `Secrets` takes it out of every text that is about to leave a session.

The file is `identity.py` because `windrow.identities` is a public function: a module of that name would hide it.
"""

from __future__ import annotations

import csv
import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from html import escape
from http.cookies import Morsel
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, quote_plus, unquote, urlsplit

from windrow.errors import SettingError

LONGEST_NAME = 100
PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
SOCKS = frozenset({"socks5", "socks5h"})
PLAIN_COLUMNS = ("name", "user", "password", "proxy", "rate")
KINDS = ("header", "cookie", "state")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_SOCKS_WORD = 255


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where requests go out. `scheme`: http, https, socks5 (names are resolved here) or socks5h (by the proxy)."""

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Its URL without the login: what messages may show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The Proxy-Authorization header of an http or https proxy; None without a login."""
        return None if self.user is None else _basic(self.user, self.password or "")


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Who a session is to the site.

    - `name`: what logs, the store and `status` call it.
    - `headers`, `cookies`, `auth` (user and password, as Basic Authorization): sent to the origin of the job's
      `base_url` and nowhere else.
    - `proxy`: `http://`, `https://`, `socks5://` or `socks5h://user:password@host:port`.
    - `state`: what a new session's `state` begins with.
    - `rate`: requests per second to one host, at most; the host's own budget counts as well.

    Every text but the name may be `env:NAME`, which stands for an environment variable, or `file:PATH`, which stands
    for the text of a file, stripped. Raises SettingError, which never shows a value, for what cannot be used.
    """

    name: str
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    cookies: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    auth: tuple[str, str] | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    state: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    rate: float | None = field(default=None, kw_only=True)
    way: Proxy | None = field(default=None, init=False)
    """`proxy`, taken apart."""

    def __post_init__(self) -> None:
        self._check_name()
        for kind, name in (("headers", "header"), ("cookies", "cookie"), ("state", "state")):
            found = {key: self._looked_up(value, f"{name} {key!r}") for key, value in getattr(self, kind).items()}
            object.__setattr__(self, kind, found)
        if self.auth is not None:
            if isinstance(self.auth, str) or len(self.auth) != 2:
                raise self._wrong("auth must be a pair, (user, password)")
            user, password = self.auth
            both = self._looked_up(user, "user"), self._looked_up(password, "password")
            object.__setattr__(self, "auth", both)
        proxy = None if self.proxy is None else self._looked_up(self.proxy, "proxy")
        object.__setattr__(self, "proxy", proxy)
        object.__setattr__(self, "way", None if proxy is None else self._taken_apart(proxy))
        self._check_values()

    def __repr__(self) -> str:
        through = "" if self.way is None else f", proxy={self.way.address!r}"
        return f"Identity({self.name!r}{through})"

    @property
    def sent(self) -> dict[str, str]:
        """The headers that its requests carry."""
        return {**self.headers, **({"Authorization": _basic(*self.auth)} if self.auth else {})}

    @property
    def is_sent(self) -> bool:
        """Whether it has anything to send: then the job has to say to which origin."""
        return bool(self.headers or self.cookies or self.auth)

    def new_state(self) -> dict[str, Any]:
        """What the state of a new session begins with; nothing of it is shared."""
        return deepcopy(dict(self.state))

    # --- checks -----------------------------------------------------------------------------------------------

    def _wrong(self, what: str) -> SettingError:
        return SettingError(f"identity {self.name!r}: {what}")

    def _check_name(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name.strip() or name != name.strip() or not name.isprintable():
            raise SettingError(f"an identity's name must be a text that can be printed, not {name!r}")
        if len(name) > LONGEST_NAME:
            raise SettingError(f"an identity's name must have at most {LONGEST_NAME} characters: {name[:20]!r}…")

    def _looked_up(self, value: Any, what: str) -> Any:
        """The value that stands in the environment or in a file, or `value` itself."""
        if not isinstance(value, str):
            return value
        kind, _, place = value.strip().partition(":")
        if kind == "env":
            found = os.environ.get(place)
            if not found:
                raise self._wrong(f"the environment variable {place} ({what}) is not set; export it first")
            return found
        if kind == "file":
            return self._read(Path(place).expanduser(), what)
        return value

    def _read(self, path: Path, what: str) -> str:
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise self._wrong(f"the file {path} ({what}) cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._wrong(f"the file {path} ({what}) is not UTF-8; save it as UTF-8") from None
        if not text:
            raise self._wrong(f"the file {path} ({what}) is empty")
        return text

    def _check_values(self) -> None:
        for kind in ("headers", "cookies"):
            for name, value in getattr(self, kind).items():
                what = f"{kind.removesuffix('s')} {name!r}"
                if not isinstance(value, str) or _CONTROL.search(value) or (kind == "cookies" and ";" in value):
                    raise self._wrong(f"the value of {what} must be a text on one line")
                if not _TOKEN.fullmatch(str(name)) or (kind == "cookies" and Morsel().isReservedKey(name)):
                    raise self._wrong(f"{what} is no name that can be sent")
        if self.auth is not None:
            user, password = self.auth
            if not isinstance(user, str) or not isinstance(password, str) or not user or ":" in user:
                raise self._wrong("auth needs a user, without a colon, and a password as texts")
            if any(name.lower() == "authorization" for name in self.headers):
                raise self._wrong("give auth or a header Authorization, not both")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise self._wrong(f"rate must be above 0 requests per second, not {self.rate}")

    def _taken_apart(self, proxy: Any) -> Proxy:
        # What is wrong must be said without showing it: a mistyped URL has its password anywhere.
        parts = _split(proxy) if isinstance(proxy, str) else None
        port = None if parts is None else _port(parts)
        host = None if parts is None else _host(parts)
        if parts is None or port is None or host is None or parts.path not in ("", "/") or parts.query:
            raise self._wrong(
                "proxy is no URL of a proxy: give http://, https://, socks5:// or socks5h://user:password@host:port, "
                "with : / @ # in a password as %3A %2F %40 %23"
            )
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        if parts.scheme in SOCKS and user is not None:
            words = (user, password or "")
            if any(not word or not word.isascii() or len(word) > _LONGEST_SOCKS_WORD for word in words):
                raise self._wrong(
                    f"a SOCKS proxy's login is a user and a password of 1 to {_LONGEST_SOCKS_WORD} ASCII characters"
                )
        return Proxy(parts.scheme, host, port, user, password)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.scheme in PROXY_PORTS and not _CONTROL.search(url) and not parts.fragment else None


def _host(parts: SplitResult) -> str | None:
    """The host as errors of the network name it, None where it can be none."""
    host = parts.hostname or ""
    if ":" in host:
        return host
    try:
        # Python's own looks at labels only where there is something beyond ASCII.
        host = host.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return host if _HOST.fullmatch(host) else None


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or PROXY_PORTS[parts.scheme]
    except ValueError:
        return None


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


# --- where they come from ------------------------------------------------------------------------------------------


def identities(source: str | Path | Iterable[Mapping[str, Any]]) -> list[Identity]:
    """One identity for each row of a .csv file (UTF-8, a BOM is fine) or of an iterable of mappings.

    Columns: `name`, `user` and `password` (Basic Authorization), `proxy`, `rate`, and any number of `header:NAME`,
    `cookie:NAME` and `state:NAME`. Empty cells are left out; `env:NAME` and `file:PATH` are looked up, see `Identity`.
    Raises SettingError with the file and the line for what cannot be used; it never shows a cell's value.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        found = [_made(row, f"{path}, line {line}") for line, row in _csv_rows(path)]
        return distinct(found, str(path))
    rows = enumerate(source, 1)
    return distinct([_made(row, f"identities(), row {number}") for number, row in rows], "identities()")


def distinct(found: Sequence[Identity], where: str) -> list[Identity]:
    """`found`, once it is sure that there is one and that no name stands twice."""
    if not found:
        raise SettingError(f"{where}: there is no identity in it")
    names: set[str] = set()
    for each in found:
        if each.name in names:
            raise SettingError(f"{where}: the identity {each.name!r} stands in it twice; each needs a name of its own")
        names.add(each.name)
    return list(found)


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict: a quote that is left open would swallow all lines after it.
            reader = csv.DictReader(file, strict=True)
            _check_columns(reader.fieldnames or (), f"{path}, line 1")
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}; identities() reads a .csv file") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise SettingError(f"{path}: is no CSV that can be read: {error}") from None


def _check_columns(columns: Iterable[str], where: str) -> None:
    names = list(columns)
    for place, name in enumerate(names, 1):
        kind, colon, rest = name.partition(":")
        if name not in PLAIN_COLUMNS and not (kind in KINDS and colon and rest):
            # In a file whose first line is missing, a password stands where a column's name should.
            close = kind in KINDS or bool(get_close_matches(name, PLAIN_COLUMNS))
            raise SettingError(
                f"{where}: column {place}{f', {name!r},' if close else ''} is none there can be; columns are "
                f"{', '.join(PLAIN_COLUMNS)}, header:NAME, cookie:NAME and state:NAME"
            )
        if name in names[: place - 1]:
            raise SettingError(f"{where}: the column {name!r} stands there twice")
    if "name" not in names:
        raise SettingError(f"{where}: the column 'name' is missing; each identity needs a name")


def _made(row: Mapping[str, Any], where: str) -> Identity:
    # DictReader keeps cells beyond the last column under None.
    if None in row:
        raise SettingError(f"{where}: the row has more cells than there are columns; put cells with a comma in quotes")
    _check_columns(row, where)
    cells = {name: value for name, value in row.items() if value not in ("", None)}
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for name, value in cells.items():
        kind, colon, rest = name.partition(":")
        if colon:
            kinds[kind][rest] = value
    try:
        return Identity(
            cells.get("name", ""),
            headers=kinds["header"],
            cookies=kinds["cookie"],
            state=kinds["state"],
            auth=_auth(cells),
            proxy=cells.get("proxy"),
            rate=_number(cells.get("rate")),
        )
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from None


def _auth(cells: Mapping[str, Any]) -> tuple[str, str] | None:
    if "user" not in cells:
        if "password" in cells:
            raise SettingError("it has a password and no user")
        return None
    return str(cells["user"]), str(cells.get("password", ""))


def _number(cell: Any) -> float | None:
    try:
        return None if cell is None else float(cell)
    except (TypeError, ValueError):
        raise SettingError("the rate must be a number, requests per second") from None


# --- keeping secrets -----------------------------------------------------------------------------------------------

HIDDEN = "[secret]"
SHORT = 6
"""A secret of fewer characters is only taken out where it stands as a word: `anna` is in `channel`."""
SHORTEST = 3
"""What has fewer characters (a cookie `consent=1`) keeps no secret, and `1` is in most messages."""

Cleaner = Callable[[str], str]


def cleaner(identity: Identity | None) -> Cleaner:
    """A function that takes the secrets of an identity out of a text, however they are written there.

    Secrets are the password, the values of headers and cookies, the texts in `state`, and the proxy's login; not the
    name. They are found as they are, percent-encoded (a part of the characters or all, once or several times), as
    JSON, Python or HTML write them, and in a Basic Authorization.
    """
    secrets = sorted(set(_secrets(identity)), key=len, reverse=True)
    if not secrets:
        return _unchanged
    pattern = re.compile("|".join(map(_pattern, secrets)), re.IGNORECASE)
    return lambda text: pattern.sub(HIDDEN, text)


def _unchanged(text: str) -> str:
    return text


def _secrets(identity: Identity | None) -> Iterator[str]:
    if identity is None:
        return
    found = [*identity.headers.values(), *identity.cookies.values(), *_texts(identity.state)]
    if identity.auth is not None:
        found += [identity.auth[1], _basic(*identity.auth).removeprefix("Basic ")]
    way = identity.way
    if way is not None and way.user is not None:
        # Without its user the password alone would go, and `user:[secret]@host` still say half.
        found += [way.user, way.password or "", _basic(way.user, way.password or "").removeprefix("Basic ")]
    for secret in found:
        # Of `Bearer TOKEN` the token alone is as secret as the whole.
        words = secret.split()
        known = (secret, words[1]) if len(words) == 2 else (secret,)
        yield from (each for each in known if len(each) >= SHORTEST and each != identity.name)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)


def _pattern(secret: str) -> str:
    # Character by character: who writes an address escapes what he must, and no two agree on what that is.
    found = "".join(map(_spellings, secret))
    return rf"(?:(?<!\w)|(?<=%[0-9a-f]{{2}})){found}(?!\w)" if len(secret) < SHORT else found


@lru_cache(maxsize=1_024)
def _spellings(character: str) -> str:
    """A pattern of how one character may be written; letters and digits, and what addresses leave alone, only so."""
    if _PLAIN.fullmatch(character):
        return re.escape(character)
    written = {character, json.dumps(character)[1:-1], repr(character)[1:-1], f"\\{character}", quote_plus(character)}
    written |= {escape(character), f"&#{ord(character)};", f"&#x{ord(character):x};"}
    encoded = {_percent(character, code) for code in ("utf-8", "latin-1")}
    return f"(?:{'|'.join([*map(re.escape, sorted(written)), *sorted(encoded)])})"


def _percent(character: str, encoding: str) -> str:
    # `%(25)*`: an address within an address is encoded twice. What an encoding lacks a form sends as `&#8364;`.
    data = character.encode(encoding, "replace" if encoding == "utf-8" else "xmlcharrefreplace")
    return quote(data, safe="").replace("%", "%(?:25)*")


def check_ways(identities: Mapping[str, Identity]) -> None:
    """Raises SettingError where a proxy needs an extra that is not installed."""
    for identity in identities.values():
        way = identity.way
        if way is not None and way.scheme in SOCKS and find_spec("aiohttp_socks") is None:
            raise SettingError(
                f"identity {identity.name!r}: a {way.scheme} proxy needs an extra; pip install 'windrow[socks]'"
            )
