"""Text from bytes."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.fetch.encoding import _CODECS, codec_of, decode, encoding_of


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        (" utf-8 ", "utf-8"),
        ("iso-8859-1", "cp1252"),
        ("latin1", "cp1252"),
        ("US-ASCII", "cp1252"),
        ("windows-1252", "cp1252"),
        ("iso-8859-9", "cp1254"),
        ("iso-8859-15", "iso8859-15"),
        ("gb2312", "gb18030"),
        ("gbk", "gb18030"),
        ("shift_jis", "cp932"),
        ("euc-kr", "cp949"),
        ("ks_c_5601-1987", "cp949"),
        ("big5", "big5hkscs"),
        ("tis-620", "cp874"),
        ("utf-16", "utf-16-le"),
        ("koi8-r", "koi8-r"),
        ("utf-7", None),
        ("rot13", None),
        ("base64", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_labels_mean_what_the_web_means_by_them(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec


def test_every_codec_exists_here() -> None:
    for codec in _CODECS:
        codecs.lookup(codec)


@pytest.mark.parametrize(
    ("body", "content_type", "codec", "text"),
    [
        # The mark before the header, the header before the declaration, the declaration before the bytes.
        (b"\xef\xbb\xbfcaf\xc3\xa9", "text/html; charset=iso-8859-1", "utf-8", "café"),
        ("café".encode("utf-16"), "text/html; charset=utf-8", "utf-16-le", "café"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), None, "utf-16-be", "é"),
        (b'<meta charset="utf-8">caf\xe9', "text/html; charset=ISO-8859-1", "cp1252", '<meta charset="utf-8">café'),
        (b"<meta charset=iso-8859-1>\xc3\xa9", None, "cp1252", "<meta charset=iso-8859-1>Ã©"),
        (b"caf\xc3\xa9", None, "utf-8", "café"),
        (b"caf\xe9", None, "cp1252", "café"),
        (b"10 \x80", "text/html; charset=iso-8859-1", "cp1252", "10 €"),
        (b"", None, "utf-8", ""),
        # Headers as servers write them.
        (b"\xe9", 'text/html; charset="iso-8859-1"', "cp1252", "é"),
        (b"\xe9", "text/html;Charset = latin1 ; x=y", "cp1252", "é"),
        (b"\xe9", "text/html; charset='latin1'", "cp1252", "é"),
        (b"\xc3\xa9", "text/html; charset=nonsense", "utf-8", "é"),
        (b"\xc3\xa9", "text/html; charset=", "utf-8", "é"),
        (b"\xc3\xa9", "text/html; charset=utf-7", "utf-8", "é"),
        # What cannot be read stands as U+FFFD.
        (b"a\xffb", "text/html; charset=utf-8", "utf-8", "a\ufffdb"),
        # A page that was cut within a character is still UTF-8.
        (b"caf\xc3\xa9 et th\xc3", None, "utf-8", "café et th\ufffd"),
        # The Far East.
        ("東京①".encode("cp932"), "text/html; charset=Shift_JIS", "cp932", "東京①"),
        ("한국".encode("cp949"), "text/html; charset=euc-kr", "cp949", "한국"),
        ("中文€".encode("gb18030"), "text/html; charset=gb2312", "gb18030", "中文€"),
    ],
)
def test_reading(body: bytes, content_type: str | None, codec: str, text: str) -> None:
    assert encoding_of(body, content_type) == codec
    assert decode(body, codec) == text


@pytest.mark.parametrize(
    "declaration",
    [
        b"<meta charset=koi8-r>",
        b'<META CHARSET="KOI8-R">',
        b"<meta charset='koi8-r' />",
        b'<meta name="x" charset = "koi8-r">',
        b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">',
        b"<meta content='text/html;charset=koi8-r' http-equiv=content-type>",
        b'<meta\nhttp-equiv="Content-Type"\ncontent="text/html; charset=koi8-r"\n>',
        b"<!-- <meta charset=utf-8> --><meta charset=koi8-r>",
        b"<meta charset=nonsense><meta charset=koi8-r>",
        b'<?xml version="1.0" encoding="koi8-r"?>',
        b'<meta name="description" content="charset=utf-8"><meta charset=koi8-r>',
        b"x" * 1010 + b"<meta charset=koi8-r>",
    ],
)
def test_declarations(declaration: bytes) -> None:
    expected = "cp1252" if declaration.startswith(b"x" * 1010) else "koi8-r"
    assert encoding_of(declaration + b"\xc1", "text/html") == expected


def test_a_declaration_of_utf_16_that_could_be_read_is_utf_8() -> None:
    assert encoding_of(b"<meta charset=utf-16>\xc3\xa9", None) == "utf-8"


@given(st.binary(max_size=300), st.none() | st.text(max_size=40))
def test_any_bytes_can_be_read(body: bytes, content_type: str | None) -> None:
    assert isinstance(decode(body, encoding_of(body, content_type)), str)


@given(st.text(max_size=200))
def test_utf_8_comes_back_as_it_was(text: str) -> None:
    body = text.encode("utf-8", "replace")
    assert decode(body, encoding_of(body, "text/html; charset=utf-8")) == body.decode().removeprefix("\ufeff")
