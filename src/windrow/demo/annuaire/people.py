"""Synthetic health professionals, and the one place that says how a record of the directory is written down.

Every number, name and address is made up: RPPS numbers start with 999, telephone numbers lie in the range reserved for
fiction (0199…), mail addresses end in `.example`.

**How the truth is written** (`Person.truth`, served at `/__truth__`; a scrape is right when it says the same):

- Columns: `name profession organization address phone email situation dossier diplomes personne`; the key is the RPPS
  number.
- `name` stands as on the card of the result list: surname in capitals, one space, first name with capital initials
  (`LE GALL Jean-Pierre`). The pop-up and the detail pages write both in capitals.
- `organization` and `address` are the card's lines joined with a line feed. What the card does not hold is `null`.
- The last four columns are the tabs: section → (label → value), or section → list of rows (column → value).
- A *section* is named by its `h2`, as it stands. A section that is repeated on a page (a person with several
  activities) is numbered from the second on, in the order of the page: `ACTIVITÉ`, `ACTIVITÉ 2`, …, likewise
  `STRUCTURE D'EXERCICE 2`.
- A *label* or *column* is its text with white space collapsed (a `<br>` counts as a space), without trailing colons and
  spaces: `Mode d'exercice :` → `Mode d'exercice`, `Date<br />de fin` → `Date de fin`. Apostrophes stay as they are
  (`Identifiant de l’activité` has a typographic one). Spans of label class without text are padding, not labels.
- A *value* is its text (of the link, where it is one), with white space, no-break spaces included, collapsed and
  stripped; each `<br>` is a line feed, empty lines are dropped. An empty value stays as the empty string.
- A table that says « Pas d'information renseignée dans cette rubrique » is the empty list.
- A heading with neither labels nor a table of its own (`RÉFÉRENCEMENT AUPRÈS DE L'AUTORITÉ D'ENREGISTREMENT`) is `{}`.
- The line « Structure prédécesseur / Identifiant de la structure précédente: » has no label span and never a value:
  left out.
"""

import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

Section: TypeAlias = dict[str, str] | list[dict[str, str]]
Tab: TypeAlias = dict[str, Section]
Truth: TypeAlias = dict[str, str | Tab | None]

TABS = ("situation", "dossier", "diplomes", "personne")
ACTIVITY = "ACTIVITÉ"
STRUCTURE = "STRUCTURE D'EXERCICE"


@dataclass(frozen=True, slots=True)
class SectionShape:
    """A section as the site prints it: its `h2`, and either labels (with their colons) or table columns."""

    heading: str
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


_DIPLOMA_COLUMNS = (
    "Code",
    "Type",
    "Numéro",
    "Libellé",
    "Lieu d'obtention",
    "Pays d'obtention",
    "Date d'obtention",
    "Validation par le guichet principal",
)

