"""The replica of the directory behaves as its description says: asked over real HTTP, read with a parser of its own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from windrow.demo import serving
from windrow.demo.annuaire.people import TAB_SHAPES, TABS, Person, generate
from windrow.demo.annuaire.search import Directory, Matching, fold
from windrow.demo.annuaire.site import CANONICAL_ORIGIN, FAULT_KINDS, STALL_SECONDS, SiteOptions, SiteProcess, running
from windrow.demo.serving import ServedProcess

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "annuaire"
HOME, RESULTS, DETAIL = (
    "/web/site-pro/home",
    "/web/site-pro/recherche/resultats",
    "/web/site-pro/information-detaillees",
)
SEARCH_PORTLET = "rechercheportlet_INSTANCE_blk14HrIzEMS"
CAPPED = "seules les cent premières réponses vous sont présentées"
NO_SELECTION = "Vous n'avez pas séléctionné la personne"
TAB_ACTIONS = {"dossier": "detailsPPDossierPro", "diplomes": "detailsPPDiplomes", "personne": "detailsPPPersonne"}

Answer = TypeVar("Answer")


class Page:
    """An answer: its status, address and text, and the questions the tests ask of it."""

    def __init__(self, status: int, url: str, text: str, headers: Mapping[str, str]) -> None:
        self.status, self.url, self.text, self.headers = status, url, text, headers
        self.tree = LexborHTMLParser(text)

    def one(self, selector: str) -> str:
        node = self.tree.css_first(selector)
        return " ".join(node.text().split()) if node else ""

    @property
    def token(self) -> str:
        found = re.search(r"Liferay\.authToken = '(\w{8})'", self.text)
        return found.group(1) if found else ""

    @property
    def names(self) -> list[str]:
        return [" ".join(node.text().split()) for node in self.tree.css("div.contenant_resultat div.nom_prenom a")]

    @property
    def rpps(self) -> str:
        return self.one(".rpps span").rpartition(" ")[2]

    @property
    def is_no_selection(self) -> bool:
        return NO_SELECTION in self.one(".popin_resultats_pleine_largeur h2")

    @property
    def cards(self) -> list[str]:
        """The links of the cards."""
        return [link for node in self.tree.css("div.nom_prenom a") if "DetailsPPAction" in (link := href(node))]

    def link(self, part: str) -> str:
        node = self.tree.css_first(f"a[href*={part}]")
        assert node is not None, f"no link with {part} on {self.url}"
        return href(node)


class Visitor:
    """One session with the site: a cookie jar and the requests of the job, in the order of the description."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base
        self.token: str | None = None

    async def ask(self, method: str, path: str, **settings: Any) -> Page:
        address = path if path.startswith("http") else self.base + path
        async with self.session.request(method, address, **settings) as answer:
            return Page(answer.status, str(answer.url), await answer.text(), answer.headers)

    async def get(self, path: str, **settings: Any) -> Page:
        return await self.ask("GET", path, **settings)

    async def post(self, path: str, **settings: Any) -> Page:
        return await self.ask("POST", path, **settings)

    async def home(self) -> Page:
        page = await self.get("/web/site-pro")
        self.token = page.token
        return page

    async def search(self, text: str, *, token: str | None = None, **settings: Any) -> Page:
        if self.token is None:
            self.token = (await self.home()).token
        data = search_parameters(text, self.token if token is None else token)
        return await self.post(HOME, data=data, **settings)

    async def turn_to(self, number: int, portlet: str = "resultatportlet") -> Page:
        return await self.get(results_path(number, portlet))

    async def select(self, rpps: str) -> Page:
        parameters = {"idRpps": rpps, "resultatIndex": "C", "idSituExe": "", "idExePro": "", "etatPP": "OUVERT"}
        return await self.action(RESULTS, "mapportlet", "DetailsPPAction", parameters)

    async def open(self, rpps: str) -> Page:
        parameters = {"idRpps": rpps, "idNat": f"8{rpps}", "resultatIndex": "C"}
        return await self.action(RESULTS, "mapportlet", "infoDetailPP", parameters)

    async def tab(self, rpps: str, tab: str) -> Page:
        parameters = {"idRpps": rpps, "idNat": f"8{rpps}"}
        return await self.action(DETAIL, "resultatsportlet", TAB_ACTIONS[tab], parameters)

    async def action(self, path: str, portlet: str, action: str, own: Mapping[str, str]) -> Page:
        if self.token is None:
            self.token = (await self.home()).token
        parameters = {"p_p_id": portlet, "p_p_lifecycle": "1", "p_auth": self.token}
        parameters |= {f"_{portlet}_javax.portlet.action": action}
        parameters |= {f"_{portlet}_{name}": value for name, value in own.items()}
        return await self.post(path, params=parameters)


