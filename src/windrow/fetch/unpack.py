"""Content-Encoding, undone within a bound.

A body that unpacks to more than the bound is given up before more than the bound was allocated, and a stream that
stops early is an error: most clients hand over what they have by then, as if it were the page.

zlib-ng is zlib, twice as fast: the same streams, the same checks, the same errors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

from zlib_ng import zlib_ng

_GZIP, _ZLIB, _RAW = 31, 15, -15
_MAGIC = b"\x1f\x8b"
_WINDOW = 65_536
_MOST_MEMBERS = 10_000
_MOST_LAYERS = 3
_Damaged: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub takes the class for an instance

Decode = Callable[[bytes, int], bytes]


class Undecodable(Exception):
    """The body is not what its Content-Encoding says, or stops early."""


class TooLarge(Exception):
    """The body unpacks to more than the bound."""


class Unpacker:
    """Undoes the encodings that are to be had here; `accepts` is the Accept-Encoding that says which."""

    def __init__(self) -> None:
        brotli = _bounded_brotli()
        self._decoders: dict[str, Decode] = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
        if brotli is not None:
            self._decoders["br"] = lambda body, most: _unbrotli(brotli, body, most)
        self.accepts = "gzip, deflate, br" if brotli else "gzip, deflate"

    def unpack(self, body: bytes, encoding: str, most: int) -> bytes:
        """`body` without what the header Content-Encoding names, at most `most` bytes.

        Raises Undecodable or TooLarge. An empty body is empty in every encoding.
        """
        names = [name for name in (part.strip().lower() for part in encoding.split(",")) if name not in _AS_IT_IS]
        if len(names) > _MOST_LAYERS:
            raise Undecodable(f"it is encoded {len(names)} times over")
        for name in reversed(names):
            if not body:
                break
            decode = self._decoders.get(name)
            if decode is None:
                raise Undecodable(f"its encoding {name!r} is not one that was asked for ({self.accepts})")
            body = decode(body, most)
        return body


_AS_IT_IS = frozenset({"", "identity", "none", "utf-8"})


def _gunzip(body: bytes, most: int) -> bytes:
    first = zlib_ng.decompressobj(_GZIP)
    unpacked = _decompress(first, body, most)
    if not first.eof:
        raise Undecodable("the gzip stream is truncated")
    # Behind the first member may stand more of them; anything else there is padding, which browsers ignore as well.
    rest = first.unused_data
    return unpacked if not rest.startswith(_MAGIC) else unpacked + _members(rest, most - len(unpacked))


def _members(body: bytes, most: int) -> bytes:
    """Further gzip members, fed in windows: a decompressor copies all that follows the member it was given."""
    view, place, found, left = memoryview(body), 0, [], most
    for _ in range(_MOST_MEMBERS):
        member = zlib_ng.decompressobj(_GZIP)
        while not member.eof:
            window = view[place : place + _WINDOW]
            if not window:
                raise Undecodable("the gzip stream is truncated")
            found.append(_decompress(member, window, left))
            left -= len(found[-1])
            place += len(window) - len(member.unused_data)
        if body[place : place + 2] != _MAGIC:
            return b"".join(found)
    raise TooLarge(f"it consists of more than {_MOST_MEMBERS} gzip members")


def _inflate(body: bytes, most: int) -> bytes:
    # "deflate" means a zlib stream, and some servers send a raw one; the zlib header has a checksum of its own.
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    stream = zlib_ng.decompressobj(_ZLIB if has_header else _RAW)
    unpacked = _decompress(stream, body, most)
    if not stream.eof:
        raise Undecodable("the deflate stream is truncated")
    return unpacked


def _decompress(stream: zlib_ng._Decompress, body: bytes | memoryview, most: int) -> bytes:
    try:
        unpacked = stream.decompress(body, most + 1)
    except _Damaged as error:
        raise Undecodable(f"it is damaged ({error})") from error
    if len(unpacked) > most:
        raise TooLarge("it unpacks to too much")
    return unpacked


def _bounded_brotli() -> ModuleType | None:
    """The brotli module if it is there and can stop at a bound (from 1.2 on); without that a bomb would unpack."""
    try:
        brotli = importlib.import_module("brotli")
        brotli.Decompressor().process(b"", output_buffer_limit=1)
    except (ImportError, TypeError, AttributeError):
        return None
    return brotli


def _unbrotli(brotli: ModuleType, body: bytes, most: int) -> bytes:
    stream, found, size = brotli.Decompressor(), [], 0
    try:
        chunk = stream.process(body, output_buffer_limit=most + 1)
        while chunk:
            found.append(chunk)
            size += len(chunk)
            if size > most:
                raise TooLarge("it unpacks to too much")
            chunk = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=most + 1 - size)
    except brotli.error as error:
        raise Undecodable(f"it is damaged ({error})") from error
    if not stream.is_finished():
        raise Undecodable("the brotli stream is truncated")
    return b"".join(found)