TAB_SHAPES: Mapping[str, tuple[SectionShape, ...]] = {
    "situation": (
        SectionShape(
            ACTIVITY,
            labels=(
                "Identifiant de l’activité:",
                "Identifiant de l’activité remplacée:",
                "Identifiant de l’activité prolongée:",
                "Validation par le guichet principal:",
                "Genre d'activité:",
                "Mode d'exercice :",
                "Type d'activité libérale:",
                "Fonction:",
                "Date de début:",
                "Date de fin:",
                "Motif de fin d'activité:",
                "Adresse d’activité:",
                "Téléphone:",
                "Téléphone (autre):",
                "Fax:",
                "Courriel:",
            ),
        ),
        SectionShape(
            STRUCTURE,
            labels=(
                "Raison sociale:",
                "Enseigne commerciale:",
                "Numéro SIRET:",
                "Numéro SIREN:",
                "Numéro FINESS Etablissement:",
                "Numéro FINESS EJ:",
                "RPPS rang:",
                "Numéro licence officine:",
                "Acronyme:",
                "Date ouverture:",
                "Date fermeture:",
                "Code NAF:",
                "Catégorie juridique:",
                "Secteur d'activité:",
                "Adresse de la structure:",
                "Téléphone:",
                "Téléphone (autre):",
                "Fax:",
                "Courriel:",
            ),
        ),
        SectionShape(
            "SITUATION DU PRATICIEN HOSPITALIER",
            columns=(
                "Nommé le",
                "Établissement de rattachement",
                "Code statut praticien",
                "Fin du statut",
                "Code spécialité",
                "Installé le",
                "Fin d'installation",
                "Position statutaire simplifiée",
            ),
        ),
        SectionShape(
            "POSITION STATUTAIRE",
            columns=(
                "Nommé le",
                "Code position statutaire",
                "Date de début",
                "Date de fin prévue",
                "Date de fin effective",
            ),
        ),
        SectionShape(
            "ATTRIBUTION PARTICULIÈRE",
            columns=("Code de l'attribution particulière", "Date de reconnaissance", "Date d'abandon"),
        ),
    ),
    "dossier": (
        SectionShape(
            "EXERCICE PROFESSIONNEL",
            labels=(
                "Civilité d'exercice:",
                "Identifiant RPPS:",
                "Date d'effet:",
                "Nom d'exercice:",
                "Profession:",
                "Date de fin:",
                "Prénom d'exercice:",
                "Catégorie du PS:",
            ),
        ),
        SectionShape(
            "SAVOIR-FAIRE",
            columns=("Savoir-faire", "Type de savoir-faire", "Date de reconnaissance", "Date de fin"),
        ),
        SectionShape("RÉFÉRENCEMENT AUPRÈS DE L'AUTORITÉ D'ENREGISTREMENT"),
        SectionShape(
            "PREMIÈRE INSCRIPTION",
            columns=(
                "Autorité d'enregistrement",
                "Date de première inscription",
                "Département de première inscription",
            ),
        ),
        SectionShape(
            "INSCRIPTIONS",
            columns=(
                "Autorité d'enregistrement",
                "Date d'inscription",
                "Date de fin",
                "Département d'inscription",
                "Statut",
                "Département d'accueil",
            ),
        ),
        SectionShape(
            "CARTES CPS",
            columns=(
                "Numéro de carte",
                "Type de carte",
                "Date début validité",
                "Date prévisionnelle fin de validité",
                "Date d'opposition",
            ),
        ),
        SectionShape("SANCTIONS", columns=("Type", "Origine", "Niveau", "Début", "Fin")),
        SectionShape(
            "ADELI",
            columns=(
                "Numéro ADELI",
                "Type",
                "Date de création",
                "Date effet",
                "Date de fin de validité",
                "ADELI Étudiant",
            ),
        ),
    ),
    "diplomes": (
        SectionShape("DIPLÔMES", columns=_DIPLOMA_COLUMNS),
        SectionShape("AUTRES DIPLÔMES", columns=_DIPLOMA_COLUMNS),
        SectionShape(
            "AUTORISATIONS MINISTÉRIELLES",
            columns=("Profession", "Discipline", "Type", "Lieu", "Date d'effet", "Date de fin"),
        ),
    ),
    "personne": (
        SectionShape(
            "INFORMATIONS GÉNÉRALES",
            labels=(
                "Civilité :",
                "Nom d'usage :",
                "Prénom d'usage :",
                "Nationalité :",
                "Date d'acquisition de la nationalité française :",
                "Date d'effet :",
            ),
        ),
        SectionShape(
            "ÉTAT-CIVIL",
            labels=(
                "Nom de famille :",
                "Prénoms :",
                "Sexe :",
                "Date de naissance :",
                "Commune de naissance :",
                "Pays de naissance :",
                "Statut état-civil :",
                "Date de décès :",
                "Date d'effet de l'état-civil :",
            ),
        ),
        SectionShape(
            "COORDONNÉES DE CORRESPONDANCE",
            labels=("Téléphone :", "Téléphone (autre) :", "Fax :", "Courriel :"),
        ),
        SectionShape("LANGUES PARLÉES", columns=("Langue", "Date de fin")),
    ),
}


