"""The same certificates for everybody: in Certplane's store with their keys sealed, and in the clear as the files that each peer reads.

On disk is what CertMagic's file storage looks like (`certificates/ISSUER/NAME/NAME.crt`, `.key`, `.json`): Caddy loads from it lazily,
and nginx and Envoy are pointed at its PEM files. Beside it is a folder of bundles (chain and key in one PEM file) for HAProxy and for
Caddy's eager loader.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from bench.load.stand import Stand
from bench.private_ca import PrivateCa
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.leaf_key import LeafKey

ISSUER = "local"
"""What Caddy's internal issuer calls its storage. It is never asked to issue here: everything is stored already."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, PEM, and the leaf's serial number."""

    chain: bytes
    key: bytes = field(repr=False)
    serial_number: int = 0


class RecordingCa(PrivateCa):
    """Remembers what it issues, and for which key, so that the same goes to every server."""

    def __init__(self) -> None:
        super().__init__()
        self.issued: dict[str, Pair] = {}

    def issue(self, names: Sequence[str], leaf_key: LeafKey) -> tuple[bytes, bytes]:
        """See `PrivateCa.issue`."""
        chain = super().issue(names, leaf_key)
        self.issued[names[0]] = _pair(chain, leaf_key)
        return chain


@dataclass(frozen=True, slots=True)
class Material:
    """Names with certificates in a store and on disk. `roots` is the PEM file that clients trust."""

    stand: Stand
    authority: RecordingCa
    names: Sequence[str]
    roots: Path
    storage: Path
    bundles: Path

    def chain_path(self, name: str) -> Path:
        """Where the chain of `name` is."""
        return self.storage / "certificates" / ISSUER / name / f"{name}.crt"

    def key_path(self, name: str) -> Path:
        """Where the key of `name` is."""
        return self.chain_path(name).with_suffix(".key")

    def bundle_path(self, name: str) -> Path:
        """Where chain and key of `name` are in one file."""
        return self.bundles / f"{name}.pem"

    def renewed(self, name: str) -> Pair:
        """Makes another certificate for `name`; nothing is written."""
        self.authority.issue((name,), make_leaf_key((name,)))
        return self.authority.issued[name]

    def write_site(self, name: str, pair: Pair) -> None:
        """Puts a pair where Caddy's lazy loading, nginx and Envoy find it, each file replaced at once."""
        _replace(self.key_path(name), pair.key)
        _replace(self.chain_path(name), pair.chain)

    def write_bundle(self, name: str, pair: Pair) -> None:
        """Puts a pair where HAProxy and Caddy's eager loading find it."""
        _replace(self.bundle_path(name), pair.chain + pair.key)


async def make_material(stand: Stand, names: Sequence[str]) -> Material:
    """Issues a certificate for each name and puts it into the store and on disk. The stand's CA must be a `RecordingCa`."""
    authority = stand.authority
    if not isinstance(authority, RecordingCa):
        raise TypeError("the stand's CA must remember what it issues")
    directory = stand.directory / "material"
    directory.mkdir()
    roots = directory / "roots.pem"
    roots.write_bytes(authority.root_pem)
    made = Material(stand, authority, names, roots, directory / "storage", directory / "bundles")
    made.bundles.mkdir()
    await made.stand.fill(names)

    def write_all() -> None:
        for name in names:
            pair = authority.issued[name]
            made.chain_path(name).parent.mkdir(parents=True)
            made.chain_path(name).with_suffix(".json").write_text(json.dumps({"sans": [name], "issuer_data": None}))
            made.write_site(name, pair)
            made.write_bundle(name, pair)

    await asyncio.to_thread(write_all)
    return made


def _pair(chain: Sequence[bytes], leaf_key: LeafKey) -> Pair:
    leaf = x509.load_der_x509_certificate(chain[0])
    pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
    key = load_der_private_key(leaf_key.private_key.reveal(), None)
    return Pair(pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), leaf.serial_number)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    temporary.replace(path)
