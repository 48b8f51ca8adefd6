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


def test_a_request_for_more_than_the_table_holds_leaves_it_as_it_is():
    """All its names are parsed, and what others ask for stays in the table."""
    spellings = Spellings(100)
    shared = spellings.parse([b"a.example"]).names[0]
    names = [b"%c%d.example" % (b"nN."[number % 3], number // 3) for number in range(600)]
    parsed = spellings.parse([*names, b"a.example", names[0]])
    assert [name for name in (*names, b"a.example") if not name.startswith(b".")] == list(parsed.possible)
    assert [canonical_name(name) for name in parsed.names] == list(parsed.keys)
    assert [name for name in names if name.startswith(b"N")] == list(parsed.respelled)
    assert [name for name in names if name.startswith(b".")] == list(parsed.impossible)
    assert (shared, 1) == (spellings.parse([bytes(bytearray(b"a.example"))]).names[0], len(spellings))
    assert shared is spellings.parse([bytes(bytearray(b"a.example"))]).names[0]


def test_equal_requests_share_all_that_is_made_of_them():
    """A long request that comes again and again is parsed twice, as long as it is among the last; in another order it is another one."""
    spellings = Spellings()

    def request(number, step=1):
        return [b"n%d-%d.example" % (number, index) for index in range(20)[::step]]

    first = [spellings.parse(request(0)) for _ in range(2)][-1]
    assert (first.names, first.keys) == (tuple(request(0)), tuple(name.decode() for name in request(0)))
    assert first is spellings.parse(request(0))
    assert tuple(request(0, -1)) == spellings.parse(request(0, -1)).names
    for number in range(1, 100):
        for _ in range(2):
            assert tuple(request(number)) == spellings.parse(request(number)).names
        assert 8 >= len(spellings._requests)
    assert first is not spellings.parse(request(0))


def test_long_requests_are_not_remembered_beyond_a_bound():
    """Strangers may ask for as much as they like."""
    spellings = Spellings()
    for number in [0, 0, 1, 1, 2, 2]:
        names = [b"n%d-%d.example" % (number, index) for index in range(9_000)]
        assert tuple(names) == spellings.parse(names).names
        assert 16_384 >= sum(map(len, spellings._requests))
    for number in range(2_000):
        spellings.parse([b"m%d-%d.example" % (number, index) for index in range(16)])
        assert 1_024 >= len(spellings._asked_before._seen)


def test_names_that_cannot_exist_or_come_twice_are_found_in_long_requests_too():
    """Each time that it is parsed."""
    spellings = Spellings()
    names = [b"n%d.example" % index for index in range(20)]
    for _ in range(3):
        parsed = spellings.parse([*names, b"*", names[0], b"N0.example"])
        assert ((*names, b"N0.example"), (b"N0.example",), (b"*",)) == (
            parsed.names,
            tuple(parsed.respelled),
            tuple(parsed.impossible),
        )
