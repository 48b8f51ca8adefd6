"""The contract of DomainStore and of the ChangeFeed beside it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.core.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, NotFound
from controlplane.core.managed_domain import DomainState, DomainStatus, Revocation
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangeFeed, ChangeKind, ChangesLost, DomainChanged, DomainStore
from tests.fakes import samples

SHOP = DomainName("shop.example.com")
Stores = tuple[DomainStore, ChangeFeed]


async def test_created_domain_is_read_back_whole(domain_store: Stores) -> None:
    """Spec, status and revision come back as they were written."""
    store, _ = domain_store
    spec = samples.spec("shop.example.com", "www.shop.example.com")
    created = await store.create(spec, DomainStatus())
    assert created == await store.get(SHOP)
    assert spec == created.spec


async def test_additional_name_is_no_domain_of_its_own(domain_store: Stores) -> None:
    """Only the own name finds the domain."""
    store, _ = domain_store
    await store.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    assert await store.get(DomainName("www.shop.example.com")) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a.example.com",), ("a.example.com",)),
        (("a.example.com", "www.a.example.com"), ("www.a.example.com",)),
        (("www.a.example.com",), ("a.example.com", "www.a.example.com")),
        (("a.example.com", "www.a.example.com"), ("b.example.com", "www.a.example.com")),
    ],
    ids=["own-own", "additional-own", "own-additional", "additional-additional"],
)
async def test_name_belongs_to_one_domain(domain_store: Stores, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    """A name that a domain has, as its own or as an additional one, is refused to every other."""
    store, _ = domain_store
    await store.create(samples.spec(*first), DomainStatus())
    with pytest.raises(AlreadyExists) as caught:
        await store.create(samples.spec(*second), DomainStatus())
    assert f"domains/{first[0]}" == caught.value.resource


async def test_only_one_of_many_concurrent_creations_wins(domain_store: Stores) -> None:
    """Twenty domains that want the same additional name: one gets it."""
    store, _ = domain_store
    outcomes = await asyncio.gather(
        *(store.create(samples.spec(f"d{index}.example.com", "www.example.com"), DomainStatus()) for index in range(20)),
        return_exceptions=True,
    )
    assert 19 == sum(isinstance(outcome, AlreadyExists) for outcome in outcomes)


async def test_pages_list_each_domain_once(domain_store: Stores) -> None:
    """All pages together hold every domain exactly once, in the same order each time."""
    store, _ = domain_store
    names = {f"d{index}.example.com" for index in range(53)}
    for name in names:
        await store.create(samples.spec(name), DomainStatus())

    async def listing() -> list[str]:
        found, token = [], ""
        while True:
            page = await store.list_page(7, token)
            assert len(page.domains) <= 7
            found += [str(domain.spec.fqdn) for domain in page.domains]
            if not (token := page.next_token):
                return found

    first = await listing()
    assert (53, names) == (len(first), set(first))
    assert first == await listing()


async def test_foreign_page_token_is_refused(domain_store: Stores) -> None:
    """A token that this store did not make is an INVALID_ARGUMENT."""
    with pytest.raises(InvalidArgument):
        await domain_store[0].list_page(10, "!!!")


async def test_names_of_a_deleted_domain_are_free(domain_store: Stores) -> None:
    """After a deletion its names can be used again; deleting again is NOT_FOUND."""
    store, _ = domain_store
    await store.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    await store.delete(SHOP, "")
    with pytest.raises(NotFound):
        await store.delete(SHOP, "")
    await store.create(samples.spec("www.shop.example.com"), DomainStatus())


async def test_stale_etag_refuses_the_deletion(domain_store: Stores) -> None:
    """A domain that changed since it was read stays; the etag now deletes it."""
    store, _ = domain_store
    created = await store.create(samples.spec("shop.example.com"), DomainStatus())
    renewed = await store.request_renewal(SHOP, samples.now())
    with pytest.raises(Conflict):
        await store.delete(SHOP, created.etag)
    await store.delete(SHOP, renewed.etag)


async def test_renewal_request_is_kept(domain_store: Stores) -> None:
    """The request is part of the domain; a missing domain is NOT_FOUND."""
    store, _ = domain_store
    await store.create(samples.spec("shop.example.com"), DomainStatus(DomainState.ACTIVE))
    at = samples.now()
    await store.request_renewal(SHOP, at)
    domain = await store.get(SHOP)
    assert domain is not None
    assert at == domain.spec.renewal_request_time
    with pytest.raises(NotFound):
        await store.request_renewal(DomainName("other.example.com"), at)


async def test_changes_since_a_position_are_all_seen(domain_store: Stores) -> None:
    """Following from a position yields each later change, with all names of the domain."""
    store, feed = domain_store
    position = await feed.position()
    await store.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    await store.request_renewal(SHOP, samples.now())
    await store.delete(SHOP, "")
    following = feed.follow(position)
    async with asyncio.timeout(15):
        changes = [await anext(following) for _ in range(3)]
    await following.aclose()
    assert all(isinstance(change, DomainChanged) and change.names == ("shop.example.com", "www.shop.example.com") for change in changes)
    assert ["spec", "spec", "deleted"] == [change.kind.value for change in changes if isinstance(change, DomainChanged)]


async def test_position_of_another_store_is_lost(domain_store: Stores) -> None:
    """A position that this store did not give means: read everything again."""
    following = domain_store[1].follow("0000000000000000:1")
    async with asyncio.timeout(15):
        assert isinstance(await anext(following), ChangesLost)
    await following.aclose()


async def test_only_the_kinds_asked_for_are_seen(domain_store: Stores) -> None:
    """A follower of deletions sees a deletion and nothing of what came before it."""
    store, feed = domain_store
    following = feed.follow(await feed.position(), kinds=frozenset({ChangeKind.DELETED}))
    await store.create(samples.spec("shop.example.com"), DomainStatus())
    await store.delete(SHOP, "")
    async with asyncio.timeout(15):
        change = await anext(following)
    await following.aclose()
    assert isinstance(change, DomainChanged)
    assert ChangeKind.DELETED == change.kind


async def test_replacement_asks_once_and_gives_way(domain_store: Stores) -> None:
    """A replacement's request names it and is written once; one by hand takes its place and then stands."""
    store, _ = domain_store
    await store.create(samples.spec("shop.example.com"), DomainStatus(DomainState.ACTIVE))
    at = samples.now()
    asked = await store.request_renewal(SHOP, at, at + timedelta(hours=1), replacement="r1")
    assert ("r1", at + timedelta(hours=1)) == (asked.spec.renewal_replacement, asked.requested_renewal_time)
    assert asked == await store.request_renewal(SHOP, at + timedelta(hours=2), replacement="r1")
    by_hand = await store.request_renewal(SHOP, at + timedelta(hours=3))
    assert ("", at + timedelta(hours=3)) == (by_hand.spec.renewal_replacement, by_hand.requested_renewal_time)
    assert by_hand == await store.request_renewal(SHOP, at + timedelta(hours=4), replacement="r2")
    assert by_hand == await store.get(SHOP)


