"""Identities as values: what they look up, what they refuse, and that they show nothing."""

from __future__ import annotations

import json
from base64 import b64encode
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow import Identity, Job, identities, values
from windrow.errors import JobError, SettingError, UsageError
from windrow.fetch.address import encode_fields
from windrow.identity import HIDDEN, SHORTEST, cleaner

SECRET = "hunter2-Zü%/"


def table(folder: Path, text: str) -> Path:
    path = folder / "people.csv"
    path.write_text(text, encoding="utf-8")
    return path


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_csv_says_all_that_an_identity_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNA_PASSWORD", "from-the-environment")
    (tmp_path / "key").write_text("\ufefffrom-a-file\n", encoding="utf-8")
    path = table(
        tmp_path,
        "\ufeffname,user,password,proxy,rate,header:X-Key,cookie:sid,state:pin\n"
        f"anna,a@example.org,env:ANNA_PASSWORD,http://u:p%40ss@proxy.example:8080,2.5,file:{tmp_path}/key,s1,0042\n"
        "ben,,,,,,,\n",
    )
    anna, ben = identities(path)
    assert anna.auth == ("a@example.org", "from-the-environment")
    assert (anna.headers, anna.cookies, anna.state) == ({"X-Key": "from-a-file"}, {"sid": "s1"}, {"pin": "0042"})
    assert anna.rate == 2.5
    assert anna.way is not None
    assert (anna.way.address, anna.way.user, anna.way.password) == ("http://proxy.example:8080", "u", "p@ss")
    assert (ben.name, ben.auth, ben.way, ben.rate, ben.is_sent) == ("ben", None, None, None, False)


def test_a_space_after_a_comma_does_not_send_the_name_of_a_secret_in_its_stead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k-1")
    (anna,) = identities(table(tmp_path, "name,state:pin,header:X\nanna, env:KEY , as it is\n"))
    assert (anna.state, anna.headers) == ({"pin": "k-1"}, {"X": " as it is"})


def test_the_host_of_a_proxy_is_named_as_errors_of_the_network_name_it() -> None:
    names = ("http://bücher.example", "http://[::1]:81", "http://Proxy_1.example.:8080", "http://10.0.0.1")
    hosts = [way.host for name in names if (way := Identity("a", proxy=name).way) is not None]
    assert hosts == ["xn--bcher-kva.example", "::1", "proxy_1.example.", "10.0.0.1"]


