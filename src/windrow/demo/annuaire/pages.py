"""The directory's pages: their structure, classes, links and oddities, as bytes with a few places left open.

A `Template` is rendered once per person and tab and filled for each request with the session's token, the base of the
links, the letter of the result and the text of the search, so that a page costs a few byte replacements.

Oddities of the portal that are kept on purpose: blank lines before the doctype, `&` unescaped in links, a comment
that holds a script, `&nbsp` without its semicolon, a CDATA section and an XML declaration inside the body, an
unclosed custom element, values of label class (`COORDONNÉES DE CORRESPONDANCE`), padding labels without text,
`mailto:` links without an address.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from windrow.demo.annuaire.people import (
    ACTIVITY,
    STRUCTURE,
    TAB_SHAPES,
    Person,
    Section,
    SectionShape,
    Tab,
    clean_label,
    numbered,
)

HOME_PATH = "/web/site-pro/home"
RESULTS_PATH = "/web/site-pro/recherche/resultats"
DETAIL_PATH = "/web/site-pro/information-detaillees"
PAGE_SIZE = 10
MAXIMUM_PAGES = 10
LETTERS = "ABCDEFGHIJ"
TAB_ACTIONS: Mapping[str, str] = {
    "situation": "detailsPPSituation",
    "dossier": "detailsPPDossierPro",
    "diplomes": "detailsPPDiplomes",
    "personne": "detailsPPPersonne",
}
SEARCH_PORTLETS: Mapping[str, str] = {
    HOME_PATH: "rechercheportlet_INSTANCE_blk14HrIzEMS",
    RESULTS_PATH: "rechercheportlet_INSTANCE_ctPdpHA24ctE",
    DETAIL_PATH: "rechercheportlet_INSTANCE_SjApRWiKf1O0",
}
NO_INFORMATION = "Pas d'information renseignée dans cette rubrique"
NO_SELECTION = "Vous n'avez pas séléctionné la personne ou l'établissement dont vous voulez Afficher le détail"
CAPPED = "seules les cent premières réponses vous sont présentées"

# The places left open. NUL stands in no text of the site.
_TOKEN, _BASE, _LETTER, _QUERY = "\0T", "\0B", "\0L", "\0Q"


@dataclass(frozen=True, slots=True)
class Template:
    """A page, or a piece of one, encoded in UTF-8, with places left open."""

    content: bytes

    def fill(self, *, token: str, base: str, letter: str = "", query: str = "") -> bytes:
        """The finished page. `base` stands before every path: an origin without trailing slash, or nothing."""
        return (
            self.content.replace(b"\0B", base.encode())
            .replace(b"\0T", token.encode())
            .replace(b"\0L", letter.encode())
            .replace(b"\0Q", escape(query).encode())
        )


class Shell:
    """What stands around the content of one kind of page: head, navigation, search form, footer."""

    def __init__(self, title: str, path: str, crumbs: Sequence[str], columns: str) -> None:
        before = _HEAD.format(title=title, path=path) + _navigation(crumbs)
        form = _portlet(SEARCH_PORTLETS[path], _COMMENTED_SCRIPT + _search_form(path))
        self._before = (before + columns.format(form=form)).encode()
        self._after = _FOOT.encode()

    def around(self, content: bytes) -> Template:
        """The whole page with this content, which is encoded in UTF-8."""
        return Template(self._before + content + self._after)


def home_shell() -> Shell:
    return Shell("Accueil", HOME_PATH, ["Accueil"], _UPPER_COLUMNS)


def results_shell() -> Shell:
    return Shell(
        "Résultats de recherche", RESULTS_PATH, ["Accueil", "Recherche", "Résultats de recherche"], _UPPER_COLUMNS
    )


def detail_shell() -> Shell:
    crumbs = ["Accueil", "Recherche", "Résultats de recherche", "Informations détaillées"]
    return Shell("Informations détaillées", DETAIL_PATH, crumbs, _ONE_COLUMN)


# -- the pages' own content


def home_content() -> str:
    return f'<div class="portlet-layout" id="main-content" role="main">{_WELCOME}</div>\n'


def results_content(cards: str, *, count: str, page: int, pages: int, popup: str, cap_notice: str) -> str:
    """A result list: `count` as shown, 1 ≤ page ≤ pages, `popup` the person looked at (or nothing)."""
    listing = f"""<div class="col_gauche h_col_620">
<div class="entete">
<span class="resultats">Résultats</span><br />
<span class="nombre">{count}</span>
</div>
<div class="exporter">
</div>
<div class="imprimer">
<a href="{_results_link(page, lifecycle=2)}" title="Imprimer la liste"
><img src="/o/theme/images/imprimer.png" alt="Imprimer" /></a>
</div>
<div class="clear"></div>
<div class="separateur_col"></div>
{cards}<div class="separateur_col"></div>
{_page_iterator(page, pages)}{cap_notice}</div>
"""
    detail = popup or '<div id="map" style="width:592px; height:592px;">&nbsp;</div>\n'
    panel = f'<div id="_mapportlet__detail" class="col_droite">\n{detail}</div>\n'
    return f"""<div class="portlet-layout" id="main-content" role="main">