class Visited:
    """A site in this process, and sessions with it."""

    def __init__(self, site: Any) -> None:
        self.site, self.url = site, site.url
        self._sessions: list[aiohttp.ClientSession] = []

    def visitor(self, **settings: Any) -> Visitor:
        jar = aiohttp.CookieJar(unsafe=True)
        session = aiohttp.ClientSession(cookie_jar=jar, **settings)
        self._sessions.append(session)
        return Visitor(session, self.url)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()


@asynccontextmanager
async def visiting(options: SiteOptions) -> AsyncIterator[Visited]:
    async with running(options) as site:
        visited = Visited(site)
        try:
            yield visited
        finally:
            await visited.close()


def with_site(options: SiteOptions, visit: Callable[[Visited], Awaitable[Answer]]) -> Answer:
    """Run one visit against a site of these options."""

    async def run() -> Answer:
        async with visiting(options) as visited:
            return await visit(visited)

    return asyncio.run(run())


def href(node: LexborNode) -> str:
    return node.attributes.get("href") or ""


def search_parameters(text: str, token: str) -> dict[str, str]:
    name = f"_{SEARCH_PORTLET}_"
    return {
        "p_p_id": SEARCH_PORTLET,
        "p_p_lifecycle": "1",
        "p_p_state": "normal",
        "p_p_mode": "view",
        f"{name}javax.portlet.action": "rechercheAction",
        f"{name}texttofind": text,
        f"{name}integralite": "active_only",
        f"{name}typeRecherche": "textLibre",
        "p_auth": token,
    }


def results_path(number: int, portlet: str = "resultatportlet") -> str:
    own = f"_{portlet}_delta=10&_{portlet}_resetCur=false&_{portlet}_cur={number}"
    return f"{RESULTS}?p_p_id={portlet}&p_p_lifecycle=0&p_p_state=normal&p_p_mode=view&{own}"


# -- an independent reading of the detail pages, after the conventions at the head of people.py

LABEL_CLASSES = {"label_detail_personne", "label_detail_personne_bold", "label_moyen", "label_court"}
VALUE_CLASSES = {"label_txt", "label_txt_moyen", "label_txt_court", "label_txt_long", "text_detail_personne"}


def read_tab(page: Page) -> dict[str, Any]:
    """section → label → value, or section → rows."""
    sections: dict[str, Any] = {}
    occurrences: dict[str, int] = {}
    heading, label = "", ""
    for node in nodes_in_order(page):
        classes = set((node.attributes.get("class") or "").split())
        if node.tag == "h2":
            title = node.text().strip()
            occurrences[title] = occurrences.get(title, 0) + 1
            heading, label = title if occurrences[title] == 1 else f"{title} {occurrences[title]}", ""
            sections[heading] = {}
        elif node.tag == "table":
            sections[heading] = read_table(node)
        elif classes & VALUE_CLASSES:
            if label:
                sections[heading][label] = lines_of(node)
            label = ""
        elif classes & LABEL_CLASSES:
            label = clean(node)
    return sections


def nodes_in_order(page: Page) -> Iterator[LexborNode]:
    block = page.tree.css_first(".bloc_infos_detaillees")
    assert block is not None, f"no detail on {page.url}"
    for node in block.traverse():
        if node.tag in {"h2", "table"} or (node.tag == "span" and not inside_table(node)):
            yield node


def inside_table(node: LexborNode) -> bool:
    above = node.parent
    while above is not None:
        if above.tag == "table":
            return True
        above = above.parent
    return False


def read_table(table: LexborNode) -> list[dict[str, str]]:
    columns = [clean(column) for column in table.css("th")]
    rows = [[lines_of(cell) for cell in row.css("td")] for row in table.css("tbody tr")]
    return [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]


def lines_of(node: LexborNode) -> str:
    for line_break in node.css("br"):
        line_break.replace_with("\v")
    lines = (" ".join(line.split()) for line in node.text().split("\v"))
    return "\n".join(line for line in lines if line)


def clean(node: LexborNode) -> str:
    return " ".join(lines_of(node).split()).rstrip(": ")


def read_card(node: LexborNode) -> dict[str, str | None]:
    professions = [lines_of(line) for line in node.css("div.profession")]
    return {
        "name": first_lines(node, "div.nom_prenom a"),
        "profession": professions[0],
        "organization": "\n".join(professions[1:]) or None,
        "address": first_lines(node, "div.adresse"),
        "phone": first_lines(node, "div.tel"),
        "email": first_lines(node, "div.mssante span.mssante_txt"),
    }


