"""The directory of health professionals: everybody, with all four tabs, through a search that shows 100 hits at most.

How everybody is reached. A partition is a search. The searches a to z come first. What a search does depends on how
many hits the site reports for it:

- up to one page: it fetches the people itself;
- up to the cap: it fetches those of the first page and leaves each further page to a partition of its own (`ma/3` is
  page 3 of `ma`), so that many sessions share a long list and a session that dies costs a page, not a list;
- at the cap: it fetches only those whose name ends with the search (`LI` under `li`: no longer search finds them) and
  splits into longer searches.

The search is free text: `phar` also finds every pharmacist. Those are fetched under their own names. Searches below a
capped one therefore run last, and only if by then fewer people are known that match it than the site reports.

How the site must be asked. One session looks at one person at a time, so all requests of a partition go through one
session, one after the other. A session that the site has forgotten is answered as if nothing had happened, with status
200: the token on every page is compared with the session's own, and the RPPS number on every page with the person's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from windrow import Element, Job, LeasedPartition, Pace, Page, Partition, Session
from windrow.partitions import Prefixes, prefixes

PAGE_SIZE = 10
MOST_SHOWN = 100
RESULTS = "/web/site-pro/recherche/resultats"
DETAILS = "/web/site-pro/information-detaillees"
HEADINGS: Mapping[str, frozenset[str]] = {
    "situation": frozenset(
        {"ACTIVITÉ", "STRUCTURE D'EXERCICE", "SITUATION DU PRATICIEN HOSPITALIER", "POSITION STATUTAIRE"}
    ),
    "dossier": frozenset({"EXERCICE PROFESSIONNEL", "SAVOIR-FAIRE", "INSCRIPTIONS", "CARTES CPS"}),
    "diplomes": frozenset({"DIPLÔMES", "AUTRES DIPLÔMES", "AUTORISATIONS MINISTÉRIELLES"}),
    "personne": frozenset({"INFORMATIONS GÉNÉRALES", "ÉTAT-CIVIL", "COORDONNÉES DE CORRESPONDANCE"}),
}
ACTIONS = {"dossier": "detailsPPDossierPro", "diplomes": "detailsPPDiplomes", "personne": "detailsPPPersonne"}
NOTHING = "Pas d'information renseignée dans cette rubrique"

# The pace that a scraper of the site reported as safe, as factors of the delay between two tabs (0.5 s).
BETWEEN_PAGES = 0.4
BETWEEN_TABS = 1.0
BETWEEN_PEOPLE = 2.0

Section = dict[str, str] | list[dict[str, str]]
Tab = dict[str, Section]


class Professional(BaseModel):
    """One person. A tab maps section → label → value, or section → rows of a table, all as the site writes them."""

    rpps: str
    name: str
    profession: str | None = None
    organization: str | None = None
    address: str | None = None
    phone: str | None = None
    email: str | None = None
    situation: Tab
    dossier: Tab
    diplomes: Tab
    personne: Tab


@dataclass(frozen=True)
class Card:
    """One hit of a search: what stands on it, and the parameters of its link (without prefix)."""

    rpps: str
    name: str
    profession: str | None
    organization: str | None
    address: str | None
    phone: str | None
    email: str | None
    link: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Searches:
    """Prefixes to search for, and pages of their results: `ma`, `ma/3`."""

    prefixes: Prefixes

    def plan(self) -> Iterator[Partition]:
        return self.prefixes.plan()

    def find(self, key: str) -> Partition | None:
        text, slash, number = key.partition("/")
        if not slash:
            return self.prefixes.find(key)
        known = self.prefixes.find(text) is not None and number.isdecimal() and 1 < int(number) <= 10
        return page_of(text, int(number)) if known else None

    def children(self, partition: Partition) -> list[Partition]:
        return self.prefixes.children(partition)


def page_of(text: str, number: int) -> Partition:
    """The partition for one page of a search."""
    return Partition(f"{text}/{number}", {"search": text, "page": number})


job = Job(
    "professionals",
    record=Professional,
    key="rpps",
    base_url="https://annuaire.sante.fr",
    partitions=Searches(prefixes("abcdefghijklmnopqrstuvwxyz '-", first="abcdefghijklmnopqrstuvwxyz", longest=30)),
    sessions=8,
    pace=Pace(delay=0.5, least=0.2, most=5.0),
)


@job.scrape
async def scrape(session: Session, prefix: LeasedPartition) -> AsyncGenerator[Professional]:
    """The people of one search, or of one page of it."""
    text, number = str(prefix.params.get("search", prefix.key)), int(prefix.params.get("page", 1))
    results = await search(session, text)
    hits = reported(results)
    if "page" in prefix.params:
        cards = read_cards(results if number == 1 else await result_page(session, number))
        prefix.reports(min(PAGE_SIZE, max(0, hits - PAGE_SIZE * (number - 1))) - doubled(cards))
    elif hits <= PAGE_SIZE:
        cards = read_cards(results)
        prefix.reports(hits - doubled(cards))
    else:
        cards = await divide(session, prefix, results, hits)
    for card in await prefix.unseen(distinct(cards), key="rpps"):
        yield await professional(session, card)


# --- how the site may search ---------------------------------------------------------------------------------------
# Nobody tells what its free text matches. These are the guesses; each complete list of a run puts them to the test.


@job.matches
def words_begin(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """Each word of the search begins some word."""
    words = [word for field in looked_at(row) for word in split_words(field)]
    return says(prefix, lambda text: all(any(map(starting(term), words)) for term in split_words(text)))


@job.matches
def terms_begin(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """The search begins the name, or each of its terms (with hyphen and apostrophe) begins some word."""
    words = [word for field in looked_at(row) for word in split_words(field)]
    return says(
        prefix,
        lambda text: (
            fold(row["name"]).startswith(text) or all(any(map(starting(term), words)) for term in text.split())
        ),
    )


@job.matches
def parts_begin(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """Each term begins something between two spaces."""
    parts = " ".join(looked_at(row)).split()
    return says(prefix, lambda text: all(any(map(starting(term), parts)) for term in text.split()))


@job.matches
def field_begins(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """The search as a whole begins the name, the first name, the profession or a line of the organisation."""
    return says(prefix, lambda text: any(map(starting(text), looked_at(row))))


@job.matches
def phrase_begins(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """The search as a whole stands somewhere, behind a space or at the beginning."""
    return says(prefix, lambda text: any(f" {text}" in f" {field}" for field in looked_at(row)))


@job.matches
def text_contains(row: Mapping[str, Any], prefix: Partition) -> bool | None:
    """The search as a whole stands somewhere."""
    return says(prefix, lambda text: text in " ".join(looked_at(row)))


def says(prefix: Partition, matches: Callable[[str], bool]) -> bool | None:
    """What a guess says of a search; nothing where it ends in a separator, which a site may or may not strip."""
    text = fold(prefix.key)
    return matches(text) if text == prefix.key else None


def looked_at(row: Mapping[str, Any]) -> list[str]:
    """What the site's search looks at, folded: name, first name, profession, lines of the organisation."""
    first_name = " ".join(word for word in row["name"].split() if not word.isupper())
    fields = [row["name"], first_name, row["profession"], *(row["organization"] or "").split("\n")]
    return [fold(field) for field in fields if field]


