"""A page: an answer, ready to be read. The parser stays behind it, so that it can change.

Nothing is decoded or parsed before it is asked for, and then once. Text is what a reader sees: white space folded,
a gap where a block, a cell or a line break separates, and without scripts, styles and templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, overload

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from windrow.errors import PageError
from windrow.fetch import encoding
from windrow.fetch.address import resolve
from windrow.fetch.transport import Answer
from windrow.session.form import Form, find_form

Default = TypeVar("Default")

_UNSEEN = frozenset({"script", "style", "template"})
# fmt: off
_INLINE = frozenset({
    "-comment", "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "ins", "kbd", "label", "mark", "nobr", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike",
    "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})
# fmt: on
_NOWHERE = ("javascript:", "mailto:", "tel:", "data:", "blob:", "about:")


class _Required:
    """Stands for "no default: raise"."""


_REQUIRED = _Required()


class Selection:
    """What can be asked of a page and of an element alike: it looks among what is below."""

    __slots__ = ()

    @property
    def _below(self) -> LexborNode | LexborHTMLParser:
        raise NotImplementedError

    @property
    def _page(self) -> Page:
        raise NotImplementedError

    def css(self, selector: str) -> list[Element]:
        """All elements that match, in document order. Raises PageError for a selector that is none."""
        page = self._page
        try:
            return [Element(node, page) for node in self._below.css(selector)]
        except SelectolaxError as error:
            raise PageError(f"{page.url}: {selector!r} is no valid CSS selector") from error

    def first(self, selector: str) -> Element | None:
        """The first element that matches, None where there is none."""
        node = self._first(selector)
        return None if node is None else Element(node, self._page)

    def has(self, selector: str) -> bool:
        """Whether an element matches."""
        return self._first(selector) is not None

    def one(self, selector: str) -> Element:
        """The first element that matches; raises PageError where there is none."""
        found = self.first(selector)
        if found is None:
            raise PageError(f"{self._page.url}: nothing matches {selector!r}")
        return found

    def texts(self, selector: str) -> list[str]:
        """The text of each element that matches."""
        return [element.text() for element in self.css(selector)]

    def links(self, selector: str = "a[href]") -> list[str]:
        """The absolute http(s) addresses that the matching elements' `href` lead to, in document order."""
        found = (element.url(default=None) for element in self.css(selector))
        return [url for url in found if url is not None and url.startswith(("http://", "https://"))]

    def _first(self, selector: str) -> LexborNode | None:
        try:
            return self._below.css_first(selector)
        except SelectolaxError as error:
            raise PageError(f"{self._page.url}: {selector!r} is no valid CSS selector") from error