def first_lines(node: LexborNode, selector: str) -> str | None:
    found = node.css_first(selector)
    return (lines_of(found) or None) if found else None


# -- people


def test_people_are_the_same_for_the_same_seed_and_synthetic() -> None:
    people = generate(400, 7)
    assert people == generate(400, 7)
    assert people != generate(400, 8)
    assert len({person.rpps for person in people}) == 400
    assert all(re.fullmatch(r"999\d{8}", person.rpps) for person in people)
    assert all(person.surname == person.surname.upper() for person in people)


def test_people_hold_what_makes_the_directory_hard() -> None:
    people = generate(1000, 1)
    surnames = [person.surname for person in people]
    assert sum(surname.startswith("MAR") for surname in surnames) > 100
    assert 24 < surnames.count("MARTIN") < 100
    assert {"LI", "LE", "MA"} <= set(surnames)
    for sign in (" ", "-", "'", "É"):
        assert any(sign in surname for surname in surnames)
    assert {person.state for person in people} == {"OUVERT", "FERME"}
    assert {person.activities for person in people} == {1, 2, 3}
    assert {len(person.organizations) for person in people} == {0, 1, 2}
    for name in ("email", "phone", "situation_id", "site_id", "contact_id"):
        assert {bool(getattr(person, name)) for person in people} == {True, False}


@pytest.mark.parametrize("count", [-1, 9_000_001])
def test_an_impossible_number_of_people_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count is"):
        generate(count, 1)


@pytest.mark.parametrize("settings", [{"faults": 1.5}, {"latency": -1.0}, {"people": -1}])
def test_impossible_options_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SiteOptions(**settings)


# -- sessions and tokens


def test_a_client_without_a_session_gets_one_with_its_cookies() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        async with visitor.session.get(visited.url + "/web/site-pro") as answer:
            assert set(answer.cookies) == {"JSESSIONID", "COOKIE_SUPPORT", "GUEST_LANGUAGE_ID"}
            assert answer.cookies["GUEST_LANGUAGE_ID"].value == "fr_FR"
        first, second = await visitor.home(), await visitor.home()
        assert first.token == second.token
        assert re.fullmatch(r"[A-Za-z0-9]{8}", first.token)
        assert f"p_auth={first.token}" in (first.tree.css("form[name=fmRecherche]")[0].attributes["action"] or "")
        assert (await visited.visitor().home()).token != first.token
        assert visited.site.stats()["sessions"] == 2

    with_site(SiteOptions(people=20), visit)


@pytest.mark.parametrize("place", ["query", "body", "header", "mixed"])
def test_a_token_and_the_parameters_may_stand_in_query_body_or_header(place: str) -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        right = (await visitor.home()).token
        parameters = search_parameters("martin", right)
        token = {"p_auth": parameters.pop("p_auth")}
        settings: dict[str, dict[str, Any]] = {
            "query": {"params": parameters | token},
            "body": {"data": parameters | token},
            "header": {"data": parameters, "headers": {"X-CSRF-Token": right}},
            "mixed": {"params": token, "data": parameters},
        }
        page = await visitor.post(HOME, **settings[place])
        assert page.url == visited.url + RESULTS
        assert page.names

    with_site(SiteOptions(people=200), visit)


def test_the_form_can_be_submitted_as_it_stands_on_every_page() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        for path in (HOME, RESULTS, DETAIL):
            form = (await visitor.get(path)).tree.css("form[name=fmRecherche]")[0]
            fields = {
                field.attributes["name"] or "": field.attributes.get("value") or ""
                for field in form.css("input[name]")
                if field.attributes.get("type") != "checkbox"
            }
            text = next(name for name in fields if name.endswith("texttofind"))
            page = await visitor.post(form.attributes["action"] or "", data=fields | {text: "martin"})
            assert page.names, path
            assert page.tree.css("input[name$=texttofind][value=martin]")

    with_site(SiteOptions(people=200), visit)


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("token", ["", "AAAAAAAA"])
def test_a_missing_or_wrong_token_skips_the_action_and_renders_the_page(status: Literal[200, 403], token: str) -> None:
    async def visit(visited: Visited) -> None:
        rpps = visited.site.directory.people[0].rpps
        visitor = visited.visitor()
        page = await visitor.search("martin", token=token)
        assert (page.status, page.url, page.names) == (status, visited.url + HOME, [])
        assert page.one("title").startswith("Accueil")
        assert page.token == visitor.token
        await visitor.select(rpps)
        await visitor.open(rpps)
        right, visitor.token = visitor.token, token
        refused = await visitor.tab(rpps, "dossier")
        assert (refused.status, refused.is_no_selection) == (status, True)
        assert (await visitor.select(rpps)).rpps == ""
        visitor.token = right
        assert (await visitor.tab(rpps, "dossier")).rpps == rpps
        assert visited.site.stats()["wrong_tokens"] == 3

    with_site(SiteOptions(people=200, token_failure=status), visit)


