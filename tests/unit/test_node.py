"""Which names of an Envoy are the busiest, and how nodes are called."""

import random
from datetime import timedelta

import pytest

from controlplane.core.errors import InvalidArgument
from controlplane.core.node import (
    EARLIER_NAMES_LAST,
    MAX_REMEMBERED_NAMES,
    Fetched,
    counts_earlier,
    fetched_names,
    node_resource_name,
    parse_node_name,
    remembered_names,
    together,
)
from tests.fakes.nodes import NOW


def held(*names: str) -> list[tuple[bytes, str]]:
    return [(name.encode(), "v1") for name in names]


def fetched(*names: str, again: dict[str, int] | None = None, pinned: str = "", resumed: bool = False) -> Fetched:
    """What a stream fetched; `pinned` are names separated by blanks."""
    counts = {name.encode(): count for name, count in (again or {}).items()}
    return fetched_names(held(*names), counts, frozenset(pinned.encode().split()), resumed=resumed)


def remembered(now: Fetched, before: str = "", *, keep_earlier: bool = True) -> str:
    return b" ".join(remembered_names(now, before.encode().split(), keep_earlier=keep_earlier)).decode()


def test_what_is_fetched_first_after_a_start_is_the_busiest() -> None:
    """Without more evidence the order of the first fetches stays."""
    assert remembered(fetched("c", "a", "b")) == "c a b"


def test_what_was_fetched_again_comes_first() -> None:
    """Names that were fetched more than once come first, by how often, and at the same count in the order of the stream."""
    assert remembered(fetched("a", "b", "c", "d", again={"b": 2, "c": 5, "d": 2})) == "c b d a"


def test_counts_of_names_that_are_not_held_mean_nothing() -> None:
    """A name that was fetched often and is not held any more is not remembered as held."""
    assert remembered(fetched("a", again={"gone": 9})) == "a"


def test_prefetched_names_take_turns_with_those_that_clients_asked_for() -> None:
    """What an Envoy prefetches was asked for by no client: it keeps every other place, until one of the two kinds is used up."""
    assert remembered(fetched("p1", "p2", "a1", "a2", "a3", pinned="p1 p2")) == "p1 a1 p2 a2 a3"
    assert remembered(fetched("p1", "p2", "p3", "a1", pinned="p1 p2 p3")) == "p1 a1 p2 p3"


def test_prefetched_names_that_go_out_of_use_sink_at_each_start() -> None:
    """A prefetch list that is made from itself again and again loses what no client asks for; what it loses by mistake is back at once."""
    rates = {f"busy{index}": 100.0 for index in range(20)} | {f"rare{index}": 0.1 for index in range(2000)}
    chance = random.Random(7)
    prefetched = [f"dead{index}" for index in range(160)]
    missing: set[str] = set()
    for start in range(12):
        first_asked = sorted(rates, key=lambda name: chance.expovariate(rates[name]))
        order = [*prefetched, *(name for name in first_asked if name not in prefetched)]
        prefetched = remembered(fetched(*order, pinned=" ".join(prefetched))).split()[:160]
        left_out_before, missing = missing, {name for name in rates if name.startswith("busy")} - set(prefetched)
        assert left_out_before & missing == set()
        assert len(missing) <= 10
        assert start < 8 or [name for name in prefetched if name.startswith("dead")] == ["dead0"]


def test_spellings_that_strangers_try_are_not_remembered() -> None:
    """Only canonical spellings are worth a prefetch, and only of what exists."""
    assert fetched_names([(b"a.example", "v1"), (b"A.example", "v1"), (b"gone.example", "")], {}, frozenset(), resumed=False) == Fetched(
        (), (b"a.example",)
    )


def test_after_a_reconnect_the_remembered_order_stays() -> None:
    """A node that comes with secrets names them in no order: what was remembered before orders them, what is new follows."""
    assert remembered(fetched("a", "b", "c", "d", resumed=True), "d c x a") == "d c a b x"


def test_after_a_reconnect_what_was_fetched_again_still_comes_first() -> None:
    """Counts are evidence on any stream."""
    assert remembered(fetched("a", "b", "c", again={"c": 2}, resumed=True), "b a") == "c b a"


def test_names_held_before_a_start_follow_for_a_while() -> None:
    """A start that ends soon does not make an Envoy forget; later what it held earlier does not count any more."""
    assert remembered(fetched("a"), "b a c") == "a b c"
    assert remembered(fetched("a"), "b a c", keep_earlier=False) == "a"
    assert counts_earlier(NOW - EARLIER_NAMES_LAST + timedelta(seconds=1), NOW)
    assert not counts_earlier(NOW - EARLIER_NAMES_LAST, NOW)


def test_remembered_names_are_bounded() -> None:
    """Ten thousand names at most are remembered, the busiest ones, whatever a node holds."""
    names = tuple(b"n%d" % index for index in range(MAX_REMEMBERED_NAMES + 5))
    assert names[:MAX_REMEMBERED_NAMES] == remembered_names(Fetched((), names), (b"before",), keep_earlier=True)
    many = fetched_names(((name, "v1") for name in names), {}, frozenset(), resumed=False)
    assert len(many) == MAX_REMEMBERED_NAMES


def test_streams_of_a_node_add_up() -> None:
    """What several streams hold is one list without repetitions; what was fetched again on one of them is not also `once`."""
    both = together([fetched("a", "b", again={"b": 2}), fetched("b", "c", "a", again={"c": 3})])
    assert both == Fetched((b"b", b"c"), (b"a",))
    assert not together([fetched("a"), fetched("b", resumed=True)]).ordered
    assert together([]) == Fetched()


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("edge-1", "nodes/edge-1"),
        ("sidecar~10.0.0.7~shop.default~cluster.local", "nodes/sidecar~10.0.0.7~shop.default~cluster.local"),
        ("spiffe://certplane/edge/1", "nodes/spiffe%3A%2F%2Fcertplane%2Fedge%2F1"),
        ("50% größer", "nodes/50%25%20gr%C3%B6%C3%9Fer"),
    ],
)
def test_resource_names_go_both_ways(node_id: str, name: str) -> None:
    """Whatever an Envoy calls itself has a resource name that leads back to it."""
    assert name == node_resource_name(node_id)
    assert node_id == parse_node_name(name, field="name")


@pytest.mark.parametrize("name", ["", "edge-1", "nodes/", "nodes/a/b", "domains/a.example", "nodes/" + "x" * 201])
def test_other_names_are_refused(name: str) -> None:
    """What is no name of a node is refused with the field that it came in."""
    with pytest.raises(InvalidArgument) as refused:
        parse_node_name(name, field="parent")
    assert refused.value.violations[0].field == "parent"
