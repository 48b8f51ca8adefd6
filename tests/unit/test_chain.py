"""A chain is checked before it is stored."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.chain import ChainRejected, NotValidNow, chain_id, check_chain, csr_spki_digest
from tests.fakes.chains import ChainMaker, digest_of, new_key

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
NAMES = ("shop.example.com", "www.shop.example.com")


@pytest.fixture(scope="module")
def maker() -> ChainMaker:
    return ChainMaker(NOW)


def test_a_proper_chain_passes(maker: ChainMaker) -> None:
    """A leaf for the key and names, signed by the next certificate, passes; the result tells the leaf's dates and serial number."""
    key = new_key()
    leaf = maker.leaf(NAMES, key)
    checked = check_chain([leaf, maker.intermediate], NAMES, digest_of(key), NOW)
    parsed = x509.load_der_x509_certificate(leaf)
    assert (leaf, (maker.intermediate,)) == (checked.leaf, checked.intermediates)
    assert f"{parsed.serial_number:x}" == checked.serial_number
    assert (NOW, NOW + timedelta(days=90)) == (checked.not_before, checked.not_after)
    assert chain_id([leaf, maker.intermediate]) == checked.id


def test_a_chain_with_its_root_passes(maker: ChainMaker) -> None:
    """A CA may send its root too."""
    key = new_key()
    assert check_chain([maker.leaf(NAMES, key), maker.intermediate, maker.root], NAMES, digest_of(key), NOW).intermediates[1] == maker.root


def test_names_are_compared_without_case(maker: ChainMaker) -> None:
    """The case of a DNS name means nothing."""
    key = new_key()
    assert check_chain([maker.leaf(("Shop.Example.COM",), key), maker.intermediate], ("shop.example.com",), digest_of(key), NOW)


def rejected(chain: list[bytes], digest: bytes, names: tuple[str, ...] = NAMES) -> str:
    with pytest.raises(ChainRejected) as caught:
        check_chain(chain, names, digest, NOW)
    return str(caught.value)


def test_another_key_is_rejected(maker: ChainMaker) -> None:
    """A certificate for a key that is not the CSR's is useless to us, and perhaps somebody else's."""
    assert rejected([maker.leaf(NAMES, new_key()), maker.intermediate], digest_of(new_key())) == "the certificate is for another key"


@pytest.mark.parametrize("names", [("shop.example.com",), (*NAMES, "evil.example.com"), ()])
def test_other_names_are_rejected(maker: ChainMaker, names: tuple[str, ...]) -> None:
    """Fewer names, more names and no names are all rejected, and the text says which there are."""
    key = new_key()
    text = rejected([maker.leaf(names, key), maker.intermediate], digest_of(key))
    assert text.endswith(f"but the certificate has {', '.join(sorted(names)) or 'none'}")


def test_an_expired_certificate_is_rejected(maker: ChainMaker) -> None:
    """A certificate whose validity ends now is rejected."""
    key = new_key()
    leaf = maker.leaf(NAMES, key, starts_in=timedelta(days=-90))
    assert rejected([leaf, maker.intermediate], digest_of(key)) == "the certificate expired at 2027-01-01T12:00:00Z"


def test_an_hour_of_skew_is_tolerated_and_no_more(maker: ChainMaker) -> None:
    """A certificate that begins in an hour passes; one that begins a second later does not."""
    key = new_key()
    assert check_chain([maker.leaf(NAMES, key, starts_in=timedelta(hours=1)), maker.intermediate], NAMES, digest_of(key), NOW)
    late = maker.leaf(NAMES, key, starts_in=timedelta(hours=1, seconds=1))
    assert rejected([late, maker.intermediate], digest_of(key)) == "the certificate is not valid before 2027-01-01T13:00:01Z"