<div class="aui-w30 portlet-column portlet-column-first col-xs-4" id="column-2">
<div class="portlet-dropzone portlet-column-content portlet-column-content-first" id="layout-column_column-2">
{_portlet("resultatportlet", _COMMENTED_SCRIPT + "<liferay-theme:defineObjects />" + listing)}</div>
</div>
<div class="aui-w70 portlet-column portlet-column-last col-xs-8" id="column-3">
<div class="portlet-dropzone portlet-column-content portlet-column-content-last" id="layout-column_column-3">
{_portlet("mapportlet", _COMMENTED_SCRIPT + "<liferay-theme:defineObjects />" + panel)}</div>
</div>
</div>
"""


def cap_notice(hidden: bool) -> str:
    """The notice that only a hundred results are shown: in a pop-up a script would open, or standing on the page."""
    style = ' style="visibility : hidden; width: 0px; height: 0px;"' if hidden else ""
    return f"""<div class="popin"{style}>
<div class="popin_recherche_detaillee" id="maxresultId">
<div class="haut">
<div class="contenu">
<!--<p>Trop de réponses : affinez votre recherche<br /> par la recherche détaillée.</p>-->
<p>
Votre recherche a trop de réponses,<br /> {CAPPED}.<br /> Précisez-la, ou utilisez
la recherche détaillée.
</p>
</div>
</div>
<div class="bas">
</div>
</div>
<!-- /popin_recherche_detaillee -->
</div>
"""


def card(person: Person, letter: str) -> str:
    """A person's card in the result list; `letter` is its place on the page, A to J."""
    link = _action_link(
        RESULTS_PATH,
        "mapportlet",
        "DetailsPPAction",
        {
            "idSituExe": person.situation_id,
            "idExePro": person.practice_id,
            "resultatIndex": letter,
            "idRpps": person.rpps,
            "siteId": person.site_id,
            "coordonneesId": person.contact_id,
            "etatPP": person.state,
        },
    )
    mail = f"""<div class="mssante"><span class="mssante_lib">MSSanté : </span>
<span class="mssante_txt">{_html(person.email)}</span></div>
"""
    professions = "".join(
        f'<div class="profession">{_html(line)}</div>\n' for line in (person.profession, *person.organizations)
    )
    return f"""<div class="contenant_resultat">
<div class="ico_marqueur"><span>{letter}</span></div>
<div class="contenu_resultat">
<div class="nom_prenom">
<a href="{link}" title="Voir le détail">{_html(person.name)}</a>
</div>
{professions}<div class="adresse">{_html_lines(person.address)}</div>
<div class="tel">{_html(person.phone)}</div>
{mail if person.email else ""}</div>
</div>
"""


def popup_content(person: Person) -> str:
    """The pop-up beside the result list, with the link to the detailed information."""
    link = _action_link(
        RESULTS_PATH,
        "mapportlet",
        "infoDetailPP",
        {
            "idSituExePourDetail": person.situation_id,
            "idNat": national_id(person),
            "idExeProPourDetail": person.practice_id,
            "coordonneIdPourDetail": person.contact_id,
            "resultatIndex": _LETTER,
            "idRpps": person.rpps,
            "etat": person.state,
            "siteIdPourDetail": person.site_id,
        },
    )
    return f"""<div class="popin_resultats_details_h">
<div class="haut">
{_entete(person)}{_rpps(person)}<div class="adresse">{_html_lines(person.address)}</div>
<div class="tel">{_html(person.phone)}</div>
<div class="plus_infos"><a href="{link}" title="Plus d'informations">Informations détaillées</a></div>
</div>
<div class="bas">
</div>
</div>
"""


def detail_content(person: Person, tab: str) -> str:
    """One of the four tabs of a person."""
    printing = (
        f"{_BASE}{DETAIL_PATH}?p_p_id=resultatsportlet&p_p_lifecycle=2&p_p_state=normal&p_p_mode=view"
        f"&_resultatsportlet_idNat={national_id(person)}&_resultatsportlet_idRpps={person.rpps}"
        "&_resultatsportlet_type=printPdfPP"
    )
    content = f"""<!-- contenant -->
<div class="popin_resultats_pleine_largeur">
<div class="haut">
{_entete(person)}<div class="boutons" style="margin-right: 20px;">
<a href="{printing}" title="Imprimer"><img src="/o/theme/images/print.png" alt="Imprimer" /></a>
<a style="cursor:pointer;" onclick="window.history.back()" title="Fermer"
><img src="/o/theme/images/retour.png" alt="Retour" /></a>
</div>
{_rpps(person)}<div class="titre_infos_detaillees">
<span>INFORMATIONS DÉTAILLÉES</span>
</div>
<div class="bloc_infos_detaillees">
<!-- onglets : on switch la classe en "off" ou "on" -->
<div class="infos_detaillees_onglets">
{"".join(_tab_button(person, name, shown=name == tab) for name in _TAB_TITLES)}</div>
{_TAB_RENDERERS[tab](person, person.tabs[tab])}</div>
</div>
<div class="bas">
</div>
</div>
<!-- /popin_pleine_largeur -->
"""
    return _portlet("resultatsportlet", _COMMENTED_SCRIPT + "<liferay-theme:defineObjects />" + content)


