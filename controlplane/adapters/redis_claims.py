"""The claim of an additional name, `OWNER|UID|MILLISECONDS`: made by one life of its owner, read by whoever looks a name up."""

from controlplane.core.managed_domain import DomainSpec
from controlplane.xds.resource_names import canonical_name


def parse_claim(claim: bytes) -> tuple[str, str, int]:
    """Returns owner, the owner's uid, and when it was made (ms); empty strings when it cannot be read."""
    owner, _, rest = claim.partition(b"|")
    uid, _, since = rest.partition(b"|")
    name = canonical_name(owner)
    if name is None or not since.isdigit():
        return "", "", 0
    return name, uid.decode(errors="replace"), int(since)


def claim_prefix(owner: DomainSpec) -> str:
    """Returns what every claim of this life of an owner begins with."""
    return f"{owner.fqdn}|{owner.uid}|"
