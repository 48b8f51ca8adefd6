"""Core records to and from the protobuf messages of certplane.store.v1."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.adapters.stored_times import get_time, optional_time, put_time
from controlplane.api.certplane.store.v1 import account_pb2, certificate_pb2, domain_pb2, envelope_pb2, order_pb2, token_pb2
from controlplane.core.errors import RecordRejected
from controlplane.core.managed_domain import (
    Actor,
    DomainSpec,
    DomainState,
    DomainStatus,
    PauseReason,
    Problem,
    RenewalWindow,
    Revocation,
)
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.ports import AccountRecord, AccountStatus, SealedAccountKey, TokenRecord
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, Scheme

_SCHEMES = {int(scheme): scheme for scheme in Scheme}


def encode_envelope(envelope: Envelope) -> envelope_pb2.Envelope:
    """Returns the message for an envelope."""
    return envelope_pb2.Envelope(
        recipient_key_id=envelope.recipient_key_id,
        scheme=envelope_pb2.Scheme.Name(int(envelope.scheme)),
        ciphertext=envelope.ciphertext,
    )


def decode_envelope(message: envelope_pb2.Envelope) -> Envelope:
    """Returns the envelope of a message.

    Raises:
        RecordRejected: a scheme that this version does not know.
    """
    scheme = _SCHEMES.get(message.scheme)
    if scheme is None:
        raise RecordRejected(f"envelope with the unknown scheme number {message.scheme}")
    return Envelope(message.recipient_key_id, scheme, message.ciphertext)


def sealed_field(envelope: Envelope) -> str:
    """Returns how an envelope is sealed, in short: the index in a domain's hash, for counting and filtering only."""
    return f"{int(envelope.scheme)}:{envelope.recipient_key_id}"


def parse_sealed_field(value: bytes | None) -> Scheme | None:
    """Returns the scheme in such an entry, None when there is none or it is not understood."""
    number = (value or b"").partition(b":")[0]
    try:
        return Scheme(int(number)) if number.isdigit() else None
    except ValueError:
        return None


def encode_spec(spec: DomainSpec) -> bytes:
    """Serialises a spec; equal specs give equal bytes."""
    message = domain_pb2.DomainSpec(
        fqdn=spec.fqdn.value,
        uid=spec.uid,
        tenant=spec.tenant,
        additional_names=[name.value for name in spec.additional_names],
        labels=dict(spec.labels),
        create_request_id=spec.create_request_id,
        renewal_replacement=spec.renewal_replacement,
    )
    put_time(message.create_time, spec.create_time)
    put_time(message.renewal_request_time, spec.renewal_request_time)
    put_time(message.renewal_not_before, spec.renewal_not_before)
    if spec.revocation is not None:
        message.revocation.certificate_id = spec.revocation.certificate_id
        message.revocation.reason = spec.revocation.reason
        put_time(message.revocation.request_time, spec.revocation.request_time)
    return message.SerializeToString(deterministic=True)


def decode_spec(data: bytes) -> DomainSpec:
    """Reads a spec."""
    message = domain_pb2.DomainSpec.FromString(data)
    return DomainSpec(
        fqdn=DomainName(message.fqdn),
        uid=message.uid,
        create_time=get_time(message.create_time),
        tenant=message.tenant,
        additional_names=tuple(DomainName(name) for name in message.additional_names),
        labels=dict(message.labels),
        create_request_id=message.create_request_id,
        renewal_request_time=optional_time(message, "renewal_request_time"),
        renewal_not_before=optional_time(message, "renewal_not_before"),
        renewal_replacement=message.renewal_replacement,
        revocation=_decode_revocation(message.revocation) if message.HasField("revocation") else None,
    )


def _decode_revocation(message: domain_pb2.Revocation) -> Revocation:
    return Revocation(message.certificate_id, message.reason, get_time(message.request_time))