def no_selection_content() -> str:
    """What the detail page says where the session holds no person."""
    return _portlet(
        "resultatsportlet",
        f'<div class="popin_resultats_pleine_largeur">\n<div class="haut">\n<h2>{NO_SELECTION}</h2>\n</div>\n'
        '<div class="bas">\n</div>\n</div>\n',
    )


def national_id(person: Person) -> str:
    """`idNat`: 8 and the RPPS number."""
    return f"8{person.rpps}"


# -- links


def _action_link(
    path: str, portlet: str, action: str, parameters: Mapping[str, str], last: Mapping[str, str] | None = None
) -> str:
    """An action URL; the token stands before the `last` parameters."""

    def query(named: Mapping[str, str]) -> str:
        return "".join(f"&_{portlet}_{name}={value}" for name, value in named.items())

    start = f"{_BASE}{path}?p_p_id={portlet}&p_p_lifecycle=1&p_p_state=normal&p_p_mode=view"
    return f"{start}&_{portlet}_javax.portlet.action={action}{query(parameters)}&p_auth={_TOKEN}{query(last or {})}"


def _results_link(page: int, lifecycle: int = 0) -> str:
    return (
        f"{_BASE}{RESULTS_PATH}?p_p_id=resultatportlet&p_p_lifecycle={lifecycle}&p_p_state=normal&p_p_mode=view"
        f"&_resultatportlet_delta={PAGE_SIZE}&_resultatportlet_resetCur=false&_resultatportlet_cur={page}"
    )


def _page_iterator(page: int, pages: int) -> str:
    if pages < 2:
        return ""
    parts = [f'<a href="{_results_link(page - 1)}" class="prev" title="Précédent">Précédent</a>'] if page > 1 else []
    for number in range(1, pages + 1):
        current = f'<span class="current">{number}</span>'
        parts.append(
            current if number == page else f'<a href="{_results_link(number)}" title="Page {number}">{number}</a>'
        )
    if page < pages:
        parts.append(f'<a href="{_results_link(page + 1)}" class="next" title="Suivant">Suivant</a>')
    else:
        parts.append('<span class="next disabled">Suivant</span>')
    return '<div class="taglib-page-iterator">\n' + "\n".join(parts) + "\n</div>\n"


# -- pieces of pop-up and detail page


def _entete(person: Person) -> str:
    open_sign = """<div class="ico_etat">
<img alt="État" src="/o/theme/images/ico_etat_pp_1.png" alt="État" title="Activité ouverte" />
</div>
"""
    return f"""<div class="details_entete">
<div class="ico_marqueur">
<span style="">{_LETTER}</span>
</div>
<div class="nom_prenom">{_html(person.capitals)}</div>
{open_sign if person.state == "OUVERT" else ""}<div class="profession">{_html(person.profession)}</div>
</div>
"""


def _rpps(person: Person) -> str:
    return f'<div class="rpps">\n<span>\nIdentifiant RPPS\n: {person.rpps}\n</span>\n</div>\n'


_TAB_TITLES: Mapping[str, tuple[str, str]] = {
    "situation": ("Situations d'exercice", "onglet_first_{state}"),
    "dossier": ("Dossier du professionnel", "onglet_{state} onglet90_{state}"),
    "diplomes": ("Diplômes<br />et titres", "onglet_{state}"),
    "personne": ("Personne", "onglet_{state}"),
}


def _tab_button(person: Person, tab: str, *, shown: bool) -> str:
    title, classes = _TAB_TITLES[tab]
    if shown:
        return f'<div class="{classes.format(state="on")}">{title}</div>\n'
    link = _action_link(
        DETAIL_PATH,
        "resultatsportlet",
        TAB_ACTIONS[tab],
        {
            "idNat": national_id(person),
            "resultatIndex": _LETTER,
            "idRpps": person.rpps,
            "siteId": person.site_id,
            "coordonneId": person.contact_id,
            "etat": person.state,
        },
        last={"idExePro": person.practice_id},
    )
    tip = title.replace("<br />", "&nbsp;")
    return f'<div class="{classes.format(state="off")}"><a href="{link}" title="{tip}">{title}</a></div>\n'


# -- values


def _html(text: str) -> str:
    return escape(text, quote=False)


def _html_lines(lines: Sequence[str]) -> str:
    return "".join(f"{_html(line)}<br />" for line in lines)


class _Values:
    """A section's values, looked up by the label as the page prints it."""

    def __init__(self, section: Section) -> None:
        if not isinstance(section, dict):
            raise TypeError("a table has no labels")
        self._values = section

    def html(self, label: str) -> str:
        return _html(self._values[clean_label(label)])

    def lines(self, label: str) -> str:
        return _html_lines(self._values[clean_label(label)].split("\n")) if self._values[clean_label(label)] else ""

    def mail(self, label: str, attributes: str = "") -> str:
        return f'<a {attributes}href="mailto:{self.html(label)}">{self.html(label)}</a>'


def _pair(
    label: str, value: str, *, label_class: str = "label_detail_personne pull-left", split: tuple[int, int] = (5, 7)
) -> str:
    """A label and its value side by side, `split` columns of twelve wide."""
    return (
        f'<div class="col-xs-{split[0]} sans_padding"><span class="{label_class}">{label}</span></div>\n'
        f'<div class="col-xs-{split[1]}"><span class="label_txt pull-left text_detail_personne">{value}</span></div>\n'
    )


