"""The registry of held names: counts, domains, and what it costs."""

import tracemalloc

from controlplane.core.certificate import CertificateHead
from controlplane.usecases.held_names import HeldNames, Seen
from controlplane.xds.subscription import Absence


def registry() -> tuple[HeldNames, list[str]]:
    """A registry, and the domains that it let go."""
    gone: list[str] = []
    return HeldNames(gone.extend), gone


def test_a_name_is_forgotten_when_it_was_released_as_often_as_it_was_held():
    """Not before, and with everything that was seen of it."""
    held, _ = registry()
    held.hold(["a.example", "b.example"], [])
    held.hold(["a.example"], [])
    held.see("a.example", CertificateHead("a.example", "v1", 1), retry=False)
    held.release(["a.example", "b.example"])
    assert (("a.example",), Seen.SAME) == (held.keys(), held.see("a.example", CertificateHead("a.example", "v1", 1), retry=False))
    held.release(["a.example", "never.example"])
    held.hold(["a.example"], [])
    assert Seen.FIRST is held.see("a.example", CertificateHead("a.example", "v1", 1), retry=False)


def test_a_domain_is_held_while_any_of_its_names_is():
    """It is let go once, when the last of them goes, or when the name turns out to belong to another domain."""
    held, gone = registry()
    held.hold(["a.example", "www.a.example"], [])
    assert [True, False] == [held.belongs_to("www.a.example", "a.example") for _ in range(2)]
    held.release(["a.example"])
    assert ([], True) == (gone, held.holds_domain("a.example"))
    assert held.belongs_to("www.a.example", "b.example")
    assert (["a.example"], False, True) == (gone, held.holds_domain("a.example"), held.holds_domain("b.example"))
    held.release(["www.a.example"])
    assert ["a.example", "b.example", "www.a.example"] == sorted(gone)
    assert not held.holds_domain("b.example")


def test_an_own_name_that_becomes_additional_lets_its_domain_go():
    """And back again."""
    held, gone = registry()
    held.hold(["www.a.example"], [])
    assert not held.belongs_to("www.a.example", "www.a.example")
    assert held.belongs_to("www.a.example", "a.example")
    assert held.belongs_to("www.a.example", "www.a.example")
    assert (["a.example"], False) == (gone, held.holds_domain("a.example"))


def test_names_that_nobody_holds_belong_to_nobody():
    """Look-ups for others leave nothing behind."""
    held, _ = registry()
    assert not held.belongs_to("www.a.example", "a.example")
    assert not held.holds_domain("a.example")


def test_an_absence_that_is_certain_is_told_once():
    """Then it is the same again, until there is a certificate."""
    held, _ = registry()
    held.hold(["a.example"], ["a.example"])
    head = CertificateHead("a.example", "v1", 1)
    assert Seen.FIRST is held.see("a.example", head, retry=False)
    seen = [held.see("a.example", absence, retry=False) for absence in (Absence.UNCERTAIN, Absence.GONE, Absence.GONE, Absence.UNCERTAIN)]
    assert [Seen.KEPT, Seen.CHANGED, Seen.SAME, Seen.SAME] == seen
    assert Seen.CHANGED is held.see("a.example", head, retry=False)


def test_holders_are_asked_for_what_changed_only():
    """Each is told once, of what it holds, and not at all if that is nothing."""

    class Holder:
        def __init__(self, *names: str) -> None:
            self.names, self.calls = names, []

        def holds(self, key: str) -> bool:
            return key in self.names

        def changed(self, keys) -> None:
            self.calls.append(tuple(keys))

    held, _ = registry()
    both, one, none = Holder("a.example", "b.example"), Holder("b.example"), Holder()
    for holder in (both, one, none):
        held.attach(holder)
        held.hold(holder.names, [])
    held.notify(["a.example", "b.example", "released.example"])
    held.detach(both)
    held.detach(both)
    held.notify(["a.example"])
    assert [[("a.example", "b.example")], [("b.example",)], []] == [holder.calls for holder in (both, one, none)]


def test_a_held_name_costs_about_a_hundred_bytes_and_a_further_holder_nothing():
    """Ten thousand names with their versions, beside the strings that streams have anyway."""
    names = [f"n{number:05d}.example" for number in range(10_000)]
    heads = [CertificateHead(name, f"version {name}", 1, "acme") for name in names]
    held, _ = registry()
    tracemalloc.start()
    held.hold(names, names)
    for name, head in zip(names, heads, strict=True):
        held.see(name, head, retry=False)
    first = tracemalloc.get_traced_memory()[0]
    for _ in range(100):
        held.hold(names, names)
    further = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert first / len(names) < 130
    assert further < 10_000
