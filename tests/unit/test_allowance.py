"""What headers say about how much a host bears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from windrow.politeness.allowance import LONGEST, Allowance, allowance

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        # The current draft.
        ({"RateLimit": '"default";r=50;t=25'}, Allowance(2.0, 25.0)),
        ({"RateLimit": '"burst";r=50;t=1, "day";r=100;t=200'}, Allowance(0.5, 200.0)),
        ({"RateLimit": '"a,b;r=1;t=1";r=30;t=10'}, Allowance(3.0, 10.0)),
        ({"RateLimit": '"default";r=0;t=7'}, Allowance(0.0, 7.0)),
        ({"RateLimit-Policy": '"default";q=100;w=50'}, Allowance(2.0, 50.0)),
        ({"RateLimit-Policy": '"p";q=10;w=1,"q";q=60;w=60', "RateLimit": '"p";r=9;t=1'}, Allowance(1.0, 60.0)),
        # Its older forms.
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, Allowance(10.0, 5.0)),
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "30", "RateLimit-Reset": "60"},
            Allowance(0.5, 60.0),
        ),
        # The triplet.
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "10"}, Allowance(3.0, 10.0)),
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "1700000010"}, Allowance(0.5, 10.0)),
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "1700000010000"}, Allowance(0.5, 10.0)),
        ({"X-RateLimit-Remaining": "72000", "X-RateLimit-Reset": "7200"}, Allowance(10.0, LONGEST)),
        # What says nothing.
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "1600000000"}, None),
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "0"}, None),
        ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "10"}, None),
        ({"X-RateLimit-Remaining": "many", "X-RateLimit-Reset": "10"}, None),
        ({"X-RateLimit-Remaining": "5"}, None),
        ({"RateLimit": "soon"}, None),
        ({"RateLimit": '"default";r=50'}, None),
        ({"RateLimit-Policy": '"default";q=0;w=0'}, None),
    ],
)
def test_what_is_read(headers: dict[str, str], expected: Allowance | None) -> None:
    assert allowance(CIMultiDict(headers), NOW) == expected


NAMES = ("RateLimit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Remaining")
TEXTS = st.text() | st.text('";=,rtqw 0123456789-.', max_size=60)


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS), st.floats(0, 2e9))
def test_nonsense_never_raises_and_never_bounds_below_nothing(headers: dict[str, str], now: float) -> None:
    found = allowance(CIMultiDict(headers), now)
    assert found is None or (found.rate >= 0 and 0 < found.seconds <= LONGEST)