def _lines_of_pairs(rows: Sequence[Sequence[str]], values: _Values) -> str:
    """Rows of one or two labels; an empty label is padding, as on the site."""
    html = []
    for row in rows:
        pairs = (_pair(label, values.html(label) if label else "") for label in row)
        halves = "".join(f'<div class="col-xs-6 sans_padding">\n{pair}</div>\n' for pair in pairs)
        html.append(f'<div class="col-xs-12">\n{halves}</div>\n<div class="clearfix"></div>\n')
    return "".join(html)


def _contacts(values: _Values, split: tuple[int, int], mail_class: str) -> str:
    html = [
        f'<div class="col-xs-12 sans_padding">\n{_pair(label, values.html(label), split=split)}</div>\n'
        for label in ("Téléphone:", "Téléphone (autre):", "Fax:")
    ]
    html.append(
        f'<div class="col-xs-12 sans_padding">\n'
        f'<div class="col-xs-{split[0]} sans_padding">'
        '<span class="label_detail_personne pull-left">Courriel:</span></div>\n'
        f'<div class="col-xs-{split[1]}"><span class="{mail_class}">{values.mail("Courriel:")}</span></div>\n</div>\n'
    )
    return f'<div class="col-xs-6 sans_padding">\n{"".join(html)}</div>\n'


# -- tab: situations


def _situation(person: Person, tab: Tab) -> str:
    occurrences = [
        _activity(tab[numbered(ACTIVITY, number)], first=number == 1)
        + _structure(person, tab[numbered(STRUCTURE, number)], first=number == 1)
        for number in range(1, person.activities + 1)
    ]
    tables = "".join(_table(shape, tab[shape.heading]) for shape in TAB_SHAPES["situation"][2:])
    return f'<div class="contenu_situation_exercice_deploye">\n{"".join(occurrences)}{tables}</div>\n'


def _activity(section: Section, *, first: bool) -> str:
    values = _Values(section)
    upper = _lines_of_pairs(
        [
            ("Identifiant de l’activité:", "Identifiant de l’activité remplacée:"),
            ("Identifiant de l’activité prolongée:", "Validation par le guichet principal:"),
        ],
        values,
    )
    middle = _lines_of_pairs(
        [
            ("Genre d'activité:", "Mode d'exercice :"),
            ("Type d'activité libérale:", "Fonction:"),
            ("Date de début:", ""),
            ("Date de fin:", "Motif de fin d'activité:"),
        ],
        values,
    )
    address = "Adresse d’activité:"
    return f"""<!-- Tableau Activites -->
<div class="contenu_situation_exercice_activites{_unfolded(first)}>
<h2>{ACTIVITY}</h2>
<div class="clearfix"></div>
<div class="col-xs-12 premiere_ligne">
{upper}</div>
<div class="ligne gris">
{middle}<div class="col-xs-12">
</div>
</div>
<div class="ligne">
<div class="col-xs-6 sans_padding">
<div class="col-xs-12">
<span class="label_detail_personne">{address}</span><br />
</div>
<div class="col-xs-12" style="margin: 10px;">
<span class="text_detail_personne">{values.lines(address)}</span>
</div>
</div>
{_contacts(values, (4, 8), "label_txt pull-left text_detail_personne")}</div>
</div>
"""


def _structure(person: Person, section: Section, *, first: bool) -> str:
    values = _Values(section)
    upper = _lines_of_pairs(
        [
            ("Numéro SIRET:", "Numéro SIREN:"),
            ("Numéro FINESS Etablissement:", "Numéro FINESS EJ:"),
            ("RPPS rang:", "Numéro licence officine:"),
            ("Acronyme:",),
        ],
        values,
    )
    brand = "Enseigne commerciale:"
    dates = _lines_of_pairs([("Date ouverture:", "Date fermeture:")], values)
    legal = _lines_of_pairs([("Code NAF:", ""), ("Catégorie juridique:", "Secteur d'activité:")], values)
    return f"""<!-- Tableau Structure d'exercice -->
<div class="contenu_situation_exercice_structure{_unfolded(first)}>
<h2>{STRUCTURE}</h2>
<div class="clearfix"></div>
<div class="premiere_ligne">
<div class="col-xs-12">
{_legal_name(person, values)}<div class="col-xs-6 sans_padding">
{_pair(brand, values.html(brand), label_class="label_detail_personne pull-left sapace_detail_activite")}</div>
</div>
<div class="clearfix"></div>
{upper}</div>
<div class="ligne gris">
{dates}</div>
<div class="ligne">
{legal}</div>
<div class="ligne gris">
<div class="col-xs-6 sans_padding">
<div class="col-xs-12">
<span class="label_detail_personne">Adresse de la structure:<br /></span>
</div>
<div class="col-xs-12" style="margin-left:10px;">
<span class="text_detail_personne">{values.lines("Adresse de la structure:")}</span>
</div>
</div>
{_contacts(values, (5, 7), "label_txt label_mailto pull-left")}</div>
<div class="ligne fin">
<div class="colonnes_2 col-xs-12" style="margin-left: 5px;">
<span class="text_detail_personne">Structure prédécesseur<br />Identifiant de la structure précédente: </span>
</div>
</div>
</div>
"""


