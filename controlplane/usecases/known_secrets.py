"""Secrets that are ready to be sent: opened at most once each, put into the form of an answer once for all, kept for seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

import structlog

from controlplane.core.certificate import ServableCertificate
from controlplane.core.errors import SealingError
from controlplane.core.line_limit import LineLimit
from controlplane.core.ports import Opener
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.cache_metrics import CacheMetrics
from controlplane.usecases.loop_counter import LoopCounter
from controlplane.usecases.tls_material import TlsCertificateSerialiser, certificate_chain_pem, private_key_pem
from controlplane.xds.subscription import Absence

_log = structlog.get_logger(__name__)

_OPENED = LoopCounter("certplane_secret_opens_total", "Leaf keys opened to be served.")
_OPEN_FAILURES = LoopCounter("certplane_secret_open_failures_total", "Leaf keys that did not open or did not fit their certificate.")

FieldForm = Callable[[bytes, str, SecretBytes], bytes]
"""Makes the serialised `resources` field of an answer from the spelled name, the version, and the serialised TlsCertificate."""


class KnownVersion:
    """The version in force for a canonical name, without anything that could be sent."""

    __slots__ = ("tenant", "version")

    spelling = b""
    form = None
    ready = None

    def __init__(self, version: str, tenant: str) -> None:
        self.version = version
        self.tenant = tenant


_BEGINNING = 64
"""So many bytes of a TlsCertificate, its certificate chain's first, stand nowhere else in a field."""


class KnownSecret:
    """A certificate in force for a canonical name. Its leaf key is opened when a field is first asked for.

    What is not needed any more is dropped: the record when the key was opened, the TlsCertificate when it stands in a field.
    """

    __slots__ = ("_content", "_holding", "_place", "_record", "form", "kept_until", "key", "ready", "spelling", "tenant", "version")

    def __init__(self, key: str, record: ServableCertificate) -> None:
        self.key: Final = key
        self.version: Final = record.version
        self.tenant: Final = record.tenant
        self.kept_until = 0.0
        self.spelling = key.encode()
        self.form: FieldForm | None = None
        self.ready: bytes | None = None
        """The ready field for the canonical spelling, in the form that was asked for last."""
        self._record: ServableCertificate | None = record
        self._content: SecretBytes | None = None
        self._holding: bytes | None = None
        self._place = slice(0)

    def __repr__(self) -> str:
        return f"KnownSecret({self.key}, {self.version})"

    def open(self, opener: Opener, serialise: TlsCertificateSerialiser) -> bool:
        """Returns whether the leaf key opens and is the certificate's. The first call opens, further ones say the same. Never raises."""
        if self._record is not None:
            record, self._record = self._record, None
            self._content = _opened(record, opener, serialise)
        return self._content is not None or self._holding is not None

    def field(self, form: FieldForm, name: bytes) -> bytes:
        """Makes the field for a spelled name, and keeps that of the canonical spelling. `open` must have returned True."""
        made = form(name, self.version, self._content or SecretBytes((self._holding or b"")[self._place]))
        if name == self.spelling:
            # From here on the object that streams share: to compare them is to look whether they are one.
            self.spelling, self.form, self.ready = name, form, made
            self._drop_content(made)
        return made

    def _drop_content(self, field: bytes) -> None:
        if self._content is None:
            return
        content = self._content.reveal()
        # Where it begins is found in a tenth of the time that a search for all of it takes.
        start = field.find(content[:_BEGINNING])
        if start >= 0 and field.startswith(content, start):
            self._holding, self._place, self._content = field, slice(start, start + len(content)), None


# Who may ask for a name decides how often its key is tried.
_complaints = LineLimit(1.0, burst=100)


def _opened(record: ServableCertificate, opener: Opener, serialise: TlsCertificateSerialiser) -> SecretBytes | None:
    try:
        leaf_key = opener.open(record.sealed_leaf_key, record.seal_context)
        content = serialise(certificate_chain_pem(record), private_key_pem(record, leaf_key))
    except SealingError as error:
        _OPEN_FAILURES.inc()
        if failures := _complaints.due(time.monotonic()):
            _tell(_log.warning, record, str(error), failures)
        return None
    except Exception as error:
        # Only the kind of the error: its text and its frames may hold the leaf key.
        _OPEN_FAILURES.inc()
        if failures := _complaints.due(time.monotonic()):
            _tell(_log.error, record, type(error).__name__, failures)
        return None
    _OPENED.inc()
    return content


def _tell(log: Callable[..., object], record: ServableCertificate, reason: str, failures: int) -> None:
    log("leaf key cannot be served", domain=record.fqdn, version_info=record.version, reason=reason, failures=failures)


Known = KnownSecret | KnownVersion | Absence
"""What is known of a canonical name."""


_LEAST_KEYS = 16
_MOST_ASKED = 16


class KnownSecrets:
    """A small, short-lived cache by canonical name: what is not asked for again within seconds is forgotten."""

    def __init__(self, limit: int, seconds: float, monotonic: Callable[[], float], metrics: CacheMetrics) -> None:
        self._metrics = metrics
        self._limit = limit
        self._seconds = seconds
        self._monotonic = monotonic
        self._entries: OrderedDict[str, KnownSecret] = OrderedDict()
        self._asked: dict[str, tuple[tuple[str, ...], Mapping[str, KnownSecret] | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, keys: Collection[str]) -> Mapping[str, KnownSecret]:
        """Returns those of `keys` that are kept and whose time is not over, in the order of `keys`. A hit does not prolong its time.

        A long tuple that is asked for twice is remembered with its answer until anything changes: edges that start together ask for the
        same.
        """
        self._expire()
        found = self._find_again(keys) if len(keys) >= _LEAST_KEYS and isinstance(keys, tuple) else self._find(keys)
        self._metrics.asked(len(keys), len(found))
        return found

    def _find_again(self, keys: tuple[str, ...]) -> Mapping[str, KnownSecret]:
        asked, found = self._asked.get(keys[0], ((), None))
        is_asked_again = asked == keys
        if not is_asked_again or found is None:
            found = self._find(keys)
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[keys[0]] = keys, found if is_asked_again else None
        return found

    def _find(self, keys: Collection[str]) -> Mapping[str, KnownSecret]:
        entries = self._entries
        values = list(map(entries.get, keys))
        pairs = zip(keys, values, strict=True)
        if all(values):  # much faster than to look for None, which compares
            return cast("dict[str, KnownSecret]", dict(pairs))
        return {key: secret for key, secret in pairs if secret is not None}

    def put(self, secret: KnownSecret) -> None:
        """Keeps a secret for the cache's seconds, in place of the one before; drops the oldest when there are too many."""
        self._asked.clear()
        self._entries.pop(secret.key, None)
        secret.kept_until = self._monotonic() + self._seconds
        self._entries[secret.key] = secret
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets one secret."""
        self._asked.clear()
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forgets all."""
        self._asked.clear()
        self._entries.clear()

    def purge(self) -> None:
        """Forgets what is over, so that no opened key stays because nobody asks."""
        self._expire()
        self._metrics.size(len(self._entries))

    def _expire(self) -> None:
        if not self._entries:
            return
        now = self._monotonic()
        while self._entries:
            key, secret = next(iter(self._entries.items()))
            if now < secret.kept_until:
                return
            del self._entries[key]
            self._asked.clear()