def starting(text: str) -> Callable[[str], bool]:
    """Whether something starts with `text`."""
    return lambda word: word.startswith(text)


def split_words(text: str) -> list[str]:
    """`le gall-d'or` → le, gall, d, or."""
    return "".join(c if c.isalnum() else " " for c in text).split()


@lru_cache(maxsize=100_000)
def fold(text: str) -> str:
    """Without case and accents, white space collapsed."""
    plain = unicodedata.normalize("NFKD", text.replace("œ", "oe").replace("Œ", "OE")).casefold()
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).replace("’", "'").split())


# --- searching -----------------------------------------------------------------------------------------------------


async def search(session: Session, text: str) -> Page:
    """Search for `text`; the first page of results."""
    home = await session.get("/web/site-pro", expect="form[name=fmRecherche]", pace=BETWEEN_PAGES)
    form = home.form("fmRecherche").filled(texttofind=text)
    in_action = parse_qs(urlsplit(form.action).query).get("p_auth", [None])[0]
    session.state["p_auth"] = in_action or token_of(home) or ""
    return await session.post(
        session.local(form.action), data=form.fields, expect=Expected(session, "span.nombre"), pace=BETWEEN_PAGES
    )


async def result_page(session: Session, number: int) -> Page:
    """Page `number` of the session's search. The portlet is `resultatportlet`: with one t more it is always page 1."""
    query = {
        "p_p_id": "resultatportlet",
        "p_p_lifecycle": 0,
        "p_p_state": "normal",
        "p_p_mode": "view",
        "_resultatportlet_delta": PAGE_SIZE,
        "_resultatportlet_resetCur": "false",
        "_resultatportlet_cur": number,
    }
    return await session.get(RESULTS, params=query, expect=Expected(session, "span.nombre"), pace=BETWEEN_PAGES)