def _legal_name(person: Person, values: _Values) -> str:
    """The structure's name, a link to the structure where the site knows its number."""
    name = values.html("Raison sociale:")
    if person.site_id:
        link = _action_link(
            DETAIL_PATH,
            "resultatsportlet",
            "infoDetailPMFromPPAction",
            {"siteIdDetails": person.site_id, "coordonneesIdDetails": person.contact_id, "etatPMDetails": person.state},
        )
        name = f'<a title="En savoir plus" href="{link}">{name}</a>'
    return f"""<div class="col-xs-6 sans_padding">
<div class="col-xs-5 sans_padding">
<span class="label_detail_personne pull-left">Raison sociale:</span>
</div>
<div class="col-xs-7">
<span class="label_txt pull-left">
{name}
</span>
</div>
</div>
"""


def _unfolded(first: bool) -> str:
    return '_deploye"' if first else '" style="display: none;"'


# -- tab: professional record


def _record_of_practice(_: Person, tab: Tab) -> str:
    tables = {shape.heading: _table(shape, tab[shape.heading]) for shape in TAB_SHAPES["dossier"] if shape.columns}
    first, inscriptions = tables.pop("PREMIÈRE INSCRIPTION"), tables.pop("INSCRIPTIONS")
    skills = tables.pop("SAVOIR-FAIRE")
    return f"""<div class="contenu_dossier_pro">
<!-- Tableaux Dossier Pro -->
<div class="contenu_dossier_pro_details">
<h2>EXERCICE PROFESSIONNEL</h2>
<div class="divAnomalie">
</div>
<div class="ligne gris">
<div class="clearfix"></div>
{_practice(_Values(tab["EXERCICE PROFESSIONNEL"]))}</div>
{skills}<!-- Tableau Référencement -->
<div class="contenu_referencement">
<h2>RÉFÉRENCEMENT AUPRÈS DE L'AUTORITÉ D'ENREGISTREMENT</h2><br/>
{first}{inscriptions}</div>
{"".join(tables.values())}</div>
</div>
"""


def _practice(values: _Values) -> str:
    def cell(width: str, label: str, value: str, value_class: str) -> str:
        return (
            f'<div class="{width}">\n'
            f'<div class="col-xs-6"><span class="label_detail_personne_bold pull-left">{label}</span></div>\n'
            f'<div class="col-xs-6"><span class="{value_class} pull-left text_detail_personne">{value}</span></div>\n'
            "</div>\n"
        )

    def bold(width: str, label: str, value_class: str) -> str:
        return cell(width, f"<b>{label}</b>", values.html(label), value_class)

    civility = cell(
        "col-xs-5 sans_padding", "Civilité d'exercice:", values.html("Civilité d'exercice:") + "&nbsp\n", "label_txt"
    )
    category = cell("col-xs-4", "<b>Catégorie du PS:</b>", f"\n{values.html('Catégorie du PS:')}\n", "label_txt_moyen")
    rows = (
        civility
        + bold("col-xs-4", "Identifiant RPPS:", "label_txt_moyen")
        + bold("col-xs-3", "Date d'effet:", "label_txt_court"),
        bold("col-xs-5 sans_padding", "Nom d'exercice:", "label_txt")
        + bold("col-xs-4", "Profession:", "label_txt_moyen")
        + bold("col-xs-3", "Date de fin:", "label_txt_court"),
        bold("col-xs-5 sans_padding", "Prénom d'exercice:", "label_txt")
        + category
        + '<div class="col-xs-3">\n</div>\n',
    )
    return "".join(f'<div class="col-xs-12 sans_padding">\n{row}</div>\n' for row in rows)


# -- tab: diplomas


def _diplomas(_: Person, tab: Tab) -> str:
    tables = "".join(_table(shape, tab[shape.heading]) for shape in TAB_SHAPES["diplomes"])
    return f"""<div class="contenu_diplomes_titres">
<div class="contenu_diplomes_titres_details">
{tables}</div>
</div>
"""


# -- tab: person


def _civil_status(_: Person, tab: Tab) -> str:
    languages = TAB_SHAPES["personne"][3]
    return f"""<div class="contenu_personne">
<!-- Tableaux Informations générales -->
<div class="contenu_personne_details">
<h2>INFORMATIONS GÉNÉRALES</h2>
<div class="divAnomalie">
</div>
{_three_columns(_GENERAL_COLUMNS, _Values(tab["INFORMATIONS GÉNÉRALES"]))}<h2>ÉTAT-CIVIL</h2>
<div class="divAnomalie">
</div>
{_three_columns(_CIVIL_COLUMNS, _Values(tab["ÉTAT-CIVIL"]))}<h2>COORDONNÉES DE CORRESPONDANCE</h2>
<div class="divAnomalie">
</div>
{_correspondence(_Values(tab["COORDONNÉES DE CORRESPONDANCE"]))}<!-- Tableau Langues parlées -->
{_table(languages, tab[languages.heading])}</div>
</div>
"""


