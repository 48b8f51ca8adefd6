"""What attackers plant in a store, one function each. Names say what is planted in the place of the victim's record.

A weak attacker can write to the store and has no key. A strong one has the record key too, as from the disk of a `serve` host whose
recipient keys are wrapped: against that one only the sealing protects, and the check that a leaf key is the key of its certificate.
"""

from dataclasses import replace

from controlplane.adapters.certificate_codec import KIND
from controlplane.adapters.envelope_sealer import EnvelopeSealer
from controlplane.adapters.recipient_keys import generate_recipient_key
from controlplane.adapters.record_codec import decode_envelope, encode_envelope
from controlplane.adapters.record_hmac import RecordHmac, record_key_id
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, Scheme, SealContext
from tests.fakes.attacked_store import AttackedStore, message_of
from tests.fakes.certificates import issue

VICTIM, OTHER = "victim.example.com", "other.example.com"
OWN_RECORD_KEY = SecretBytes(b"\x42" * 32)
"""A record key that the attacker has made."""


# ---- weak: whoever can write to the store ----


async def the_record_of_another_domain(store: AttackedStore) -> None:
    await store.put(VICTIM, await store.stored(OTHER))


async def an_older_generation(store: AttackedStore) -> None:
    await store.put(VICTIM, {"certificate": (await store.stored(VICTIM))["previous"]})