async def divide(session: Session, prefix: LeasedPartition, results: Page, hits: int) -> list[Card]:
    """Leave a long list to children; the cards that this partition fetches itself."""
    capped = hits >= MOST_SHOWN
    cards = read_cards(results)
    if not capped and not prefix.reopened:
        prefix.reports(hits)
        prefix.split(page_of(prefix.key, number + 1) for number in range(1, -(-hits // PAGE_SIZE)))
        return cards
    for number in range(2, MOST_SHOWN // PAGE_SIZE + 1):
        if len(cards) >= hits:
            break
        cards += read_cards(await result_page(session, number))
    if hits != MOST_SHOWN:  # else the site may count only what it shows
        prefix.reports(hits - doubled(cards))
    if capped:
        split(prefix, hits, cards)
    if prefix.reopened:
        return cards
    await prefix.found(card.rpps for card in cards)
    return [card for card in cards if ends_with(card.name, prefix.key)]


def split(prefix: LeasedPartition, hits: int, cards: list[Card]) -> None:
    """Longer searches, if they are needed by then. One that ends in a separator may repeat its parent: those come last.

    Where the site does not say how many hits there are, a separator must stand in some name that is shown: nothing
    else would keep `m`, `m m`, `m m m` from finding the same people for ever.
    """
    longer = job.source().children(Partition(prefix.key))
    names = [fold(card.name) for card in cards]
    separated = [child for child in longer if not child.key[-1].isalpha()]
    if hits == MOST_SHOWN:
        separated = [child for child in separated if any(map(starting(child.key), names))]
    prefix.split([child for child in longer if child.key[-1].isalpha()], lazily=1)
    prefix.split(separated, lazily=2)


def reported(page: Page) -> int:
    """The number of hits that a page of results states."""
    digits = "".join(filter(str.isdecimal, page.text("span.nombre")))
    return int(digits or 0)


def read_cards(page: Page) -> list[Card]:
    """The cards of a page of results."""
    return [read_card(card) for card in page.css("div.contenant_resultat") if card.has("a[href*=DetailsPPAction]")]


def read_card(card: Element) -> Card:
    """One card. The first profession is the profession, the others say where the person works."""
    link = card.one("a[href*=DetailsPPAction]")
    name = card.first("div.nom_prenom a[href*=DetailsPPAction]") or link
    params = short_params(link.url())
    professions = [line for each in card.css("div.profession") if (line := "\n".join(each.lines()))]
    return Card(
        rpps=params["idRpps"],
        name=name.text(),
        profession=professions[0] if professions else None,
        organization="\n".join(professions[1:]) or None,
        address=joined(card.first("div.adresse")),
        phone=joined(card.first("div.tel")),
        email=joined(card.first("div.mssante span.mssante_txt")),
        link=link.url(),
        params=params,
    )


def short_params(url: str) -> dict[str, str]:
    """The parameters of a link, each without the portlet's prefix: `_mapportlet_idRpps` → `idRpps`."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return {name.rpartition("portlet_")[2]: values[0] for name, values in query.items()}


def joined(element: Element | None) -> str | None:
    """The lines of an element, None where there is none."""
    return "\n".join(element.lines()) or None if element is not None else None


def distinct(cards: list[Card]) -> list[Card]:
    """Each person once: one with several activities may stand on several cards."""
    return list({card.rpps: card for card in cards}.values())


def doubled(cards: list[Card]) -> int:
    """How many cards stand for a person that another card stands for already."""
    return len(cards) - len(distinct(cards))


def ends_with(name: str, prefix: str) -> bool:
    """Whether a surname is the prefix itself, so that no longer search needs to find it."""
    surname, wanted = fold(name), fold(prefix)
    return surname == wanted or surname.startswith(wanted + " ")


# --- one person ----------------------------------------------------------------------------------------------------


async def professional(session: Session, card: Card) -> Professional:
    """Choose the person and read the four tabs: five requests."""
    popup = Expected(session, ".popin_resultats_details_h", card.rpps)
    await session.post(session.local(card.link), expect=popup, pace=BETWEEN_PEOPLE)
    situation = await session.post(
        RESULTS,
        params=action(session, "mapportlet", "infoDetailPP", detail_params(card)),
        expect=Expected(session, ".popin_resultats_pleine_largeur", card.rpps, "situation"),
        pace=BETWEEN_TABS,
    )
    tabs = {"situation": read_tab(situation)}
    for tab, name in ACTIONS.items():
        page = await session.post(
            DETAILS,
            params=action(session, "resultatsportlet", name, tab_params(card)),
            expect=Expected(session, ".popin_resultats_pleine_largeur", card.rpps, tab),
            pace=BETWEEN_TABS,
        )
        tabs[tab] = read_tab(page)
    return Professional(
        rpps=card.rpps,
        name=card.name,
        profession=card.profession,
        organization=card.organization,
        address=card.address,
        phone=card.phone,
        email=card.email,
        **tabs,
    )


def action(session: Session, portlet: str, name: str, params: Mapping[str, str]) -> dict[str, Any]:
    """The query of an action of a portlet: it is skipped without a word when the token is not the session's."""
    return {
        "p_p_id": portlet,
        "p_p_lifecycle": 1,
        "p_p_state": "normal",
        "p_p_mode": "view",
        f"_{portlet}_javax.portlet.action": name,
        **{f"_{portlet}_{key}": value for key, value in params.items()},
        "p_auth": session.state["p_auth"],
    }


def detail_params(card: Card) -> dict[str, str]:
    """What `infoDetailPP` wants of a card, under its own names; some can be empty."""
    get = card.params.get
    return {
        "idSituExePourDetail": get("idSituExe", ""),
        "idNat": f"8{card.rpps}",
        "idExeProPourDetail": get("idExePro", ""),
        "coordonneIdPourDetail": get("coordonneesId", ""),
        "resultatIndex": get("resultatIndex", ""),
        "idRpps": card.rpps,
        "etat": get("etatPP", ""),
        "siteIdPourDetail": get("siteId", ""),
    }


def tab_params(card: Card) -> dict[str, str]:
    """What the tabs want of a card."""
    get = card.params.get
    return {
        "idNat": f"8{card.rpps}",
        "resultatIndex": get("resultatIndex", ""),
        "idRpps": card.rpps,
        "siteId": get("siteId", ""),
        "coordonneId": get("coordonneesId", ""),
        "etat": get("etatPP", ""),
        "idExePro": get("idExePro", ""),
    }


class Expected:
    """What a real answer holds: `selector`, this session's own token, and with `rpps` that person's page and tab."""

    def __init__(self, session: Session, selector: str, rpps: str | None = None, tab: str | None = None) -> None:
        self._session = session
        self._selector = selector
        self._rpps = rpps
        self._tab = tab

    def __repr__(self) -> str:
        return " of ".join(filter(None, (self._selector, self._tab, self._rpps, "a session the site remembers")))

    def __call__(self, page: Page) -> bool:
        if not page.has(self._selector):
            return False
        token = token_of(page)
        if token is not None and token != self._session.state["p_auth"]:
            return False
        if self._rpps is None:
            return True
        shown = page.text(".rpps", default="")
        headings = {fold(heading) for heading in page.texts("h2")}
        return self._rpps in shown and (self._tab is None or not headings.isdisjoint(map(fold, HEADINGS[self._tab])))


def token_of(page: Page) -> str | None:
    """The `p_auth` that a page was rendered with."""
    found = re.search(r"""Liferay\.authToken\s*=\s*(['"])(\w+)\1""", page.html)
    return found[2] if found else None


def read_tab(page: Page) -> Tab:
    """Section → label → value, or section → rows. A section that comes again is numbered: `ACTIVITÉ 2`."""
    tab: Tab = {}
    section: dict[str, str] = {}
    heading = label = ""
    for element in page.one(".popin_resultats_pleine_largeur").css("h2, table, span"):
        if element.tag == "h2":
            heading, section, label = numbered(element.text(), tab), {}, ""
            tab[heading] = section
        elif element.tag == "table":
            tab[heading] = read_table(element)
        elif heading and not in_table(element):
            classes = element.attr("class", default="").split()
            if is_label(classes):
                label = clean_label(element.text())
                if label:
                    section[label] = ""
            elif label and is_value(classes):
                section[label] = "\n".join(element.lines())
                label = ""
    return tab


def numbered(heading: str, tab: Tab) -> str:
    """The heading, or with the first free number where the tab has it already."""
    name, count = heading, 1
    while name in tab:
        count += 1
        name = f"{heading} {count}"
    return name


def is_label(classes: list[str]) -> bool:
    """Some values wear the class of a label too; then they are also `text_detail_personne`."""
    labels = {"label_detail_personne", "label_detail_personne_bold", "label_moyen", "label_court"}
    return not labels.isdisjoint(classes) and "text_detail_personne" not in classes


def is_value(classes: list[str]) -> bool:
    """`label_txt`, `label_txt_moyen`, …, `label_mailto`, `text_detail_personne`."""
    return any(c.startswith("label_txt") or c in {"label_mailto", "text_detail_personne"} for c in classes)


def in_table(element: Element) -> bool:
    """Cells of a table hold spans of the same classes."""
    around = element.parent
    return around is not None and around.tag in {"td", "th"}


def clean_label(text: str) -> str:
    """`Mode d'exercice :` → `Mode d'exercice`."""
    return text.rstrip(": \N{NO-BREAK SPACE}")


def read_table(table: Element) -> list[dict[str, str]]:
    """Rows, column → value; none where the site says that there is no information."""
    columns = [clean_label(cell.text()) for cell in table.css("th")]
    rows = []
    for row in table.css("tr"):
        cells = ["\n".join(cell.lines()) for cell in row.css("td")]
        if cells and cells[0] != NOTHING:
            rows.append(dict(zip(columns, cells, strict=False)))
    return rows
