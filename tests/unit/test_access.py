"""Which tenants' certificates a client may have."""

from collections.abc import Sequence

import pytest

from controlplane.core.access import EVERYTHING, AccessPolicy, Grant, parse_access_policy
from controlplane.core.errors import ConfigurationError

BERLIN, PARIS, NAMELESS = "spiffe://certplane/edge/berlin", "edge.paris.example.net", ""


def rule(identity: str, *tenants: str, **fields: str) -> str:
    """A rule as the file has it."""
    lines = [f'identity = "{identity}"', f"tenants = {list(tenants)}", *(f'{name} = "{value}"' for name, value in fields.items())]
    return "\n".join(["[[rule]]", *lines, ""])


def grant(policy: str, *identities: str, node_id: str = "", node_cluster: str = "", tls: bool = True) -> Grant:
    """What a client of a listener gets by a policy."""
    return parse_access_policy(policy).over(tls=tls).grant(identities, node_id, node_cluster)


def acme() -> Grant:
    """A grant of one tenant."""
    return Grant(frozenset({"acme"}))


NOTHING = Grant()


@pytest.mark.parametrize(
    ("policy", "identities", "node", "expected"),
    [
        # Who: an exact name, or a pattern that ends in a star.
        (rule(BERLIN, "acme"), [BERLIN], ("", ""), acme()),
        (rule(BERLIN, "acme"), [PARIS], ("", ""), NOTHING),
        (rule(BERLIN, "acme"), [BERLIN + "/1"], ("", ""), NOTHING),
        (rule(BERLIN, "acme"), [BERLIN.upper()], ("", ""), NOTHING),
        (rule("spiffe://certplane/edge/*", "acme"), [BERLIN], ("", ""), acme()),
        (rule("spiffe://certplane/edge/*", "acme"), ["spiffe://certplane/edgeberlin"], ("", ""), NOTHING),
        (rule("*", "acme"), [PARIS], ("", ""), acme()),
        # Any of the names on the certificate will do.
        (rule(PARIS, "acme"), [BERLIN, PARIS], ("", ""), acme()),
        # A certificate without a name is nobody: no pattern means it, nor does the rule for clients without TLS.
        (rule("*", "acme"), [], ("", ""), NOTHING),
        (rule("", "acme"), [], ("", ""), NOTHING),
        (rule("*", "acme"), [NAMELESS], ("", ""), NOTHING),
        (rule("", "acme"), [NAMELESS], ("", ""), NOTHING),
        (rule("", "acme"), [BERLIN], ("", ""), NOTHING),
        # What the client says of itself narrows a rule.
        (rule(BERLIN, "acme", node_id="edge-*"), [BERLIN], ("edge-7", ""), acme()),
        (rule(BERLIN, "acme", node_id="edge-*"), [BERLIN], ("sidecar-7", ""), NOTHING),
        (rule(BERLIN, "acme", node_id="edge-*"), [BERLIN], ("", ""), NOTHING),
        (rule(BERLIN, "acme", node_cluster="berlin"), [BERLIN], ("", "berlin"), acme()),
        (rule(BERLIN, "acme", node_cluster="berlin"), [BERLIN], ("", "paris"), NOTHING),
        (rule(BERLIN, "acme", node_id="a", node_cluster="b"), [BERLIN], ("a", "c"), NOTHING),
        (rule(BERLIN, "acme", node_id="a", node_cluster="b"), [BERLIN], ("a", "b"), acme()),
        # Never in place of a name.
        (rule(BERLIN, "acme", node_id="edge-*"), [PARIS], ("edge-7", ""), NOTHING),
        # All rules that match count.
        (rule(BERLIN, "acme") + rule("*", "globex"), [BERLIN], ("", ""), Grant(frozenset({"acme", "globex"}))),
        (rule(BERLIN, "acme") + rule(PARIS, "globex"), [BERLIN], ("", ""), acme()),
        (rule(BERLIN, "acme") + rule(BERLIN, "*"), [BERLIN], ("", ""), EVERYTHING),
        (rule(BERLIN, "acme", "*"), [BERLIN], ("", ""), EVERYTHING),
        (rule(BERLIN, ""), [BERLIN], ("", ""), Grant(frozenset({""}))),
    ],
)
def test_over_tls(policy: str, identities: Sequence[str], node: tuple[str, str], expected: Grant) -> None:
    """A client over mutual TLS has what the rules for the names on its certificate give it, all added up."""
    node_id, node_cluster = node
    assert expected == grant(policy, *identities, node_id=node_id, node_cluster=node_cluster)


