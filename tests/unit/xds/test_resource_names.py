"""Resource names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds.resource_names import canonical_name, is_answerable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"shop.example.com", "shop.example.com"),
        (b"ShOp.EXAMPLE.com", "shop.example.com"),
        (b"_acme.a-b.example", "_acme.a-b.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"localhost", "localhost"),
        (b".".join([b"a" * 63] * 3 + [b"b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_a_dns_name_has_one_canonical_name(name, expected):
    """All spellings of a DNS name lead to its lower-case form."""
    assert expected == canonical_name(name)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"*",
        b"*.example.com",
        b".",
        b"example.com.",
        b".example.com",
        b"a..example",
        b"a\0.example",
        b"example.com\n",
        b"a b.example",
        b"shop.example.com:443",
        b"\xff\xfe.example",
        "bücher.example".encode(),
        "İ.example".encode(),
        b"a" * 64 + b".example",
        b"a" * 10_000,
        b".".join([b"a" * 63] * 4),
    ],
)
def test_what_cannot_be_a_dns_name_has_no_canonical_name(name):
    """Names that can never exist are told apart before anything is looked up."""
    assert canonical_name(name) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_safe(name):
    """Whatever a stranger sends gives None, or a lower-case name of at most 253 characters that is its own canonical name."""
    canonical = canonical_name(name)
    if canonical is not None:
        assert canonical.encode() == name.lower()
        assert len(canonical) <= 253
        assert canonical == canonical_name(canonical.encode())
        assert is_answerable(name)


def test_a_name_that_is_not_utf_8_cannot_be_repeated():
    """Only UTF-8 can stand in an answer."""
    assert not is_answerable(b"\xff.example")
    assert is_answerable("bücher.example".encode())