def test_a_session_expires_after_its_requests() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        first = await visitor.home()
        assert (await visitor.search("martin")).names
        expired = await visitor.search("martin")
        assert (expired.url, expired.names) == (visited.url + HOME, [])
        assert expired.token != first.token
        assert visited.site.stats()["sessions"] == 2
        assert visited.site.stats()["wrong_tokens"] == 1

    with_site(SiteOptions(people=200, session_requests=3), visit)


# -- search


def test_a_search_redirects_to_its_first_page() -> None:
    async def visit(visited: Visited) -> None:
        page = await visited.visitor().search("martin", allow_redirects=False)
        assert (page.status, page.headers["Location"]) == (302, visited.url + RESULTS)

    with_site(SiteOptions(people=50), visit)


def test_a_session_without_a_search_shows_00() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        for page in (await visitor.get(RESULTS), await visitor.turn_to(3), await visitor.search("qqqqq")):
            assert (page.status, page.one("span.nombre"), page.names) == (200, "00", [])
            assert CAPPED in page.one("#maxresultId")

    with_site(SiteOptions(people=50), visit)


@pytest.mark.parametrize("shows", ["total", "capped"])
@pytest.mark.parametrize("text", ["hidden", "visible"])
def test_a_capped_search_ends_at_its_tenth_page(
    shows: Literal["total", "capped"], text: Literal["hidden", "visible"]
) -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        everybody = [person.name for person in visited.site.directory.find("m")]
        assert len(everybody) > 100
        page, names, pages_seen = await visitor.search("m"), [], 1
        names += page.names
        while following := page.tree.css_first(".taglib-page-iterator a[title='Suivant']"):
            page = await visitor.get(href(following))
            names += page.names
            pages_seen += 1
            assert page.one("span.nombre") == (str(len(everybody)) if shows == "total" else "100")
            assert CAPPED in page.text
            assert ("hidden" in (page.tree.css(".popin:has(#maxresultId)")[0].html or "").split(">")[0]) == (
                text == "hidden"
            )
        assert (pages_seen, names) == (10, everybody[:100])
        assert (await visitor.turn_to(11)).names == page.names
        small = await visitor.search("lemaire")
        assert (CAPPED in small.text) == (text == "hidden")
        assert re.fullmatch(r"0\d", small.one("span.nombre"))

    with_site(SiteOptions(people=600, count_shows=shows, cap_text=text), visit)


def test_only_the_portlet_with_one_t_turns_the_pages() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        first = await visitor.search("m")
        third = await visitor.turn_to(3)
        assert len(third.names) == 10
        assert third.names != first.names
        assert (await visitor.get(RESULTS)).names == third.names, "the page number lives in the session"
        assert (await visitor.turn_to(3, portlet="resultatsportlet")).names == first.names

    with_site(SiteOptions(people=600), visit)


def test_the_shuffled_order_lists_the_same_people_otherwise() -> None:
    people = generate(300, 1)
    by_name, shuffled = Directory(people), Directory(people, order="shuffled")
    names, mixed = by_name.find("m"), shuffled.find("m")
    assert [fold(person.surname) for person in names] == sorted(fold(person.surname) for person in names)
    assert set(people_numbers(names)) == set(people_numbers(mixed))
    assert people_numbers(names) != people_numbers(mixed)
    assert people_numbers(mixed) == people_numbers(Directory(reversed(people), order="shuffled").find("m"))


def people_numbers(people: Any) -> list[str]:
    return [person.rpps for person in people]


def plain(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(sign))


@cache
def some_people() -> list[Person]:
    return generate(700, 3)


def matches_slowly(person: Person, query: str, matching: Matching) -> bool:
    """The three ways of matching, said again in the plainest way."""
    name = plain(f"{person.surname} {person.first_name}")
    others = [plain(text) for text in (person.first_name, person.profession, *person.organizations)]
    if matching == "field":
        return any(text.startswith(query.strip()) for text in (name, *others))
    if matching == "substring":
        return query.strip() in " ".join((name, *others[1:]))
    words = re.split(r"[ '-]", " ".join((name, *others)))
    return name.startswith(query) or all(any(word.startswith(term) for word in words) for term in query.split())