_GENERAL_COLUMNS = (
    ("Civilité :", "Nom d'usage :", "Prénom d'usage :"),
    ("Nationalité :", "Date d'acquisition de la nationalité française :"),
    ("Date d'effet :",),
)
_CIVIL_COLUMNS = (
    ("Nom de famille :", "Prénoms :", "Sexe :"),
    ("Date de naissance :", "Commune de naissance :", "Pays de naissance :"),
    ("Statut état-civil :", "Date de décès :", "Date d'effet de l'état-civil :"),
)
_COLUMN_CLASSES = (
    ("colonnes_3", "label_detail_personne_bold", "label_txt"),
    ("colonnes_3b", "label_moyen", "label_txt_moyen"),
    ("colonnes_3c", "label_court", "label_txt_court"),
)
_VALUE_FORMS: Mapping[str, str] = {
    "Nom d'usage :": " {}",
    "Prénom d'usage :": " {}",
    "Date d'acquisition de la nationalité française :": "{}<br />",
    "Commune de naissance :": "{} ",
}


def _three_columns(columns: Sequence[Sequence[str]], values: _Values) -> str:
    html = []
    for labels, (column_class, label_class, value_class) in zip(columns, _COLUMN_CLASSES, strict=True):
        entries = []
        for label in labels:
            value = _VALUE_FORMS.get(label, "{}").format(values.html(label))
            entries.append(
                '<div class="col-xs-12 sans_padding">\n<div class="col-xs-5 sans_padding">\n'
                f'<span class="{label_class}">{label}</span>\n</div>\n<div class="col-xs-7">\n'
                f'<span class="{value_class}">{value}</span>\n</div>\n</div>\n'
            )
        html.append(f'<div class="col-xs-4 {column_class}">\n{"".join(entries)}</div>\n')
    return f'<div class="col-xs-12 ligne gris">\n{"".join(html)}</div>\n'


def _correspondence(values: _Values) -> str:
    """Values of label class, as on the site: `label_moyen` with `text_detail_personne` is a value here."""

    def label_span(label: str) -> str:
        return f'<div class="col-xs-6 sans_padding"><span class="label_moyen pull-left">{label}</span></div>\n'

    pairs = []
    for label in ("Téléphone :", "Téléphone (autre) :", "Fax :"):
        value = f'<span class="label_moyen pull-left text_detail_personne">{values.html(label)}</span>'
        pairs.append(f'{label_span(label)}<div class="col-xs-6">{value}</div>\n')
    link = values.mail("Courriel :", f'title="{values.html("Courriel :") or "null"}" ')
    mail = f'<span class="label_txt_long label_mailto pull-left">{link}</span>'
    pairs.append(f'{label_span("Courriel :")}<div class="col-xs-6">{mail}</div>\n')
    return f'<div class="ligne gris">\n<div class="col-xs-6 sans_padding">\n{"".join(pairs)}</div>\n</div>\n'


# -- tables

_TABLE_CLASSES: Mapping[str, str] = {
    "SITUATION DU PRATICIEN HOSPITALIER": "contenu_situation_exercice_situation",
    "POSITION STATUTAIRE": "contenu_situation_exercice_position",
    "ATTRIBUTION PARTICULIÈRE": "contenu_situation_exercice_attribution",
    "SAVOIR-FAIRE": "contenu_savoir-faire",
    "PREMIÈRE INSCRIPTION": "premiere_inscription",
    "INSCRIPTIONS": "inscriptions",
    "CARTES CPS": "contenu_cartes_CPS",
    "SANCTIONS": "contenu_sanctions",
    "ADELI": "contenu_adeli",
    "DIPLÔMES": "contenu_diplomes",
    "AUTRES DIPLÔMES": "contenu_diplomes",
    "AUTORISATIONS MINISTÉRIELLES": "contenu_autorisations",
    "LANGUES PARLÉES": "contenu_langues_parlees",
}
_BROKEN_COLUMNS: Mapping[tuple[str, str], str] = {
    ("INSCRIPTIONS", "Date de fin"): "Date<br />de fin",
    **{
        (heading, f"{word} d'obtention"): f"{word}<br />d'obtention"
        for heading in ("DIPLÔMES", "AUTRES DIPLÔMES")
        for word in ("Lieu", "Pays", "Date")
    },
}
_COLUMNS_IN_SPANS = frozenset({"ATTRIBUTION PARTICULIÈRE"})
_NOTHING_IN_SPAN = frozenset({"ATTRIBUTION PARTICULIÈRE", "POSITION STATUTAIRE"})


def _table(shape: SectionShape, section: Section) -> str:
    if not isinstance(section, list):
        raise TypeError(f"{shape.heading} is a table")
    columns = "".join(_column(shape, number, column) for number, column in enumerate(shape.columns, start=1))
    return f"""<div class="{_TABLE_CLASSES[shape.heading]}">
<h2>{shape.heading}</h2>
<table class="cellspacingNone">
<thead>
<tr>
{columns}</tr>
</thead>
<tbody>
{_rows(shape, section) or _no_rows(shape)}</tbody>
</table>
</div>
"""


def _column(shape: SectionShape, number: int, column: str) -> str:
    name = _BROKEN_COLUMNS.get((shape.heading, column), column)
    if shape.heading in _COLUMNS_IN_SPANS:
        name = f'\n<span class="text_detail_personne">\n{name}\n</span>\n'
    return f'<th scope="col" class="col_{number}">{name}</th>\n'