class Element(Selection):
    """One element of a page."""

    __slots__ = ("_node", "_owner")

    def __init__(self, node: LexborNode, page: Page) -> None:
        self._node = node
        self._owner = page

    @property
    def _below(self) -> LexborNode:
        return self._node

    @property
    def _page(self) -> Page:
        return self._owner

    @property
    def tag(self) -> str:
        """The element's name in small letters: `div`."""
        return self._node.tag or ""

    @property
    def html(self) -> str:
        """The element as HTML, itself included."""
        return self._node.html or ""

    @property
    def raw_text(self) -> str:
        """The text below as it stands, white space and scripts included: for `<pre>`, `<textarea>`, `<script>`."""
        return self._node.text()

    def lines(self) -> list[str]:
        """The text below, cut at each `<br>`, each line without superfluous white space; empty lines are left out."""
        lines: list[list[str]] = [[]]
        for node in self._node.traverse(include_text=True):
            if node.tag == "br":
                lines.append([])
            elif node.tag == "-text":
                lines[-1].append(node.text() or "")
        return [line for pieces in lines if (line := " ".join("".join(pieces).split()))]

    @property
    def attributes(self) -> dict[str, str]:
        """Name → value; an attribute without a value has the value ""."""
        return {name: value or "" for name, value in self._node.attributes.items()}

    @overload
    def text(self, selector: str | None = None) -> str: ...

    @overload
    def text(self, selector: str | None = None, *, default: Default) -> str | Default: ...

    def text(self, selector: str | None = None, *, default: Any = _REQUIRED) -> Any:
        """The element's text or, with `selector`, that of the first element below that matches.

        Where nothing matches: `default`, or PageError without one.
        """
        if selector is None:
            return text_of(self._node)
        return _text_of_first(self, selector, default)

    @overload
    def attr(self, name: str) -> str: ...

    @overload
    def attr(self, name: str, *, default: Default) -> str | Default: ...

    def attr(self, name: str, *, default: Any = _REQUIRED) -> Any:
        """The attribute's value, "" where it has none. Where it is absent: `default`, or PageError without one."""
        found = self._node.attributes
        if name in found:
            return found[name] or ""
        if default is _REQUIRED:
            raise PageError(f"{self._owner.url}: <{self.tag}> has no attribute {name!r}")
        return default

    @overload
    def url(self, attribute: str = "href") -> str: ...

    @overload
    def url(self, attribute: str = "href", *, default: Default) -> str | Default: ...

    def url(self, attribute: str = "href", *, default: Any = _REQUIRED) -> Any:
        """The absolute address that an attribute leads to, by the page's base.

        `default`, or PageError without one, where it is absent or cannot be made an address.
        """
        value = self.attr(attribute) if default is _REQUIRED else self.attr(attribute, default=None)
        address = None if value is None else self._owner.absolute(value)
        if address is not None:
            return address
        if default is _REQUIRED:
            raise PageError(f"{self._owner.url}: {attribute}={value!r} of <{self.tag}> is no address")
        return default

    @property
    def parent(self) -> Element | None:
        """The element around it, None for the outermost."""
        node = self._node.parent
        return None if node is None or (node.tag or "-").startswith("-") else Element(node, self._owner)

    @property
    def children(self) -> list[Element]:
        """The elements directly below."""
        return [Element(node, self._owner) for node in self._node.iter() if not (node.tag or "-").startswith("-")]

    @property
    def next(self) -> Element | None:
        """The next element with the same parent; text between is passed over."""
        node = self._node.next
        while node is not None and (node.tag or "-").startswith("-"):
            node = node.next
        return None if node is None else Element(node, self._owner)

    @property
    def previous(self) -> Element | None:
        """The element before it with the same parent; text between is passed over."""
        node = self._node.prev
        while node is not None and (node.tag or "-").startswith("-"):
            node = node.prev
        return None if node is None else Element(node, self._owner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and self._node.mem_id == other._node.mem_id

    def __hash__(self) -> int:
        return hash(self._node.mem_id)

    def __repr__(self) -> str:
        return f"<Element {self.html.split('>', 1)[0][1:80]}>"


class Page(Selection):
    """An answer to a request, ready to be read.

    - `url`: where it came from after redirects. `status`, `headers` (names are found without case).
    - `body`: its bytes, unpacked. `encoding`: the Python codec they are read with. `html`: the body as text.
    """

    __slots__ = ("_base", "_encoding", "_html", "_text", "_tree", "answer")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._encoding: str | None = None
        self._html: str | None = None
        self._tree: LexborHTMLParser | None = None
        self._text: str | None = None
        self._base: str | None = None

    @property
    def url(self) -> str:
        return self.answer.url

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.answer.headers

    @property
    def body(self) -> bytes:
        return self.answer.body

    @property
    def encoding(self) -> str:
        if self._encoding is None:
            self._encoding = encoding.encoding_of(self.body, self.headers.get("Content-Type"))
        return self._encoding

    @property
    def html(self) -> str:
        """The body as text, whatever its type; U+FFFD stands for what its encoding cannot read."""
        if self._html is None:
            self._html = encoding.decode(self.body, self.encoding)
        return self._html

    @property
    def tree(self) -> LexborHTMLParser:
        """The parser's own tree, for what a page does not offer. Another version of Windrow may have another parser."""
        if self._tree is None:
            # The parser reads UTF-8 bytes as they are, which saves decoding a page only to encode it again.
            self._tree = LexborHTMLParser(self.body if self.encoding == "utf-8" else self.html)
        return self._tree

    @property
    def base_url(self) -> str:
        """What the page's links are relative to: its `<base href>` where it has one, else its address."""
        if self._base is None:
            base = self.tree.css_first("base[href]")
            href = None if base is None else base.attributes.get("href")
            self._base = (resolved(self.url, href) if href else None) or self.url
        return self._base

    def absolute(self, reference: str) -> str | None:
        """The address that `reference` means on this page; None for what is no address (`javascript:`, `mailto:`)."""
        if reference.strip().lower().startswith(_NOWHERE):
            return None
        return resolved(self.base_url, reference)

    @property
    def _below(self) -> LexborHTMLParser:
        return self.tree

    @property
    def _page(self) -> Page:
        return self

    @overload
    def text(self, selector: str | None = None) -> str: ...

    @overload
    def text(self, selector: str | None = None, *, default: Default) -> str | Default: ...

    def text(self, selector: str | None = None, *, default: Any = _REQUIRED) -> Any:
        """The text of the first element that matches; without a selector that of the whole page.

        Where nothing matches: `default`, or PageError without one.
        """
        if selector is not None:
            return _text_of_first(self, selector, default)
        if self._text is None:
            root = self.tree.body or self.tree.root
            self._text = text_of(root) if root is not None else ""
        return self._text

    @overload
    def attr(self, selector: str, name: str) -> str: ...

    @overload
    def attr(self, selector: str, name: str, *, default: Default) -> str | Default: ...

    def attr(self, selector: str, name: str, *, default: Any = _REQUIRED) -> Any:
        """The attribute of the first element that matches.

        Where nothing matches or the attribute is absent: `default`, or PageError without one.
        """
        found = self.first(selector)
        if found is not None:
            return found.attr(name, default=default)
        if default is _REQUIRED:
            raise PageError(f"{self.url}: nothing matches {selector!r}")
        return default

    def contains(self, text: str) -> bool:
        """Whether the page's text holds `text`, whatever the white space between its words."""
        return " ".join(text.split()) in self.text()

    def json(self) -> Any:
        """The body as JSON. Raises PageError that shows how it begins where it is none."""
        try:
            return json.loads(self.html)
        except ValueError as error:
            raise PageError(f"{self.url}: is not JSON ({error}); it begins {self.html[:80]!r}") from error

    def form(self, name_or_selector: str | None = None) -> Form:
        """The form of that name or id, or the first that matches a CSS selector; None for the only form there is.

        Raises PageError that lists the forms there are.
        """
        return find_form(self, name_or_selector)

    def __repr__(self) -> str:
        return f"<Page {self.status} {self.url}>"


def resolved(base: str, reference: str) -> str | None:
    """The address that `reference` means at `base`, None for what cannot be one (`http://[`)."""
    try:
        return resolve(base, reference)
    except ValueError:
        return None


def text_of(node: LexborNode) -> str:
    """What a reader sees of a node, white space folded. Of a script or style itself: its content."""
    child = node.first_child
    if child is None:
        return ""
    if child.next is None and child.tag == "-text":
        return " ".join((child.text_content or "").split())
    pieces: list[str] = []
    _gather(node, pieces)
    return " ".join("".join(pieces).split())


def _gather(root: LexborNode, pieces: list[str]) -> None:
    """Collect the text below `root`, with a gap at both ends of whatever is no inline element.

    Walks with its own stack: pages nest deeper than Python calls do.
    """
    stack: list[LexborNode | str] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
            continue
        tag = node.tag
        if tag == "-text":
            pieces.append(node.text_content or "")
            continue
        if node is not root:
            if tag in _UNSEEN:
                continue
            if tag not in _INLINE:
                pieces.append(" ")
                stack.append(" ")
        children = list(node.iter(include_text=True))
        children.reverse()
        stack.extend(children)


def _text_of_first(within: Selection, selector: str, default: Any) -> Any:
    found = within._first(selector)
    if found is not None:
        return text_of(found)
    if default is _REQUIRED:
        raise PageError(f"{within._page.url}: nothing matches {selector!r}")
    return default
