"""Secrets that are sent again after their client refused them, in other bytes that mean the same.

Envoy 1.40 notes the hash of a secret before it finds out whether it can use it (`SdsApi::onConfigUpdate`). What it refused and gets again
in the same bytes it takes for nothing new: it accepts the answer and does not use the secret. So the bad secret among several would never
be found, and handshakes would wait for it until their clients give up.
"""

from functools import lru_cache

from controlplane.core.redacted import SecretBytes
from controlplane.endpoints.wire_codec import changed_tls_certificate
from controlplane.usecases.known_secrets import FieldForm

_KEPT_FORMS = 64
"""More than there are: an answer is halved a few times, until one name is left."""


@lru_cache(_KEPT_FORMS)
def resent(form: FieldForm, attempt: int) -> FieldForm:
    """Returns a form like another one, whose bytes differ for each attempt; the same object for the same attempt."""

    def field(name: bytes, version: str, content: SecretBytes) -> bytes:
        return form(name, version, changed_tls_certificate(content, attempt))

    return field