def _rows(shape: SectionShape, rows: Sequence[Mapping[str, str]]) -> str:
    return "".join(
        f'<tr class="{"gris" if place % 2 else ""}">\n'
        + "".join(
            f'<td class="col_{number}">{_html(row[column])}</td>\n'
            for number, column in enumerate(shape.columns, start=1)
        )
        + "</tr>\n"
        for place, row in enumerate(rows)
    )


def _no_rows(shape: SectionShape) -> str:
    text = f"\n{NO_INFORMATION}\n"
    if shape.heading in _NOTHING_IN_SPAN:
        text = f'\n<span class="text_detail_personne">{text}</span>\n'
    return f'<tr>\n<td class="col_1" colspan="{len(shape.columns)}">{text}</td>\n</tr>\n'


_TAB_RENDERERS: Mapping[str, Callable[[Person, Tab], str]] = {
    "situation": _situation,
    "dossier": _record_of_practice,
    "diplomes": _diplomas,
    "personne": _civil_status,
}


# -- the shell's pieces


def _portlet(name: str, content: str) -> str:
    kind = name.partition("_INSTANCE")[0]
    return f"""<div class="portlet-boundary portlet-boundary_{kind}_ portlet-static decorate" id="p_p_id_{name}_">
<span id="p_{name}"></span>
<section class="portlet" id="portlet_{name}">
<div class="portlet-content">
<div class=" portlet-content-container">
<div class="portlet-body">
{content}</div>
</div>
</div>
</section>
</div>
"""


def _navigation(crumbs: Sequence[str]) -> str:
    paths = (HOME_PATH, "/web/site-pro/recherche", RESULTS_PATH, DETAIL_PATH)
    links = [
        f'<li class="">\n<a href="{_BASE}{path}">\n{crumb}\n</a>\n</li>\n'
        for crumb, path in zip(crumbs[:-1], paths, strict=False)
    ]
    trail = "".join(links) + f'<li class="active" aria-current="page">\n{crumbs[-1]}\n</li>\n'
    return _NAVIGATION.replace("@TRAIL@", trail)


def _search_form(path: str) -> str:
    portlet = SEARCH_PORTLETS[path]
    action = _action_link(path, portlet, "rechercheAction", {})
    detailed = _action_link(path, portlet, "rechercheDetailleeAction", {})
    name = f"_{portlet}_"
    return f"""<liferay-theme:defineObjects />
<div class="bloc_recherche" id="{name}bloc_recherche">
<form name="fmRecherche" id="fmRecherche" method="POST" action="{action}">
<div id="{name}texttofind_box" class="champ_quiquoi col-xs-5">
<input class="champ_text col-xs-11" title="Recherche Qui Quoi" name="{name}texttofind"
id="{name}texttofind" size="100" maxlength="150" value="{_QUERY}" placeholder="Ex : Médecin Modèle"
onfocus="javascript:this.value=prepareChampRechercheFocus(this.value)">
</div>
<div id="{name}adressetofind_box" class="champ_ou col-xs-5">
<div class="col-xs-12 input-group">
<div id="{name}checkbox_champ_rech" style="">
<input type="checkbox" name="{name}rechercheProximite" value="active" id="{name}rechercheProximite" class="styled" />
<span class="txt proximite"><label for="{name}rechercheProximite">A proximité de l'adresse ci-dessous</label></span>
</div>
</div>
<div class="col-xs-12" style="padding-left:0px; padding-right:0px;">
<input class="champ_text" title="Recherche Où" name="{name}adresse" id="{name}adresse" size="128" maxlength="128"
value="" placeholder="Ex : Rue des Lilas" />
<input type="hidden" name="{name}cordonneesGeo" id="cordonneesGeo" value="" />
<input src="/o/theme/images/ok.png" type="image" value="" class="champ_submit" alt="Valider" />
</div>
</div>
<div class="col-xs-1 pull-right" style="padding-left:0px; padding-right:5px;">
<div class="champ_details col-xs-12">
<span class="criteres"><a id="lienCarto" href="javascript:submitFormCarto()"
title="Recherche par carte">Recherche<br />par carte</a></span>
</div>
<div class="champ_details col-xs-12">
<span class="criteres"><a id="lienRD" href="{detailed}" title="Recherche détaillée">Recherche détaillée</a></span>
<input name="{name}integralite" value="active_only" type="hidden" class="form-control" />
</div>
</div>
<input type="hidden" name="{name}typeRecherche" id="typeRecherche" value="textLibre" />
</form>
</div>
<script type="text/javascript">
function submitFormCarto(){{
document.forms['fmRecherche'].{name}typeRecherche.value="carto";
document.location.href = "{_action_link(path, portlet, "rechercheCartographiqueAction", {})}"
+ "&texttofind=" + document.getElementById('{name}texttofind').value;
}}
</script>
"""


_COMMENTED_SCRIPT = """<!--
<portlet:defineObjects />
<div style="display: none;" id="ExceptionId">
</div>
<script>
function showHideSelect(select)
{
var chosen = document.getElementById(select);
chosen.style.display = (chosen.style.display == 'block') ? 'none' : 'block';
}
</script>-->
"""