@pytest.mark.parametrize("matching", ["words", "field", "substring"])
@pytest.mark.parametrize(
    "query",
    ["ma", "li", "le", "le ", "le g", "d'a", "étienne", "ETIENNE", "martin j", "jean-p", "pierre", "infirmier", "arti"],
)
def test_each_way_of_matching_finds_what_it_should(matching: Matching, query: str) -> None:
    people = some_people()
    found = Directory(people, matching).find(query)
    expected = {person.rpps for person in people if matches_slowly(person, plain(query), matching)}
    assert set(people_numbers(found)) == expected
    assert expected or (query, matching) in {("arti", "words"), ("arti", "field"), ("jean-p", "words")}


def test_a_search_that_says_nothing_finds_nobody() -> None:
    directory = Directory(generate(50, 1))
    assert [len(directory.find(query)) for query in ("", " ", "-", "'")] == [0, 0, 0, 0]


def test_names_that_equal_their_prefix_and_names_with_signs_are_found() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        for query, surname in [("li", "LI"), ("le", "LE"), ("ma", "MA"), ("le gall", "LE GALL"), ("d'al", "D'ALMEIDA")]:
            names = [person.name for person in visited.site.directory.find(query)]
            assert any(name.startswith(surname + " ") for name in names), query
            page = await visitor.search(query)
            assert page.names == names[:10]
        assert (await visitor.search("etienne")).names == (await visitor.search("ÉTIENNE")).names

    with_site(SiteOptions(people=1000), visit)


# -- one person


def test_details_follow_the_links_and_lose_the_search() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        results = await visitor.search("martin")
        card = parse_qs(urlsplit(results.cards[1]).query, keep_blank_values=True)
        rpps = card["_mapportlet_idRpps"][0]
        assert card["_mapportlet_resultatIndex"] == ["B"]
        popup = await visitor.post(results.cards[1])
        assert popup.rpps == rpps
        assert popup.one(".popin_resultats_details_h .nom_prenom") == results.names[1].upper()
        detail = await visitor.post(popup.link("infoDetailPP"))
        assert detail.url == visited.url + DETAIL
        assert (detail.rpps, detail.one(".ico_marqueur span")) == (rpps, "B")
        for action in TAB_ACTIONS.values():
            page = await visitor.post(detail.link(action))
            assert page.rpps == rpps
        assert (await visitor.post(page.link("detailsPPSituation"))).rpps == rpps
        assert (await visitor.turn_to(1)).one("span.nombre") == "00"
        stats = visited.site.stats()
        assert stats["tabs"] == {rpps: {"situation": 2, "dossier": 1, "diplomes": 1, "personne": 1}}
        assert stats["details_mean"] == 1.25

    with_site(SiteOptions(people=200), visit)


def test_each_step_needs_the_one_before() -> None:
    async def visit(visited: Visited) -> None:
        one, other = (person.rpps for person in visited.site.directory.people[:2])
        visitor = visited.visitor()
        assert (await visitor.get(DETAIL)).is_no_selection
        assert (await visitor.tab(one, "dossier")).is_no_selection
        assert (await visitor.open(one)).is_no_selection
        await visitor.select(one)
        assert (await visitor.tab(one, "dossier")).is_no_selection
        assert (await visitor.open(other)).is_no_selection
        assert (await visitor.open(one)).rpps == one
        assert visited.site.stats()["no_selection"] == 5

    with_site(SiteOptions(people=10), visit)


def test_two_requests_of_one_session_at_once_answer_with_the_wrong_person_and_status_200() -> None:
    async def visit(visited: Visited) -> None:
        one, other = (person.rpps for person in visited.site.directory.people[:2])
        visitor = visited.visitor()
        await visitor.home()
        popups = await asyncio.gather(visitor.select(one), visitor.select(other))
        assert {page.status for page in popups} == {200}
        assert len({page.rpps for page in popups}) == 1, "both show whoever was selected last"
        await visitor.select(one)
        await visitor.open(one)
        tab, _ = await asyncio.gather(visitor.tab(one, "dossier"), visitor.select(other))
        assert (tab.status, tab.is_no_selection) == (200, True)
        await visitor.open(other)
        stale = await visitor.tab(one, "dossier")
        assert (stale.status, stale.rpps) == (200, other)
        stats = visited.site.stats()
        assert stats["max_in_flight_per_session"] == 2
        assert stats["overlapping"] == 2
        assert "dossier" not in stats["tabs"].get(other, {}), "not served to the one who asked"

    with_site(SiteOptions(people=10, latency=0.03), visit)


