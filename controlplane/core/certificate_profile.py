"""Which ACME profile an order asks for (draft-ietf-acme-profiles): what is configured, as long as the CA offers it.

Let's Encrypt's are `classic`, `tlsserver` and `shortlived`. CAs add profiles and take them away, and refuse an order for one that they do
not offer. A certificate of the CA's default profile is better than none, so a preference that is not offered costs no order.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.core.failure import OWN
from controlplane.core.managed_domain import Actor, Problem

PROFILE_NOT_OFFERED = OWN + "profileNotOffered"

_MOST_LISTED = 20
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """The profile to ask for, empty for the CA's default; `problem` is for the operator when that is not what is configured."""

    profile: str
    problem: Problem | None = None


def choose_profile(preferred: Sequence[str], offered: Collection[str], now: datetime) -> ProfileChoice:
    """Decides which profile an order asks for: the first preferred one that is offered.

    Args:
        preferred: as configured, any names; none for the CA's default.
        offered: what the directory offers; empty when it has no profiles.
        now: for the problem.
    """
    wanted = next((profile for profile in preferred if profile in offered), "")
    if wanted or not preferred:
        return ProfileChoice(wanted)
    names = " or ".join(f'"{_shown(profile)}"' for profile in preferred[:_MOST_LISTED])
    detail = f"the CA does not offer the profile {names}, so its default is used; {_listed(offered)}"
    return ProfileChoice("", Problem(PROFILE_NOT_OFFERED, detail, Actor.OPERATOR, now))


def _listed(offered: Collection[str]) -> str:
    if not offered:
        return "it offers no profiles"
    names = [_shown(name) for name in sorted(offered)]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"it offers {', '.join(names[:_MOST_LISTED])}{more}"


def _shown(name: str) -> str:
    # The names come from the CA.
    return "".join(character if character.isprintable() else " " for character in name)[:_LONGEST_NAME]
