"""Who is admitted to a listener."""

import pytest

from controlplane.core.admission import ANYBODY, ENVOY, OPERATOR, Admission


@pytest.mark.parametrize(
    ("identities", "names", "admitted"),
    [
        ((ENVOY,), [ENVOY, "envoy"], True),
        ((ENVOY, "edge.example.net"), ["edge.example.net"], True),
        ((ENVOY,), [OPERATOR, "operator"], False),
        ((ENVOY,), ["spiffe://certplane/worker"], False),
        ((ENVOY,), ["spiffe://certplane/envoy/", "SPIFFE://certplane/envoy", "spiffe://other/envoy"], False),
        ((ENVOY,), [], False),
        ((), [ENVOY], False),
        ((ANYBODY,), ["whoever"], True),
        ((ANYBODY,), [], True),
    ],
)
def test_a_peer_is_admitted_by_a_stated_name_only(identities: tuple[str, ...], names: list[str], admitted: bool) -> None:
    """One subject alternative name must be among those stated, letter by letter; `*` admits any certificate."""
    assert admitted == (Admission(identities, "--xds-client").refusal(names) == "")


def test_a_refusal_says_who_and_how() -> None:
    """The text names what the peer has shown, and the option that would admit it."""
    refusal = Admission((ENVOY,), "--xds-client").refusal([OPERATOR])
    assert OPERATOR in refusal
    assert "--xds-client" in refusal
