"""robots.txt by RFC 9309, over protego.

What an answer means (section 2.3.1): 2xx is parsed; any other 4xx means that there are no rules, everything may be
asked; 5xx or no answer at all means that nothing may. 429 is counted with the 5xx, as Google does: a host that
throttles robots.txt itself did not say that there are no rules. A redirect is followed by whoever fetches.

Groups are matched by product token, exactly and without case (section 2.2.1). protego matches by the beginning of a
word, so that `User-agent: wind` would bind windrow, and `User-agent: windrow/1.0` would not; the user-agent lines are
therefore rewritten to a token between marks before protego reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from protego import Protego

LONGEST = 500 * 1024
"""Characters that are parsed; RFC 9309 asks for at least 500 KiB."""
UNREACHABLE = 0
"""The status that stands for no answer at all."""

_PRODUCT = re.compile(r"[A-Za-z0-9_-]+")
_USER_AGENT_LINE = re.compile(r"^([ \t]*user-?agent[ \t]*:)([^#\n]*)", re.IGNORECASE | re.MULTILINE)


def product_token(user_agent: str) -> str:
    """The name that robots.txt knows a user agent by: `windrow/0.1 (…)` → `windrow`; `*` where there is none."""
    found = _PRODUCT.match(user_agent.strip())
    return found.group().lower() if found else "*"


def is_unreachable(status: int) -> bool:
    """Whether an answer with that status to robots.txt says nothing about the rules, so that nothing may be asked."""
    return status == UNREACHABLE or status == 429 or status >= 500


@dataclass(frozen=True)
class RobotsRules:
    """What one origin allows. `everything` is True or False where no file was parsed."""

    everything: bool | None
    parsed: Any = None

    @classmethod
    def from_answer(cls, status: int, text: str) -> RobotsRules:
        """The rules that an answer to /robots.txt means; `status` 0 stands for no answer."""
        if is_unreachable(status):
            return cls(everything=False)
        if not 200 <= status < 300:
            return cls(everything=True)
        return cls(everything=None, parsed=Protego.parse(_prepared(text)))

    def allows(self, user_agent: str, url: str) -> bool:
        """Whether `user_agent` (a full text or a product token) may ask for `url` (absolute, or path and query)."""
        if self.everything is not None:
            return self.everything
        return bool(self.parsed.can_fetch(url, _marked(product_token(user_agent))))

    def crawl_delay(self, user_agent: str) -> float | None:
        """Seconds between two requests that the file asks of `user_agent`, None where it does not say."""
        if self.parsed is None:
            return None
        delay: float | None = self.parsed.crawl_delay(_marked(product_token(user_agent)))
        return delay


def _prepared(text: str) -> str:
    lines = text[:LONGEST].removeprefix("\ufeff").splitlines()
    return _USER_AGENT_LINE.sub(_rewritten, "\n".join(lines))


def _rewritten(line: re.Match[str]) -> str:
    name = line.group(2).strip()
    # `*` alone is everybody; Google reads `* ` with more behind it in the same way.
    everybody = name == "*" or name.startswith(("* ", "*\t"))
    return f"{line.group(1)} {'*' if everybody else _marked(product_token(name))}"


def _marked(token: str) -> str:
    return f"|{token}|"
