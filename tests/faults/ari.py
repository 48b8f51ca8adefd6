"""Renewal information (RFC 9773), which Pebble does not have: windows, and what Let's Encrypt checks of `replaces`."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from tests.faults.faults import Refuse
from tests.faults.request_log import PlacedOrder

# Let's Encrypt's window is so much of the validity before and after two thirds of it.
_WINDOW = 0.01
_POLL_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class Window:
    """What the CA suggests; `retry_after` in seconds."""

    start: datetime
    end: datetime
    explanation_url: str = ""
    retry_after: int = _POLL_SECONDS

    def document(self) -> dict[str, object]:
        """Returns the JSON of RFC 9773 section 4.2."""
        explanation = {"explanationURL": self.explanation_url} if self.explanation_url else {}
        return {"suggestedWindow": {"start": self.start.isoformat(), "end": self.end.isoformat()}, **explanation}


@dataclass(frozen=True, slots=True)
class _Issued:
    names: frozenset[str]
    account: str
    not_before: datetime
    not_after: datetime


@dataclass(slots=True)
class RenewalInformation:
    """What the CA knows of certificates, by the unique identifier of RFC 9773 section 4.1; `windows` are those that a test has set."""

    windows: dict[str, Window] = field(default_factory=dict)
    _issued: dict[str, _Issued] = field(default_factory=dict)

    def learn(self, chain_pem: bytes, account: str) -> None:
        """Takes note of a certificate that was downloaded."""
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        self._issued[certificate_id(leaf)] = _Issued(frozenset(names), account, leaf.not_valid_before_utc, leaf.not_valid_after_utc)

    def window(self, identifier: str) -> Window | None:
        """Returns the window of a certificate, None for one that the CA does not know."""
        if identifier in self.windows:
            return self.windows[identifier]
        issued = self._issued.get(identifier)
        if issued is None:
            return None
        lifetime = issued.not_after - issued.not_before
        middle = issued.not_before + lifetime * (1 / 2 if lifetime < timedelta(days=10) else 2 / 3)
        return Window(middle - lifetime * _WINDOW, middle + lifetime * _WINDOW)

    def refusal(self, replaces: str, account: str, names: Sequence[str], orders: Sequence[PlacedOrder]) -> Refuse | None:
        """Returns why an order may not replace this certificate (RFC 9773 section 5), None when it may."""
        issued = self._issued.get(replaces)
        if issued is None:
            return Refuse("malformed", 404, "there is no such certificate to replace")
        if issued.account != account:
            return Refuse("unauthorized", 403, "the certificate to replace was issued to another account")
        if not issued.names & set(names):
            return Refuse("malformed", 400, "the certificate to replace has none of the order's names")
        if any(order.replaces == replaces and order.status != "invalid" for order in orders):
            return Refuse("alreadyReplaced", 409, "there is a replacement order for this certificate")
        return None


def certificate_id(leaf: x509.Certificate) -> str:
    """Returns a certificate's unique identifier: its issuer's key identifier and its serial number, as their DER has them."""
    key_identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    if key_identifier is None:
        raise AssertionError("the certificate does not name its issuer's key")
    # DER's integers are signed: one with the highest bit set has a byte of zeros before it.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1)
    return f"{_base64url(key_identifier)}.{_base64url(serial)}"


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
