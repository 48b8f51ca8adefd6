"""Whose a certificate is, is written into it when it is issued."""

from datetime import timedelta

from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.chain import check_chain
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord, Phase
from controlplane.usecases.progress import Progress
from tests.fakes import samples
from tests.fakes.chains import ChainMaker, digest_of, new_key
from tests.fakes.work import InMemoryWork, utc_now


async def test_a_certificate_has_the_tenant_of_its_domain():
    """As the spec says it at that time."""
    work, now, key = InMemoryWork(), utc_now(), new_key()
    name = DomainName("shop.example.com")
    await work.add(samples.spec(name.value, tenant="globex"))
    lease = await work.acquire(name, "worker", timedelta(seconds=30))
    ca = ChainMaker(now)
    order = OrderRecord(
        phase=Phase.FINALIZING,
        names=(name.value,),
        csr=make_leaf_key((name.value,)).csr,
        sealed_leaf_key=samples.sealed(),
        directory_url="https://ca.example/dir",
        start_time=now,
    )
    chain = check_chain((ca.leaf(order.names, key), ca.intermediate), order.names, digest_of(key), now)
    await Progress(work, lease, await work.load(lease), utc_now).issued(order, chain, "pebble")
    assert "globex" == work.certificate_of(name).tenant
