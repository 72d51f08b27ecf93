"""What an answer means: from its status and a few facts about its body to a verdict with a reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from windrow.events import Verdict

WALL_SIZE = 2_048
"""Bytes up to which a page may be nothing but a wall; a longer one that mentions such words is somebody's page."""

_WALLS = re.compile(
    r"too many requests|rate limit(ed)? exceeded|you (have been|are being) rate.?limited|"
    r"request rate too high|slow down, please|please slow down",
    re.IGNORECASE,
)
_CHALLENGES = re.compile(
    r"(just a moment|one moment, please|attention required!? \| cloudflare|access denied|pardon our interruption|"
    r"checking your browser( before accessing .*)?|(please )?(verify|prove) (that )?you are (a )?human|robot check|"
    r"human verification|are you (a )?(human|robot)|security check|ddos-guard|captcha)[ .!?…]*",
    re.IGNORECASE,
)
_CHALLENGING_HEADERS = MappingProxyType(
    {"cf-mitigated": "challenge", "x-amzn-waf-action": "c", "x-sucuri-block": "", "x-dd-b": ""}
)
"""Header → what its value begins with when a defence answers in the site's stead.

Not `X-DataDome: protected`: good pages carry it, too. `X-DD-B` comes with what DataDome blocks.
"""
_TAG = re.compile(r"<[^>]*>")
_TRANSIENT = frozenset({408, 421, 425, 500, 502, 503, 504, *range(520, 531), 598, 599})
_GONE = frozenset({404, 410})
_MEANINGS = MappingProxyType(
    {
        401: "the site wants a login",
        403: "the site forbids it",
        407: "a proxy wants a login",
        451: "withheld for legal reasons",
    }
)


class Judgement(NamedTuple):
    """What an answer means. `lasting` is what it counts as when it is still so after all retries."""

    verdict: Verdict
    reason: str | None = None
    lasting: Verdict | None = None


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What a verdict needs to know of a body.

    `size` in bytes; `opening`: its text, empty if above `WALL_SIZE`; `title`: of the page, empty where there is none.
    """

    size: int
    opening: str = ""
    title: str = ""


GOOD = Judgement(Verdict.OK)


def classify(
    status: int,
    headers: Mapping[str, str],
    has_expected: bool | None,
    body: BodyFacts,
    *,
    page_wanted: bool = False,
    allow: Collection[int] = (),
) -> Judgement:
    """The verdict on an answer and, unless it is ok, why.

    `headers` finds names without case. `has_expected`: whether the page holds what it was expected to hold, None
    where nothing was asked. `page_wanted`: an empty body would be a fault. `allow`: statuses the scrape function
    wants to see for itself; they are ok, whatever they say.
    """
    if status in allow:
        return GOOD
    if not has_expected and is_challenge(headers, body):
        what = f", titled {_folded(body.title)[:60]!r}" if body.title else ""
        return Judgement(Verdict.BLOCKED, f"status {status}: a challenge or a block page{what}")
    if 200 <= status < 300:
        return _success(status, has_expected, body, page_wanted)
    if status == 429 or (status >= 500 and "Retry-After" in headers):
        return Judgement(Verdict.THROTTLED, f"status {status}")
    if status in _TRANSIENT:
        return Judgement(Verdict.TRANSIENT, f"status {status}")
    if status in _GONE:
        return Judgement(Verdict.GONE, f"status {status}")
    if status >= 500:
        # 501, 505, 511 …: the server will not do it, but it is the server's trouble and costs little to ask again.
        return Judgement(Verdict.TRANSIENT, f"status {status}")
    other = "a redirect that leads nowhere" if status < 400 else "the site refuses this request"
    meaning = _MEANINGS.get(status, other)
    return Judgement(Verdict.BLOCKED, f"status {status}: {meaning}")


def _success(status: int, has_expected: bool | None, body: BodyFacts, page_wanted: bool) -> Judgement:
    if has_expected:
        return GOOD
    if body.size == 0:
        if has_expected is None and (not page_wanted or status != 200):
            return GOOD
        return Judgement(Verdict.TRANSIENT, f"status {status} with an empty body", lasting=Verdict.BLOCKED)
    if is_wall(body):
        return Judgement(Verdict.THROTTLED, f"status {status}, but the page says {_folded(body.opening)[:60]!r}")
    if has_expected is None:
        return GOOD
    return Judgement(Verdict.BLOCKED, f"status {status}, but the page does not hold what was expected")


def is_challenge(headers: Mapping[str, str], body: BodyFacts) -> bool:
    """Whether a defence answers in the site's stead: it wants a person, and Windrow is none."""
    if body.title and _CHALLENGES.fullmatch(_folded(body.title)):
        return True
    return any(
        name in headers and headers[name].lower().startswith(begins) for name, begins in _CHALLENGING_HEADERS.items()
    )


def is_wall(body: BodyFacts) -> bool:
    """Whether a short body is nothing but a known wall."""
    return bool(body.opening) and _WALLS.search(_folded(body.opening)[:300]) is not None


def _folded(text: str) -> str:
    return " ".join(_TAG.sub(" ", text).split())
