"""Answers that several streams are sent: one copy of them, for a moment."""

from dataclasses import replace

import pytest

from controlplane.endpoints.shared_answers import SharedAnswers
from controlplane.endpoints.wire_codec import encode_delta_response, encode_sotw_response
from controlplane.xds.messages import Response
from controlplane.xds.pages import LEAST_NAMES, Page
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually

NAMES = tuple(b"n%d.example" % number for number in range(LEAST_NAMES))
FIELDS = tuple(b"\x12\x02n%c" % number for number in range(LEAST_NAMES))
ANSWER = Response(SECRET, "1", "v", NAMES, ("v",) * LEAST_NAMES, FIELDS)


async def test_equal_answers_are_the_same_bytes():
    """They are what the encoder makes, and made once, as long as they bring equal resources with an equal nonce."""
    answers = SharedAnswers()
    first, data = (answers.encode(encode_delta_response, ANSWER) for _ in range(2))
    assert (encode_delta_response(ANSWER), first) == (data, data)
    assert data is answers.encode(encode_delta_response, replace(ANSWER, fields=(*FIELDS[:1], *FIELDS[1:])))


@pytest.mark.parametrize(
    "other",
    [
        replace(ANSWER, nonce="2"),
        replace(ANSWER, version_info="w"),
        replace(ANSWER, fields=(*FIELDS[1:], FIELDS[0])),
        replace(ANSWER, fields=(*FIELDS, FIELDS[0])),
        replace(ANSWER, removed=(b"gone.example",)),
        replace(ANSWER, fields=FIELDS[1:]),
    ],
)
async def test_whatever_differs_is_another_answer(other):
    """Each is what the encoder makes of it."""
    answers = SharedAnswers()
    for response in (ANSWER, other) * 3:
        assert encode_delta_response(response) == answers.encode(encode_delta_response, response)
    assert encode_sotw_response(ANSWER) == answers.encode(encode_sotw_response, ANSWER)


async def test_answers_are_bounded_by_their_bytes():
    """The oldest goes, and is made anew."""
    size = len(encode_delta_response(ANSWER))
    answers = SharedAnswers(2 * size)
    first = [answers.encode(encode_delta_response, ANSWER) for _ in range(3)][-1]
    for nonce in "2233":
        answers.encode(encode_delta_response, replace(ANSWER, nonce=nonce))
    assert 2 == len(answers)
    assert first is not answers.encode(encode_delta_response, ANSWER)


async def test_answers_that_nobody_else_is_sent_are_not_kept():
    """Not one of them, however many there are."""
    answers = SharedAnswers()
    for number in range(1_000):
        answers.encode(encode_delta_response, replace(ANSWER, nonce=str(number)))
    assert (0, 0) == (len(answers), answers._bytes)


@pytest.mark.parametrize("answer", [ANSWER, replace(ANSWER, removed=(b"gone.example",))])
async def test_nothing_is_kept_after_the_burst(answer):
    """Answers hold leaf keys: they go after a moment, and the pages with them, whatever was sent; again and again."""
    answers = SharedAnswers(seconds=0.03)
    for _ in range(2):
        answers.pages.add(Page(NAMES, [], answer.versions, FIELDS, 64))
        for _ in range(2):
            answers.encode(encode_delta_response, answer)
        assert 1 == len(answers.pages)
        await eventually(lambda: not len(answers.pages) and not len(answers))


async def test_answers_are_not_shown():
    """Neither they nor a page say what they hold."""
    answers = SharedAnswers()
    for _ in range(2):
        answers.encode(encode_delta_response, ANSWER)
    assert "SharedAnswers(1)" == repr(answers)
    assert f"Page({LEAST_NAMES} names)" == repr(Page(NAMES, [], ANSWER.versions, FIELDS, 64))
