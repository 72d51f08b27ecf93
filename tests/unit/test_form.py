"""Forms: what a browser would send."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

import pytest

from windrow.errors import PageError
from windrow.fetch.transport import Answer
from windrow.session import Form, Page

URL = "https://example.org/dir/page?x=1#top"


def page(html: str | bytes, content_type: str = "text/html; charset=utf-8") -> Page:
    body = html.encode() if isinstance(html, str) else html
    return Page(Answer(200, URL, {"Content-Type": content_type}, body, 0.1, len(body)))


def form(inner: str, attributes: str = "") -> Form:
    return page(f"<form {attributes}>{inner}</form>").form()


@pytest.mark.parametrize(
    ("inner", "fields"),
    [
        ("<input name=a value=1><input name=b>", {"a": "1", "b": ""}),
        ("<input value=1><input name='' value=2>", {}),
        ("<input name=a value=1 disabled><input name=b value=2 readonly>", {"b": "2"}),
        ("<input type=checkbox name=a><input type=checkbox name=b checked>", {"b": "on"}),
        ("<input type=checkbox name=a value=1 checked><input type=checkbox name=a value=2 checked>", {"a": ["1", "2"]}),
        ("<input type=radio name=r value=1><input type=radio name=r value=2 checked>", {"r": "2"}),
        ("<input type=submit name=s value=go><button name=b value=1>x</button><input type=image name=i>", {}),
        ("<input type=reset name=s><input type=button name=t value=x><button type=button name=u></button>", {}),
        ("<input type=hidden name=h value='a\nb'>", {"h": "a\r\nb"}),
        ("<input type=HIDDEN name=h value=x><input type=unknown name=u value=y>", {"h": "x", "u": "y"}),
        ("<textarea name=t>\n one\ntwo</textarea>", {"t": " one\r\ntwo"}),
        ("<select name=s><option value=1>a<option>  b  c </select>", {"s": "1"}),
        ("<select name=s><option value=1>a<option selected> b  c </select>", {"s": "b c"}),
        ("<select name=s><option disabled>a<option>b</select>", {"s": "b"}),
        ("<select name=s size=3><option>a</select>", {}),
        ("<select name=s multiple><option>a<option selected>b<option selected value=''>c</select>", {"s": ["b", ""]}),
        ("<select name=s><optgroup disabled><option>a</optgroup><option>b</select>", {"s": "b"}),
        ("<select name=s></select>", {}),
        (
            "<fieldset disabled><legend><input name=a></legend><input name=b></fieldset><input name=c>",
            {"a": "", "c": ""},
        ),
        ("<datalist><input name=a></datalist><input name=b>", {"b": ""}),
        ("<input type=hidden name=_charset_>", {"_charset_": "UTF-8"}),
        ("<input name=a form=other>", {}),
    ],
)
def test_fields(inner: str, fields: dict[str, str | list[str]]) -> None:
    assert form(inner).fields == fields


def test_inputs_elsewhere_belong_by_the_forms_id() -> None:
    found = page(
        "<input name=a form=f value=1><form id=f><input name=b value=2></form><textarea name=c form=f>3</textarea>"
    )
    assert found.form("f").entries == (("a", "1"), ("b", "2"), ("c", "3"))


def test_a_form_between_the_rows_of_a_table_keeps_its_inputs() -> None:
    found = page(
        "<table><tr><form name=one action=/1><td><input name=a value=1></td></form></tr></table>"
        "<table><tr><form name=two action=/2><td><input name=b value=2></td></form></tr></table>"
        "<form name=three><input name=c></form><form name=four></form>"
    )
    assert [found.form(name).fields for name in ("one", "two", "three", "four")] == [
        {"a": "1"},
        {"b": "2"},
        {"c": ""},
        {},
    ]


@pytest.mark.parametrize(
    ("attributes", "action", "method"),
    [
        ("", "https://example.org/dir/page?x=1", "GET"),
        ("action='' method=post", "https://example.org/dir/page?x=1", "POST"),
        ("action='/go?y=2#z' method=POST", "https://example.org/go?y=2", "POST"),
        ("action=go method=dialog", "https://example.org/dir/go", "GET"),
        ("action='https://other.org/'", "https://other.org/", "GET"),
    ],
)
def test_action_and_method(attributes: str, action: str, method: str) -> None:
    found = form("", attributes)
    assert (found.action, found.method) == (action, method)


def test_get_replaces_the_query_and_post_keeps_it() -> None:
    inner = "<input name=q value='a b&c'>"
    sent = form(inner, "action='/go?old=1'").submission()
    assert (sent.method, sent.url, sent.body) == ("GET", "https://example.org/go?q=a+b%26c", None)
    sent = form(inner, "action='/go?old=1' method=post").submission()
    assert (sent.method, sent.url, sent.body) == ("POST", "https://example.org/go?old=1", b"q=a+b%26c")
    assert sent.content_type == "application/x-www-form-urlencoded"


def test_multipart() -> None:
    sent = form(
        "<input name='a\"b' value='é'><input name=c value=d>", "method=post enctype=multipart/form-data"
    ).submission()
    assert sent.content_type is not None
    assert sent.content_type.startswith("multipart/form-data; boundary=")
    boundary = sent.content_type.partition("boundary=")[2].encode()
    assert sent.body is not None
    parts = sent.body.split(b"--" + boundary)
    assert parts[1] == b'\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\n' + "é".encode() + b"\r\n"
    assert parts[3] == b"--\r\n"


def test_a_form_is_sent_in_the_encoding_of_its_page() -> None:
    found = page(b"<form><input name=q></form>", "text/html; charset=iso-8859-1").form().filled(q="é€漢")
    assert found.submission().url.endswith("?q=%E9%80%26%2328450%3B")


# --- filling in ---

PORTLET = "_rechercheportlet_INSTANCE_blk14HrIzEMS_"
SEARCH = form(
    f"<input name={PORTLET}texttofind><input name={PORTLET}adresse><input name='user[email]'><input name=a.b:city>"
    "<input type=checkbox name=agree value=yes><input name=p_auth value=x><input name=user_name><input name=shop_name>"
)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("texttofind", PORTLET + "texttofind"),
        (PORTLET + "texttofind", PORTLET + "texttofind"),
        ("email", "user[email]"),
        ("city", "a.b:city"),
        ("b:city", "a.b:city"),
        ("auth", "p_auth"),
        ("user_name", "user_name"),
    ],
)
def test_short_names(short: str, full: str) -> None:
    assert SEARCH.filled(fields={short: "v"}).fields[full] == "v"


def test_unknown_and_ambiguous_names_list_what_there_is() -> None:
    with pytest.raises(PageError, match=r"no field 'nothing'; it has .*texttofind.*extra=\{…\}"):
        SEARCH.filled(nothing=1)
    with pytest.raises(PageError, match="'name' could be user_name, shop_name"):
        SEARCH.filled(name="x")
    with pytest.raises(PageError, match="no field 'find'"):
        SEARCH.filled(find="x")


def test_filling_leaves_the_form_as_it_was_and_keeps_the_order() -> None:
    filled = SEARCH.filled(texttofind="a", agree=True, p_auth=None, adresse=75, extra={"new": ["1", "2"]})
    assert SEARCH.fields[PORTLET + "texttofind"] == ""
    assert [name.removeprefix(PORTLET) for name, _ in filled.entries] == [
        "texttofind", "adresse", "user[email]", "a.b:city", "agree", "user_name", "shop_name", "new", "new",
    ]  # fmt: skip
    assert filled.fields["agree"] == "yes"
    assert filled.fields[PORTLET + "adresse"] == "75"


def test_boxes_are_switched_and_lists_repeat() -> None:
    found = form(
        "<input type=checkbox name=a checked><select name=s multiple><option>1<option>2</select><input name=t value=1>"
    )
    assert found.filled(a=False).fields == {"t": "1"}
    assert found.filled(a=True, s=["1", "2"]).fields == {"a": "on", "s": ["1", "2"], "t": "1"}
    assert found.filled(t=True).fields["t"] == "true"


def test_python_keywords_go_by_mapping() -> None:
    found = form("<input name=class><input name=from_>").filled(fields={"class": "x"}, from_="y")
    assert found.fields == {"class": "x", "from_": "y"}


# --- buttons ---

BUTTONS = form(
    "<input name=q value=1><input type=submit name=go value=Search><button name=act value=del formaction=/del "
    "formmethod=post>Delete  it</button><input type=image name=map id=m><button id=plain>Plain</button>"
    "<button name=off disabled>Off</button>"
)


@pytest.mark.parametrize(
    ("button", "sent"),
    [
        (None, {"q": "1"}),
        ("go", {"q": "1", "go": "Search"}),
        ("Search", {"q": "1", "go": "Search"}),
        ("m", {"q": "1", "map.x": "0", "map.y": "0"}),
        ("Plain", {"q": "1"}),
    ],
)
def test_a_button_is_sent_only_when_it_is_pressed(button: str | None, sent: dict[str, str]) -> None:
    assert dict(parse_qsl(BUTTONS.submission(button).url.partition("?")[2])) == sent


def test_a_button_may_lead_elsewhere() -> None:
    sent = BUTTONS.submission("Delete it")
    assert (sent.method, sent.url, sent.body) == ("POST", "https://example.org/del", b"q=1&act=del")


def test_an_unknown_button_lists_those_there_are() -> None:
    with pytest.raises(PageError, match=r"no button 'off'; it has 'go', 'act', 'map', 'plain'"):
        BUTTONS.submission("off")


# --- finding ---


def test_forms_are_found_by_name_id_or_selector() -> None:
    found = page("<form name=one action=/1></form><form id=two action=/2></form><form class=three action=/3></form>")
    assert [found.form(name).action[-1] for name in ("one", "two", "form.three", "form[name=one]")] == [
        "1",
        "2",
        "3",
        "1",
    ]
    for wanted in ("four", "form[", None):
        with pytest.raises(PageError, match="'one', 'two', one without a name"):
            found.form(wanted)
    with pytest.raises(PageError, match="a <p>, not a form"):
        page("<p>x</p><form></form>").form("p")
    with pytest.raises(PageError, match="there are none"):
        page("<p>x</p>").form("x")


def test_the_search_of_the_captured_portal() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "annuaire"
    if not folder.is_dir():
        pytest.skip(f"no captured pages at {folder}")
    home = page((folder / "home_after_bad_token_200.html").read_bytes())
    sent = home.form("fmRecherche").filled(texttofind="dubois").submission()
    assert sent.method == "POST"
    assert parse_qs(sent.url.partition("?")[2])["p_auth"]
    assert sent.body is not None
    fields = parse_qs(sent.body.decode())
    assert fields[PORTLET + "texttofind"] == ["dubois"]
