"""robots.txt: the cases of RFC 9309, and those Google documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.politeness.robots import RobotsRules, product_token

ME = "windrow/0.1 (a scraper; +https://example.org/bot)"


def allows(text: str, path: str, user_agent: str = ME) -> bool:
    return RobotsRules.from_answer(200, text).allows(user_agent, f"https://example.com{path}")


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("windrow/0.1 (…)", "windrow"),
        ("Windrow", "windrow"),
        ("my-bot_2/1.0", "my-bot_2"),
        ("Mozilla/5.0 (compatible; x)", "mozilla"),
        (" windrow ", "windrow"),
        ("", "*"),
        ("(nothing)", "*"),
    ],
)
def test_product_token(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


# --- 2.3.1: what an answer means ---


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 301, 304])
def test_a_missing_file_allows_everything(status: int) -> None:
    assert RobotsRules.from_answer(status, "User-agent: *\nDisallow: /").allows(ME, "https://example.com/x")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 0, 429])
def test_an_unreachable_file_forbids_everything(status: int) -> None:
    rules = RobotsRules.from_answer(status, "User-agent: *\nAllow: /")
    assert not rules.allows(ME, "https://example.com/x")
    assert rules.crawl_delay(ME) is None


@pytest.mark.parametrize("text", ["", "\n\n", "<html><body>Not found: nothing</body></html>", "\0\1\2", "Disallow: /"])
def test_a_file_without_rules_allows_everything(text: str) -> None:
    assert allows(text, "/x")


# --- 2.2.1: groups and product tokens ---


def test_the_most_specific_group_holds_and_only_that() -> None:
    text = "User-agent: *\nDisallow: /\n\nUser-agent: windrow\nDisallow: /private\n"
    assert allows(text, "/public")
    assert not allows(text, "/private/x")
    assert not allows(text, "/public", "other/1.0")


def test_tokens_match_without_case_and_with_a_version_behind() -> None:
    for name in ("windrow", "WINDROW", "WindRow/1.0", "windrow/0.1 (text)", " windrow  "):
        assert not allows(f"User-agent:{name}\nDisallow: /", "/x"), name


@pytest.mark.parametrize("name", ["wind", "windrowx", "windrow-news", "row", "mywindrow", "windrow2"])
def test_a_token_that_only_begins_alike_is_somebody_else(name: str) -> None:
    assert allows(f"User-agent: {name}\nDisallow: /", "/x")


def test_groups_of_the_same_token_are_one() -> None:
    text = "User-agent: windrow\nDisallow: /a\n\nUser-agent: other\nDisallow: /b\n\nUser-agent: Windrow\nDisallow: /c"
    assert [allows(text, path) for path in ("/a", "/b", "/c")] == [False, True, False]


def test_several_user_agents_share_one_group() -> None:
    text = "User-agent: first\nUser-agent: windrow\n# a comment\n\nUser-agent: third\nDisallow: /x"
    assert not allows(text, "/x")
    assert not allows(text, "/x", "first")
    assert not allows(text, "/x", "third")
    assert allows(text, "/x", "fourth")


def test_everybody_is_a_star_also_with_words_behind() -> None:
    for line in ("User-agent: *", "user-agent:*", "USER-AGENT: * and all others", "User-Agent : *"):
        assert not allows(f"{line}\nDisallow: /", "/x"), line


def test_rules_before_any_group_are_nobodys() -> None:
    assert allows("Disallow: /\nUser-agent: other\nDisallow: /", "/x")


def test_a_group_without_rules_allows_everything() -> None:
    assert allows("User-agent: *\nDisallow: /\n\nUser-agent: windrow\nDisallow:", "/x")


# --- 2.2.2: allow and disallow ---


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        # The longest match holds, and Allow where two are alike.
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Allow: /folder\nDisallow: /folder", "/folder/page", True),
        ("Disallow: /folder\nAllow: /folder", "/folder/page", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Allow: /page\nDisallow: /*.ph", "/page.php5", True),
        ("Allow: /$\nDisallow: /", "/", True),
        ("Allow: /$\nDisallow: /", "/page.htm", False),
        ("Disallow: /x/\nAllow: /x/page.html", "/x/page.html", True),
        ("Disallow: /x/\nAllow: /x/page.html", "/x/other", False),
        # Google's table of paths.
        ("Disallow: /fish", "/fish", False),
        ("Disallow: /fish", "/fish.html", False),
        ("Disallow: /fish", "/fish/salmon.html", False),
        ("Disallow: /fish", "/fishheads/yummy.html", False),
        ("Disallow: /fish", "/fish.php?id=anything", False),
        ("Disallow: /fish", "/Fish.asp", True),
        ("Disallow: /fish", "/catfish", True),
        ("Disallow: /fish", "/?id=fish", True),
        ("Disallow: /fish", "/desert/fish", True),
        ("Disallow: /fish*", "/fishheads", False),
        ("Disallow: /fish/", "/fish/", False),
        ("Disallow: /fish/", "/fish/?id=anything", False),
        ("Disallow: /fish/", "/fish", True),
        ("Disallow: /fish/", "/fish.html", True),
        ("Disallow: /*.php", "/index.php", False),
        ("Disallow: /*.php", "/folder/any.php.file.html", False),
        ("Disallow: /*.php", "/filename.php/", False),
        ("Disallow: /*.php", "/?x=.php", False),
        ("Disallow: /*.php", "/windows.PHP", True),
        ("Disallow: /*.php$", "/filename.php", False),
        ("Disallow: /*.php$", "/filename.php?parameters", True),
        ("Disallow: /*.php$", "/filename.php/", True),
        ("Disallow: /*.php$", "/filename.php5", True),
        ("Disallow: /fish*.php", "/fishheads/catfish.php?parameters", False),
        ("Disallow: /fish*.php", "/Fish.PHP", True),
        # An empty rule says nothing, a query counts, a fragment does not.
        ("Disallow:", "/x", True),
        ("Disallow: /*?", "/a?b", False),
        ("Disallow: /*?", "/a", True),
        ("Disallow: /a#comment", "/a", False),
        ("Disallow: /b", "/a#/b", True),
        # Percent-encoding: both sides mean the same however they are written.
        ("Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", False),
        ("Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("Disallow: /path/file-with-a-%2A.html", "/path/file-with-a-*.html", False),
        ("Disallow: /a%3cd.html", "/a%3Cd.html", False),
        ("Disallow: /a/b", "/a%2Fb", True),
        # /robots.txt itself may always be asked for.
        ("Disallow: /", "/robots.txt", True),
    ],
)
def test_paths(rules: str, path: str, allowed: bool) -> None:
    assert allows(f"User-agent: windrow\n{rules}\n", path) is allowed


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends(end: str) -> None:
    text = end.join(["User-agent: *", "Disallow: /y", "", "User-agent: windrow", "Disallow: /x", ""])
    assert not allows(text, "/x")
    assert allows(text, "/y")


def test_a_byte_order_mark_hides_nothing() -> None:
    assert not allows("\ufeffUser-agent: *\nDisallow: /x", "/x")


def test_comments_and_other_lines_are_passed_over() -> None:
    text = "# hello\nSitemap: https://example.com/s.xml\nUser-agent: windrow # us\nHost: x\nDisallow: /x # here\nOdd\n"
    assert not allows(text, "/x")
    assert allows(text, "/y")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 5", 5.0),
        ("User-agent: *\nCrawl-delay: 5\n\nUser-agent: windrow\nCrawl-delay: 0.5", 0.5),
        ("User-agent: *\nCrawl-delay: 5\n\nUser-agent: windrow\nDisallow: /x", None),
        ("User-agent: *\nCrawl-delay: often", None),
        ("User-agent: *\nCrawl-delay: -3", None),
        ("User-agent: wind\nCrawl-delay: 9", None),
        ("User-agent: *\nCrawl-delay:", None),
        ("User-agent: *\nCrawl-delay: [5]", None),
        ("User-agent: *\nCrawl-delay: inf", None),
        ("User-agent: *\nCrawl-delay: 0", 0.0),
        ("User-agent: *\nCrawl-delay: .5", 0.5),
        ("User-agent: *\nCrawl-delay: 0,5", 0.5),
        ("User-agent: *\nCrawl delay: 10 seconds", 10.0),
        ("User-agent: *\nCrawl-delay: 86400", 86_400.0),
        ("User-agent: *\nCrawl-delay: 2\nDisallow: /x\nCrawl-delay: 7\nUser-agent: *\nCrawl-delay: 3", 7.0),
        ("User-agent: windrow\nUser-agent: other\nDisallow: /x\nCrawl-delay: 4", 4.0),
        ("Crawl-delay: 4\nUser-agent: windrow\nDisallow: /x", None),
        # The group is one (2.2.4), but a delay is meant for those who are named above it.
        ("User-agent: other\nCrawl-delay: 8\nUser-agent: windrow\nDisallow: /x", None),
        ("User-agent: windrow\nCrawl-delay: 8\nUser-agent: other\nCrawl-delay: 1", 8.0),
        ("", None),
    ],
)
def test_crawl_delay(text: str, delay: float | None) -> None:
    assert RobotsRules.from_answer(200, text).crawl_delay(ME) == delay


@given(st.text(max_size=300), st.text(max_size=40))
def test_no_file_and_no_path_does_harm(text: str, path: str) -> None:
    rules = RobotsRules.from_answer(200, text)
    assert rules.allows(ME, "https://example.com/" + path) in {True, False}
    rules.crawl_delay(ME)
