"""Text from bytes, as browsers do it (WHATWG Encoding and the HTML standard's prescan), as far as pages need it.

In this order: a byte order mark, the charset of the Content-Type header, a declaration in the first 1,024 bytes, then
UTF-8 if the bytes are UTF-8, then windows-1252. Labels mean what the standard says they mean, which is not what
Python says: `iso-8859-1` is windows-1252, `gb2312` is gb18030, `shift_jis` is cp932, `euc-kr` is cp949.
"""

from __future__ import annotations

import codecs
import re
from types import MappingProxyType

_PRESCAN = 1_024
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CODECS = MappingProxyType(
    {
        "utf-8": "utf8 utf-8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
        "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
        "iso_8859-1 iso_8859-1:1987 l1 latin1 latin-1 us-ascii windows-1252 x-cp1252",
        "iso8859-2": "iso-8859-2 iso8859-2 iso88592 iso_8859-2 l2 latin2 csisolatin2",
        "iso8859-3": "iso-8859-3 iso8859-3 iso_8859-3 l3 latin3",
        "iso8859-4": "iso-8859-4 iso8859-4 iso_8859-4 l4 latin4",
        "iso8859-5": "iso-8859-5 iso8859-5 iso_8859-5 cyrillic",
        "iso8859-6": "iso-8859-6 iso8859-6 iso_8859-6 arabic asmo-708",
        "iso8859-7": "iso-8859-7 iso8859-7 iso_8859-7 greek greek8 sun_eu_greek",
        "iso8859-8": "iso-8859-8 iso-8859-8-i iso-8859-8-e iso8859-8 iso_8859-8 hebrew visual logical",
        "iso8859-10": "iso-8859-10 iso8859-10 l6 latin6",
        "iso8859-13": "iso-8859-13 iso8859-13",
        "iso8859-14": "iso-8859-14 iso8859-14",
        "iso8859-15": "iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9 csisolatin9",
        "iso8859-16": "iso-8859-16",
        "cp866": "866 cp866 csibm866 ibm866",
        "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
        "koi8-u": "koi8-ru koi8-u",
        "mac-roman": "csmacintosh mac macintosh x-mac-roman",
        "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "cp874": "dos-874 iso-8859-11 iso8859-11 tis-620 windows-874",
        "cp1250": "cp1250 windows-1250 x-cp1250",
        "cp1251": "cp1251 windows-1251 x-cp1251",
        "cp1253": "cp1253 windows-1253 x-cp1253",
        "cp1254": "cp1254 windows-1254 x-cp1254 iso-8859-9 iso8859-9 iso88599 iso_8859-9 l5 latin5 csisolatin5",
        "cp1255": "cp1255 windows-1255 x-cp1255",
        "cp1256": "cp1256 windows-1256 x-cp1256",
        "cp1257": "cp1257 windows-1257 x-cp1257",
        "cp1258": "cp1258 windows-1258 x-cp1258",
        "gb18030": "gb18030 gb2312 gb_2312 gb_2312-80 gbk x-gbk chinese csgb2312 iso-ir-58",
        "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
        "euc_jp": "euc-jp x-euc-jp cseucpkdfmtjapanese",
        "iso2022_jp": "iso-2022-jp csiso2022jp",
        "cp932": "shift_jis shift-jis sjis x-sjis ms932 ms_kanji windows-31j csshiftjis",
        "cp949": "euc-kr cseuckr korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949",
        "utf-16-le": "utf-16 utf-16le unicode unicodefeff csunicode iso-10646-ucs-2 ucs-2",
        "utf-16-be": "utf-16be unicodefffe",
    }
)
_LABELS = MappingProxyType({label: codec for codec, labels in _CODECS.items() for label in labels.split()})

_HEADER_CHARSET = re.compile(r"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s=/\"'<>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_XML = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']+)[\"']")


def codec_of(label: str) -> str | None:
    """The Python codec for a charset label, None for a label that names no encoding of the web (`utf-7`, nonsense)."""
    return _LABELS.get(label.strip().lower())


def encoding_of(body: bytes, content_type: str | None) -> str:
    """The Python codec that `body` is to be read with. A byte order mark decides before all else."""
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return codec
    return _from_header(content_type) or _from_declaration(body) or _from_bytes(body)


def decode(body: bytes, codec: str) -> str:
    """`body` as text: without its byte order mark, and with U+FFFD for what the codec cannot read."""
    return body.decode(codec, "replace").removeprefix("\ufeff")


def _from_header(content_type: str | None) -> str | None:
    found = _HEADER_CHARSET.search(content_type) if content_type else None
    return codec_of(next(filter(None, found.groups()), "")) if found else None


def _from_declaration(body: bytes) -> str | None:
    head = _COMMENT.sub(b"", body[:_PRESCAN])
    labels = [*(m.group(1).decode("ascii", "replace") for m in (_XML.match(head),) if m), *_meta_labels(head)]
    for label in labels:
        codec = codec_of(label)
        if codec is not None:
            # A declaration that could be read as ASCII cannot stand in UTF-16.
            return "utf-8" if codec.startswith("utf-16") else codec
    return None


def _meta_labels(head: bytes) -> list[str]:
    labels = []
    for meta in _META.finditer(head):
        found = {
            m.group(1).lower(): m.group(2) or m.group(3) or m.group(4) or b"" for m in _ATTRIBUTE.finditer(meta[1])
        }
        label = found.get(b"charset")
        if label is None and found.get(b"http-equiv", b"").lower() == b"content-type":
            inner = _HEADER_CHARSET.search(found.get(b"content", b"").decode("ascii", "replace"))
            label = next(filter(None, inner.groups()), "").encode() if inner else None
        if label is not None:
            labels.append(label.decode("ascii", "replace"))
    return labels


def _from_bytes(body: bytes) -> str:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut off at the very end, behind others that were whole, is a cut page and no other encoding.
        is_cut = error.reason == "unexpected end of data" and not body[: error.start].isascii()
        return "utf-8" if is_cut else "cp1252"
    return "utf-8"