def encode_status(status: DomainStatus) -> bytes:
    """Serialises a status."""
    message = domain_pb2.DomainStatus(
        state=status.state,
        reconciling=status.reconciling,
        current_step=status.current_step,
        certificate_id=status.certificate_id,
        serial_number=status.serial_number,
        attempt_count=status.attempt_count,
        omitted_names=[name.value for name in status.omitted_names],
        certificate_authority=status.certificate_authority,
        refusing_authorities=status.refusing_authorities,
        pause_reason=status.pause_reason or 0,
    )
    put_time(message.issue_time, status.issue_time)
    put_time(message.expire_time, status.expire_time)
    put_time(message.renew_time, status.renew_time)
    put_time(message.next_attempt_time, status.next_attempt_time)
    put_time(message.renewal_done_time, status.renewal_done_time)
    put_time(message.departed_time, status.departed_time)
    put_time(message.checked_time, status.checked_time)
    put_time(message.revocation_done_time, status.revocation_done_time)
    if status.renewal_window is not None:
        _encode_window(message.renewal_window, status.renewal_window)
    if status.last_error is not None:
        error = status.last_error
        message.last_error.type = error.type
        message.last_error.detail = error.detail
        message.last_error.must_act = error.must_act
        message.last_error.failed_name = error.failed_name
        put_time(message.last_error.time, error.time)
    return message.SerializeToString()


def decode_status(data: bytes) -> DomainStatus:
    """Reads a status."""
    message = domain_pb2.DomainStatus.FromString(data)

    error = message.last_error
    return DomainStatus(
        state=DomainState(message.state),
        reconciling=message.reconciling,
        current_step=message.current_step,
        certificate_id=message.certificate_id,
        serial_number=message.serial_number,
        issue_time=optional_time(message, "issue_time"),
        expire_time=optional_time(message, "expire_time"),
        renew_time=optional_time(message, "renew_time"),
        next_attempt_time=optional_time(message, "next_attempt_time"),
        attempt_count=message.attempt_count,
        last_error=Problem(error.type, error.detail, Actor(error.must_act), get_time(error.time), error.failed_name)
        if message.HasField("last_error")
        else None,
        omitted_names=tuple(DomainName(name) for name in message.omitted_names),
        renewal_done_time=optional_time(message, "renewal_done_time"),
        renewal_window=_decode_window(message.renewal_window) if message.HasField("renewal_window") else None,
        certificate_authority=message.certificate_authority,
        refusing_authorities=tuple(message.refusing_authorities),
        departed_time=optional_time(message, "departed_time"),
        checked_time=optional_time(message, "checked_time"),
        pause_reason=PauseReason(message.pause_reason) if message.pause_reason else None,
        revocation_done_time=optional_time(message, "revocation_done_time"),
    )


def _encode_window(message: domain_pb2.RenewalWindow, window: RenewalWindow) -> None:
    message.certificate_id, message.explanation_url = window.certificate_id, window.explanation_url
    put_time(message.start, window.start)
    put_time(message.end, window.end)
    put_time(message.selected_time, window.selected_time)
    put_time(message.poll_time, window.poll_time)


def _decode_window(message: domain_pb2.RenewalWindow) -> RenewalWindow:
    return RenewalWindow(
        message.certificate_id,
        get_time(message.start),
        get_time(message.end),
        get_time(message.selected_time),
        get_time(message.poll_time),
        message.explanation_url,
    )


def encode_order(order: OrderRecord) -> bytes:
    """Serialises an order."""
    message = order_pb2.OrderRecord(
        phase=order.phase,
        names=order.names,
        csr=order.csr,
        sealed_leaf_key=encode_envelope(order.sealed_leaf_key),
        directory_url=order.directory_url,
        order_url=order.order_url,
        finalize_url=order.finalize_url,
        authorization_urls=order.authorization_urls,
        tokens=order.tokens,
        account_url=order.account_url,
        replaces=order.replaces,
        profile=order.profile,
    )
    put_time(message.start_time, order.start_time)
    put_time(message.expire_time, order.expire_time)
    return message.SerializeToString()


