"""What an answer means."""

from __future__ import annotations

import pytest

from windrow.events import Verdict
from windrow.politeness.verdict import BodyFacts, Judgement, classify

PAGE = BodyFacts(5_000)


def judged(
    status: int, *, expected: bool | None = None, body: BodyFacts = PAGE, page_wanted: bool = False
) -> Judgement:
    return classify(status, {}, expected, body, page_wanted=page_wanted)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.OK),
        (201, Verdict.OK),
        (204, Verdict.OK),
        (206, Verdict.OK),
        (301, Verdict.BLOCKED),
        (304, Verdict.BLOCKED),
        (400, Verdict.BLOCKED),
        (401, Verdict.BLOCKED),
        (403, Verdict.BLOCKED),
        (404, Verdict.GONE),
        (405, Verdict.BLOCKED),
        (407, Verdict.BLOCKED),
        (408, Verdict.TRANSIENT),
        (410, Verdict.GONE),
        (425, Verdict.TRANSIENT),
        (429, Verdict.THROTTLED),
        (451, Verdict.BLOCKED),
        (500, Verdict.TRANSIENT),
        (501, Verdict.TRANSIENT),
        (502, Verdict.TRANSIENT),
        (503, Verdict.TRANSIENT),
        (504, Verdict.TRANSIENT),
        (520, Verdict.TRANSIENT),
        (524, Verdict.TRANSIENT),
    ],
)
def test_statuses(status: int, verdict: Verdict) -> None:
    found = judged(status)
    assert found.verdict is verdict
    assert (found.reason is None) == (verdict is Verdict.OK)
    assert verdict is Verdict.OK or str(status) in (found.reason or "")


def test_503_with_retry_after_asks_for_less() -> None:
    assert classify(503, {"Retry-After": "5"}, None, PAGE).verdict is Verdict.THROTTLED


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_what_is_allowed_is_handed_over(status: int) -> None:
    assert classify(status, {"Retry-After": "5"}, None, PAGE, allow={status}).verdict is Verdict.OK


def test_a_page_without_what_was_expected_is_blocked() -> None:
    assert judged(200, expected=True).verdict is Verdict.OK
    assert judged(200, expected=False).verdict is Verdict.BLOCKED
    assert judged(404, expected=False).verdict is Verdict.GONE


@pytest.mark.parametrize(
    "text",
    [
        "Too many requests.  ",
        "<html><body><h1>Too Many\n Requests</h1></body></html>",
        '{"error": "rate limit exceeded"}',
        "You are being rate limited",
    ],
)
def test_a_known_wall_asks_for_less_whether_something_was_expected_or_not(text: str) -> None:
    body = BodyFacts(len(text), text)
    assert judged(200, body=body).verdict is Verdict.THROTTLED
    assert judged(200, expected=False, body=body).verdict is Verdict.THROTTLED
    assert judged(200, expected=True, body=body).verdict is Verdict.OK


@pytest.mark.parametrize("status", [200, 202, 403, 405, 429, 503])
@pytest.mark.parametrize(
    ("headers", "title"),
    [
        ({}, "Just a moment..."),
        ({}, "Attention Required! | Cloudflare"),
        ({}, "Pardon Our\n Interruption"),
        ({"cf-mitigated": "challenge"}, ""),
        ({"x-amzn-waf-action": "captcha"}, "Shop"),
        ({"x-datadome": "protected", "x-dd-b": "1"}, "Shop"),
    ],
)
def test_a_challenge_blocks_whatever_its_status(status: int, headers: dict[str, str], title: str) -> None:
    body = BodyFacts(9_000, title=title)
    found = classify(status, {**headers, "Retry-After": "5"}, None, body)
    assert found.verdict is Verdict.BLOCKED
    assert "a challenge or a block page" in (found.reason or "")
    assert classify(200, headers, True, body).verdict is Verdict.OK, "it holds what was expected"


@pytest.mark.parametrize(
    ("headers", "title"),
    [({"x-datadome": "protected"}, "Shop"), ({}, "A moment of calm"), ({}, "CAPTCHA - an encyclopedia")],
)
def test_other_titles_and_headers_are_no_challenge(headers: dict[str, str], title: str) -> None:
    assert classify(200, headers, None, BodyFacts(9_000, title=title)).verdict is Verdict.OK


def test_a_long_page_or_another_short_one_is_no_wall() -> None:
    assert judged(200, body=BodyFacts(90_000)).verdict is Verdict.OK
    assert judged(200, body=BodyFacts(20, "<p>12 requests</p>")).verdict is Verdict.OK


def test_an_empty_page_is_tried_again_and_then_counts_as_blocked() -> None:
    for found in (judged(200, expected=False, body=BodyFacts(0)), judged(200, body=BodyFacts(0), page_wanted=True)):
        assert (found.verdict, found.lasting) == (Verdict.TRANSIENT, Verdict.BLOCKED)


def test_an_empty_answer_where_no_page_was_wanted_is_fine() -> None:
    assert judged(200, body=BodyFacts(0)).verdict is Verdict.OK
    assert judged(204, body=BodyFacts(0), page_wanted=True).verdict is Verdict.OK
