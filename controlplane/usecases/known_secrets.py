"""Secrets that are ready to be sent: opened at most once each, kept for seconds."""

from collections import OrderedDict
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import SealingError
from controlplane.core.ports import Opener
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.tls_material import TlsCertificateSerialiser, certificate_chain_pem, private_key_pem
from controlplane.xds.subscription import Absence

_log = structlog.get_logger(__name__)

_OPENED = Counter("certplane_secret_opens_total", "Leaf keys opened to be served.")
_OPEN_FAILURES = Counter("certplane_secret_open_failures_total", "Leaf keys that did not open or did not fit their certificate.")


class KnownSecret:
    """A certificate that exists for a canonical name. Its leaf key is opened when the content is first asked for."""

    __slots__ = ("_content", "_opened", "key", "record")

    def __init__(self, key: str, record: CertificateRecord) -> None:
        self.key = key
        self.record = record
        self._content: SecretBytes | None = None
        self._opened = False

    @property
    def version(self) -> str:
        """The xDS version."""
        return self.record.version

    def content(self, opener: Opener, serialise: TlsCertificateSerialiser) -> SecretBytes | None:
        """Returns the serialised TlsCertificate, or None when the leaf key does not open or is not the certificate's.

        Never raises. The first call opens, further ones return the same.
        """
        if not self._opened:
            self._opened = True
            self._content = self._open(opener, serialise)
        return self._content

    def _open(self, opener: Opener, serialise: TlsCertificateSerialiser) -> SecretBytes | None:
        record = self.record
        try:
            leaf_key = opener.open(record.sealed_leaf_key, record.seal_context)
            content = serialise(certificate_chain_pem(record), private_key_pem(record, leaf_key))
        except SealingError as error:
            _OPEN_FAILURES.inc()
            _log.warning("leaf key cannot be served", domain=record.fqdn, version_info=record.version, reason=str(error))
            return None
        except Exception as error:
            # Only the kind of the error: its text and its frames may hold the leaf key.
            _OPEN_FAILURES.inc()
            _log.error("leaf key cannot be served", domain=record.fqdn, version_info=record.version, reason=type(error).__name__)
            return None
        _OPENED.inc()
        return content


Known = KnownSecret | Absence
"""What is known of a canonical name."""


class KnownSecrets:
    """A small, short-lived cache by canonical name: what is not asked for again within seconds is forgotten."""

    def __init__(self, limit: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._seconds = seconds
        self._monotonic = monotonic
        self._entries: OrderedDict[str, tuple[float, KnownSecret]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> KnownSecret | None:
        """Returns the secret unless its time is over. A hit does not prolong its time."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._monotonic() < entry[0] else None

    def put(self, secret: KnownSecret) -> None:
        """Keeps a secret for the cache's seconds, in place of the one before; drops the oldest when there are too many."""
        self._entries.pop(secret.key, None)
        self._entries[secret.key] = (self._monotonic() + self._seconds, secret)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets one secret."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forgets all."""
        self._entries.clear()

    def purge(self) -> None:
        """Forgets what is over, so that no opened key stays because nobody asks."""
        now = self._monotonic()
        while self._entries:
            key, (end, _) = next(iter(self._entries.items()))
            if now < end:
                return
            del self._entries[key]
