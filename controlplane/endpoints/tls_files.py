"""The files of a TLS listener, as stated. Apart from gRPC, which a command that only passes them on does not need to load."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a listener: its own certificate chain and private key, and the CA that clients' certificates must come from."""

    ca: Path
    certificate: Path
    private_key: Path
