"""Which ACME profile is asked for."""

from datetime import UTC, datetime

import pytest

from controlplane.core.certificate_profile import PROFILE_NOT_OFFERED, ProfileChoice, choose_profile
from controlplane.core.managed_domain import Actor

NOW = datetime(2027, 1, 1, tzinfo=UTC)
OFFERED = frozenset({"classic", "tlsserver", "shortlived"})


@pytest.mark.parametrize(
    ("preferred", "offered"),
    [("", OFFERED), ("", frozenset()), ("classic", OFFERED), ("tlsserver", OFFERED), ("shortlived", OFFERED), ("their-own", {"their-own"})],
)
def test_what_is_offered_is_asked_for(preferred: str, offered: frozenset[str]) -> None:
    """A profile that the CA offers is asked for by its name; no preference is the CA's default, and no problem."""
    assert ProfileChoice(preferred) == choose_profile((preferred,) if preferred else (), offered, NOW)


@pytest.mark.parametrize(
    ("preferred", "offered", "told"),
    [
        ("shortlived", frozenset({"tlsserver", "classic"}), "it offers classic, tlsserver"),
        ("shortlived", frozenset(), "it offers no profiles"),
        ("Classic", OFFERED, "it offers classic, shortlived, tlsserver"),
    ],
)
def test_what_is_not_offered_costs_no_order(preferred: str, offered: frozenset[str], told: str) -> None:
    """The CA's default takes its place, and the operator is told what there is."""
    choice = choose_profile((preferred,), offered, NOW)
    assert "" == choice.profile
    assert choice.problem is not None
    assert (PROFILE_NOT_OFFERED, Actor.OPERATOR, NOW) == (choice.problem.type, choice.problem.must_act, choice.problem.time)
    assert f'the CA does not offer the profile "{preferred}", so its default is used; {told}' == choice.problem.detail


def test_the_first_that_is_offered_is_asked_for() -> None:
    """Of several preferences; and when none is offered, all are told."""
    assert ProfileChoice("tlsserver") == choose_profile(("shortlived", "tlsserver", "classic"), {"classic", "tlsserver"}, NOW)
    problem = choose_profile(("shortlived", "tlsserver"), {"classic"}, NOW).problem
    assert problem is not None
    assert 'does not offer the profile "shortlived" or "tlsserver"' in problem.detail


def test_a_directory_with_strange_profiles_makes_a_short_text() -> None:
    """However many profiles a CA offers, with whatever names, what people read is one line of bounded length."""
    choice = choose_profile(("x" * 5000,), {f"{number}\n\x1b" + "y" * 5000 for number in range(1000)}, NOW)
    assert choice.problem is not None
    assert choice.problem.detail.isprintable()
    assert choice.problem.detail.endswith("and 980 more")
    assert len(choice.problem.detail) < 1600
