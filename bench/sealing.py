"""What it costs to open sealed leaf keys: every scheme beside AES-256-GCM alone, and the step that the ancestors took.

The ancestors opened the keys of 3,000 sites, sealed by RSA and AES, at every start of a proxy, and moved to ECIES to be faster. ECIES is
what HPKE with P-256 is today. Here the same is done with our openers, in one thread, in CPU time: a round opens every envelope once, and
the schemes take turns.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.section import Options, Promise, Section, Table
from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.recipient_keys import generate_recipient_key
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, Scheme, SealContext

_QUICK_KEYS = 100

AES = "AES-256-GCM alone"
X25519, HYBRID, P256 = "HPKE_X25519", "HPKE_MLKEM768_X25519", "HPKE_P256"
RSA_2048, RSA_3072, RSA_4096 = (f"RSA_OAEP_AES256GCM, {bits} bits" for bits in (2048, 3072, 4096))
_SCHEMES: Mapping[str, tuple[Scheme, int]] = {
    X25519: (Scheme.HPKE_X25519, 0),
    P256: (Scheme.HPKE_P256, 0),
    HYBRID: (Scheme.HPKE_MLKEM768_X25519, 0),
    RSA_2048: (Scheme.RSA_OAEP_AES256GCM, 2048),
    RSA_3072: (Scheme.RSA_OAEP_AES256GCM, 3072),
    RSA_4096: (Scheme.RSA_OAEP_AES256GCM, 4096),
}

Round = Callable[[], None]
"""Opens every envelope once."""


@dataclass(frozen=True, slots=True)
class Found:
    """CPU seconds of each round, by what was opened with."""

    keys: int
    seconds: Mapping[str, Sequence[float]]

    def of(self, what: str) -> float:
        """The median round."""
        return median(self.seconds[what])

    def ratio(self, slow: str, fast: str) -> float:
        """How many times one is slower than the other: the median over rounds that stood side by side."""
        return median(one / other for one, other in zip(self.seconds[slow], self.seconds[fast], strict=True))


def measure(options: Options) -> Section:
    """Measures the section."""
    keys = _QUICK_KEYS if options.quick else options.domains
    rounds = _rounds(keys)
    seconds: dict[str, list[float]] = {what: [] for what in rounds}
    for _ in range(options.repeats):
        for what, open_all in rounds.items():
            begun = time.process_time()
            open_all()
            seconds[what].append(time.process_time() - begun)
    return _section(Found(keys, seconds))


def _rounds(keys: int) -> Mapping[str, Round]:
    """Seals one leaf key for so many names, by every scheme."""
    leaf_key = make_leaf_key(("shop.bench.example.net",))
    contexts = [leaf_seal_context(leaf_key.spki_digest, (f"shop{index}.bench.example.net",)) for index in range(keys)]
    rounds = {AES: _aes(leaf_key.private_key, contexts)}
    for what, (scheme, bits) in _SCHEMES.items():
        rounds[what] = _opens(leaf_key.private_key, contexts, scheme, bits)
    return rounds


def _aes(leaf_key: SecretBytes, contexts: Sequence[SealContext]) -> Round:
    """What is left when the recipient key costs nothing: an AES key of its own for each envelope, known beforehand."""
    sealed = []
    for context in contexts:
        key, nonce, info = secrets.token_bytes(32), secrets.token_bytes(12), context.info()
        sealed.append((key, nonce, AESGCM(key).encrypt(nonce, leaf_key.reveal(), info), info))

    def open_all() -> None:
        for key, nonce, ciphertext, info in sealed:
            AESGCM(key).decrypt(nonce, ciphertext, info)

    return open_all


def _opens(leaf_key: SecretBytes, contexts: Sequence[SealContext], scheme: Scheme, bits: int) -> Round:
    key = generate_recipient_key(scheme, bits)
    sealer, opener = EnvelopeSealer({KeyClass.LEAF: key.public}), EnvelopeOpener([(KeyClass.LEAF, key)])
    sealed = [(sealer.seal(leaf_key, context), context) for context in contexts]

    def open_all() -> None:
        for envelope, context in sealed:
            opener.open(envelope, context)

    return open_all


def _section(found: Found) -> Section:
    schemes = Table(
        f"Opening {found.keys:,} leaf keys",
        ("sealed by", f"against {AES}", f"against {X25519}", f"{found.keys:,} keys", "opens a second"),
        [
            (
                what,
                f"{found.ratio(what, AES):.1f}",
                f"{found.ratio(what, X25519):.2f}",
                f"{found.of(what) * 1000:,.0f} ms",
                f"{found.keys / found.of(what):,.0f}",
            )
            for what in found.seconds
        ],
        "CPU time of one thread. `serve` opens a key when somebody asks for it, so this is paid a key at a time, and not at start.",
    )
    step = Table(
        "The ancestors' step",
        ("from", f"to {P256}, which is ECIES", f"to {X25519}"),
        [
            (what, f"{found.ratio(what, P256):.1f} times faster", f"{found.ratio(what, X25519):.1f} times")
            for what in (RSA_2048, RSA_3072, RSA_4096)
        ],
        f"What a start that opens {found.keys:,} keys gains by the move from RSA to ECIES, and by the scheme that is the default here.",
    )
    promises = [
        Promise(f"{RSA_2048}: {P256} is faster, times", found.ratio(RSA_2048, P256), 1.5, at_least=True),
        Promise(f"{RSA_4096}: {P256} is faster, times", found.ratio(RSA_4096, P256), 8.0, at_least=True),
        Promise(f"{RSA_2048}: {X25519} is faster, times", found.ratio(RSA_2048, X25519), 3.0, at_least=True),
        Promise(f"{HYBRID} against {X25519}", found.ratio(HYBRID, X25519), 4.0),
    ]
    raw = {"keys": found.keys, "cpu_seconds": found.seconds}
    return Section("Opening what is sealed", [schemes, step], promises, raw)
