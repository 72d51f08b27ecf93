"""Addresses and redirects."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.fetch.address import BadAddress, clean, credentials, join, local, origin, resolve, with_query
from windrow.fetch.redirects import RedirectRefused, following, is_redirect
from windrow.fetch.transport import Answer, Request

HOME = "https://example.org/a/b?c=d"
POST = Request(
    "POST",
    HOME,
    {
        "authorization": "Basic x",
        "Cookie": "a=b",
        "X-Api-Key": "secret",
        "X-CSRF-Token": "t",
        "User-Agent": "windrow",
        "Accept": "*/*",
        "Content-Type": "text/plain",
    },
    b"hay",
)


def answer(status: int, location: str | None, url: str = HOME, **headers: str) -> Answer:
    return Answer(status, url, headers | ({} if location is None else {"Location": location}), b"", 0.0, 0)


def after(status: int, location: str, request: Request = POST, most: int = 10) -> Request:
    return following(request, answer(status, location, request.url), [(request.method, request.url)], most)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_becomes_a_get_without_body(status: int) -> None:
    moved = after(status, "/next")
    assert (moved.method, moved.url, moved.body) == ("GET", "https://example.org/next", None)
    assert "Content-Type" not in moved.headers
    assert moved.headers["authorization"] == "Basic x"


@pytest.mark.parametrize("status", [307, 308])
def test_method_and_body_are_kept(status: int) -> None:
    moved = after(status, "/next")
    assert (moved.method, moved.body, moved.headers) == ("POST", b"hay", POST.headers)


@pytest.mark.parametrize(("status", "method"), [(301, "PUT"), (302, "DELETE"), (303, "GET"), (307, "HEAD")])
def test_other_methods(status: int, method: str) -> None:
    sent = "DELETE" if method == "DELETE" else "PUT" if method == "PUT" else method
    assert after(status, "/next", Request(sent, HOME)).method == method
    assert after(303, "/next", Request("PUT", HOME)).method == "GET"
    assert after(303, "/next", Request("HEAD", HOME)).method == "HEAD"


@pytest.mark.parametrize(
    "location",
    [
        "https://other.org/",
        "http://example.org/",
        "https://example.org:8443/",
        "https://www.example.org/",
        "//other.org/",
    ],
)
@pytest.mark.parametrize("status", [302, 307])
def test_nothing_that_says_who_asks_crosses_to_another_origin(location: str, status: int) -> None:
    told = {name.lower() for name in after(status, location).headers}
    assert told - {"content-type"} == {"user-agent", "accept"}


def test_within_the_origin_all_headers_stay() -> None:
    assert after(302, "https://EXAMPLE.org:443/x").headers["X-Api-Key"] == "secret"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "https://example.org/x"),
        ("x", "https://example.org/a/x"),
        ("../x", "https://example.org/x"),
        ("?q=1", "https://example.org/a/b?q=1"),
        ("//other.org/x", "https://other.org/x"),
        ("/x#part", "https://example.org/x"),
        (" /x y/é ", "https://example.org/x%20y/%C3%A9"),
        ("/\udce9", "https://example.org/%E9"),
        ("https://user:pw@other.org/", "https://other.org/"),
        ("HTTPS://EXAMPLE.ORG/X", "https://example.org/X"),
    ],
)
def test_where_a_location_leads(location: str, url: str) -> None:
    assert after(302, location).url == url


@pytest.mark.parametrize(
    "location",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://",
        "http://[",
        "https://a b/",
    ],
)
def test_what_is_no_http_address_is_refused(location: str) -> None:
    with pytest.raises(RedirectRefused, match="no http"):
        after(302, location)


def test_a_loop_is_refused() -> None:
    request = Request("GET", HOME)
    with pytest.raises(RedirectRefused, match="loop"):
        following(request, answer(302, HOME), [("GET", HOME)], 10)
    second = Request("GET", "https://example.org/2")
    with pytest.raises(RedirectRefused, match="loop"):
        following(second, answer(302, HOME, second.url), [("GET", HOME), ("GET", second.url)], 10)


def test_back_to_the_same_address_with_a_cookie_or_another_method_is_no_loop() -> None:
    assert following(Request("GET", HOME), answer(302, HOME, **{"Set-Cookie": "a=b"}), [("GET", HOME)], 10).url == HOME
    assert after(303, HOME).method == "GET"


def test_chains_have_an_end() -> None:
    request = Request("GET", "https://example.org/9")
    visited = [("GET", f"https://example.org/{n}") for n in range(10)]
    assert following(request, answer(302, "/10", request.url), visited, 10).url.endswith("/10")
    with pytest.raises(RedirectRefused, match="more than 9"):
        following(request, answer(302, "/10", request.url), visited, 9)


def test_what_is_a_redirect() -> None:
    assert all(is_redirect(answer(status, "/x")) for status in (301, 302, 303, 307, 308))
    assert not any(is_redirect(answer(status, "/x")) for status in (200, 201, 300, 304, 404))
    assert not is_redirect(answer(302, None))


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("http://example.org", "http://example.org/"),
        ("http://example.org?a=b", "http://example.org/?a=b"),
        ("HTTP://Example.ORG:80/A", "http://example.org/A"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("https://example.org:80/a", "https://example.org:80/a"),
        ("http://example.org/a b", "http://example.org/a%20b"),
        ("http://example.org/é?q=ü", "http://example.org/%C3%A9?q=%C3%BC"),
        ("http://example.org/%c3%a9%2F~%7e+?a=%20&b=+", "http://example.org/%c3%a9%2F~%7e+?a=%20&b=+"),
        ("http://example.org/100%", "http://example.org/100%"),
        ('http://example.org/?q="<x>"', "http://example.org/?q=%22%3Cx%3E%22"),
        ("http://example.org/a/../b/./c", "http://example.org/b/c"),
        ("http://example.org/../../x", "http://example.org/x"),
        ("http://example.org/a/%2e%2E/private/%2e/x", "http://example.org/private/x"),
        ("http://example.org/a/.%2e/b%2e%2ec/%2ehidden", "http://example.org/b%2e%2ec/%2ehidden"),
        ("http://example.org/a/..", "http://example.org/"),
        ("http://example.org/.well-known/x", "http://example.org/.well-known/x"),
        ("http://example.org/a#b", "http://example.org/a"),
        ("http://user:pw@example.org/", "http://example.org/"),
        ("http://münchen.example/", "http://xn--mnchen-3ya.example/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("  http://example.org/x\n", "http://example.org/x"),
        ("http://127.0.0.1:8900/x?javax.portlet.action=y[0]", "http://127.0.0.1:8900/x?javax.portlet.action=y[0]"),
    ],
)
def test_clean(url: str, cleaned: str) -> None:
    assert clean(url) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "ftp://x/",
        "http://",
        "http:///x",
        "http://a:b/",
        "http://a:99999/",
        "http://[1/",
        "mailto:a@b",
        "http://a\\b/",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadAddress):
        clean(url)


@given(st.text(max_size=60))
def test_what_is_clean_is_ascii_and_stays_clean(rest: str) -> None:
    try:
        cleaned = clean("http://example.org/" + rest)
    except BadAddress:
        return
    assert cleaned.isascii()
    assert " " not in cleaned
    assert clean(cleaned) == cleaned
    assert urlsplit(cleaned).hostname == "example.org"


@pytest.mark.parametrize(
    ("base", "url", "joined"),
    [
        ("http://x/api", "/page", "http://x/api/page"),
        ("http://x/api/", "page", "http://x/api/page"),
        ("http://x", "/page?a=b#c", "http://x/page?a=b#c"),
        ("http://x/api", "?a=b", "http://x/api?a=b"),
        ("http://x/api", "", "http://x/api"),
        ("http://x/api", "http://y/z", "http://y/z"),
        ("https://x/api", "//y/z", "https://y/z"),
        ("http://x/api", "a:b/c", "a:b/c"),
        ("http://x/api", "/a?u=http://y/", "http://x/api/a?u=http://y/"),
    ],
)
def test_join(base: str, url: str, joined: str) -> None:
    assert join(base, url) == joined


def test_a_relative_address_needs_a_base() -> None:
    with pytest.raises(BadAddress, match="base_url"):
        join(None, "/x")


@pytest.mark.parametrize(
    ("base", "url", "found"),
    [
        ("http://127.0.0.1:8900", "https://public.example/web/a?b=c#d", "http://127.0.0.1:8900/web/a?b=c#d"),
        ("http://127.0.0.1:8900/copy", "https://public.example/web/a", "http://127.0.0.1:8900/copy/web/a"),
        ("http://127.0.0.1:8900/copy/", "http://127.0.0.1:8900/copy/web/a", "http://127.0.0.1:8900/copy/web/a"),
        ("http://127.0.0.1:8900/copy", "https://public.example/copying", "http://127.0.0.1:8900/copy/copying"),
        ("http://127.0.0.1:8900", "https://public.example", "http://127.0.0.1:8900/"),
        ("http://127.0.0.1:8900", "/web/a", "http://127.0.0.1:8900/web/a"),
    ],
)
def test_local(base: str, url: str, found: str) -> None:
    assert local(base, url) == found


def test_queries_are_added_to() -> None:
    assert (
        with_query("/x?a=1#f", {"b": [1, 2], "c": None, "d e": "ü&", "t": True})
        == "/x?a=1&b=1&b=2&d+e=%C3%BC%26&t=true#f"
    )
    assert with_query("/x", [("a", 1), ("a", 2)]) == "/x?a=1&a=2"
    assert with_query("/x", {}) == "/x"
    assert with_query("/x?", {"a": ""}) == "/x?a="


def test_origins_and_credentials() -> None:
    assert origin("https://example.org/x").name == "https://example.org"
    assert origin("http://127.0.0.1:8900/x").authority == "127.0.0.1:8900"
    assert origin("http://example.org/").authority == origin("https://example.org/").authority
    assert origin("http://[::1]:81/").authority == "[::1]:81"
    assert credentials("https://user:p%40ss@example.org/") == "Basic dXNlcjpwQHNz"
    assert credentials("https://example.org/@x") is None


def test_an_empty_reference_means_the_page_itself() -> None:
    assert resolve(HOME, "") == HOME