def test_sessions_are_isolated_from_each_other() -> None:
    async def visit(visited: Visited) -> None:
        async def look_at(rpps: str) -> None:
            visitor = visited.visitor()
            assert (await visitor.select(rpps)).rpps == rpps
            assert (await visitor.open(rpps)).rpps == rpps
            for tab in TAB_ACTIONS:
                assert (await visitor.tab(rpps, tab)).rpps == rpps

        everybody = [person.rpps for person in visited.site.directory.people]
        await asyncio.gather(*(look_at(rpps) for rpps in everybody))
        stats = visited.site.stats()
        assert stats["tabs"] == {rpps: dict.fromkeys(TABS, 1) for rpps in everybody}
        assert (stats["overlapping"], stats["max_in_flight_per_session"], stats["details_mean"]) == (0, 1, 1.0)
        assert stats["in_flight_max"] > 1

    with_site(SiteOptions(people=10, latency=0.01, jitter=0.02), visit)


# -- the truth


def samples(people: list[Person]) -> list[Person]:
    """Somebody of every kind that makes reading hard."""
    kinds: list[Callable[[Person], bool]] = [
        lambda person: person.activities == 3,
        lambda person: person.state == "FERME",
        lambda person: not person.site_id and bool(person.organizations),
        lambda person: not person.email and not person.phone and not person.address,
        lambda person: not person.situation_id,
        lambda person: len(person.organizations) == 2,
        lambda person: len(person.address) == 3,
        lambda person: "'" in person.surname,
        lambda person: bool(person.tabs["dossier"]["SANCTIONS"]),
        lambda person: bool(person.tabs["diplomes"]["AUTORISATIONS MINISTÉRIELLES"]),
        lambda person: any("&" in organization for organization in person.organizations),
    ]
    return [next(filter(kind, people)) for kind in kinds] + people[:10]


def test_the_truth_is_what_stands_on_the_pages() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        truth = json.loads((await visitor.get("/__truth__")).text)["people"]
        assert len(truth) == 600
        for person in samples(list(visited.site.directory.people)):
            results = await visitor.search(person.capitals)
            card = next(card for card in results.tree.css("div.contenant_resultat") if person.rpps in (card.html or ""))
            record: dict[str, Any] = read_card(card)
            await visitor.select(person.rpps)
            record["situation"] = read_tab(await visitor.open(person.rpps))
            for tab in TAB_ACTIONS:
                record[tab] = read_tab(await visitor.tab(person.rpps, tab))
            assert record == truth[person.rpps]
            assert {"ACTIVITÉ 2", "STRUCTURE D'EXERCICE 2"} <= set(record["situation"]) or person.activities == 1

    with_site(SiteOptions(people=600), visit)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the captured pages are not there: {FIXTURES}")
def test_sections_labels_and_columns_are_those_of_the_real_pages() -> None:
    expected = json.loads((FIXTURES / "tab_fields.json").read_text(encoding="utf8"))
    for tab, shapes in TAB_SHAPES.items():
        ours = {shape.heading: {"labels": list(shape.labels), "columns": list(shape.columns)} for shape in shapes}
        assert ours == expected[f"detail_{tab}.html"]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the captured pages are not there: {FIXTURES}")
@pytest.mark.parametrize("tab", TABS)
def test_a_page_has_the_labels_columns_and_classes_of_the_real_one(tab: str) -> None:
    real = Page(200, tab, (FIXTURES / f"detail_{tab}.html").read_text(encoding="utf8"), {})

    async def visit(visited: Visited) -> Page:
        person = next(each for each in visited.site.directory.people if each.activities == 1 and each.state == "OUVERT")
        visitor = visited.visitor()
        await visitor.select(person.rpps)
        page = await visitor.open(person.rpps)
        return page if tab == "situation" else await visitor.tab(person.rpps, tab)

    ours = with_site(SiteOptions(people=50), visit)
    assert printed_labels(ours) == printed_labels(real)
    assert printed_columns(ours) == printed_columns(real)
    assert {name: list(section) for name, section in read_tab(ours).items() if isinstance(section, dict)} == {
        name: list(section) for name, section in read_tab(real).items() if isinstance(section, dict)
    }
    for selector in (".popin_resultats_pleine_largeur", ".infos_detaillees_onglets > div", ".rpps span", "h2", "table"):
        assert len(ours.tree.css(selector)) == len(real.tree.css(selector)), selector