async def the_envelope_of_another_domain(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.CopyFrom((await store.record(OTHER)).sealed_leaf_key)
    await store.plant(VICTIM, record)


async def the_envelope_of_the_version_before(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.CopyFrom((await store.record(VICTIM, "previous")).sealed_leaf_key)
    await store.plant(VICTIM, record)


async def a_truncated_record(store: AttackedStore) -> None:
    await store.put(VICTIM, {"certificate": (await store.stored(VICTIM))["certificate"][:-1]})


async def a_scheme(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.scheme = int(Scheme.HPKE_P256)
    await store.plant(VICTIM, record)


def of_the_attackers_own(store: AttackedStore) -> CertificateMessage:
    """A certificate and leaf key that the attacker made, well sealed to the public key of `serve`."""
    record, leaf_key = issue(VICTIM, generation=2**53)
    return message_of(replace(record, sealed_leaf_key=store.worker.sealer().seal(leaf_key, record.seal_context)))


async def a_leaf_key_with_its_own_certificate(store: AttackedStore) -> None:
    await store.plant(VICTIM, of_the_attackers_own(store))


async def a_leaf_key_under_a_record_key_of_their_own(store: AttackedStore) -> None:
    key_id = record_key_id(OWN_RECORD_KEY)
    record = of_the_attackers_own(store).SerializeToString()
    await store.put(VICTIM, {"certificate": RecordHmac({key_id: OWN_RECORD_KEY}, key_id).wrap(KIND, VICTIM, record)})


async def a_record_without_a_mac(store: AttackedStore) -> None:
    await store.put(VICTIM, {"certificate": of_the_attackers_own(store).SerializeToString()})


# ---- strong: whoever has the record key too ----


async def the_envelope_of_another_domain_authenticated(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.CopyFrom((await store.record(OTHER)).sealed_leaf_key)
    await store.authenticate(VICTIM, record)


async def the_envelope_of_the_version_before_authenticated(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.CopyFrom((await store.record(VICTIM, "previous")).sealed_leaf_key)
    await store.authenticate(VICTIM, record)


async def the_whole_secret_of_another_domain(store: AttackedStore) -> None:
    """With the other's certificate under the victim's name: it opens for the other's names only."""
    record, other = await store.record(VICTIM), await store.record(OTHER)
    for field in ("id", "leaf", "spki_digest"):
        setattr(record, field, getattr(other, field))
    record.sealed_leaf_key.CopyFrom(other.sealed_leaf_key)
    await store.authenticate(VICTIM, record)


async def an_old_sealed_key_with_the_new_chain(store: AttackedStore) -> None:
    record, before = await store.record(VICTIM), await store.record(VICTIM, "previous")
    record.sealed_leaf_key.CopyFrom(before.sealed_leaf_key)
    record.spki_digest = before.spki_digest
    await store.authenticate(VICTIM, record)


async def the_sealed_key_with_a_chain_of_their_own(store: AttackedStore) -> None:
    """A newer generation and another version: whoever holds the name is told that something changed."""
    record, planted = await store.record(VICTIM), of_the_attackers_own(store)
    record.id, record.leaf, record.generation = planted.id, planted.leaf, record.generation + 1
    await store.authenticate(VICTIM, record)


async def another_leaf_key_with_the_chain(store: AttackedStore) -> None:
    """Well sealed for this very record, as whoever has the public key can."""
    record, (_, leaf_key) = await store.record(VICTIM), issue(VICTIM)
    context = leaf_seal_context(record.spki_digest, (VICTIM,))
    record.sealed_leaf_key.CopyFrom(encode_envelope(store.worker.sealer().seal(leaf_key, context)))
    await store.authenticate(VICTIM, record)


async def what_is_no_key(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    context = leaf_seal_context(record.spki_digest, (VICTIM,))
    record.sealed_leaf_key.CopyFrom(encode_envelope(store.worker.sealer().seal(SecretBytes(b"no key"), context)))
    await store.authenticate(VICTIM, record)


async def an_envelope_of_the_wrong_key(store: AttackedStore) -> None:
    """Sealed to the attacker's own recipient key, and passed off as sealed to the one of `serve`."""
    record, (_, leaf_key) = await store.record(VICTIM), issue(VICTIM)
    sealer = EnvelopeSealer({KeyClass.LEAF: generate_recipient_key(Scheme.HPKE_X25519).public})
    record.sealed_leaf_key.ciphertext = sealer.seal(leaf_key, leaf_seal_context(record.spki_digest, (VICTIM,))).ciphertext
    await store.authenticate(VICTIM, record)


async def an_unknown_key_id(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.recipient_key_id = "0123456789abcdef"
    await store.authenticate(VICTIM, record)


async def an_unknown_scheme(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.scheme = 99  # type: ignore[assignment]
    await store.authenticate(VICTIM, record)


async def no_scheme(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.scheme = 0  # type: ignore[assignment]
    await store.authenticate(VICTIM, record)


async def the_scheme_of_another_key(store: AttackedStore) -> None:
    record = await store.record(VICTIM)
    record.sealed_leaf_key.scheme = int(Scheme.HPKE_P256)  # type: ignore[assignment]
    await store.authenticate(VICTIM, record)


async def a_scheme_that_policy_forbids(store: AttackedStore) -> None:
    """The right leaf key, well sealed to a key that `serve` holds, by a scheme that it must not open."""
    record = await store.record(VICTIM)
    context = leaf_seal_context(record.spki_digest, (VICTIM,))
    leaf_key = store.serve.opener().open(decode_envelope(record.sealed_leaf_key), context)
    (p256,) = [file.key for _, file in store.serve.files if getattr(file.about, "scheme", None) is Scheme.HPKE_P256]
    sealed = EnvelopeSealer({KeyClass.LEAF: p256.public}).seal(leaf_key, context)  # type: ignore[union-attr]
    assert store.serve.opener().open(sealed, context).reveal() == leaf_key.reveal()
    record.sealed_leaf_key.CopyFrom(encode_envelope(sealed))
    await store.authenticate(VICTIM, record)


async def an_account_key(store: AttackedStore) -> None:
    """Sealed to the `account` key of the worker."""
    record = await store.record(VICTIM)
    context = SealContext(KeyClass.ACCOUNT, record.spki_digest, (VICTIM,))
    record.sealed_leaf_key.CopyFrom(encode_envelope(store.worker.sealer().seal(issue(VICTIM)[1], context)))
    await store.authenticate(VICTIM, record)