_HEAD = """


<!DOCTYPE html>



<html class="ltr" dir="ltr" lang="fr-FR">

<head>
<title>{title} - L&#39;Annuaire de démonstration</title>
<meta content="initial-scale=1.0, width=device-width" name="viewport" />
<meta http-equiv="Cache-Control" content="no-cache, no-store, must-revalidate" />
<meta content="text/html; charset=UTF-8" http-equiv="content-type" />
<!--[if IE]><link rel="stylesheet" type="text/css" media="all" href="\0B/o/theme/css/ie.css" /><![endif]-->
<link rel="stylesheet" href="/o/theme/css/main.css">
<script type="text/javascript" src="/o/theme/js/jquery.js" ></script>
<script type="text/javascript">
var userAgent = window.navigator.userAgent.toLowerCase();
if (userAgent.indexOf('safari') != -1 && document.getElementsByTagName("head").length < 1) {{
document.write('<link rel="stylesheet" href="/o/theme/css/safari.css">');
}}
</script>
<script data-senna-track="temporary" type="text/javascript">
// <![CDATA[
var Liferay = Liferay || {{}};
Liferay.Data = Liferay.Data || {{}};
Liferay.Data.NAV_SELECTOR = '#navigation';
Liferay.ThemeDisplay = {{
getLayoutRelativeURL: function() {{
return '{path}';
}},
getLayoutURL: function() {{
return '\0B{path}';
}},
isSignedIn: function() {{
return false;
}},
getLanguageId: function() {{
return 'fr_FR';
}}
}};
Liferay.authToken = '\0T';
Liferay.currentURL = '{path}';
// ]]>
</script>
</head>
<body class=" controls-visible  yui3-skin-sam signed-out public-page site body_connecte">
<div class="fond_page_connecte">
<div id="wrapperCustom" class="conteneur_page">
"""

_NAVIGATION = f"""<header id="banner" role="banner">
<div id="heading" class="entete_logo" title="$site_name">
<h1>
<a href="/web/site-pro/" title="Accès à l'accueil"><span>Accès à l'accueil</span></a>
</h1>
</div>
<!-- /#entete_logo-->
<nav class="sort-pages modify-pages" id="navigation" role="navigation">
<h1 class="hide-accessible">
Navigation </h1>
<div class="entete_navigation">
<ul aria-label="Pages du site" role="menubar">
<li class="home"><a href="{HOME_PATH}"><img src="/o/theme/images/home.png" alt="Accueil" /></a></li>
<li>
<a href="{_BASE}/web/site-pro/aide-et-support-menu">
<span>
Aide &amp; Support</span>
</a>
</li>
</ul>
</div>
</nav>
<div class="bloc_fil_ariane breadcrumbs breadcrumbs-horizontal lfr-component">
<ul aria-label="Fil d'Ariane" class="breadcrumb breadcrumb-horizontal" role="navigation">
@TRAIL@</ul>
</div>
</header>
"""

_UPPER_COLUMNS = """<div class="columns-1-2">
<div class="portlet-layout" style="width: 100%;">
<div class="portlet-column portlet-column-only" id="column-1">
<div class="portlet-dropzone portlet-column-content" id="layout-column_column-1">
{form}</div>
<!-- /#bloc_fil_ariane-->
</div>
</div>
"""

_ONE_COLUMN = """<div class="columns-1" id="main-content" role="main">
<div class="portlet-layout row">
<div class="col-md-12 portlet-column portlet-column-only" id="column-1">
<div class="portlet-dropzone portlet-column-content portlet-column-content-only" id="layout-column_column-1">
{form}"""

_WELCOME = """<div class="portlet-column portlet-column-only" id="column-2">
<div class="bloc_contenu_home">
<div class="entete"><span style="font-size:14px;"><b>BIENVENUE</b></span></div>
<div class="contenant_home">
<blockquote>
<p>&nbsp; Cet annuaire est une réplique&nbsp;: toutes les personnes y sont inventées.</p>
</blockquote>
</div>
</div>
</div>
"""

_FOOT = """</div>
</div>
</div>
<form action="#" class="hide" id="hrefFm" method="post" name="hrefFm"><span></span>
<input hidden type="submit"/></form>	</div>
<!-- /#conteneur_page-->
<?xml version="1.0"?>
<root available-locales="fr_FR" default-locale="fr_FR">
<dynamic-element name="content" type="text_area" index-type="text" instance-id="demo">
<dynamic-content language-id="fr_FR"><![CDATA[<footer id="footer" role="contentinfo">
<div class="conteneur_footer">
<div class="liens"><a href="/web/site-pro/public-mentions-legales" title="Mentions légales">Mentions légales</a> |
<a href="/web/site-pro/aide-et-support" title="Aide">Besoin d'aide ?</a><br /></div>
</div>
</footer></dynamic-content>
</dynamic-element>
</root>
</div>
<div style="visibility : hidden; width: 0px; height: 0px; font-weight: bold;">
<div class="popin" id="alertIE">
<p>
Votre navigateur n’est pas pris en charge. <br/>Voir la FAQ
</p>
</div>
</div>
</body>
<script type="text/javascript">
$("form").each(function(){ $(this).submit(function () { blockLoading(); }); });
$(document).ready(function() { unblockLoading(); });
</script>
</html>
"""