def printed_labels(page: Page) -> list[str]:
    block = page.tree.css(".bloc_infos_detaillees")[0]
    labels = ", ".join(f"span.{name}:not(.text_detail_personne)" for name in sorted(LABEL_CLASSES))
    return sorted(label for node in block.css(labels) if (label := " ".join(node.text().split())))


def printed_columns(page: Page) -> list[str]:
    return sorted(clean(column) for column in page.tree.css(".bloc_infos_detaillees th"))


# -- links


@pytest.mark.parametrize("links", ["absolute", "relative", "canonical"])
def test_links_are_written_as_asked_for(links: Literal["absolute", "relative", "canonical"]) -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        home = await visitor.home()
        start = {"absolute": visited.url, "relative": "", "canonical": CANONICAL_ORIGIN}[links] + "/web/site-pro/"
        results = await visitor.search("m")
        person = visited.site.directory.people[0].rpps
        popup = await visitor.select(person)
        detail = await visitor.open(person)
        action = home.tree.css("form[name=fmRecherche]")[0].attributes["action"] or ""
        suivant = href(results.tree.css("a[title='Suivant']")[0])
        for link in (action, suivant, *results.cards, popup.link("infoDetailPP"), detail.link("detailsPPPersonne")):
            assert link.startswith(start), link
        redirect = await visitor.search("m", allow_redirects=False)
        assert redirect.headers["Location"] == (RESULTS if links == "relative" else visited.url + RESULTS)

    with_site(SiteOptions(people=200, links=links), visit)


# -- refusals and faults


def test_a_session_that_hurries_is_refused() -> None:
    pace = 0.05

    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        assert (await visitor.home()).status == 200
        hurried = await visitor.home()
        assert (hurried.status, hurried.token) == (403, "")
        assert len(hurried.text) < 100
        await asyncio.sleep(pace)
        assert (await visitor.home()).status == 200
        assert (await visited.visitor().home()).status == 200, "every session has a pace of its own"
        assert visited.site.stats()["too_fast"] == 1

    with_site(SiteOptions(people=10, pace=pace), visit)


def test_the_whole_site_takes_only_so_many_requests_a_second() -> None:
    async def visit(visited: Visited) -> None:
        pages = await asyncio.gather(*(visited.visitor().home() for _ in range(8)))
        assert sorted(page.status for page in pages) == [200] * 5 + [429] * 3
        assert {page.headers.get("Retry-After") for page in pages if page.status == 429} == {"1"}
        stats = visited.site.stats()
        assert (stats["throttled"], stats["sessions"]) == (3, 5)

    with_site(SiteOptions(people=10, rate=5), visit)


async def fault_of(visitor: Visitor, path: str = HOME) -> str:
    """What kind of fault a request meets, seen from outside.

    A POST, for aiohttp repeats a GET by itself, once, when the connection is lost: a fault would be hidden.
    """
    started = time.monotonic()
    try:
        async with visitor.session.post(visitor.base + path) as answer:
            body = await answer.read()
    except aiohttp.ClientPayloadError:
        return "truncated"
    except (aiohttp.ClientConnectionError, ConnectionError):
        return "reset"
    if answer.status != 200:
        return str(answer.status)
    if answer.headers.get("Content-Encoding") == "gzip":
        unpacking = zlib.decompressobj(wbits=31)
        unpacking.decompress(body)
        if not unpacking.eof:
            return "truncated_gzip"
    if not body:
        return "empty"
    return "stall" if time.monotonic() - started >= STALL_SECONDS else "none"


def test_each_kind_of_fault_comes_in_turn() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor(auto_decompress=False)
        assert [await fault_of(visitor) for _ in FAULT_KINDS] == list(FAULT_KINDS)
        assert visited.site.stats()["faults"] == dict.fromkeys(FAULT_KINDS, 1)
        await visitor.get("/robots.txt")
        assert visited.site.stats()["faults"] == dict.fromkeys(FAULT_KINDS, 1)

    with_site(SiteOptions(people=10, faults=1.0), visit)


def test_a_client_without_gzip_meets_a_short_body_instead() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor(auto_decompress=False, headers={"Accept-Encoding": "identity"})
        kinds = [await fault_of(visitor) for _ in range(6)]
        assert kinds == ["500", "502", "503", "reset", "truncated", "truncated"]

    with_site(SiteOptions(people=10, faults=1.0), visit)


def test_a_share_of_the_responses_is_spoilt_and_the_same_ones_again() -> None:
    options = SiteOptions(people=10, faults=0.1, seed=5)

    async def visit(visited: Visited) -> list[str]:
        visitor = visited.visitor(auto_decompress=False)
        return [await fault_of(visitor) for _ in range(60)]

    kinds = with_site(options, visit)
    assert 0 < 60 - kinds.count("none") < 8
    assert kinds == with_site(options, visit)