@pytest.mark.parametrize(
    ("policy", "node", "expected"),
    [
        (rule("", "acme"), ("", ""), acme()),
        (rule("", "*"), ("", ""), EVERYTHING),
        (rule("", "acme", node_id="edge-*"), ("edge-7", ""), acme()),
        (rule("", "acme", node_id="edge-*"), ("other", ""), NOTHING),
        (rule("*", "acme"), ("", ""), NOTHING),
        (rule(BERLIN, "acme"), ("", ""), NOTHING),
    ],
)
def test_without_tls(policy: str, node: tuple[str, str], expected: Grant) -> None:
    """A client without TLS has what the rules with an empty identity give it, and no others."""
    node_id, node_cluster = node
    assert expected == grant(policy, node_id=node_id, node_cluster=node_cluster, tls=False)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("identities", [(), (BERLIN,)])
def test_without_a_policy(identities: tuple[str, ...], tls: bool) -> None:
    """Without a policy everybody may have everything."""
    assert EVERYTHING == AccessPolicy().over(tls=tls).grant(identities, "", "")


@pytest.mark.parametrize(
    ("given", "tenant", "expected"),
    [
        (EVERYTHING, "acme", True),
        (EVERYTHING, "", True),
        (acme(), "acme", True),
        (acme(), "acmeplus", False),
        (acme(), "", False),
        (Grant(frozenset({""})), "", True),
        (NOTHING, "acme", False),
        (NOTHING, "", False),
    ],
)
def test_what_a_grant_allows(given: Grant, tenant: str, expected: bool) -> None:
    """A grant allows its tenants; that of everything allows domains without a tenant too."""
    assert expected is given.allows(tenant)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no [[rule]]"),
        ("rule = []", "no [[rule]]"),
        ("rule = 1", "no [[rule]]"),
        ("rule = [1]", "rule 1 of the access policy is not a table"),
        ("[[rules]]", "'rules'"),
        ("[[rule", "not TOML"),
        ('[[rule]]\ntenants = ["acme"]', "rule 1 of the access policy has no identity"),
        ('[[rule]]\nidentity = 1\ntenants = ["acme"]', "no identity"),
        (rule(BERLIN), "no tenants"),
        (f'[[rule]]\nidentity = "{BERLIN}"', "no tenants"),
        (f'[[rule]]\nidentity = "{BERLIN}"\ntenants = "*"', "no tenants"),
        (f'[[rule]]\nidentity = "{BERLIN}"\ntenants = [1]', "no tenants"),
        (rule(BERLIN, "acme") + rule(BERLIN, "acme", tenant="x"), "rule 2 of the access policy has 'tenant'"),
        (f"{rule(BERLIN, 'acme')}node_id = 1", "node_id in rule 1 of the access policy is not text"),
        (f"{rule(BERLIN, 'acme')}node_cluster = []", "node_cluster in rule 1 of the access policy is not text"),
        # Patterns where none are understood.
        (rule(BERLIN, "acme-*"), "rule 1 of the access policy has a pattern among its tenants"),
        (rule("spiffe://*/edge", "acme"), "identity in rule 1 of the access policy has a * that is not at its end"),
        (rule("**", "acme"), "identity in rule 1 of the access policy has a * that is not at its end"),
        (rule(BERLIN, "acme", node_id="*-edge"), "node_id in rule 1 of the access policy has a * that is not at its end"),
    ],
)
def test_what_is_not_understood(text: str, part: str) -> None:
    """A policy with anything that is not understood is refused as a whole, and the text says where."""
    with pytest.raises(ConfigurationError) as caught:
        parse_access_policy(text)
    assert part in str(caught.value)
