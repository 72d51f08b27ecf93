"""Redirects: from an answer and the request it answers to the next request, or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from windrow.fetch.address import BadAddress, clean, origin, resolve
from windrow.fetch.transport import Answer, Request

STATUSES = frozenset({301, 302, 303, 307, 308})

_TO_OTHERS = frozenset({"accept", "accept-encoding", "accept-language", "cache-control", "pragma", "user-agent", "dnt"})
"""Headers that say nothing about who asks. Nothing else a user sets crosses to another origin: not Authorization and
Cookie, and not an API key or a token under whatever name either. (The cookie jar decides for itself.)"""
_OF_THE_BODY = frozenset({"content-type", "content-length", "content-encoding", "content-language"})


class RedirectRefused(Exception):
    """The redirect is not followed; the message says why."""


def is_redirect(answer: Answer) -> bool:
    """Whether the answer sends elsewhere. A redirect status without a Location is an ordinary answer."""
    return answer.status in STATUSES and bool(answer.headers.get("Location"))


def following(request: Request, answer: Answer, visited: Collection[tuple[str, str]], most: int) -> Request:
    """The request that a redirect asks for.

    301, 302 and 303 turn a POST into a GET without body; 307 and 308 keep method and body. `visited` holds the
    (method, url) pairs of the chain so far, as many as there were requests. Raises RedirectRefused after `most`
    redirects, in a loop, and for what is no http(s) address.
    """
    location = answer.headers.get("Location", "")
    try:
        url = clean(resolve(request.url, location))
    except (BadAddress, ValueError) as error:
        raise RedirectRefused(f"{request.url} redirects to {location!r}, which is no http(s) address") from error
    if len(visited) > most:
        raise RedirectRefused(f"more than {most} redirects, the last from {request.url} to {url}")
    moved = _at(url, request)
    if answer.status == 303 or (answer.status in {301, 302} and request.method == "POST"):
        moved = _as_get(moved)
    if (moved.method, url) in visited and not _sets_cookie(answer):
        raise RedirectRefused(f"a redirect loop: {request.url} leads back to {url}")
    return moved


def _sets_cookie(answer: Answer) -> bool:
    # "Set a cookie and come back to the same address" is how portals test for cookies; `most` still bounds it.
    return "Set-Cookie" in answer.headers


def _at(url: str, request: Request) -> Request:
    if origin(url) == origin(request.url):
        return replace(request, url=url)
    told = {name: value for name, value in request.headers.items() if name.lower() in _TO_OTHERS | _OF_THE_BODY}
    return replace(request, url=url, headers=told)


def _as_get(request: Request) -> Request:
    method = request.method if request.method == "HEAD" else "GET"
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_BODY}
    return replace(request, method=method, headers=headers, body=None)
