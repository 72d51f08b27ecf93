"""Forms: what a browser would send, and filling them in.

Follows HTML's "constructing the entry list": which controls count, what an unchecked box or a list sends, that a
button is sent only when it is pressed. A form is a value: `filled` returns another one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from windrow.errors import PageError
from windrow.fetch.address import encode_fields, pairs

if TYPE_CHECKING:
    from windrow.session.page import Element, Page

_CONTROLS = "input, select, textarea, button"
_BUTTONS = frozenset({"submit", "image"})
_NEVER_SENT = frozenset({"reset", "button"})
_TAIL_MARKS = ("_", ".", ":", "[")
_MULTIPART = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Control:
    """One input of a form. `sent`: the values it sends as it stands. `on`: what it sends when it is switched on."""

    name: str
    kind: str
    sent: tuple[str, ...]
    on: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A submit button: sends its name and value when it is pressed, and may change where and how."""

    name: str
    value: str
    label: str
    id: str
    action: str | None
    method: str | None
    enctype: str | None
    is_image: bool = False

    @property
    def entries(self) -> list[tuple[str, str]]:
        if self.is_image:
            # An image button sends where it was clicked.
            prefix = f"{self.name}." if self.name else ""
            return [(f"{prefix}x", "0"), (f"{prefix}y", "0")]
        return [(self.name, self.value)] if self.name else []