async def test_revocation_request_is_kept(domain_store: Stores) -> None:
    """The request is part of the domain and a change that is published; the same again keeps its time; a missing domain is NOT_FOUND."""
    store, feed = domain_store
    await store.create(samples.spec("shop.example.com"), DomainStatus(DomainState.ACTIVE))
    position, asked = await feed.position(), Revocation("c" * 32, 1, samples.now())
    made = await store.request_revocation(SHOP, asked)
    assert (asked, 2) == (made.pending_revocation, made.revision)
    assert made == await store.get(SHOP)
    again = await store.request_revocation(SHOP, replace(asked, request_time=asked.request_time + timedelta(hours=1)))
    assert asked == again.spec.revocation
    with pytest.raises(FailedPrecondition):
        await store.request_revocation(SHOP, replace(asked, certificate_id="d" * 32))
    with pytest.raises(NotFound):
        await store.request_revocation(DomainName("other.example.com"), asked)
    following = feed.follow(position)
    async with asyncio.timeout(15):
        change = await anext(following)
    await following.aclose()
    assert isinstance(change, DomainChanged)
    assert ChangeKind.SPEC == change.kind


async def test_revocation_that_is_done_is_not_asked_for_again(domain_store: Stores) -> None:
    """Asking again for what was carried out writes nothing; another certificate can be revoked then."""
    store, _ = domain_store
    at = samples.now()
    status = DomainStatus(DomainState.ACTIVE, revocation_done_time=at)
    await store.create(replace(samples.spec("shop.example.com"), revocation=Revocation("c" * 32, 1, at)), status)
    again = await store.request_revocation(SHOP, Revocation("c" * 32, 1, at + timedelta(hours=1)))
    assert (1, None) == (again.revision, again.pending_revocation)
    other = await store.request_revocation(SHOP, Revocation("d" * 32, 4, at + timedelta(hours=1)))
    assert (2, Revocation("d" * 32, 4, at + timedelta(hours=1))) == (other.revision, other.pending_revocation)