@dataclass(frozen=True, slots=True)
class Person:
    """One synthetic professional: what the card shows, the numbers its links carry, and the content of the four tabs.

    `surname` and `first_name` are in capitals. An empty string means that the site shows nothing. The four ids are
    decimal numbers as text; `situation_id`, `site_id` and `contact_id` may be empty. `state` is `OUVERT` or `FERME`.
    """

    rpps: str
    surname: str
    first_name: str
    profession: str
    organizations: tuple[str, ...]
    address: tuple[str, ...]
    phone: str
    email: str
    situation_id: str
    practice_id: str
    site_id: str
    contact_id: str
    state: str
    activities: int
    tabs: Mapping[str, Tab]

    @property
    def name(self) -> str:
        """The name as the card writes it: `LE GALL Jean-Pierre`."""
        return f"{self.surname} {self.first_name.title()}"

    @property
    def capitals(self) -> str:
        """The name as the pop-up and the detail pages write it: `LE GALL JEAN-PIERRE`."""
        return f"{self.surname} {self.first_name}"

    def truth(self) -> Truth:
        """The record a perfect scrape would hold, without its key; see the head of this file."""
        return {
            "name": self.name,
            "profession": self.profession,
            "organization": "\n".join(self.organizations) or None,
            "address": "\n".join(self.address) or None,
            "phone": self.phone or None,
            "email": self.email or None,
            **self.tabs,
        }


def clean_label(label: str) -> str:
    """A label or column as the truth names it: `Mode d'exercice :` → `Mode d'exercice`."""
    return " ".join(label.split()).rstrip(": ")


def numbered(heading: str, occurrence: int) -> str:
    """The name of a section's n-th occurrence on a page, counted from 1: `ACTIVITÉ`, `ACTIVITÉ 2`, …"""
    return heading if occurrence == 1 else f"{heading} {occurrence}"


def generate(count: int, seed: int) -> list[Person]:
    """`count` people with distinct RPPS numbers; the same arguments give the same people.

    About 13 % of the surnames start with `MAR` and about 5 % are `MARTIN`, so that searches of a few letters exceed
    the cap.
    Raises ValueError for a negative count or one above nine million (the room of the synthetic numbers).
    """
    if not 0 <= count <= 9_000_000:
        raise ValueError(f"count is {count}; it must lie between 0 and 9,000,000")
    numbers = random.Random(f"numbers {seed}").sample(range(1_000_000, 10_000_000), count)
    return [_Author(_rpps(number), random.Random(f"{seed} {number}")).person() for number in numbers]


def _rpps(number: int) -> str:
    """`999`, seven digits and the Luhn check digit: eleven digits."""
    stem = f"999{number:07d}"
    doubled = (int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(stem)))
    return f"{stem}{-sum(value // 10 + value % 10 for value in doubled) % 10}"


