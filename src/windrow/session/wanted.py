"""What a scrape function wants: from the arguments of `get`, `post` and `submit` to one request. Pure."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from windrow.errors import PageError, Refused
from windrow.fetch.address import BadAddress, Query, clean, credentials, encode_fields, join, pairs, with_query
from windrow.fetch.transport import Request, Timeouts
from windrow.session.page import Page

Expect = str | tuple[str, ...] | Callable[[Page], bool]
"""A CSS selector, several of which any must match, or a function of the page."""

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,application/json;q=0.9,*/*;q=0.8"


class GetOptions(TypedDict, total=False):
    """What a request can be told.

    - `params`: added to the query; list values repeat, None is left out.
    - `headers`: for this request, before the session's own; None as a value leaves a header out.
    - `expect`: what the page must hold, or it counts as blocked: a CSS selector, a tuple of which any must match, or a
      function of the page.
    - `allow`: statuses to be handed over as pages instead of raising.
    - `pace`: factor on the session's delay before this request; 0 for none.
    - `timeout`: seconds for one sending of it, instead of `Limits.request`.
    - `retries`: how often it is sent again after a transient fault, instead of `Limits.retries`.
    """

    params: Query | None
    headers: Mapping[str, str | None] | None
    expect: Expect | None
    allow: Iterable[int]
    pace: float
    timeout: float | None
    retries: int | None


class PostOptions(GetOptions, total=False):
    """As `GetOptions`, and one of: `data` (form fields), `json` (any JSON value), `body` (as it is). None: no body."""

    data: Query | None
    json: Any
    body: bytes | str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request and how its answer is to be judged."""

    request: Request
    expect: Expect | None
    allow: frozenset[int]
    pace: float
    retries: int
    chosen: frozenset[str] = frozenset()
    """Headers, in lower case, of which the scrape function said what they are: no identity's takes their place."""
    repeated: int = 0
    """1 for the request that is sent once more by a session that had died and was opened again."""


def address(base_url: str | None, url: str, params: Query | None) -> tuple[str, str | None]:
    """The clean address that a scrape function means, and the Authorization its credentials stand for.

    Raises Refused for what is no http(s) address.
    """
    try:
        whole = with_query(join(base_url, url), params)
        return clean(whole), credentials(whole)
    except BadAddress as error:
        raise Refused(str(error)) from error


def payload(data: Query | None, json: Any, body: bytes | str | None) -> tuple[bytes | None, str | None]:
    """The body and its Content-Type, for at most one of the three. Raises ValueError for more."""
    if sum(each is not None for each in (data, json, body)) > 1:
        raise ValueError("give one of data=, json= and body=, not several")
    if data is not None:
        return encode_fields(pairs(data)).encode("ascii"), "application/x-www-form-urlencoded"
    if json is not None:
        return json_module.dumps(json, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return body, None if body is None else "application/octet-stream"


def merged(*layers: Mapping[str, str | None]) -> dict[str, str]:
    """Headers of which later ones replace earlier ones, whatever their case; None removes one."""
    found: dict[str, tuple[str, str | None]] = {}
    for layer in layers:
        for name, value in layer.items():
            found[name.lower()] = (name, value)
    return {name: value for name, value in found.values() if value is not None}


def holds_expected(page: Page, expect: Expect) -> bool:
    """Whether the page holds what was expected of it."""
    if isinstance(expect, str):
        return page.has(expect)
    if isinstance(expect, tuple):
        return any(page.has(selector) for selector in expect)
    try:
        return bool(expect(page))
    except PageError:
        # A function that looks for something and does not find it has answered.
        return False


def described(expect: Expect | None) -> str:
    """How an error message names what was expected."""
    if expect is None:
        return ""
    if isinstance(expect, str):
        return f" ({expect!r})"
    if isinstance(expect, tuple):
        return f" (any of {', '.join(map(repr, expect))})"
    return f" ({getattr(expect, '__name__', 'a function')})"


def timeouts(connect: float, silence: float, timeout: float | None) -> Timeouts | None:
    """The time-outs of a request with a total of its own; None for the transport's."""
    return None if timeout is None else Timeouts(connect, silence, timeout)
