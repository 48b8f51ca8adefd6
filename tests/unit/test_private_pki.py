"""The private PKI: its certificates work in real TLS handshakes, and its files are made with care."""

import ipaddress
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.adapters.pki_files import init_pki, renew_pki
from controlplane.adapters.private_pki import PkiRole, PrivateCa, TlsIdentity, make_tls_identity, role_identity
from controlplane.cli.pki import pki
from controlplane.core.errors import ConfigurationError
from controlplane.core.redacted import SecretBytes

NOW = datetime.now(UTC).replace(microsecond=0)
FILES = {"ca.pem", "ca-key.pem"} | {f"{role}{part}" for role in PkiRole for part in (".pem", "-key.pem")}


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """The SANs of a certificate."""
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def context(directory: Path, identity: TlsIdentity, *, server: bool) -> ssl.SSLContext:
    """A context for mutual TLS with an identity and its CA."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=identity.ca_certificate.decode())
    path = directory / f"{id(identity)}.pem"
    path.write_bytes(identity.certificate + identity.private_key.reveal())
    made.load_cert_chain(path)
    return made


def handshake(directory: Path, server: TlsIdentity, client: TlsIdentity, server_name: str) -> None:
    """Shakes hands in memory, both sides verifying; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        context(directory, client, server=False).wrap_bio(to_client, to_server, server_hostname=server_name),
        context(directory, server, server=True).wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("server_name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("role", [PkiRole.ENVOY, PkiRole.OPERATOR, PkiRole.WORKER])
def test_every_client_shakes_hands_with_serve(tmp_path: Path, role: PkiRole, server_name: str) -> None:
    """Clients verify `serve` by name and by address, and `serve` verifies them."""
    ca = PrivateCa.create(NOW)
    handshake(tmp_path, role_identity(ca, PkiRole.SERVE, NOW), role_identity(ca, role, NOW), server_name)


def test_serve_is_not_taken_under_another_name(tmp_path: Path) -> None:
    """A client that connects to a host which is not in the certificate refuses it."""
    ca = PrivateCa.create(NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, role_identity(ca, PkiRole.SERVE, NOW), role_identity(ca, PkiRole.ENVOY, NOW), "serve.example.com")


def test_a_client_cannot_pass_for_serve(tmp_path: Path) -> None:
    """An Envoy's stolen identity is no server's: its key usage is clientAuth."""
    ca = PrivateCa.create(NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)purpose"):
        handshake(tmp_path, role_identity(ca, PkiRole.ENVOY, NOW), role_identity(ca, PkiRole.ENVOY, NOW), "envoy")


def test_serve_cannot_pass_for_a_client(tmp_path: Path) -> None:
    """The identity of `serve` does not open its own API to whoever stole it."""
    ca = PrivateCa.create(NOW)
    serve = role_identity(ca, PkiRole.SERVE, NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)purpose"):
        handshake(tmp_path, serve, serve, "localhost")


def test_another_ca_is_not_believed(tmp_path: Path) -> None:
    """A certificate of another private CA, of the same name, is refused."""
    serve = role_identity(PrivateCa.create(NOW), PkiRole.SERVE, NOW)
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, serve, role_identity(PrivateCa.create(NOW), PkiRole.ENVOY, NOW), "localhost")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """Throw-away identities with a short life end when they say."""
    ca = PrivateCa.create(NOW - timedelta(days=2))
    expired = make_tls_identity(ca, "old", NOW - timedelta(days=2), hosts=("localhost",), server=True, lifetime=timedelta(days=1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path, expired, role_identity(ca, PkiRole.ENVOY, NOW), "localhost")


def test_the_ca_is_constrained() -> None:
    """The CA is P-256, lasts ten years, signs certificates only and can have no CA below it."""
    certificate = x509.load_pem_x509_certificate(PrivateCa.create(NOW).certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (True, x509.BasicConstraints(ca=True, path_length=0)) == (constraints.critical, constraints.value)
    assert (True, True, False) == (usage.key_cert_sign, usage.crl_sign, usage.digital_signature)
    assert NOW + timedelta(days=3650) == certificate.not_valid_after_utc
    public_key = certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert isinstance(public_key.curve, ec.SECP256R1)


@pytest.mark.parametrize("role", PkiRole)
def test_a_role_has_one_spiffe_id_and_one_purpose(role: PkiRole) -> None:
    """The URI SAN names the role; `serve` is a server and nothing else, all others are clients and nothing else."""
    certificate = x509.load_pem_x509_certificate(role_identity(PrivateCa.create(NOW), role, NOW).certificate)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if role is PkiRole.SERVE else ExtendedKeyUsageOID.CLIENT_AUTH
    hosts = ["localhost"] if role is PkiRole.SERVE else [str(role)]
    assert [f"spiffe://certplane/{role}"] == names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    assert hosts == names(certificate).get_values_for_type(x509.DNSName)
    assert [purpose] == list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert NOW + timedelta(days=365) == certificate.not_valid_after_utc


@pytest.mark.parametrize("host", ["", "serve.example.com:18000", "bücher.example", "a..b", "*.example.com", "x" * 64, "10.0.0.0/8"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """A mistyped --serve-host is found before any file is made."""
    with pytest.raises(ConfigurationError, match="neither a DNS name"):
        role_identity(PrivateCa.create(NOW), PkiRole.SERVE, NOW, (host,))


def test_a_certificate_needs_a_name() -> None:
    """A certificate without any SAN is refused, since nothing would accept it."""
    with pytest.raises(ConfigurationError, match="at least one name"):
        make_tls_identity(PrivateCa.create(NOW), "nobody", NOW, client=True)


def test_init_makes_all_files_with_their_modes(tmp_path: Path) -> None:
    """Keys are 0600, certificates 0644, the directory 0700; each key belongs to its certificate."""
    directory = tmp_path / "pki"
    assert {directory / name for name in FILES} == set(init_pki(directory, NOW))
    assert FILES == {path.name for path in directory.iterdir()}
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    for path in directory.iterdir():
        assert (0o600 if path.name.endswith("-key.pem") else 0o644) == stat.S_IMODE(path.stat().st_mode), path.name
    for name in ("ca", *PkiRole):
        key = load_pem_private_key((directory / f"{name}-key.pem").read_bytes(), None)
        assert key.public_key() == x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes()).public_key()


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A directory with anything in it is refused and left as it was."""
    (tmp_path / "ca-key.pem").write_text("precious")
    with pytest.raises(ConfigurationError, match="nothing in it is overwritten"):
        init_pki(tmp_path, NOW)
    assert (["ca-key.pem"], "precious") == ([path.name for path in tmp_path.iterdir()], (tmp_path / "ca-key.pem").read_text())


def test_renew_keeps_keys_and_names(tmp_path: Path) -> None:
    """A year later there are new certificates for the same keys, names and CA, even where the keys were moved away."""
    directory = tmp_path / "pki"
    init_pki(directory, NOW, ("serve.example.com", "10.0.0.7"))
    (directory / "envoy-key.pem").unlink()
    old = {path.name: path.read_bytes() for path in directory.iterdir()}
    later = NOW + timedelta(days=300)
    assert [directory / f"{role}.pem" for role in PkiRole] == list(renew_pki(directory, later))
    for role in PkiRole:
        before = x509.load_pem_x509_certificate(old[f"{role}.pem"])
        after = x509.load_pem_x509_certificate((directory / f"{role}.pem").read_bytes())
        assert (before.public_key(), names(before)) == (after.public_key(), names(after))
        assert later + timedelta(days=365) == after.not_valid_after_utc
        after.verify_directly_issued_by(x509.load_pem_x509_certificate(old["ca.pem"]))
    for name in ("ca.pem", "ca-key.pem", "serve-key.pem"):
        assert old[name] == (directory / name).read_bytes()


def test_renew_can_give_serve_other_names(tmp_path: Path) -> None:
    """With hosts given, `serve` has these and no other; the clients keep theirs."""
    directory = tmp_path / "pki"
    init_pki(directory, NOW)
    renew_pki(directory, NOW, ("serve.example.com", "10.0.0.7"))
    serve = names(x509.load_pem_x509_certificate((directory / "serve.pem").read_bytes()))
    envoy = names(x509.load_pem_x509_certificate((directory / "envoy.pem").read_bytes()))
    assert ["serve.example.com"] == serve.get_values_for_type(x509.DNSName)
    assert [ipaddress.ip_address("10.0.0.7")] == serve.get_values_for_type(x509.IPAddress)
    assert ["envoy"] == envoy.get_values_for_type(x509.DNSName)


def test_a_certificate_never_outlives_its_ca(tmp_path: Path) -> None:
    """Near the CA's end certificates end with it; after it, the text says to make a new one."""
    directory = tmp_path / "pki"
    init_pki(directory, NOW)
    renew_pki(directory, NOW + timedelta(days=3600))
    end = x509.load_pem_x509_certificate((directory / "serve.pem").read_bytes()).not_valid_after_utc
    assert NOW + timedelta(days=3650) == end
    with pytest.raises(ConfigurationError, match="CA has expired"):
        renew_pki(directory, NOW + timedelta(days=3651))


def test_renew_needs_the_ca_and_something_to_renew(tmp_path: Path) -> None:
    """Without the CA's key, with one that is not its key, or without certificates, the text says what is missing."""
    directory = tmp_path / "pki"
    init_pki(directory, NOW)
    key = (directory / "ca-key.pem").read_bytes()
    (directory / "ca-key.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"cannot read .*ca-key\.pem"):
        renew_pki(directory, NOW)
    (directory / "ca-key.pem").write_bytes((directory / "serve-key.pem").read_bytes())
    with pytest.raises(ConfigurationError, match="does not belong to the CA's certificate"):
        renew_pki(directory, NOW)
    (directory / "ca-key.pem").write_bytes(key)
    (directory / "envoy.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"envoy.pem is not a certificate"):
        renew_pki(directory, NOW)
    for role in PkiRole:
        (directory / f"{role}.pem").unlink()
    with pytest.raises(ConfigurationError, match="has no certificate to renew"):
        renew_pki(directory, NOW)


def test_nothing_shows_a_private_key() -> None:
    """Neither a CA nor an identity, nor an error about one, has key material in it."""
    ca = PrivateCa.create(NOW)
    identity = role_identity(ca, PkiRole.SERVE, NOW)
    with pytest.raises(ConfigurationError) as caught:
        PrivateCa.from_pem(ca.certificate, SecretBytes(ca.private_key().reveal()[:-40]))
    for secret in (ca.private_key(), identity.private_key):
        body = secret.reveal().decode().splitlines()[1]
        assert not any(body in text for text in (repr(ca), repr(identity), repr(secret), str(caught.value)))
    assert caught.value.__suppress_context__


def test_the_commands_make_and_renew(tmp_path: Path) -> None:
    """`pki init` makes all files with the hosts given, `pki renew` replaces certificates, a second init is refused."""
    runner, directory = CliRunner(), tmp_path / "pki"
    made = runner.invoke(pki, ["init", str(directory), "--serve-host", "serve.example.com", "--serve-host", "::1"])
    assert 0 == made.exit_code, made.output
    assert len(FILES) == sum(line.startswith("made ") for line in made.output.splitlines())
    serve = (directory / "serve.pem").read_bytes()
    assert ["serve.example.com"] == names(x509.load_pem_x509_certificate(serve)).get_values_for_type(x509.DNSName)

    renewed = runner.invoke(pki, ["renew", str(directory)], env={"CERTPLANE_SERVE_HOST": "other.example.com 10.0.0.7"})
    assert 0 == renewed.exit_code, renewed.output
    replaced = names(x509.load_pem_x509_certificate((directory / "serve.pem").read_bytes()))
    assert ["other.example.com"] == replaced.get_values_for_type(x509.DNSName)

    again = runner.invoke(pki, ["init", str(directory)])
    assert 1 == again.exit_code
    assert "nothing in it is overwritten" in again.stderr