@dataclass(frozen=True, slots=True)
class Submission:
    """A form as a request: `body` is None for GET."""

    method: str
    url: str
    body: bytes | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page, perhaps filled in. `action` is absolute, `method` is GET or POST."""

    action: str
    method: str
    enctype: str
    encoding: str
    page_url: str
    entries: tuple[tuple[str, str], ...]
    """(name, value) pairs that would be sent, in the order of the page."""
    controls: tuple[Control, ...]
    """All inputs that have a name, also those that send nothing as they stand."""
    buttons: tuple[Button, ...]

    @property
    def fields(self) -> dict[str, str | list[str]]:
        """Name → value that would be sent; a list of values where a name is sent more than once."""
        found: dict[str, str | list[str]] = {}
        for name, value in self.entries:
            before = found.get(name)
            if before is None:
                found[name] = value
            elif isinstance(before, list):
                before.append(value)
            else:
                found[name] = [before, value]
        return found

    def filled(
        self, *, fields: Mapping[str, Any] | None = None, extra: Mapping[str, Any] | None = None, **named: Any
    ) -> Form:
        """The form with other values.

        A name is that of an input, or the end of exactly one input's name after `_`, `.`, `:` or `[` (`texttofind` for
        `_portlet_INSTANCE_x_texttofind`). A value is a text or number, a list for several, True or False to switch a
        box, None to leave it out. `fields` is for names that are no Python names; `extra` adds fields that have no
        input. Raises PageError that lists the inputs for a name that fits none or several.
        """
        form = self
        for name, value in [*(fields or {}).items(), *named.items()]:
            full = self._full_name(name)
            form = form._with(full, self._values(full, value))
        for name, value in (extra or {}).items():
            form = form._with(name, [text for _, text in pairs([(name, value)])])
        return form

    def submission(self, button: str | None = None) -> Submission:
        """The request that submitting makes. `button`: name, id, value or label of the button that is pressed."""
        pressed = None if button is None else self._button(button)
        entries = [*self.entries, *(pressed.entries if pressed else [])]
        action = pressed.action if pressed and pressed.action else self.action
        method = pressed.method if pressed and pressed.method else self.method
        enctype = pressed.enctype if pressed and pressed.enctype else self.enctype
        if method == "GET":
            parts = urlsplit(action)
            query = encode_fields(entries, self.encoding)
            return Submission("GET", urlunsplit((parts.scheme, parts.netloc, parts.path, query, "")), None, None)
        if enctype == _MULTIPART:
            body, content_type = _multipart(entries, self.encoding)
            return Submission("POST", action, body, content_type)
        return Submission("POST", action, encode_fields(entries, self.encoding).encode("ascii"), _URLENCODED)

    def _with(self, name: str, values: list[str]) -> Form:
        """The entries with `values` for `name`, at the place where its first stood or would stand."""
        entries = [entry for entry in self.entries if entry[0] != name]
        place = next((i for i, entry in enumerate(self.entries) if entry[0] == name), None)
        if place is None:
            place = self._place(name, entries)
        entries[place:place] = [(name, value) for value in values]
        return replace(self, entries=tuple(entries))

    def _place(self, name: str, entries: list[tuple[str, str]]) -> int:
        """Where a field that sends nothing so far belongs: before the first field of an input that follows its own."""
        names = [control.name for control in self.controls]
        if name not in names:
            return len(entries)
        later = set(names[names.index(name) + 1 :])
        return next((i for i, entry in enumerate(entries) if entry[0] in later), len(entries))

    def _values(self, name: str, value: Any) -> list[str]:
        if isinstance(value, bool):
            switch = next((control.on for control in self.controls if control.name == name and control.on), None)
            if switch is not None:
                return [switch] if value else []
        return [text for _, text in pairs([(name, value)])]

    def _full_name(self, name: str) -> str:
        names = list(dict.fromkeys(control.name for control in self.controls))
        if name in names:
            return name
        fitting = [full for full in names if _is_tail(name, full)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise PageError(f"{self.page_url}: the field {name!r} could be {', '.join(fitting)}; give more of its name")
        there = ", ".join(names) or "none"
        raise PageError(
            f"{self.page_url}: the form has no field {name!r}; it has {there}. "
            "A field without an input goes in extra={…}"
        )

    def _button(self, wanted: str) -> Button:
        for part in ("name", "id", "value", "label"):
            for button in self.buttons:
                if getattr(button, part) == wanted:
                    return button
        there = ", ".join(repr(b.name or b.id or b.value or b.label) for b in self.buttons) or "none"
        raise PageError(f"{self.page_url}: the form has no button {wanted!r}; it has {there}")


def find_form(page: Page, wanted: str | None) -> Form:
    """See `Page.form`."""
    forms = page.css("form")
    if wanted is None:
        if len(forms) == 1:
            return read_form(page, forms[0])
        raise PageError(f"{page.url}: there are {len(forms)} forms ({_listed(forms)}); say which")
    for attribute in ("name", "id"):
        for form in forms:
            if form.attr(attribute, default=None) == wanted:
                return read_form(page, form)
    try:
        found = page.first(wanted)
    except PageError:
        found = None
    if found is None or found.tag != "form":
        what = "no form" if found is None else f"a <{found.tag}>, not a form,"
        raise PageError(f"{page.url}: {what} matches {wanted!r}; there are {_listed(forms)}")
    return read_form(page, found)


def read_form(page: Page, element: Element) -> Form:
    """The form that a `<form>` element stands for."""
    owned = list(_owned_controls(page, element))
    disabled = _disabled(page, owned)
    controls: list[Control] = []
    buttons: list[Button] = []
    entries: list[tuple[str, str]] = []
    for place, control in enumerate(owned):
        kind = _kind(control)
        if kind in _BUTTONS:
            if place not in disabled:
                buttons.append(_read_button(page, control, kind))
            continue
        name = control.attr("name", default="")
        if not name or kind in _NEVER_SENT:
            continue
        read = _read_control(page, control, name, kind)
        controls.append(read)
        if place not in disabled:
            entries.extend((name, value) for value in read.sent)
    return Form(
        action=_action(page, element.attr("action", default="")),
        method=_method(element.attr("method", default="")),
        enctype=_enctype(element.attr("enctype", default="")),
        encoding=_encoding(page),
        page_url=page.url,
        entries=tuple(entries),
        controls=tuple(controls),
        buttons=tuple(buttons),
    )


def _owned_controls(page: Page, form: Element) -> Iterator[Element]:
    """The form's controls in document order: those within it, and those elsewhere that name its id."""
    name = form.attr("id", default="")
    within = dict.fromkeys(form.css(_CONTROLS)) or _spilled_controls(page, form)
    for control in page.css(_CONTROLS) if name else within:
        owner = control.attr("form", default=None)
        if control in within if owner is None else bool(name) and owner == name:
            yield control


def _spilled_controls(page: Page, form: Element) -> dict[Element, None]:
    """The controls of a form that the parser had to close at once, because it begins between the rows of a table.

    A browser remembers that they are the form's; the tree does not show it. They are what follows up to the next form
    and lies in none.
    """
    if form.children:
        return {}
    in_forms = set(page.css("form :is(input, select, textarea, button)"))
    following = page.css(f"form, {_CONTROLS}")
    following = following[following.index(form) + 1 :]
    until = next((place for place, element in enumerate(following) if element.tag == "form"), len(following))
    return dict.fromkeys(control for control in following[:until] if control not in in_forms)


def _kind(control: Element) -> str:
    if control.tag == "button":
        kind = control.attr("type", default="submit").lower()
        return kind if kind in {"reset", "button"} else "submit"
    if control.tag == "input":
        return control.attr("type", default="text").lower() or "text"
    return control.tag