def test_rows_may_be_mappings_and_values_in_code_are_looked_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k-1")
    (anna,) = identities([{"name": "anna", "header:X": "env:KEY", "rate": 3}])
    assert (anna.headers, anna.rate) == ({"X": "k-1"}, 3.0)
    assert Identity("ben", auth=("ben", "env:KEY")).auth == ("ben", "k-1")
    assert (
        Identity("ben", proxy="socks5h://127.0.0.1").way
        == identities([{"name": "c", "proxy": "socks5h://127.0.0.1:1080"}])[0].way
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,pasword\nanna,x\n", ["line 1", "column 2, 'pasword'", "user, password"]),
        ("name,header:\nanna,x\n", ["line 1", "column 2, 'header:'"]),
        (f"anna,anna,{SECRET}\n", ["line 1", "column 1 is none"]),
        ("user,password\nanna,x\n", ["line 1", "'name' is missing"]),
        ("name\nanna\nben\nanna\n", ["'anna' stands in it twice"]),
        ("name,user\nben,b\n,x\n", ["line 3", "name"]),
        (f"name,password\nanna,{SECRET}\n", ["line 2", "password and no user"]),
        ("name,user,password\nanna,a,env:NO_SUCH_VARIABLE\n", ["line 2", "'anna'", "NO_SUCH_VARIABLE", "not set"]),
        ("name,user,password\nanna,a,file:/nowhere/at/all\n", ["line 2", "/nowhere/at/all", "No such file"]),
        (f"name,proxy\nanna,http://u:{SECRET}@host:port\n", ["line 2", "'anna'", "proxy is no URL"]),
        (f"name,proxy\nanna,ftp://u:{SECRET}@host:21\n", ["line 2", "proxy is no URL"]),
        (f"name,proxy\nanna,http://u:{SECRET}#x@host:21\n", ["line 2", "proxy is no URL"]),
        ("name,proxy\nanna,socks5://u@host:21\n", ["line 2", "SOCKS"]),
        (f"name,proxy\nanna,http://u:{SECRET[:8]}@ho st:21\n", ["line 2", "proxy is no URL"]),
        ("name,proxy\nanna,socks5h://a..b:21\n", ["line 2", "proxy is no URL"]),
        ("name,proxy\nanna,http://host\\x:21\n", ["line 2", "proxy is no URL"]),
        (f'name,user,password\nanna,a,"{SECRET}\nben,b,c\n', ["no CSV that can be read"]),
        ("name,state:x,state:x\nanna,a,b\n", ["line 1", "'state:x' stands there twice"]),
        ("name,rate\nanna,fast\n", ["line 2", "rate must be a number"]),
        ("name,rate\nanna,0\n", ["line 2", "rate must be above 0"]),
        ("name,cookie:path\nanna,x\n", ["line 2", "cookie 'path'"]),
        (f"name,user\nanna,a,{SECRET}\n", ["line 2", "more cells than there are columns"]),
        ("name\n", ["no identity in it"]),
        ("", ["'name' is missing"]),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place_and_without_its_value(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = table(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        identities(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == []
    assert "hunter2" not in message
    assert caught.value.__cause__ is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        identities(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("name\nJosé\n".encode("latin-1"))
    with pytest.raises(SettingError, match="not UTF-8"):
        identities(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"X": f"{SECRET}\r\nY: z"}},
        {"headers": {"X Y": SECRET}},
        {"cookies": {"sid": f"{SECRET};x"}},
        {"auth": ("a:b", SECRET)},
        {"auth": SECRET},
        {"auth": ("a", SECRET), "headers": {"authorization": SECRET}},
        {"proxy": f"socks5://u:{SECRET}@host:1"},
    ],
)
def test_what_cannot_be_sent_is_refused_without_being_shown(given: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        Identity("anna", **given)
    assert "'anna'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", " anna", "an\nna", "x" * 101])
def test_a_name_is_one_that_can_be_shown(name: str) -> None:
    with pytest.raises(SettingError, match="name must"):
        Identity(name)


# --- the job -------------------------------------------------------------------------------------------------------


def job(**changed: Any) -> Job:
    return Job("things", key="id", partitions=values(["a"]), **{"base_url": "https://site.example", **changed})


def test_a_job_takes_a_list_or_a_function_of_its_parameters(tmp_path: Path) -> None:
    path = table(tmp_path, "name\nanna\nben\n")
    assert list(job(identities=[Identity("anna")]).named_identities()) == ["anna"]
    made = job(identities=lambda given: identities(given["file"]), parameters={"file": "none.csv"})
    assert list(made.with_parameters({"file": str(path)}).named_identities()) == ["anna", "ben"]
    assert job().named_identities() == {}


def test_a_job_refuses_what_would_go_nowhere_or_twice() -> None:
    with pytest.raises(SettingError, match="'anna' stands in it twice"):
        job(identities=[Identity("anna"), Identity("anna")]).named_identities()
    with pytest.raises(SettingError, match="no base_url"):
        job(base_url=None, identities=[Identity("anna", auth=("a", "b"))]).named_identities()
    assert job(base_url=None, identities=[Identity("anna", proxy="http://127.0.0.1:1")]).named_identities()
    with pytest.raises(JobError, match="list of Identity"):
        job(identities=lambda given: ["anna"]).named_identities()
    with pytest.raises(JobError, match=r"identities\(parameters\) failed: KeyError: 'file'"):
        job(identities=lambda given: identities(given["file"])).named_identities()
    with pytest.raises(SettingError, match="no identity"):
        job(identities=lambda given: []).named_identities()


def test_the_functions_of_a_job_are_its_copies_too() -> None:
    made = job()

    @made.open
    def log_in(session: Any) -> None: ...

    @made.expired
    def is_over(page: Any) -> bool:
        return True

    copy = made.with_parameters({"base_url": "https://other.example"})
    assert (copy.opener, copy.expiry) == (log_in, is_over)
    for decorate in (made.open, made.expired):
        with pytest.raises(JobError, match="two functions"):
            decorate(log_in)
    with pytest.raises(JobError, match="one argument"):
        job().open(lambda: None)
    with pytest.raises(JobError, match="leave yield out"):
        job().open(lambda session: (yield))


# --- secrets -------------------------------------------------------------------------------------------------------


def full() -> Identity:
    return Identity(
        "anna",
        headers={"X-Key": "header-secret", "Authorization": "Bearer token-secret"},
        cookies={"sid": "cookie-secret"},
        proxy="http://proxy-user:proxy-secret@proxy.example:3128",
        state={"pin": "state-secret", "deep": {"er": ["deep-secret"]}},
    )


def test_a_repr_shows_the_name_and_the_proxys_address_only() -> None:
    with_auth = Identity("ben", auth=("b", "password-secret"))
    for text in (
        repr(full()),
        str(full()),
        repr(full().way),
        repr([with_auth]),
        repr(job(identities=[full(), with_auth])),
    ):
        assert "secret" not in text
        assert "proxy-user" not in text
    assert repr(full()) == "Identity('anna', proxy='http://proxy.example:3128')"


def test_each_kind_of_secret_is_taken_out() -> None:
    clean = cleaner(full())
    words = ["header", "token", "cookie", "proxy", "state", "deep"]
    text = clean(
        "anna via http://proxy-user:proxy-secret@proxy.example: " + " ".join(f"{word}-secret" for word in words)
    )
    assert "-secret" not in text
    assert "proxy-user" not in text
    assert text.startswith("anna via ")
    assert "proxy.example" in text
    basic = b64encode(b"b:password-secret").decode()
    assert cleaner(Identity("ben", auth=("b", "password-secret")))(f"Basic {basic} b") == f"Basic {HIDDEN} b"


def test_without_secrets_a_text_stays_as_it_is() -> None:
    assert cleaner(None)("as it is") == "as it is"
    assert cleaner(Identity("as"))("as it is") == "as it is"


def test_a_short_secret_is_taken_out_as_a_word_only() -> None:
    clean = cleaner(Identity("anna", headers={"X": "pin"}))
    assert clean("spinning a pin: pin=PIN") == f"spinning a {HIDDEN}: {HIDDEN}={HIDDEN}"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=SHORTEST, max_size=30))
def test_a_secret_is_found_however_it_is_written(secret: str) -> None:
    identity = Identity("x", state={"pin": f"ab{secret}cd"})
    clean, found = cleaner(identity), f"ab{secret}cd"
    ways = [found, quote(found), quote(found, safe=""), quote_plus(found), repr(found)[1:-1], json.dumps(found)[1:-1]]
    # As an address keeps it that was written by hand, and within another address.
    ways += [quote(found, safe="!$&'()*+,/:;=@"), quote(quote(found, safe=""), safe="")]
    ways += [escape(found), encode_fields([("", found)], "latin-1")[1:]]
    for written in ways:
        assert clean(f"<{written}>") == f"<{HIDDEN}>"


def test_a_short_secret_is_found_behind_what_is_percent_encoded() -> None:
    clean = cleaner(Identity("anna", state={"pin": "4711"}))
    assert clean("/go?next=%2Flogin%3Fpin%3D4711&page=34711") == f"/go?next=%2Flogin%3Fpin%3D{HIDDEN}&page=34711"
