"""The lanes of the schedule."""

from enum import StrEnum


class Lane(StrEnum):
    """A lane, the most urgent first."""

    URGENT = "urgent"
    """The certificate in force is near its end, or is to be revoked."""
    RENEWAL = "renewal"
    """Renewals in good time, questions for renewal information, routine checks, and orders that are open at the CA."""
    NEW = "new"
    """First certificates, and renewals that a person asked for."""
    SICK = "sick"
    """What failed by the customer's fault, or looked odd from here: most will fail again, and many take long to do so."""