def _disabled(page: Page, controls: list[Element]) -> set[int]:
    """Places of the controls that are disabled, by themselves or by a fieldset around them."""
    fieldsets = {inner for outer in page.css("fieldset[disabled]") for inner in outer.css(_CONTROLS)}
    spared = {
        inner
        for outer in page.css("fieldset[disabled]")
        for legend in [child for child in outer.children if child.tag == "legend"][:1]
        for inner in legend.css(_CONTROLS)
    }
    shut = fieldsets - spared
    listed = set(page.css("datalist input, datalist select, datalist textarea, datalist button"))
    return {
        place
        for place, control in enumerate(controls)
        if control.attr("disabled", default=None) is not None or control in shut or control in listed
    }


def _read_control(page: Page, control: Element, name: str, kind: str) -> Control:
    if kind == "select":
        return Control(name, kind, tuple(_selected(control)))
    if kind == "textarea":
        return Control(name, kind, (_line_ends(control.raw_text),))
    value = control.attr("value", default=None)
    if kind in {"checkbox", "radio"}:
        switched = "on" if value is None else value
        checked = control.attr("checked", default=None) is not None
        # Only a box can be switched by True: of several radio buttons that would mean any.
        return Control(name, kind, (switched,) if checked else (), switched if kind == "checkbox" else None)
    if kind == "file":
        return Control(name, kind, ("",))
    if kind == "hidden" and name == "_charset_" and value is None:
        return Control(name, kind, (_charset_name(_encoding(page)),))
    return Control(name, kind, (_one_line(value or "") if kind != "hidden" else _line_ends(value or ""),))


def _selected(select: Element) -> list[str]:
    options = select.css("option")
    chosen = [option for option in options if option.attr("selected", default=None) is not None]
    if select.attr("multiple", default=None) is None:
        if chosen:
            chosen = chosen[-1:]
        elif select.attr("size", default="1").strip() in {"", "0", "1"}:
            chosen = [option for option in options if not _is_disabled_option(option)][:1]
    return [_option_value(option) for option in chosen if not _is_disabled_option(option)]


def _is_disabled_option(option: Element) -> bool:
    if option.attr("disabled", default=None) is not None:
        return True
    group = option.parent
    return group is not None and group.tag == "optgroup" and group.attr("disabled", default=None) is not None


def _option_value(option: Element) -> str:
    value = option.attr("value", default=None)
    return option.text() if value is None else value


def _read_button(page: Page, control: Element, kind: str) -> Button:
    value = control.attr("value", default="")
    action = control.attr("formaction", default=None)
    method = control.attr("formmethod", default=None)
    enctype = control.attr("formenctype", default=None)
    return Button(
        name=control.attr("name", default=""),
        value=value,
        label=control.text() if control.tag == "button" else value or control.attr("alt", default=""),
        id=control.attr("id", default=""),
        action=None if action is None else _action(page, action),
        method=None if method is None else _method(method),
        enctype=None if enctype is None else _enctype(enctype),
        is_image=kind == "image",
    )


def _action(page: Page, text: str) -> str:
    # An empty action means the page itself, also where a <base> says otherwise for links.
    if not text.strip():
        return page.url.partition("#")[0]
    action = page.absolute(text)
    if action is None:
        raise PageError(f"{page.url}: the form's action {text!r} is no address")
    return action.partition("#")[0]


def _method(text: str) -> str:
    return "POST" if text.strip().lower() == "post" else "GET"


def _enctype(text: str) -> str:
    return _MULTIPART if text.strip().lower() == _MULTIPART else _URLENCODED


def _encoding(page: Page) -> str:
    return "utf-8" if page.encoding.startswith("utf-16") else page.encoding


def _charset_name(encoding: str) -> str:
    return "windows-" + encoding[2:] if encoding.startswith("cp125") else encoding.upper()


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def _is_tail(short: str, full: str) -> bool:
    return full.endswith((*(mark + short for mark in _TAIL_MARKS), f"[{short}]"))


def _multipart(entries: Iterable[tuple[str, str]], encoding: str) -> tuple[bytes, str]:
    boundary = f"----WindrowForm{secrets.token_hex(12)}"
    parts = []
    for name, value in entries:
        escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{escaped}"\r\n\r\n'
        parts.append(f"{head}{value}\r\n".encode(encoding, "xmlcharrefreplace"))
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"{_MULTIPART}; boundary={boundary}"


def _listed(forms: list[Element]) -> str:
    names = (form.attr("name", default="") or form.attr("id", default="") for form in forms)
    return ", ".join(repr(name) if name else "one without a name" for name in names) or "none"
