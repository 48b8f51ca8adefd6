"""The table of spelled names."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds.resource_names import canonical_name
from controlplane.xds.spellings import Spellings


def test_equal_names_are_the_same_objects():
    """A name that comes twice, in two requests, is kept once: as spelled, and as canonical name."""
    spellings = Spellings()
    names = [bytes(bytearray(b"Shop.example")) for _ in range(2)]
    assert names[0] is not names[1]
    ((first, first_key),) = spellings.parse([names[0]]).possible.items()
    ((second, second_key),) = spellings.parse([names[1]]).possible.items()
    assert first is second
    assert first_key is second_key


def test_strangers_do_not_make_the_table_grow():
    """Beyond its bound the table starts anew; names that cannot exist take no room at all."""
    spellings = Spellings(100)
    for number in range(1000):
        spellings.parse([b"n%d.example" % number, b"N%d.example" % number, b"..%d" % number])
        assert 100 >= len(spellings)
        assert 100 >= len(spellings._respelled)


@given(st.lists(st.sampled_from([b"a.example", b"A.example", b"b.example", b"B.Example", b"*", b"", b"\xff", b"c.example"])))
def test_a_full_table_changes_nothing(names):
    """What is said of a request does not depend on what the table remembers."""
    full, roomy = Spellings(1), Spellings()
    roomy.parse(names)
    for parsed in (full.parse(names), roomy.parse(names)):
        possible = {name: canonical_name(name) for name in names if canonical_name(name)}
        assert list(possible.items()) == list(parsed.possible.items())
        assert [name for name in possible if name != name.lower()] == list(parsed.respelled)
        assert list(dict.fromkeys(name for name in names if name not in possible)) == list(parsed.impossible)