def decode_order(data: bytes) -> OrderRecord:
    """Reads an order."""
    message = order_pb2.OrderRecord.FromString(data)
    return OrderRecord(
        phase=Phase(message.phase),
        names=tuple(message.names),
        csr=message.csr,
        sealed_leaf_key=decode_envelope(message.sealed_leaf_key),
        directory_url=message.directory_url,
        start_time=get_time(message.start_time),
        order_url=message.order_url,
        finalize_url=message.finalize_url,
        authorization_urls=tuple(message.authorization_urls),
        expire_time=optional_time(message, "expire_time"),
        tokens=tuple(message.tokens),
        account_url=message.account_url,
        replaces=message.replaces,
        profile=message.profile,
    )


def encode_token(record: TokenRecord) -> bytes:
    """Serialises a token record, with its body in clear: it lives as long as its challenge."""
    message = token_pb2.TokenRecord(
        token=record.token, key_authorization=record.key_authorization.reveal().decode("ascii"), names=record.names
    )
    put_time(message.expire_time, record.expire_time)
    return message.SerializeToString()


def decode_token(data: bytes) -> TokenRecord:
    """Reads a token record."""
    message = token_pb2.TokenRecord.FromString(data)
    return TokenRecord(
        message.token, SecretBytes(message.key_authorization.encode("ascii")), tuple(message.names), get_time(message.expire_time)
    )


def encode_account(record: AccountRecord) -> bytes:
    """Serialises an account; its keys stay sealed."""
    message = account_pb2.AccountRecord(
        directory_url=record.directory_url,
        account_url=record.account_url,
        sealed_account_key=encode_envelope(record.sealed_account_key),
        spki_digest=record.spki_digest,
        status=account_pb2.AccountRecord.Status.Name(int(record.status)),
        contact=record.contact,
        terms_of_service_url=record.terms_of_service,
        external_account_key_id=record.external_account_key_id,
    )
    put_time(message.create_time, record.create_time)
    put_time(message.key_change_time, record.key_change_time)
    if record.successor is not None:
        message.sealed_successor_key.CopyFrom(encode_envelope(record.successor.envelope))
        message.successor_spki_digest = record.successor.spki_digest
    return message.SerializeToString()


def decode_account(data: bytes) -> AccountRecord:
    """Reads an account.

    Raises:
        RecordRejected: a status or a scheme that this version does not know.
    """
    message = account_pb2.AccountRecord.FromString(data)
    try:
        # Records of versions that wrote no status are of accounts in use.
        status = AccountStatus(message.status or AccountStatus.VALID)
    except ValueError:
        raise RecordRejected(f"account with the unknown status number {message.status}") from None
    successor = None
    if message.HasField("sealed_successor_key"):
        successor = SealedAccountKey(decode_envelope(message.sealed_successor_key), message.successor_spki_digest)
    return AccountRecord(
        message.directory_url,
        message.account_url,
        decode_envelope(message.sealed_account_key),
        message.spki_digest,
        get_time(message.create_time),
        successor=successor,
        key_change_time=optional_time(message, "key_change_time"),
        status=status,
        contact=tuple(message.contact),
        terms_of_service=message.terms_of_service_url,
        external_account_key_id=message.external_account_key_id,
    )


def encode_certificate_times(
    message: certificate_pb2.CertificateRecord, not_before: datetime, not_after: datetime, issued: datetime
) -> None:
    """Fills in the times of a certificate record."""
    put_time(message.not_before, not_before)
    put_time(message.not_after, not_after)
    put_time(message.issue_time, issued)


def decode_certificate_times(message: certificate_pb2.CertificateRecord) -> tuple[datetime, datetime, datetime]:
    """Returns start and end of validity, and when the certificate was stored."""
    return _certificate_time(message.not_before), _certificate_time(message.not_after), get_time(message.issue_time)


def _certificate_time(field: Timestamp) -> datetime:
    """Returns a time in whole seconds, as certificates have them (RFC 5280 section 4.1.2.5): each look-up reads two."""
    return datetime.fromtimestamp(field.seconds, UTC) if not field.nanos else get_time(field)
