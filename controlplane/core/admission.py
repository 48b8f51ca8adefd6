"""Who may use a listener: decided by the names on the certificate that a peer has shown.

A private CA signs certificates for every role. That the CA signed a certificate says that its holder is one of ours, not which one:
without this check a worker's certificate would fetch leaf keys, and an Envoy's would delete domains.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

ANYBODY = "*"
ENVOY = "spiffe://certplane/envoy"
OPERATOR = "spiffe://certplane/operator"


@dataclass(frozen=True, slots=True)
class Admission:
    """The peers that a listener admits: SPIFFE ids or DNS names, as subject alternative names of their certificates; `*` admits any."""

    identities: Collection[str]
    option: str
    """The option that states them, for the text of a refusal."""

    def refusal(self, names: Iterable[str]) -> str:
        """Returns why a peer with these subject alternative names is refused; empty when it is admitted."""
        shown = sorted(set(names))
        if ANYBODY in self.identities or any(name in self.identities for name in shown):
            return ""
        who = " or ".join(shown) or "a peer without a name"
        return f"this listener does not admit the certificate of {who}; {self.option} admits others"
