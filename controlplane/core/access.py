"""Which tenants' certificates a client of the xDS listener may have: a decision on who it is.

Who a client is, is what its certificate says: the subject alternative names that mutual TLS has verified, a SPIFFE id or a DNS name.
`node.id` and `node.cluster` are only what it says of itself; a rule may ask for them too, to tell apart Envoys that share a certificate,
but never instead of a name, except where there is no TLS (a loopback address or a unix socket, where whoever can connect is trusted).

A policy is a TOML file of rules. All rules that match count, and what they grant is added up:

    [[rule]]
    identity = "spiffe://certplane/edge/berlin"   # a subject alternative name; `*` at the end matches any rest;
                                                  # "": whoever connects to a listener without TLS
    node_id = "edge-*"                            # optional, `*` at the end as well
    node_cluster = "berlin"                       # optional, the same
    tenants = ["acme", "globex"]                  # or ["*"]: every tenant; "" is the tenant of domains that name none

Without a policy everybody who is admitted may have everything.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.core.errors import ConfigurationError

ANY = "*"
LOCAL = ""
"""The identity of a client without TLS."""

_RULE_FIELDS = frozenset({"identity", "node_id", "node_cluster", "tenants"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client may have: the certificates of these tenants, or of all when `everything`."""

    tenants: frozenset[str] = frozenset()
    everything: bool = False

    def allows(self, tenant: str) -> bool:
        """Returns whether a certificate of this tenant is in the grant."""
        return self.everything or tenant in self.tenants


EVERYTHING = Grant(everything=True)


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One rule. Patterns are exact, or end in `*`; an empty `identity` matches a client without TLS only, and no other does."""

    identity: str
    tenants: frozenset[str]
    node_id: str = ANY
    node_cluster: str = ANY

    def matches(self, identities: Iterable[str], node_id: str, node_cluster: str) -> bool:
        """Returns whether the rule is about this client."""
        return (
            any(_is(self.identity, identity) for identity in identities)
            and _matches(self.node_id, node_id)
            and _matches(self.node_cluster, node_cluster)
        )


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rules; None: there is no policy, and everybody may have everything."""

    rules: Sequence[AccessRule] | None = None

    def over(self, *, tls: bool) -> "AccessPolicy":
        """Returns the rules that are about a listener with or without TLS.

        So a client whose certificate has no name at all is never taken for one that needs none.
        """
        return self if self.rules is None else AccessPolicy(tuple(rule for rule in self.rules if (rule.identity != LOCAL) is tls))

    def grant(self, identities: Iterable[str], node_id: str, node_cluster: str) -> Grant:
        """Returns what a client may have.

        Args:
            identities: the verified subject alternative names; none for a client without TLS.
            node_id: what the client says of itself.
            node_cluster: the same.
        """
        if self.rules is None:
            return EVERYTHING
        shown = tuple(filter(None, identities)) or (LOCAL,)
        tenants = frozenset[str]().union(*(rule.tenants for rule in self.rules if rule.matches(shown, node_id, node_cluster)))
        return EVERYTHING if ANY in tenants else Grant(tenants)


def parse_access_policy(text: str) -> AccessPolicy:
    """Parses a policy file.

    Raises:
        ConfigurationError: it is not TOML, or a rule is not understood; the text says which and why.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the access policy is not TOML: {error}") from error
    unknown = sorted(content.keys() - {"rule"})
    if unknown:
        raise ConfigurationError(f"the access policy has {unknown[0]!r}, which is not understood: write [[rule]]")
    rules = content.get("rule", [])
    if not isinstance(rules, list) or not rules:
        raise ConfigurationError("the access policy has no [[rule]], so nobody could have anything: add one, or leave the policy away")
    return AccessPolicy(tuple(_rule(number, rule) for number, rule in enumerate(rules, 1)))


def _rule(number: int, rule: object) -> AccessRule:
    where = f"rule {number} of the access policy"
    if not isinstance(rule, dict):
        raise ConfigurationError(f"{where} is not a table: write [[rule]]")
    unknown = sorted(rule.keys() - _RULE_FIELDS)
    if unknown:
        raise ConfigurationError(f"{where} has {unknown[0]!r}, which is not understood: identity, node_id, node_cluster and tenants are")
    identity, tenants = rule.get("identity"), rule.get("tenants")
    if not isinstance(identity, str):
        raise ConfigurationError(
            f'{where} has no identity: write a SPIFFE id or DNS name, or "" for clients of a local listener without TLS'
        )
    if not isinstance(tenants, list) or not tenants or not all(isinstance(tenant, str) for tenant in tenants):
        raise ConfigurationError(f'{where} has no tenants: write a list of names, or ["*"] for all')
    if any(ANY in tenant and tenant != ANY for tenant in tenants):
        raise ConfigurationError(f'{where} has a pattern among its tenants: write each by its name, or only "*" for all')
    patterns = [_pattern(where, rule, field) for field in ("identity", "node_id", "node_cluster")]
    return AccessRule(patterns[0], frozenset(tenants), *patterns[1:])


def _pattern(where: str, rule: Mapping[str, object], field: str) -> str:
    value = rule.get(field, ANY)
    if not isinstance(value, str):
        raise ConfigurationError(f"{field} in {where} is not text")
    if ANY in value[:-1]:
        raise ConfigurationError(f"{field} in {where} has a * that is not at its end, where alone it stands for any rest")
    return value


def _is(pattern: str, identity: str) -> bool:
    """Returns whether an identity is meant. No pattern means a client without TLS."""
    return identity == pattern if LOCAL in (pattern, identity) else _matches(pattern, identity)


def _matches(pattern: str, value: str) -> bool:
    return value.startswith(pattern.removesuffix(ANY)) if pattern.endswith(ANY) else value == pattern
