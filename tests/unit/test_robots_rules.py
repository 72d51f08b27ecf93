"""robots.txt, rule by rule: what RFC 9309 and Google's documentation say, in cases of our own.

`test_robots.py` has what the RFC's and Google's own tables show; here is what lies between: how lines are read, where
groups end, how octets are compared, and where we are stricter than others on purpose. Each case names its rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from windrow.politeness.robots import LONGEST, RobotsRules, text_of

ME = "windrow/0.1 (a scraper; +https://example.org/bot)"
SITE = "https://example.org"


@dataclass(frozen=True)
class Case:
    rule: str
    text: str
    open: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    user_agent: str = ME


MINE = "User-agent: windrow\n"

LINES = [
    Case("2.1: names of fields have no case", "USER-AGENT: windrow\ndisALLOW: /x\naLLow: /x/y", ("/x/y",), ("/x/z",)),
    Case(
        "2.1: white space may stand around a name and a value",
        " \tUser-agent \t:\t windrow \n\tDisallow\t:\t/x \t",
        ("/y",),
        ("/x",),
    ),
    Case("2.1: or nowhere", "User-agent:windrow\nDisallow:/x", ("/y",), ("/x",)),
    Case(
        "2.1: a line ends at CR, LF or CRLF, in one file too",
        "User-agent: windrow\rDisallow: /a\r\nDisallow: /b\nAllow: /c\r\r\nDisallow: /d",
        ("/c",),
        ("/a", "/b", "/d"),
    ),
    Case(
        "2.1: and nowhere else",
        f"{MINE}Disallow: /a\nDisallow: /b\x0bAllow: /a\nDisallow: /c\u2028Allow: /a\nDisallow: /d\x85Allow: /a",
        (),
        ("/a", "/b%0BAllow:%20/a", "/d%C2%85Allow:%20/a"),
    ),
    Case("2.1: the last line needs no end", f"{MINE}Disallow: /x", (), ("/x",)),
    Case(
        "2.1: a rule belongs to the user agents above it, over blank lines too",
        f"{MINE}\n\n\nDisallow: /x\n\nDisallow: /y",
        ("/z",),
        ("/x", "/y"),
    ),
    Case(
        "2.1: a user agent behind a rule begins a group",
        f"{MINE}Disallow: /x\nUser-agent: other\nDisallow: /y",
        ("/y",),
        ("/x",),
    ),
    Case(
        "2.1: without a blank line as well as with one",
        f"User-agent: other\nDisallow: /y\n{MINE}Disallow: /x",
        ("/y",),
        ("/x",),
    ),
    Case(
        "2.1: an empty rule is one, so it ends the user agents",
        f"{MINE}Disallow:\nUser-agent: other\nDisallow: /",
        ("/", "/x"),
    ),
    Case(
        "2.2.3: # begins a comment anywhere",
        f"# a\n{MINE}# Disallow: /a\nDisallow: /b # c\nDisallow: /d#e\n#",
        ("/a",),
        ("/b", "/d", "/d%23"),
    ),
    Case(
        "2.3.1.5: what cannot be read is passed over, the rest counts",
        f"<p>\n{MINE}:::\n:\n= /\n\0\nDisallow\nDisallow: /x\n%%",
        ("/y",),
        ("/x",),
    ),
    Case(
        "2.5: a line may be long",
        f"{MINE}Disallow: /{'x' * 20_000}y",
        ("/" + "x" * 20_000,),
        ("/" + "x" * 20_000 + "yz",),
    ),
    Case("Google: a forgotten colon", "User-agent windrow\nDisallow /x\nAllow\t/x/y", ("/x/y",), ("/x",)),
    Case(
        "Google: but not in a sentence",
        f"{MINE}Disallow /x and more\nUser-agent is who asks\nDisallow: /y",
        ("/x",),
        ("/y",),
    ),
    *(
        Case(f"Google: {name} is read as what is meant", f"{MINE}{name}: /x", ("/y",), ("/x",))
        for name in ("Dissallow", "Dissalow", "Disalow", "Diasllow", "Disallaw", "Disallowed")
    ),
    *(
        Case(f"Google: {name} is read as what is meant", f"{name}: windrow\nDisallow: /x", ("/y",), ("/x",))
        for name in ("Useragent", "User agent", "User-agents")
    ),
    Case("ours: a misspelt Allow is no rule", f"{MINE}Alow: /x\nAllowed: /y\nAllows: /z", ("/x", "/y", "/z")),
    Case("ours: no misspelling allows anything", f"{MINE}Disallow: /\nAlow: /x\nAllowed: /x\nAllows: /x", (), ("/x",)),
]

GROUPS = [
    Case("2.2.1: tokens have no case", "User-agent: WinDrow\nDisallow: /x", ("/y",), ("/x",)),
    Case(
        "2.2.1: everybody is who is not named, wherever that stands",
        f"User-agent: *\nDisallow: /a\n{MINE}Disallow: /b\nUser-agent: *\nDisallow: /c",
        ("/a", "/c"),
        ("/b",),
    ),
    Case(
        "2.2.1: everybody's groups are one as well",
        "User-agent: *\nDisallow: /a\nUser-agent: other\nDisallow: /b\nUser-agent: *\nDisallow: /c",
        ("/b",),
        ("/a", "/c"),
    ),
    Case("2.2.1: no group, no rules", "User-agent: other\nDisallow: /", ("/",)),
    Case("2.2.1: named beside everybody", "User-agent: *\nUser-agent: windrow\nDisallow: /x", ("/y",), ("/x",)),
    Case(
        "2.2.1: our token is what our user agent begins with",
        "User-agent: my-bot\nDisallow: /x\nUser-agent: *\nDisallow: /y",
        ("/y",),
        ("/x",),
        "my-bot/1.0 (+https://example.org/bot)",
    ),
    Case(
        "2.2.1: and not what stands in its comment",
        f"{MINE}Disallow: /x\nUser-agent: *\nDisallow: /y",
        ("/x",),
        ("/y",),
        "Mozilla/5.0 (compatible; windrow/0.1)",
    ),
    Case(
        "2.2.1: who has no token is one of everybody",
        "User-agent: ?\nDisallow: /x\nUser-agent: *\nDisallow: /y",
        ("/x",),
        ("/y",),
        "(secret)",
    ),
    Case("2.2.1: a name that is none binds nobody", "User-agent: (windrow)\nUser-agent: *bot\nDisallow: /", ("/",)),
    Case(
        "2.2.1: an empty name ends a group and begins nobody's",
        f"{MINE}Disallow: /x\nUser-agent:\nDisallow: /y",
        ("/y",),
        ("/x",),
    ),
    Case(
        "Google: a token ends at what cannot belong to it",
        "User-agent: windrow images\nUser-agent: x\nDisallow: /x\nUser-agent: windrow*\nDisallow: /y",
        (),
        ("/x", "/y"),
    ),
    Case("ours: a digit belongs to a token", "User-agent: windrow7\nDisallow: /", ("/",)),
    Case(
        "2.2.4: a Sitemap does not part the user agents of a group",
        f"{MINE}Sitemap: {SITE}/s.xml\n\nUser-agent: other\nDisallow: /x",
        ("/y",),
        ("/x",),
    ),
    Case("2.2.4: nor does what nobody knows", f"{MINE}Noindex: /a\nUser-agent: other\nDisallow: /x", ("/a",), ("/x",)),
    Case("2.2.4: nor does a Crawl-delay", f"{MINE}Crawl-delay: 5\n\nUser-agent: other\nDisallow: /x", ("/y",), ("/x",)),
    Case(
        "2.2.4: nor do they end a group's rules",
        f"{MINE}Disallow: /x\nSitemap: {SITE}/s.xml\nHost: y\nCrawl-delay: 1\nDisallow: /y",
        ("/z",),
        ("/x", "/y"),
    ),
]

PATHS = [
    Case("2.2.2: an address without a path asks for /", f"{MINE}Disallow: /$", ("/x",), ("",)),
    Case("2.2.2: whether or not it has a query", f"{MINE}Disallow: /?x", ("", "/?y"), ("?x=1", "/?x=1")),
    Case("2.2.2: // is a path as any other", f"{MINE}Disallow: //x", ("/x",), ("//x",)),
    Case("2.2.2: a query may be empty", f"{MINE}Disallow: /*?$", ("/a", "/a?b"), ("/a?",)),
    Case(
        "2.2.2: robots.txt itself is always open",
        f"{MINE}Disallow: /robots.txt\nDisallow: /",
        ("/robots.txt", "/robots.txt?x"),
        ("/robots.txt.bak", "/a/robots.txt"),
    ),
    Case("2.2.2: the most octets count, and escapes are three", f"{MINE}Disallow: /é\nAllow: /*A9$", (), ("/%C3%A9",)),
    Case("2.2.2: a star is an octet", f"{MINE}Disallow: /a*\nAllow: /a", (), ("/ab",)),
    Case("2.2.2: so is the end", f"{MINE}Allow: /a\nDisallow: /a$", ("/ab",), ("/a",)),
    Case(
        "2.2.2: the order says nothing",
        f"{MINE}Allow: /\nDisallow: /x\nAllow: /x/y\nDisallow: /x/y/z",
        ("/", "/x/y"),
        ("/x", "/x/y/z"),
    ),
    Case(
        "2.2.2: rules of several groups are weighed together",
        f"{MINE}Disallow: /x\nUser-agent: other\nAllow: /x/y\n{MINE}Allow: /x/z",
        ("/x/z",),
        ("/x", "/x/y"),
    ),
    Case(
        "2.2.2: an escape of what needs none is that character",
        f"{MINE}Disallow: /%7Ea-b%2Ec%5F",
        (),
        ("/~a-b.c_", "/%7ea%2Db.c_"),
    ),
    Case(
        "2.2.2: reserved characters count as their escapes",
        f"{MINE}Disallow: /a?b=x%3A%2F%2Fc\nDisallow: /d:e",
        ("/a?b=x://c",),
        ("/a?b=x:%2f%2Fc", "/d%3Ae"),
    ),
    Case(
        "2.2.2: but an escaped slash parts no path",
        f"{MINE}Disallow: /a/b\nDisallow: /c%2Fd",
        ("/a%2Fb", "/c/d"),
        ("/a/b", "/c%2fd"),
    ),
    Case("2.2.2: a blank is its escape", f"{MINE}Disallow: /a b\nDisallow: /c%20d", ("/a+b",), ("/a%20b/e", "/c d")),
    Case("2.2.2: octets beyond ASCII are their escapes", f"{MINE}Disallow: /é%c3%AF", (), ("/%C3%A9ï", "/é%c3%af")),
    Case(
        "2.2.2: each octet for itself, and each another",
        f"{MINE}Disallow: /%E3\nDisallow: /x/%E9",
        ("/%E4%83%84", "/x/%E8"),
        ("/%E3%83%84", "/x/%E9"),
    ),
    Case("2.2.2: an escaped percent sign begins no escape", f"{MINE}Disallow: /é", ("/%25C3%25A9",), ("/%C3%A9",)),
    Case(
        "2.2.2: a percent sign alone is one",
        f"{MINE}Disallow: /100%\nDisallow: /*%zz",
        ("/100", "/zz"),
        ("/100%", "/100%25", "/%zz"),
    ),
    Case(
        "2.2.3: $ ends a path only at the end of a rule",
        f"{MINE}Disallow: /a$b\nDisallow: /c$$",
        ("/a", "/c"),
        ("/a$b", "/a%24bc", "/c$"),
    ),
    Case(
        "2.2.3: and then it is no character",
        f"{MINE}Disallow: /\nAllow: /a$\nAllow: /b/*.css$",
        ("/a", "/b/c.css"),
        ("/a$", "/a$b", "/b/c.css$d"),
    ),
    Case(
        "2.2.3: %24 and %2A are characters",
        f"{MINE}Disallow: /a%24\nDisallow: /b%2A",
        ("/a", "/b", "/bx"),
        ("/a$", "/a%24x", "/b*", "/b%2ax"),
    ),
    Case(
        "2.2.3: a star in an address is a character", f"{MINE}Disallow: /\nAllow: /a*c", ("/a*c", "/abc"), ("/a*", "/*")
    ),
    Case(
        "2.2.3: a star stands for nothing, too, and two for one",
        f"{MINE}Disallow: /a**b\nDisallow: /*/*/x",
        ("/a", "/y/x"),
        ("/ab", "/acb", "///x", "/y/z/x"),
    ),
    Case(
        "2.2.3: a rule may begin with a star",
        f"{MINE}Disallow: *.gif$\nAllow: *keep",
        ("/a.gif?", "/a.png"),
        ("/a.gif", "/.gif"),
    ),
    Case("2.2.3: or be one", f"{MINE}Disallow: *", (), ("/", "/x")),
    Case(
        "2.2.3: any way to match will do",
        f"{MINE}Disallow: /*ab$\nDisallow: /x*b*bc",
        ("/ab/", "/xbc"),
        ("/ab/ab", "/aab", "/xbbc", "/xbcbc"),
    ),
    Case(
        "2.2.3: but no character twice",
        f"{MINE}Disallow: /aa*aa$\nDisallow: /bb*b",
        ("/aa", "/aaa", "/bb"),
        ("/aaaa", "/bbb"),
    ),
    Case("2.2.3: of two $ the last is the end", f"{MINE}Disallow: /$$", ("/", "/x"), ("/$",)),
]

STRICTER = [
    Case(
        "ours: index.html is no directory",
        f"{MINE}Disallow: /\nAllow: /a/index.html\nAllow: /index.htm",
        ("/a/index.html",),
        ("/", "/a/"),
    ),
    Case(
        "ours: a path that lacks its slash forbids",
        f"{MINE}Disallow: private/\nDisallow: ~",
        ("/x/private/", "/private"),
        ("/private/x", "/~me"),
    ),
    Case("ours: but allows nothing", f"{MINE}Disallow: /\nAllow: public", (), ("/public",)),
    Case(
        "ours: an address forbids on its own host",
        f"{MINE}Disallow: HTTPS://Example.org/private*x$\nDisallow: https://other.org/",
        ("/private", "/public"),
        ("/private/x",),
    ),
    Case("ours: and allows nowhere", f"{MINE}Disallow: /\nAllow: {SITE}/public", (), ("/public",)),
    Case(
        "ours: spaces of a word processor are passed over",
        "\xa0User-agent:\xa0windrow\nDisallow:\xa0/x\xa0\n\ufeffDisallow: /y",
        ("/z",),
        ("/x", "/y"),
    ),
]


@pytest.mark.parametrize("case", [*LINES, *GROUPS, *PATHS, *STRICTER], ids=lambda case: case.rule)
def test_rule(case: Case) -> None:
    rules = RobotsRules.from_answer(200, case.text)
    assert [path for path in case.open if not rules.allows(case.user_agent, SITE + path)] == []
    assert [path for path in case.forbidden if rules.allows(case.user_agent, SITE + path)] == []


def test_a_path_alone_will_do() -> None:
    rules = RobotsRules.from_answer(200, f"{MINE}Disallow: //x\nDisallow: /y:z")
    assert [rules.allows(ME, path) for path in ("/x", "//x", "/y:z", "/z#/y:z")] == [True, False, False, True]


# --- from octets to text ---


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"Allow: /\xc3\xa9", "Allow: /é"),
        # 2.2.2: an address has the octet as its escape, whatever the file's author took it for.
        (b"Allow: /\xe9\xff/\xc3", "Allow: /%E9%FF/%C3"),
        (b"\xef\xbb\xbfAllow: /", "\ufeffAllow: /"),
        ("\ufeffAllow: /é\r\n".encode("utf-16-le"), "Allow: /é\r\n"),
        ("\ufeffAllow: /é\r\n".encode("utf-16-be"), "Allow: /é\r\n"),
        ("Allow: /x".encode("utf-16-le"), "Allow: /x"),
        (b"A\0llow: /", "Allow: /"),
        (b"", ""),
    ],
)
def test_octets_become_text(octets: bytes, text: str) -> None:
    assert text_of(octets) == text


def test_a_rule_in_latin_1_forbids_the_address_in_latin_1() -> None:
    rules = RobotsRules.from_answer(200, text_of(b"User-agent: *\nDisallow: /caf\xe9"))
    assert not rules.allows(ME, f"{SITE}/caf%E9/x")
    assert rules.allows(ME, f"{SITE}/caf%E8")


def filled(line: bytes, before: int, end: bytes = b"\n") -> bytes:
    """A file whose last line begins so many octets before the limit."""
    head = b"User-agent: *" + end
    return head + b"#" * (LONGEST - before - len(head) - len(end)) + end + line


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_500_kib_are_read_and_no_more(end: bytes) -> None:
    last = b"Disallow: /early" + end
    text = text_of(filled(last, len(last), end) + b"Disallow: /late" + end)
    assert len(text) == LONGEST == 512_000
    rules = RobotsRules.from_answer(200, text)
    assert not rules.allows(ME, f"{SITE}/early")
    assert rules.allows(ME, f"{SITE}/late")


@pytest.mark.parametrize("line", [b"Disallow: /private", b"Allow: /private/but/this"])
def test_a_rule_that_the_limit_cuts_is_left_out(line: bytes) -> None:
    # What was left of it would forbid, or allow, more than its author wrote.
    text = text_of(filled(line, len(line) - 4) + b"\nDisallow: /x")
    assert "allow" not in text
    assert text_of(filled(line, len(line))).endswith(line.decode()), "a file that just fits ends where it ends"


def test_a_file_of_one_endless_line_has_no_rules() -> None:
    assert text_of(b"Disallow: /" + b"x" * LONGEST) == ""


def test_the_limit_counts_octets_and_may_cut_a_character() -> None:
    text = text_of(b"User-agent: *\nDisallow: /x\n#" + "é".encode() * LONGEST)
    assert text == "User-agent: *\nDisallow: /x\n"
