"""robots.txt against a second reader of RFC 9309, over files that Hypothesis makes and over real ones.

Real files are in no repository of ours. Where `WINDROW_ROBOTS_CORPUS` names a folder of them, or where one stands
beside the project in `shared/fixtures/robots`, each file in it is read; protego's tests have some 4,200 (`test_data`).
"""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.robots_oracle import allowed
from windrow.fetch.address import BadAddress, clean
from windrow.politeness.robots import LONGEST, RobotsRules, text_of

SITE = "https://example.org"

piece = st.sampled_from(["/", "/", "a", "a", "b", "ab", "?", "=", ":", "%", "é", "~", "%7E", "%61", "%c3%A9", "%e9"])
piece |= st.sampled_from(["%2F", "%2f", "%25", "%20", "%24", "%2A", "%3a", ".", "//", "+"])
rule_piece = piece | st.sampled_from(["*", "*", "$", "**"])
blank = st.sampled_from(["", "", " ", "\t "])
names = st.sampled_from(["windrow", "*", "other", "WindRow", "windrow/1.0", "windro", "windrowx", "", "*x"])
others = st.sampled_from(["Sitemap: https://example.org/s", "Crawl-delay: 5", "Host: a", "# a", "", " ", "a", "?: b"])


@st.composite
def rules(draw: st.DrawFn) -> str:
    begin = draw(st.sampled_from(["/", "/", "/", "*"]))
    value = draw(st.just("") | st.lists(rule_piece, max_size=6).map(lambda pieces: begin + "".join(pieces)))
    return draw(st.sampled_from(["Allow", "Disallow", "disallow"])) + f"{draw(blank)}:{draw(blank)}{value}{draw(blank)}"


lines = names.map(lambda name: f"User-agent: {name}") | rules() | rules() | others
files = st.builds(
    lambda ends, first: "".join(line + end for line, end in [first, *ends]),
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\n", "\r\n", "\r"])), max_size=14),
    st.tuples(names.map(lambda name: f"User-agent: {name}"), st.just("\n")),
)
paths = st.lists(piece | st.sampled_from(["*", "$", "a"]), max_size=7).map(lambda pieces: "/" + "".join(pieces))


@settings(max_examples=600)
@example("User-agent: windrow\nDisallow://%\n", ["//%c3%A9", "//%25", "//%"])
@given(files, st.lists(paths, min_size=1, max_size=6))
def test_we_read_as_the_rfc_is_written(text: str, asked: list[str]) -> None:
    parsed = RobotsRules.from_answer(200, text)
    for path in ["/", "/robots.txt", *asked]:
        assert parsed.allows("windrow/0.1 (tests)", SITE + path) == allowed(text, "windrow", path), path


@given(st.binary(max_size=400))
def test_octets_of_any_kind_do_no_harm(octets: bytes) -> None:
    parsed = RobotsRules.from_answer(200, text_of(b"User-agent: *\nDisallow: /" + octets))
    parsed.crawl_delay("windrow")
    assert parsed.allows("windrow", SITE + "/robots.txt")
    assert parsed.allows("windrow", f"{SITE}/x") in {True, False}


HOSTILE = {
    "one rule of stars that nothing matches": ("Disallow: /" + "*a" * (LONGEST // 2 - 30) + "b$\n", 1),
    "many rules of stars": ("Disallow: /" + "*a" * 200 + "*{n}b$\n", LONGEST // 420),
    "as many short ones as there is room for": ("Disallow: /*{n}b\n", 26_000),
    "many robots, and rules for all of them": ("User-agent: r{n}\n", 14_000),
    "many robots, and delays for all of them": ("User-agent: r{n}\nCrawl-delay: 1\n", 8_000),
    "one robot, named again and again": ("User-agent: *\n", 18_000),
    "many groups of one robot": ("User-agent: *\nDisallow: /{n}\nAllow: /{n}\n", 10_000),
    "a line of blanks": ("user agent" + " " * 400_000 + "x y\n", 1),
    "a line that is nearly a name": ("di" + "s" * 400_000 + "\n", 1),
    "a rule of percent signs": ("Disallow: /" + "%" * 400_000 + "\n", 1),
}


@pytest.mark.timeout(25)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_costs_no_more_than_its_length(kind: str) -> None:
    # A second is enough for each. What grew with the square of the length would take more than the limit, or minutes.
    line, times = HOSTILE[kind]
    text = "User-agent: *\n" + "".join(line.replace("{n}", str(n)) for n in range(times))
    text += "".join(f"Disallow: /{n}\n" for n in range(14_000))
    parsed = RobotsRules.from_answer(200, text_of(text.encode()))
    for path in ("/" + "a" * 8_000, "/" + "%61" * 2_600, "/" + "%" * 8_000):
        assert parsed.allows("windrow", SITE + path) in {True, False}


# --- real files ---


def folder() -> Path | None:
    named = os.environ.get("WINDROW_ROBOTS_CORPUS")
    found = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "robots"
    return found if found.is_dir() else None


CORPUS = folder()
needs_corpus = pytest.mark.skipif(
    CORPUS is None, reason="no folder of robots.txt files in WINDROW_ROBOTS_CORPUS or at ../shared/fixtures/robots"
)


def asked_for(text: str) -> list[str]:
    """Paths that the rules of a file speak of, and some close by."""
    values = re.findall(r"(?im)^\s*(?:dis)?allow\s*:\s*([^#\s]+)", text)
    found = ["/", "/index.html", "/x?y=z"]
    for value in values[:40]:
        path = "/" + value.lstrip("/")
        end = path.rstrip("$")
        found += [end.replace("*", "zz"), end.replace("*", "") + "x", end[:-1].replace("*", "/"), path]
    return list(dict.fromkeys(found))


@needs_corpus
@pytest.mark.timeout(900)  # the second reader takes a minute and a half for 4,200 files
def test_real_files_forbid_what_the_rfc_forbids() -> None:
    assert CORPUS is not None
    files = asked = 0
    loose = []
    for file in sorted(each for each in CORPUS.rglob("*") if each.is_file()):
        text = text_of(file.read_bytes())
        parsed = RobotsRules.from_answer(200, text)
        named = dict.fromkeys(name.lower() for name in re.findall(r"(?im)^user-agent:\s*([a-z_-]+)\s*$", text))
        files += 1
        for path in asked_for(text):
            try:
                url = clean(SITE + path)
            except BadAddress:
                continue
            for token in ("windrow", *islice(named, 3)):
                asked += 1
                if parsed.allows(token, url) and not allowed(text, token, url.removeprefix(SITE)):
                    loose.append((file.name, token, url))
    assert loose == []
    assert asked > files > 0
