"""Real HPKE sealing with keys made on the spot: both classes, in one process."""

from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.recipient_keys import generate_recipient_key
from controlplane.core.sealing import KeyClass, Scheme


def sealer_and_opener() -> tuple[EnvelopeSealer, EnvelopeOpener]:
    """Returns a sealer for new recipient keys of both classes, and the opener of what it seals."""
    keys = {key_class: generate_recipient_key(Scheme.HPKE_X25519) for key_class in KeyClass}
    return EnvelopeSealer({key_class: key.public for key_class, key in keys.items()}), EnvelopeOpener(keys.items())
