"""Pages and their elements."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.errors import PageError
from windrow.fetch.transport import Answer
from windrow.session import Page

URL = "https://example.org/dir/page?x=1"


def page(html: str | bytes, content_type: str = "text/html; charset=utf-8", url: str = URL) -> Page:
    body = html.encode() if isinstance(html, str) else html
    return Page(Answer(200, url, {"Content-Type": content_type}, body, 0.1, len(body)))


CARDS = page(
    """<html><head><title>Hay</title><style>p { color: red }</style></head><body>
    <script>var hidden = "secret words";</script><template><p>never shown</p></template>
    <span class="nombre">  12
      </span>
    <div class=card id=first><a href="one?a=b&amp;c=d">One  <b>T</b>wo</a><br>12, rue des Prés<br/>75001 Paris</div>
    <div class=card data-x="" data-y><a href="/two">Two</a></div>
    <a href="mailto:x@y">mail</a> <a href="javascript:go()">go</a> <a>none</a> <a href=" http://other.org/#f ">other</a>
    <a href="http://[">broken</a>
    </body></html>"""
)


def test_text_folds_white_space_and_keeps_words_whole() -> None:
    assert CARDS.text("span.nombre") == "12"
    assert CARDS.text(".card") == "One Two 12, rue des Prés 75001 Paris"
    assert CARDS.texts(".card a") == ["One Two", "Two"]


def test_blocks_cells_and_breaks_separate_and_inline_elements_do_not() -> None:
    assert page("<p>a</p>b<div>c<span>d</span><i>e</i></div>f").text() == "a b cde f"
    assert page("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>").text("table") == "1 2 3"
    assert page("<ul><li>1<li>2</ul>").text("ul") == "1 2"
    assert page("x<!-- no -->y&nbsp;z").text() == "xy z"
    assert page("a<wbr>b<img>c").text() == "ab c"


def test_text_of_the_whole_page_is_without_scripts_and_templates() -> None:
    text = CARDS.text()
    assert "12 One Two" in text
    assert not any(word in text for word in ("secret", "color", "never"))


def test_a_script_asked_for_itself_is_handed_over() -> None:
    assert CARDS.text("script") == 'var hidden = "secret words";'
    assert page("<pre>a\n  b</pre>").first("pre").raw_text == "a\n  b"  # type: ignore[union-attr]


def test_contains_folds_white_space_on_both_sides() -> None:
    capped = page("<p>seules les <b>cent  premières</b><br>réponses vous</p>")
    assert capped.contains("les cent premières réponses")
    assert capped.contains("les cent\n premières  réponses")
    assert not capped.contains("mille")
    assert not CARDS.contains("secret words")


def test_what_is_absent_raises_with_selector_and_address_or_gives_the_default() -> None:
    with pytest.raises(PageError, match=r"https://example.org/dir/page\?x=1: nothing matches 'h1.title'"):
        CARDS.text("h1.title")
    assert CARDS.text("h1", default=None) is None
    assert CARDS.text("h1", default="") == ""
    with pytest.raises(PageError, match="no attribute 'title'"):
        CARDS.attr("a", "title")
    with pytest.raises(PageError, match="nothing matches"):
        CARDS.attr("h1", "title")
    assert CARDS.attr("h1", "title", default=None) is None
    assert CARDS.attr("a", "title", default="-") == "-"
    assert CARDS.first("h1") is None
    assert CARDS.css("h1") == []
    with pytest.raises(PageError, match="nothing matches"):
        CARDS.one("h1")


def test_attributes_without_a_value_are_empty_texts() -> None:
    second = CARDS.css(".card")[1]
    assert second.attr("data-x") == second.attr("data-y") == ""
    assert second.attributes == {"class": "card", "data-x": "", "data-y": ""}


@pytest.mark.parametrize("selector", ["div[", "", "a:nosuch", ">>", "::"])
def test_a_selector_that_is_none_is_named(selector: str) -> None:
    for ask in (CARDS.css, CARDS.first, CARDS.has, CARDS.text, CARDS.texts, CARDS.one("body").css):
        with pytest.raises(PageError, match="no valid CSS selector"):
            ask(selector)


def test_links_are_absolute_and_only_http() -> None:
    assert CARDS.links() == ["https://example.org/dir/one?a=b&c=d", "https://example.org/two", "http://other.org/#f"]
    assert CARDS.links(".card a") == CARDS.links()[:2]
    assert CARDS.one("#first").links() == CARDS.links()[:1]


def test_a_base_is_respected() -> None:
    based = page('<base href="/else/"><a href="x">x</a><a href="">self</a><form action="y"></form>')
    assert based.base_url == "https://example.org/else/"
    assert based.links() == ["https://example.org/else/x", "https://example.org/else/"]
    assert based.form().action == "https://example.org/else/y"
    assert page('<base target="_blank"><a href="x">x</a>').links() == ["https://example.org/dir/x"]


def test_elements() -> None:
    first, second = CARDS.css(".card")
    link = first.one("a")
    assert (link.tag, link.html) == ("a", '<a href="one?a=b&amp;c=d">One  <b>T</b>wo</a>')
    assert link.url() == "https://example.org/dir/one?a=b&c=d"
    assert link.parent == first
    assert first.next == second
    assert second.previous == first
    assert [child.tag for child in first.children] == ["a", "br", "br"]
    assert first.text("b") == "T"
    assert first.text("i", default=None) is None
    assert first.has("b")
    assert len({first, second, CARDS.one("#first")}) == 2
    assert CARDS.one("html").parent is None
    assert link.children[0].next is None
    with pytest.raises(PageError, match="no address"):
        CARDS.css("a")[-1].url()
    with pytest.raises(PageError, match="no attribute"):
        second.url()
    assert second.url(default=None) is None


def test_encodings_of_a_page() -> None:
    latin = page("<p>café €</p>".encode("cp1252"), "text/html; charset=iso-8859-1")
    assert (latin.encoding, latin.text("p"), latin.html) == ("cp1252", "café €", "<p>café €</p>")
    assert page(b"<meta charset=iso-8859-15><p>\xa4</p>", "text/html").text("p") == "€"
    assert page("\ufeff<p>é</p>", "text/html").text("p") == "é"
    assert page("<p>é</p>".encode("utf-16"), "text/html").text("p") == "é"
    assert page(b"<p>caf\xe9 \xff</p>", "text/html; charset=utf-8").text("p") == "caf\ufffd \ufffd"


def test_json() -> None:
    assert page('{"a": [1, "é"]}', "application/json").json() == {"a": [1, "é"]}
    assert page("\ufeff[1]", "application/json").json() == [1]
    assert page('{"a": "é"}'.encode("utf-16"), "application/json").json() == {"a": "é"}
    with pytest.raises(PageError, match=r"is not JSON .* begins '<html>"):
        page("<html>wall</html>").json()


@pytest.mark.parametrize("body", [b"", b"\0\0", b"plain", b"<", b"<!--", b"\xff\xfe"])
def test_odd_bodies_are_pages_too(body: bytes) -> None:
    odd = page(body, "text/html")
    assert isinstance(odd.text(), str)
    assert odd.css("a") == []
    assert odd.links() == []
    assert not odd.contains("anything at all")


def test_deep_nesting_is_walked_without_recursion() -> None:
    assert page("<div>" * 5_000 + "deep").text() == "deep"


@given(st.text(max_size=200))
def test_no_html_does_harm(html: str) -> None:
    found = page(html.encode("utf-8", "replace"))
    assert found.text() == " ".join(found.text().split())
    found.links()


def test_a_captured_page() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "annuaire"
    if not folder.is_dir():
        pytest.skip(f"no captured pages at {folder}")
    lost = page((folder / "error_no_selection_200.html").read_bytes())
    assert lost.contains("Vous n'avez pas séléctionné la personne ou l'établissement")
    detail = page((folder / "detail_situation.html").read_bytes())
    assert detail.has(".popin_resultats_pleine_largeur")
    assert all(url.startswith("http") for url in detail.links())
