"""What of the known secrets a client may have."""

from collections.abc import Mapping

from controlplane.core.access import Grant
from controlplane.usecases.known_secrets import Known
from controlplane.xds.subscription import Absence


def granted(known: Mapping[str, Known], grant: Grant) -> tuple[Mapping[str, Known], int]:
    """Returns what is known with all that is outside of `grant` made unknown, and how many names that were."""
    if grant.everything:
        return known, 0
    denied = [key for key, found in known.items() if not isinstance(found, Absence) and not grant.allows(found.tenant)]
    if not denied:
        return known, 0
    return {**known, **dict.fromkeys(denied, Absence.GONE)}, len(denied)