def test_what_a_fault_spoilt_does_not_count_as_served() -> None:
    async def visit(visited: Visited) -> None:
        rpps = visited.site.directory.people[0].rpps
        visitor = visited.visitor()
        await visitor.select(rpps)
        await visitor.open(rpps)
        site = visited.site
        spoiling = type(site)(replace(site.options, faults=1.0))
        site._faults = spoiling._faults
        assert (await visitor.tab(rpps, "dossier")).status == 500
        assert site.stats()["tabs"] == {rpps: {"situation": 1}}

    with_site(SiteOptions(people=10), visit)


@pytest.mark.parametrize(
    ("robots", "status", "text"),
    [
        (SiteOptions().robots, 200, "User-agent: *\nDisallow:\n"),
        ("User-agent: *\nDisallow: /web\n", 200, "User-agent: *\nDisallow: /web\n"),
        (None, 404, ""),
    ],
)
def test_robots_txt_is_as_asked_for_and_makes_no_session(robots: str | None, status: int, text: str) -> None:
    async def visit(visited: Visited) -> None:
        page = await visited.visitor().get("/robots.txt")
        assert (page.status, page.text) == (status, text)
        assert visited.site.stats()["sessions"] == 0

    with_site(SiteOptions(people=10, robots=robots), visit)


def test_pages_are_packed_for_those_who_accept_it_and_last_as_long_as_asked() -> None:
    async def visit(visited: Visited) -> None:
        started = time.monotonic()
        packed = await visited.visitor().home()
        assert packed.headers["Content-Encoding"] == "gzip"
        assert time.monotonic() - started >= 0.05
        bare = await visited.visitor(headers={"Accept-Encoding": "identity"}).home()
        assert "Content-Encoding" not in bare.headers
        assert bare.text.replace(bare.token, "") == packed.text.replace(packed.token, "")

    with_site(SiteOptions(people=10, latency=0.05), visit)


def test_an_unknown_address_is_not_found() -> None:
    async def visit(visited: Visited) -> None:
        visitor = visited.visitor()
        assert [(await visitor.get(path)).status for path in ("/nothing", "/__nothing__")] == [404, 404]

    with_site(SiteOptions(people=1), visit)


# -- as a process


def test_a_process_serves_tells_the_truth_and_stops() -> None:
    options = SiteOptions(people=30, seed=4, robots="User-agent: *\nDisallow: /x\n", links="relative", faults=0.0)
    with SiteProcess(options) as site:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", site.url)
        truth = site.truth()["people"]
        assert truth == json.loads(json.dumps({person.rpps: person.truth() for person in generate(30, 4)}))

        async def visit() -> None:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                visitor = Visitor(session, site.url)
                assert (await visitor.get("/robots.txt")).text == options.robots
                assert (await visitor.search("m")).names

        asyncio.run(visit())
        stats = site.stats()
        assert (stats["requests"], stats["people"], stats["details_mean"]) == (4, 30, None)
        site.reset()
        assert site.stats()["requests"] == 0
        with pytest.raises(RuntimeError, match="already running"):
            site.start()
    site.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = site.url


COMMAND = [sys.executable, "-m", "windrow.demo.annuaire.site", "--people=5", "--port=0"]


@pytest.fixture
def environment() -> dict[str, str]:
    source = str(Path(serving.__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))}


def test_sigterm_ends_it_cleanly_after_one_line(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


def test_it_ends_when_its_standard_input_does(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*COMMAND, "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_dies_with_the_process_that_started_it(environment: dict[str, str]) -> None:
    program = """
import signal
from windrow.demo.annuaire.site import SiteOptions, SiteProcess
print(SiteProcess(SiteOptions(people=5)).start().url, flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        parent.kill()
        assert parent.wait(10) == -signal.SIGKILL
        assert asyncio.run(refuses_within(url, 10.0)), "the site has outlived the process that started it"


async def refuses_within(url: str, seconds: float) -> bool:
    """Whether nobody listens there any more, asked again and again for so long."""
    address = urlsplit(url)
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.hostname, address.port)
            except ConnectionRefusedError:
                return True
            writer.close()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("arguments", [["--people=-1"], ["--no-such-option"]])
def test_a_site_that_cannot_start_says_so(arguments: list[str]) -> None:
    with pytest.raises(RuntimeError, match="did not print its URL"):
        ServedProcess("windrow.demo.annuaire.site", arguments).start()
