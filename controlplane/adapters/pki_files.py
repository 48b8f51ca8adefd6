"""The directory of a private PKI: `ca.pem`, `ca-key.pem`, and `<role>.pem` with `<role>-key.pem` for each role."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.adapters.exclusive_files import PRIVATE_MODE, PUBLIC_MODE, make_private_directory, write_file
from controlplane.adapters.private_pki import (
    DEFAULT_SERVE_HOSTS,
    PkiRole,
    PrivateCa,
    alternative_names,
    role_identity,
)
from controlplane.core.errors import ConfigurationError
from controlplane.core.redacted import SecretBytes

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca-key.pem"


def init_pki(directory: Path, now: datetime, serve_hosts: Sequence[str] = DEFAULT_SERVE_HOSTS) -> tuple[Path, ...]:
    """Makes a CA and the identities of all roles in a new directory, and returns the files. Makes all or nothing.

    Raises:
        ConfigurationError: the directory is not empty, a host is not sound, or a file cannot be written.
    """
    ca = PrivateCa.create(now)
    files = [(directory / CA_CERTIFICATE, SecretBytes(ca.certificate), PUBLIC_MODE), (directory / CA_KEY, ca.private_key(), PRIVATE_MODE)]
    for role in PkiRole:
        identity = role_identity(ca, role, now, serve_hosts)
        files.append((directory / f"{role}.pem", SecretBytes(identity.certificate), PUBLIC_MODE))
        files.append((directory / f"{role}-key.pem", identity.private_key, PRIVATE_MODE))
    make_private_directory(directory)
    made: list[Path] = []
    try:
        for path, content, mode in files:
            write_file(path, content.reveal(), mode)
            made.append(path)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return tuple(made)


def renew_pki(directory: Path, now: datetime, serve_hosts: Sequence[str] = ()) -> tuple[Path, ...]:
    """Replaces the certificate of every role that has one here, for the same key, and returns the files replaced.

    The keys stay: they may have been moved to their machines, and a certificate that is replaced in one step never stands beside
    a key of another. `serve` keeps its names unless `serve_hosts` are given.

    Raises:
        ConfigurationError: the CA is not here or has expired, there is no certificate to renew, or a file is not sound.
    """
    ca = PrivateCa.from_pem(_read(directory / CA_CERTIFICATE), SecretBytes(_read(directory / CA_KEY)))
    renewed = [(path, _renewed(ca, role, path, now, serve_hosts)) for role in PkiRole if (path := directory / f"{role}.pem").exists()]
    if not renewed:
        raise ConfigurationError(f"{directory} has no certificate to renew: it should hold {', '.join(f'{role}.pem' for role in PkiRole)}")
    for path, certificate in renewed:
        write_file(path, certificate.public_bytes(Encoding.PEM), PUBLIC_MODE, replace=True)
    return tuple(path for path, _ in renewed)


def _renewed(ca: PrivateCa, role: PkiRole, path: Path, now: datetime, serve_hosts: Sequence[str]) -> x509.Certificate:
    try:
        old = x509.load_pem_x509_certificate(_read(path))
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ConfigurationError(f"{path} is not a certificate that `certplane pki init` made") from error
    public_key = old.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise ConfigurationError(f"{path} is not a certificate that `certplane pki init` made")
    server = role is PkiRole.SERVE
    if server and serve_hosts:
        names = alternative_names(serve_hosts, (role.spiffe_id,))
    return ca.issue(str(role), public_key, names, now, server=server, client=not server)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
