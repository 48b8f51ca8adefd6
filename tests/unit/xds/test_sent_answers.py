"""What is remembered of answers that nobody has acknowledged."""

from controlplane.xds.sent_answers import SentAnswer, SentAnswers


def remembered(answers: SentAnswers) -> list[str]:
    """Returns the nonces of the answers that are remembered."""
    return [nonce for nonce in map(str, range(1, int(answers.last_nonce) + 1)) if answers.pop(nonce) is not None]


def test_an_answer_is_remembered_until_it_is_acknowledged() -> None:
    """Once, and whatever came after it."""
    answers = SentAnswers()
    first, second = SentAnswer((b"a",), ("v1",)), SentAnswer((b"b",), ("v2",))
    assert ("1", "2") == (answers.add(first), answers.add(second))
    assert (first,) == answers.after("0")[:1]
    assert (first, None, second) == (answers.pop("1"), answers.pop("1"), answers.pop("2"))


def test_a_client_that_acknowledges_nothing_costs_so_many_answers() -> None:
    """The oldest are forgotten."""
    answers = SentAnswers()
    for _ in range(1030):
        answers.add(SentAnswer((b"a",), ("v1",)))
    assert [str(number) for number in range(7, 1031)] == remembered(answers)


def test_a_client_that_acknowledges_nothing_costs_so_many_removed_names() -> None:
    """Answers that refuse thousands of names each are forgotten sooner, but for the last one; what is acknowledged makes room."""
    answers = SentAnswers()
    refusing = SentAnswer(removed=tuple(b"%d.example" % number for number in range(20_000)))
    for _ in range(3):
        answers.add(refusing)
    assert answers.pop("2") is refusing
    for _ in range(2):
        answers.add(refusing)
    assert ["3", "4", "5"] == remembered(answers)
    answers.add(SentAnswer(removed=refusing.removed * 4))
    assert ["6"] == remembered(answers)