class _Weighted:
    """A choice among values of unequal weight."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._values = tuple(weights)
        self._cumulated = tuple(accumulate(weights.values()))

    def pick(self, source: random.Random) -> str:
        return source.choices(self._values, cum_weights=self._cumulated)[0]


_COMMON_SURNAMES = _Weighted(
    {
        "MARTIN": 55, "MARTINEZ": 18, "MARCHAND": 17, "MARIE": 12, "MARÉCHAL": 10, "MARTY": 8, "MARTIN-DUBOIS": 6,
        "MARC": 4, "LE": 2, "LE GALL": 8, "LE GOFF": 7, "LE ROUX": 6, "LE BIHAN": 3, "LEROY": 14, "LEFÈVRE": 9,
        "LEFEBVRE": 12, "LEMAIRE": 6, "LECLERC": 6, "LI": 4, "LIN": 2, "MA": 4, "MAS": 2, "NGUYEN": 11, "NGO": 2,
        "N'DIAYE": 3, "NDIAYE": 2, "D'ALMEIDA": 4, "D'ANGELO": 2, "DE OLIVEIRA": 3, "DA SILVA": 6, "DA COSTA": 3,
        "DU": 1, "O'BRIEN": 1, "L'HERMITE": 2, "DUBOIS": 14, "DURAND": 13, "DUPONT": 9, "DUPUIS": 5, "DUVAL": 6,
        "DUMONT": 5, "BERNARD": 18, "BERTRAND": 8, "PETIT": 15, "ROBERT": 14, "RICHARD": 13, "MOREAU": 13,
        "SIMON": 12, "LAURENT": 11, "MICHEL": 10, "GARCIA": 11, "GIRARD": 8, "GRÜNWALD": 1, "ROUSSEAU": 7, "ROUX": 8,
        "VINCENT": 7, "FOURNIER": 8, "MOREL": 7, "MULLER": 6, "MÜLLER": 3, "ANDRÉ": 7, "ÉTIENNE": 4, "ÉLIE": 2,
        "ÇELIK": 2, "AUBÉ": 2, "ADAM": 4, "ARNAUD": 4, "ABADIE": 2, "BLANC": 6, "BONNET": 7, "BOYER": 5, "BRUN": 5,
        "CARON": 4, "CHEVALIER": 5, "CLÉMENT": 4, "COLIN": 4, "DENIS": 4, "FAURE": 6, "FONTAINE": 5, "GAUTHIER": 6,
        "GUÉRIN": 6, "HAMON": 2, "HENRY": 5, "HUET": 2, "JACOB": 2, "JOLY": 4, "KADDOUR": 1, "LAMBERT": 7,
        "MERCIER": 6, "NICOLAS": 5, "PERRIN": 5, "PICARD": 4, "QUÉMENER": 1, "RENARD": 3, "SAINT-MARTIN": 2,
        "TESTARD": 1, "UGHETTO": 1, "VASSEUR": 3, "WEBER": 3, "XU": 1, "YILMAZ": 2, "ZIMMERMANN": 2,
    }
)  # fmt: skip

_FIRST_NAMES = _Weighted(
    {
        "MARIE": 30, "JEAN": 22, "CAMILLE": 14, "PIERRE": 16, "HÉLÈNE": 9, "FRANÇOIS": 11, "FRANÇOISE": 9,
        "JEAN-PIERRE": 10, "MARIE-CLAUDE": 7, "ANNE-SOPHIE": 6, "JEAN-FRANÇOIS": 5, "ZOÉ": 3, "LÉA": 8, "CHLOÉ": 8,
        "ÉLODIE": 6, "ÉMILE": 3, "RENÉ": 4, "ANDRÉ": 4, "MICHEL": 9, "PHILIPPE": 12, "NATHALIE": 13, "ISABELLE": 13,
        "CATHERINE": 12, "SYLVIE": 11, "MARTINE": 9, "MARTIN": 4, "NICOLAS": 11, "THOMAS": 11, "JULIEN": 10,
        "JULIE": 11, "SOPHIE": 11, "CLAIRE": 9, "PAUL": 8, "LUC": 5, "LI": 1, "YVES": 5, "ALAIN": 7, "ALICE": 6,
        "AGNÈS": 4, "BENOÎT": 4, "CÉCILE": 6, "DAVID": 7, "DOMINIQUE": 8, "EMMA": 6, "FATIMA": 3, "GAËLLE": 3,
        "GUILLAUME": 6, "HUGO": 5, "INÈS": 4, "JOËL": 3, "KARIM": 3, "LAURENCE": 7, "MATHILDE": 5, "NOÉMIE": 3,
        "OLIVIER": 8, "PASCALE": 5, "QUENTIN": 3, "RÉMI": 3, "STÉPHANIE": 7, "THÉO": 4, "URSULE": 1, "VALÉRIE": 7,
        "WILLIAM": 2, "XAVIER": 3, "YASMINE": 2, "ZAHRA": 1,
    }
)  # fmt: skip

_PROFESSIONS = _Weighted(
    {
        "Infirmier": 30,
        "Médecin": 24,
        "Masseur-Kinésithérapeute": 10,
        "Pharmacien": 8,
        "Chirurgien-Dentiste": 5,
        "Psychologue": 6,
        "Orthophoniste": 3,
        "Sage-Femme": 3,
        "Assistant de service social": 2,
        "Assistant dentaire": 2,
        "Pédicure-Podologue": 2,
        "Opticien-Lunetier": 3,
        "Ergothérapeute": 1.5,
        "Diététicien": 1.5,
        "Ostéopathe": 2,
    }
)

_SYLLABLES = (
    "BA", "BEL", "BO", "BRI", "CA", "CHA", "CLO", "COR", "DA", "DEL", "DOR", "FA", "FLE", "GA", "GER", "GI", "GRA",
    "HA", "HU", "JA", "JU", "KER", "LA", "LO", "LU", "MI", "MON", "NA", "NO", "OR", "PA", "PEL", "PO", "QUI", "RA",
    "RO", "SA", "SE", "TA", "TRE", "US", "VA", "VI", "VRE", "WA", "YA", "ZE", "ÉL", "AR", "EM", "IS",
)  # fmt: skip
_ENDINGS = (
    "ARD", "AUD", "EAU", "ET", "ETTE", "IER", "IÈRE", "IN", "LLE", "MONT", "NET", "RAND", "SON", "TEL", "VEL", "ZAC",
)  # fmt: skip

_STREETS = (
    "RUE DES LILAS",
    "AVENUE DE LA DÉMONSTRATION",
    "PLACE DU MARCHÉ",
    "BOULEVARD DE L'EXEMPLE",
    "CHEMIN DES ÉCOLES",
    "IMPASSE DES ORMES",
)
_TOWNS = ("VILLE EXEMPLE", "SAINT-FICTIF-SUR-MER", "BOURG-L'ÉCHANTILLON", "MODÈLE-LES-BAINS", "LE PROTOTYPE")
_PLACES = (
    "DES TILLEULS", "DE L'ÉTOILE", "DU MARCHÉ", "SAINT-ANDRÉ", "DE LA GARE", "DES DEUX RIVES", "D'ALIZÉ", "DU PARC",
    "MARTEL & ASSOCIÉS", "DE L'AVENIR", "BELLEVUE", "DU CHÂTEAU", "LES ORMES", "DES QUATRE VENTS", "DE LA FONTAINE",
    "ÉMERAUDE", "DU VIEUX PORT", "L'OLIVIER", "DES CÈDRES", "MA SANTÉ", "DU HAMEAU", "DE LA PAIX", "OUEST", "NORD-EST",
)  # fmt: skip
_HOUSES = (
    "CENTRE HOSPITALIER", "CABINET", "MAISON DE SANTÉ", "CLINIQUE", "SELARL", "PHARMACIE", "EHPAD", "RÉSIDENCE",
    "LABORATOIRE", "SCM", "FOYER", "DISPENSAIRE", "ESPACE MÉDICAL", "INSTITUT",
)  # fmt: skip
_DEPARTMENTS = ("Demoville (99)", "Val-d'Exemple (98)", "Échantillon (97)", "Modèle-et-Loire (96)")
_MONTHS_LAST_DAY = 28


class _Author:
    """Writes one person, drawing everything from one source of chance."""

    def __init__(self, rpps: str, source: random.Random) -> None:
        self._rpps = rpps
        self._source = source

    def person(self) -> Person:
        surname, first_name = self._surname(), _FIRST_NAMES.pick(self._source)
        profession = _PROFESSIONS.pick(self._source)
        activities = self._source.choices((1, 2, 3), weights=(78, 17, 5))[0]
        organizations = tuple(self._organization() for _ in range(self._source.choices((0, 1, 2), (18, 60, 22))[0]))
        site_id = self._rarely_empty(self._digits(6), 0.12)
        return Person(
            rpps=self._rpps,
            surname=surname,
            first_name=first_name,
            profession=profession,
            organizations=organizations,
            address=self._address() if self._chance(0.88) else (),
            phone=self._phone(0.7),
            email=self._secure_mail(surname, first_name, profession) if self._chance(0.6) else "",
            situation_id=self._rarely_empty(self._digits(7), 0.1),
            practice_id=self._digits(7),
            site_id=site_id,
            contact_id=self._rarely_empty(self._digits(7), 0.1),
            state="OUVERT" if self._chance(0.88) else "FERME",
            activities=activities,
            tabs={
                "situation": self._situation(organizations, activities),
                "dossier": self._record_of_practice(surname, first_name, profession),
                "diplomes": self._diplomas(profession),
                "personne": self._civil_status(surname, first_name),
            },
        )

    # -- small pieces

    def _chance(self, probability: float) -> bool:
        return self._source.random() < probability

    def _rarely_empty(self, value: str, probability: float) -> str:
        return "" if self._chance(probability) else value

    def _digits(self, length: int) -> str:
        return str(self._source.randrange(10 ** (length - 1), 10**length))

    def _date(self, probability: float = 1.0) -> str:
        if not self._chance(probability):
            return ""
        day, month = self._source.randint(1, _MONTHS_LAST_DAY), self._source.randint(1, 12)
        return f"{day:02d}/{month:02d}/{self._source.randint(1975, 2025)}"

    def _phone(self, probability: float) -> str:
        return f"0199{self._digits(6)}" if self._chance(probability) else ""

    def _mail(self, probability: float) -> str:
        return f"contact{self._digits(5)}@courriel.example" if self._chance(probability) else ""

    def _surname(self) -> str:
        if self._chance(0.72):
            return _COMMON_SURNAMES.pick(self._source)
        syllables = "".join(self._source.sample(_SYLLABLES, self._source.randint(1, 2)))
        invented = syllables + self._source.choice(_ENDINGS)
        return f"{invented}-{_COMMON_SURNAMES.pick(self._source)}" if self._chance(0.05) else invented

    def _organization(self) -> str:
        return f"{self._source.choice(_HOUSES)} {self._source.choice(_PLACES)}"

    def _address(self) -> tuple[str, ...]:
        street = f"{self._source.randint(1, 220)} {self._source.choice(_STREETS)}"
        town = f"99{self._source.randint(0, 999):03d} {self._source.choice(_TOWNS)}"
        return (f"BÂTIMENT {self._source.choice('ABCD')}", street, town) if self._chance(0.2) else (street, town)

    def _secure_mail(self, surname: str, first_name: str, profession: str) -> str:
        local = f"{_ascii(first_name)}.{_ascii(surname)}{self._source.randint(1, 99)}"
        return f"{local}@{_ascii(profession)}.mssante.example"

    # -- the tabs

    def _situation(self, organizations: Sequence[str], activities: int) -> Tab:
        tab: Tab = {}
        for occurrence in range(1, activities + 1):
            tab[numbered(ACTIVITY, occurrence)] = self._activity(occurrence)
            name = organizations[occurrence - 1] if occurrence <= len(organizations) else ""
            tab[numbered(STRUCTURE, occurrence)] = self._structure(name)
        for shape in TAB_SHAPES["situation"][2:]:
            tab[shape.heading] = self._rows(shape, 0.12, _HOSPITAL_CELLS)
        return tab

    def _activity(self, occurrence: int) -> Section:
        return _filled(
            TAB_SHAPES["situation"][0],
            {
                "Identifiant de l’activité": self._rarely_empty(self._digits(9), 0.5),
                "Validation par le guichet principal": "Oui" if self._chance(0.2) else "",
                "Genre d'activité": "Activité standard de soin ou de pharmacien",
                "Mode d'exercice": self._source.choice(("Salarié", "Libéral", "Libéral, exercice partagé", "Bénévole")),
                "Type d'activité libérale": "Cabinet" if self._chance(0.3) else "",
                "Fonction": self._source.choice(("Salarié en poste fixe", "Titulaire de cabinet", "Remplaçant", "")),
                "Date de début": self._date(0.7),
                "Date de fin": self._date(0.8) if occurrence > 1 else "",
                "Motif de fin d'activité": "Changement d'activité" if occurrence > 1 and self._chance(0.5) else "",
                "Adresse d’activité": "\n".join(self._address()) if self._chance(0.4) else "",
                "Téléphone": self._phone(0.4),
                "Téléphone (autre)": self._phone(0.1),
                "Fax": self._phone(0.1),
                "Courriel": self._mail(0.3),
            },
        )

    def _structure(self, name: str) -> Section:
        siren = f"999{self._digits(6)}"
        return _filled(
            TAB_SHAPES["situation"][1],
            {
                "Raison sociale": name,
                "Enseigne commerciale": name.title() if name and self._chance(0.2) else "",
                "Numéro SIRET": f"{siren}000{self._digits(2)}" if name else "",
                "Numéro SIREN": siren if name else "",
                "Numéro FINESS Etablissement": self._rarely_empty(self._digits(9), 0.5),
                "Numéro FINESS EJ": self._rarely_empty(self._digits(9), 0.6),
                "RPPS rang": f"{self._rpps}{self._digits(3)}" if self._chance(0.2) else "",
                "Numéro licence officine": f"99#{self._digits(6)}" if "PHARMACIE" in name else "",
                "Date ouverture": self._date(0.3),
                "Date fermeture": self._date(0.05),
                "Code NAF": self._source.choice(("86.10Z", "86.21Z", "47.73Z", "88.10A", "")),
                "Catégorie juridique": self._source.choice(
                    ("Association déclarée", "Société d'exercice libéral", "", "")
                ),
                "Secteur d'activité": self._source.choice(("Cabinet individuel", "Autre secteur d'activité", "")),
                "Adresse de la structure": "\n".join(self._address()) if self._chance(0.8) else "",
                "Téléphone": self._phone(0.6),
                "Téléphone (autre)": self._phone(0.1),
                "Fax": self._phone(0.2),
                "Courriel": self._mail(0.4),
            },
        )

    def _record_of_practice(self, surname: str, first_name: str, profession: str) -> Tab:
        shapes = {shape.heading: shape for shape in TAB_SHAPES["dossier"]}
        tab: Tab = {
            "EXERCICE PROFESSIONNEL": _filled(
                shapes["EXERCICE PROFESSIONNEL"],
                {
                    "Civilité d'exercice": "Docteur" if profession in {"Médecin", "Chirurgien-Dentiste"} else "",
                    "Identifiant RPPS": self._rpps,
                    "Date d'effet": self._date(0.6),
                    "Nom d'exercice": surname,
                    "Profession": profession,
                    "Date de fin": self._date(0.05),
                    "Prénom d'exercice": first_name,
                    "Catégorie du PS": self._source.choice(("Civil", "Civil", "Civil", "Agent public", "Étudiant")),
                },
            )
        }
        for heading, probability in _RECORD_PROBABILITIES.items():
            tab[heading] = self._rows(shapes[heading], probability, _RECORD_CELLS)
        tab["RÉFÉRENCEMENT AUPRÈS DE L'AUTORITÉ D'ENREGISTREMENT"] = {}
        return tab

    def _diplomas(self, profession: str) -> Tab:
        diplomas, others, permits = TAB_SHAPES["diplomes"]
        return {
            diplomas.heading: self._rows(diplomas, 0.8, _DIPLOMA_CELLS),
            others.heading: self._rows(others, 0.25, _DIPLOMA_CELLS),
            permits.heading: self._rows(permits, 0.08, {**_PERMIT_CELLS, "Profession": lambda _: profession}),
        }

    def _civil_status(self, surname: str, first_name: str) -> Tab:
        general, civil, contact, languages = TAB_SHAPES["personne"]
        open_file = self._chance(0.5)
        return {
            general.heading: _filled(
                general,
                {
                    "Civilité": self._source.choice(("Madame", "Monsieur", "")),
                    "Nom d'usage": surname if open_file else "",
                    "Prénom d'usage": first_name if open_file and self._chance(0.5) else "",
                    "Nationalité": self._source.choice(("Française", "Belge", "Italienne")) if open_file else "",
                    "Date d'acquisition de la nationalité française": self._date(0.05),
                    "Date d'effet": self._date(0.3),
                },
            ),
            civil.heading: _filled(
                civil,
                {
                    "Nom de famille": self._surname() if open_file else "",
                    "Prénoms": f"{first_name}, {_FIRST_NAMES.pick(self._source)}" if open_file else "",
                    "Sexe": self._source.choice(("Féminin", "Masculin")) if open_file else "",
                    "Date de naissance": self._date(0.3),
                    "Commune de naissance": self._source.choice(_TOWNS) if self._chance(0.3) else "",
                    "Pays de naissance": "France" if self._chance(0.3) else "",
                    "Statut état-civil": "Non certifié" if self._chance(0.2) else "",
                    "Date d'effet de l'état-civil": self._date(0.2),
                },
            ),
            contact.heading: _filled(
                contact,
                {
                    "Téléphone": self._phone(0.3),
                    "Téléphone (autre)": self._phone(0.1),
                    "Fax": self._phone(0.1),
                    "Courriel": self._mail(0.3),
                },
            ),
            languages.heading: self._rows(languages, 0.3, _LANGUAGE_CELLS),
        }

    def _rows(self, shape: SectionShape, probability: float, cells: "_Cells") -> list[dict[str, str]]:
        """No row, or one to three; a column without a maker of its own gets a date or nothing."""
        if not self._chance(probability):
            return []
        return [
            {column: cells[column](self._source) if column in cells else self._date(0.5) for column in shape.columns}
            for _ in range(self._source.choices((1, 2, 3), (70, 20, 10))[0])
        ]


_Cells: TypeAlias = Mapping[str, Callable[[random.Random], str]]


def _one_of(*values: str) -> Callable[[random.Random], str]:
    return lambda source: source.choice(values)


def _number(prefix: str, length: int) -> Callable[[random.Random], str]:
    return lambda source: f"{prefix}{source.randrange(10 ** (length - 1), 10**length)}"


_HOSPITAL_CELLS: _Cells = {
    "Établissement de rattachement": _one_of("CENTRE HOSPITALIER DE L'ÉTOILE", "CENTRE HOSPITALIER DE LA GARE"),
    "Code statut praticien": _one_of("PH01", "PH02", ""),
    "Code spécialité": _one_of("SM26", "SM54", ""),
    "Position statutaire simplifiée": _one_of("En activité", "Détaché", ""),
    "Code position statutaire": _one_of("ACT", "DET"),
    "Code de l'attribution particulière": _one_of("AP1", "AP2"),
}
_RECORD_PROBABILITIES = {
    "SAVOIR-FAIRE": 0.35,
    "PREMIÈRE INSCRIPTION": 0.3,
    "INSCRIPTIONS": 0.5,
    "CARTES CPS": 0.45,
    "SANCTIONS": 0.03,
    "ADELI": 0.4,
}
_RECORD_CELLS: _Cells = {
    "Savoir-faire": _one_of("Médecine générale", "Cardiologie & maladies vasculaires", "Pédiatrie", "Gériatrie"),
    "Type de savoir-faire": _one_of("Spécialité ordinale", "Compétence", "Capacité"),
    "Autorité d'enregistrement": _one_of("CNOM", "CNOP", "CNOI", "ARS Démonstration"),
    "Département de première inscription": _one_of(*_DEPARTMENTS),
    "Département d'inscription": _one_of(*_DEPARTMENTS),
    "Statut": _one_of("Inscrit", "Radié", "Inscrit"),
    "Département d'accueil": _one_of("", "", *_DEPARTMENTS),
    "Numéro de carte": _number("", 10),
    "Type de carte": _one_of("CPS", "CPF", "e-CPS"),
    "Type": _one_of("Principal", "Secondaire"),
    "Origine": _one_of("Ordre", "Justice"),
    "Niveau": _one_of("National", "Départemental"),
    "Numéro ADELI": _number("99", 7),
    "ADELI Étudiant": _one_of("Oui", "Non", ""),
}
_DIPLOMA_CELLS: _Cells = {
    "Code": _number("DIP", 3),
    "Type": _one_of("Diplôme d'État français", "Autre type de diplôme", "Certificat d'études spécialisées"),
    "Numéro": _one_of("", "", "A1234", "99-0007"),
    "Libellé": _one_of("DE Docteur en médecine", "Titre d'Assistant Dentaire", "DE Infirmier", "DU Soins & Éthique"),
    "Lieu d'obtention": _one_of("", "Université de Démonstration", "IFSI DE L'ÉTOILE"),
    "Pays d'obtention": _one_of("", "France", "Belgique"),
    "Validation par le guichet principal": _one_of("", "Oui", "Non"),
}
_PERMIT_CELLS: _Cells = {
    "Discipline": _one_of("Chirurgie orale", "Biologie médicale", ""),
    "Type": _one_of("Autorisation d'exercice", "Autorisation temporaire"),
    "Lieu": _one_of("", "Ville Exemple"),
}
_LANGUAGE_CELLS: _Cells = {"Langue": _one_of("Anglais", "Espagnol", "Langue des signes française", "Arabe")}


def _filled(shape: SectionShape, given: Mapping[str, str]) -> dict[str, str]:
    """Every label of the section, in its order; what is not given is empty. A label unknown to the section is a
    mistake."""
    labels = [clean_label(label) for label in shape.labels]
    if unknown := given.keys() - set(labels):
        raise ValueError(f"{shape.heading} has no label {sorted(unknown)}")
    return {label: given.get(label, "") for label in labels}


def _ascii(text: str) -> str:
    """Lower case, without accents, words joined with hyphens: fit for a mail address."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return "-".join(plain.replace("'", " ").split())
