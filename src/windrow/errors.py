"""Every exception Windrow raises, as one tree.

    WindrowError
    ├── UsageError                 bad input: the message says what, where and what to do (exit code 2)
    │   ├── JobError               a job that does not load, or declares something that cannot be
    │   ├── SettingError           a setting or parameter with an unusable value
    │   └── StoreError             a store that cannot be opened, is foreign, or is of a newer version
    ├── StoreUnavailable           the store stopped answering while a run was under way
    ├── LeaseLost                  the partition is somebody else's by now: its worker drops it
    └── AttemptFailed              ends one attempt at a partition; the partition is tried again within its limits
        ├── FetchFailed            a page could not be had after all retries in place
        ├── Blocked                the answer is not the page that was expected: the session is retired
        ├── Gone                   the page does not exist (404, 410)
        ├── Refused                robots.txt, a scheme or a limit forbids the request; it is not tried again
        ├── ProxyFailed            the proxy of the session's identity cannot be used: another identity goes on
        ├── Parked                 the host asks for a long wait: the partition comes back later, at no cost
        └── PageError              the page does not hold what the scrape function asked of it

Expected outcomes of a request are values (`windrow.events.Verdict`); an exception is how they end an attempt
when the scrape function does not deal with them itself.
"""

from __future__ import annotations


class WindrowError(Exception):
    """Base of everything Windrow raises on purpose."""


class UsageError(WindrowError):
    """Bad input; the command line prints the message and exits with 2."""


class JobError(UsageError):
    """A job that does not load, or that declares something that cannot be."""


class SettingError(UsageError):
    """A setting or parameter with an unusable value."""


class StoreError(UsageError):
    """A store that cannot be opened, is not Windrow's, or was written by a newer version."""


class StoreUnavailable(WindrowError):
    """The store stopped answering (its supervisor is gone, its disk is full): nothing more can be committed."""


class LeaseLost(WindrowError):
    """The lease's fence is no longer the partition's: nothing of this attempt may be written any more."""


class AttemptFailed(WindrowError):
    """Ends one attempt at a partition."""


class FetchFailed(AttemptFailed):
    """A page could not be had after all retries in place."""


class Blocked(AttemptFailed):
    """The answer is not the page that was expected: a wall, a lost session, a challenge."""


class Gone(AttemptFailed):
    """The page does not exist (404, 410). Attribute `status` holds the status code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Refused(AttemptFailed):
    """robots.txt, the scheme or a limit forbids the request; trying again would not help."""


class Parked(AttemptFailed):
    """The host asks to wait longer than a worker may be held. `seconds` is how long."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class ProxyFailed(AttemptFailed):
    """The proxy of the session's identity cannot be used: the identity rests, and another one goes on."""


class PageError(AttemptFailed):
    """The page does not hold what was asked of it: a selector, a form, a field, JSON."""
