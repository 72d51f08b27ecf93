"""Addresses: made clean, joined and compared. Pure.

An address is kept as its author wrote it: what is percent-encoded stays encoded, what must be encoded is (a space, a
letter beyond ASCII), and nothing else is touched. `a/../b` is resolved, so that what is compared with robots.txt is
what the server will see.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlencode, urljoin, urlsplit, urlunsplit

Query = Mapping[str, Any] | Sequence[tuple[str, Any]]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(rb"[^\x21\x23-\x3b\x3d\x3f-\x5b\x5d-\x5f\x61-\x7e]")
_PORT = r"(?::(?!80/|443/)(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
_PLAIN = re.compile(rf"https?://[a-z0-9.-]+{_PORT}/[\x21\x24-\x3b\x3d\x3f-\x5b\x5d-\x5f\x61-\x7e]*")
"""Addresses that are clean as they stand, which is nearly all of them."""
_DOTS = re.compile(r"/(?:\.|%2e)", re.IGNORECASE)
_ENCODED_DOT = re.compile(r"%2e", re.IGNORECASE)
_DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_NOT_IN_HOST = re.compile(r"[\s\\<>^|%#?/@]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class BadAddress(ValueError):
    """Not an address that can be asked: another scheme than http(s), no host, a port that is none."""


class Origin(NamedTuple):
    """What robots.txt and credentials belong to."""

    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """`https://example.org`, with the port where it is not the scheme's own."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """`example.org` or `127.0.0.1:8900`: what a budget belongs to; http and https of a host share it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def origin(url: str) -> Origin:
    """The origin of a clean address."""
    end = url.find("/", len("https://"))
    return _origin(url if end < 0 else url[:end])


@lru_cache(maxsize=256)
def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    return Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])


def clean(url: str) -> str:
    """The address as it is asked for: no fragment, no credentials, all ASCII, `.` and `..` resolved.

    Raises BadAddress, with the address in its message.
    """
    if _PLAIN.fullmatch(url) and not _DOTS.search(url):
        return url
    parts = _split(url.strip())
    path = _quoted(_without_dots(parts.path) or "/")
    return urlunsplit((parts.scheme, _authority(url, parts), path, _quoted(parts.query), ""))


def credentials(url: str) -> str | None:
    """The Authorization header that `https://name:password@host/` stands for, None without credentials in it."""
    if "@" not in url:
        return None
    parts = _split(url.strip())
    if parts.username is None:
        return None
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return f"Basic {b64encode(pair).decode()}"


def join(base: str | None, url: str) -> str:
    """`url` itself where it is absolute, else below `base`, whose path is kept even when `url` begins with `/`.

    Raises BadAddress for a relative address without a base.
    """
    if _SCHEME.match(url):
        return url
    if base is None:
        raise BadAddress(f"{url!r} is a relative address, and the job has no base_url")
    if url.startswith("//"):
        return f"{urlsplit(base).scheme}:{url}"
    path, mark, rest = _path_and_rest(url)
    root, top = _root_and_path(base)
    below = f"{top.rstrip('/')}/{path.lstrip('/')}" if path else top or "/"
    return f"{root}{below}{mark}{rest}"


def resolve(base: str, reference: str) -> str:
    """The address that `reference` means on a page at `base`, as a browser reads it; "" stands for the page itself."""
    return urljoin(base, reference.strip())


def local(base: str, url: str) -> str:
    """The same path and query as `url`, at the origin of `base` and below its path.

    A path that already stands below the base's is not put below it once more.
    """
    parts, root = urlsplit(url), urlsplit(base)
    prefix = root.path.rstrip("/")
    path = parts.path or "/"
    if prefix and path != prefix and not path.startswith(prefix + "/"):
        path = prefix + (path if path.startswith("/") else f"/{path}")
    return urlunsplit((root.scheme, root.netloc, path, parts.query, parts.fragment))


def with_query(url: str, params: Query | None) -> str:
    """`url` with `params` added to its query: list values repeat, None is left out, True is `true`."""
    if not params:
        return url
    head, mark, fragment = url.partition("#")
    encoded = encode_fields(pairs(params))
    joint = "" if not encoded or head.endswith(("?", "&")) else "&" if "?" in head else "?"
    return f"{head}{joint}{encoded}{mark}{fragment}"


def pairs(fields: Query) -> list[tuple[str, str]]:
    """Name and value of each field as texts, a list of values as several fields."""
    items: Iterable[tuple[str, Any]] = fields.items() if isinstance(fields, Mapping) else fields
    found: list[tuple[str, str]] = []
    for name, value in items:
        values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        found.extend((str(name), _text(each)) for each in values if each is not None)
    return found


def encode_fields(fields: Sequence[tuple[str, str]], encoding: str = "utf-8") -> str:
    """`application/x-www-form-urlencoded`, in the page's encoding as a browser does it."""
    return urlencode(fields, encoding=encoding, errors="xmlcharrefreplace")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@lru_cache(maxsize=64)
def _root_and_path(base: str) -> tuple[str, str]:
    parts = urlsplit(base)
    return f"{parts.scheme}://{parts.netloc}", parts.path


def _path_and_rest(url: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", url)
    if found is None:
        return url, "", ""
    return url[: found.start()], found.group(), url[found.end() :]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError as error:
        raise BadAddress(f"{url!r} is not an address: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise BadAddress(f"{url!r} is not an http:// or https:// address")
    if not parts.hostname or not has_port or _NOT_IN_HOST.search(parts.hostname):
        raise BadAddress(f"{url!r} names no usable host")
    return parts


def _authority(url: str, parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as error:
            raise BadAddress(f"{url!r} names no usable host: {error}") from error
    return Origin(parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme]).authority


def _quoted(text: str) -> str:
    # Bytes of a Location header that were not UTF-8 arrive as surrogates, and leave as the bytes they were.
    data = text.encode("utf-8", "surrogateescape")
    return _FORBIDDEN.sub(lambda found: b"%%%02X" % found.group()[0], data).decode("ascii")


def _without_dots(path: str) -> str:
    if not _DOTS.search(path):
        return path
    kept: list[str] = []
    # An encoded dot is a dot, to browsers and to many servers: it must not lead past robots.txt.
    segments = [_ENCODED_DOT.sub(".", part) if _DOT_SEGMENT.fullmatch(part) else part for part in path.split("/")]
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)
