"""What each step of making a domain costs, and what the CA's own builder would cost in the place of the template."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from bench.million.authority import LifelikeCa
from bench.million.commands import ShardWriter
from bench.million.filling import name_of
from bench.million.maker import Maker, new_leaf_key
from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import LoadedKeys
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.certificate import leaf_seal_context

_TIMES = 300


def measure(worker_keys: LoadedKeys) -> dict[str, float]:
    """Returns the CPU seconds of each step, once, in this process."""
    authority, name = LifelikeCa(), name_of(0)
    template = authority.leaf_template(name)
    signer, sealer = template.signer(), worker_keys.sealer()
    with_csr = make_leaf_key((name,))
    leaf_key, spki = new_leaf_key()
    context = leaf_seal_context(with_csr.spki_digest, (name,))
    made = list(Maker(template, sealer).make([name]))
    writer = ShardWriter(worker_keys.authenticator(), keys.shard_of(name))
    steps: dict[str, Callable[[], object]] = {
        "leaf key": new_leaf_key,
        "certificate, from the template": lambda: signer.sign(name, spki),
        "certificate, by `cryptography`'s builder instead": lambda: authority.issue((name,), with_csr),
        "leaf key sealed (HPKE X25519)": lambda: sealer.seal(leaf_key, context),
        "records encoded and authenticated": lambda: list(writer.commands(made, datetime.now(UTC))),
    }
    return {what: _cpu(step) for what, step in steps.items()}


def _cpu(step: Callable[[], object]) -> float:
    step()
    begun = time.process_time()
    for _ in range(_TIMES):
        step()
    return (time.process_time() - begun) / _TIMES