@pytest.mark.parametrize("starts_in", [timedelta(days=-90), timedelta(hours=2)])
def test_a_certificate_of_another_time_is_told_apart(maker: ChainMaker, starts_in: timedelta) -> None:
    """When nothing but the time is wrong it may be our clock, which is for another to mend than a CA that sends something else."""
    key = new_key()
    with pytest.raises(NotValidNow):
        check_chain([maker.leaf(NAMES, key, starts_in=starts_in), maker.intermediate], NAMES, digest_of(key), NOW)
    with pytest.raises(ChainRejected) as caught:
        check_chain([maker.leaf(NAMES, new_key(), starts_in=starts_in), maker.intermediate], NAMES, digest_of(key), NOW)
    assert not isinstance(caught.value, NotValidNow)


def test_a_chain_in_the_wrong_order_is_rejected(maker: ChainMaker) -> None:
    """The leaf must come first."""
    key = new_key()
    assert rejected([maker.intermediate, maker.leaf(NAMES, key)], digest_of(key)) == "the certificate is for another key"


def test_an_issuer_of_the_same_name_but_another_key_is_rejected(maker: ChainMaker) -> None:
    """The signature is verified, not only the issuer's name."""
    key, impostor = new_key(), ChainMaker(NOW)
    assert (
        rejected([maker.leaf(NAMES, key), impostor.intermediate], digest_of(key)) == "a certificate of the chain is not signed by the next"
    )


def test_an_issuer_of_another_name_is_rejected(maker: ChainMaker) -> None:
    """A chain that skips a certificate is rejected."""
    key = new_key()
    assert rejected([maker.leaf(NAMES, key), maker.root], digest_of(key)) == "a certificate of the chain is not signed by the next"


def test_a_leaf_that_is_a_ca_is_rejected(maker: ChainMaker) -> None:
    """A certificate that may sign others is never served as a leaf."""
    key = new_key()
    assert rejected([maker.leaf(NAMES, key, ca=True), maker.intermediate], digest_of(key)) == "the first certificate is a CA's"


def test_an_issuer_that_is_no_ca_is_rejected(maker: ChainMaker) -> None:
    """A leaf cannot stand above a leaf."""
    key = new_key()
    text = rejected([maker.leaf(NAMES, key), maker.leaf(NAMES, new_key())], digest_of(key))
    assert text == "a certificate of the chain that is not a CA's stands above another"


@pytest.mark.parametrize("count", [0, 11])
def test_an_empty_and_an_endless_chain_are_rejected(maker: ChainMaker, count: int) -> None:
    """A chain has one to ten certificates."""
    assert rejected([maker.intermediate] * count, b"") == f"the chain has {count} certificates"


@pytest.mark.parametrize("damage", [lambda der: der[:-1], lambda der: der + b"\0", lambda _: b"", lambda _: b"\x30\x00"])
def test_what_is_not_a_certificate_is_rejected(maker: ChainMaker, damage) -> None:
    """Truncated, extended, empty and foreign content is rejected with our error, not the parser's."""
    key = new_key()
    assert rejected([damage(maker.leaf(NAMES, key)), maker.intermediate], digest_of(key)).startswith("the chain holds something")


def test_the_identifier_follows_from_the_content(maker: ChainMaker) -> None:
    """Equal chains have equal identifiers; moving a byte from one certificate to the next gives another."""
    assert chain_id([b"ab", b"c"]) == chain_id([b"ab", b"c"])
    assert chain_id([b"ab", b"c"]) != chain_id([b"a", b"bc"])


def test_a_made_leaf_key_matches_its_csr() -> None:
    """A leaf key's CSR is for exactly the names, in an empty subject, and its digest is the key's."""
    long_name = f"{'a' * 60}.{'b' * 60}.example.com"
    made = make_leaf_key((*NAMES, long_name))
    csr = x509.load_der_x509_csr(made.csr)
    sans = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert [*NAMES, long_name] == sans
    assert csr.subject == x509.Name([])
    assert csr.is_signature_valid
    assert made.spki_digest == csr_spki_digest(made.csr)
    assert len(made.private_key.reveal()) == 138
