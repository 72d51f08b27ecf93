"""Free-text search over the people: folding, three ways of matching, two orders, results remembered by query."""

import hashlib
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from windrow.demo.annuaire.people import Person

Matching = Literal["words", "field", "substring"]
Order = Literal["name", "shuffled"]

_REMEMBERED_QUERIES = 4096
_FOLDED_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ß": "ss", "’": "'"})
_AFTER_EVERY_TEXT = "\U0010ffff"


def fold(text: str) -> str:
    """The text without case and accents, as the search compares it: `ÉTIENNE` → `etienne`."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_FOLDED_LETTERS))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


class Directory:
    """The people in the order in which the site lists them, and the search over them.

    matching: what a query must fit, after folding both sides.
        `words`: the query starts `SURNAME FIRST NAME`, or each of its terms (split at white space) starts some word
        (split at space, hyphen, apostrophe) of surname, first name, profession or an organisation line;
        `field`: the query, stripped, starts `SURNAME FIRST NAME`, the first name, the profession or an organisation
        line;
        `substring`: the query, stripped, stands anywhere in all of these joined with spaces.
        An empty query finds nobody.
    order: `name` (surname, first name, RPPS number) or `shuffled` (by a hash of the number: mixed, yet always the
        same).
    """

    def __init__(self, people: Iterable[Person], matching: Matching = "words", order: Order = "name") -> None:
        self.people: Sequence[Person] = sorted(people, key=_by_name if order == "name" else _by_hash)
        self.by_rpps: Mapping[str, Person] = {person.rpps: person for person in self.people}
        self._places: Callable[[str], set[int]] = self._matcher(matching)
        self.find: Callable[[str], Sequence[Person]] = lru_cache(maxsize=_REMEMBERED_QUERIES)(self._find)
        """find(query): all people the query finds, in the site's order, without any cap."""

    def _find(self, query: str) -> Sequence[Person]:
        folded = fold(query)
        if not folded.strip():
            return ()
        return tuple(self.people[place] for place in sorted(self._places(folded)))

    def _matcher(self, matching: Matching) -> Callable[[str], set[int]]:
        if matching == "words":
            return _WordMatcher(self.people).places
        if matching == "field":
            fields = _PrefixIndex((_full_name(person), *_fields(person)) for person in self.people)
            return lambda query: fields.places(query.strip())
        texts = [" ".join((_full_name(person), *_fields(person)[1:])) for person in self.people]
        return lambda query: {place for place, text in enumerate(texts) if query.strip() in text}


class _WordMatcher:
    def __init__(self, people: Sequence[Person]) -> None:
        self._names = _PrefixIndex((_full_name(person),) for person in people)
        self._words = _PrefixIndex(_words(person) for person in people)

    def places(self, query: str) -> set[int]:
        by_words = [self._words.places(term) for term in query.split()]
        return self._names.places(query) | set.intersection(*by_words)


class _PrefixIndex:
    """Which entries hold a text that starts with a prefix; entries are numbered as they come."""

    def __init__(self, entries: Iterable[Iterable[str]]) -> None:
        holders: defaultdict[str, list[int]] = defaultdict(list)
        for place, texts in enumerate(entries):
            for text in set(texts):
                holders[text].append(place)
        self._texts = sorted(holders)
        self._holders = [holders[text] for text in self._texts]

    def places(self, prefix: str) -> set[int]:
        first, last = bisect_left(self._texts, prefix), bisect_left(self._texts, prefix + _AFTER_EVERY_TEXT)
        return {place for holders in self._holders[first:last] for place in holders}


def _full_name(person: Person) -> str:
    return fold(f"{person.surname} {person.first_name}")


def _fields(person: Person) -> tuple[str, ...]:
    """First name, profession, organisation lines, folded."""
    return tuple(fold(text) for text in (person.first_name, person.profession, *person.organizations))


def _words(person: Person) -> list[str]:
    return [word for word in re.split(r"[\s'-]+", " ".join((_full_name(person), *_fields(person)))) if word]


def _by_name(person: Person) -> tuple[str, str, str]:
    return fold(person.surname), fold(person.first_name), person.rpps


def _by_hash(person: Person) -> bytes:
    return hashlib.blake2b(person.rpps.encode(), digest_size=8).digest()
