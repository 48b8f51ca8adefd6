"""The settings of `serve`, and what is checked before anything is started."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from controlplane.app.lifecycle import check_metrics_address
from controlplane.core.access import AccessPolicy, parse_access_policy
from controlplane.core.errors import ConfigurationError
from controlplane.core.exposure import check_listener, check_redis_url
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.sealing import ALL_SCHEMES, Scheme
from controlplane.endpoints.tls_files import TlsFiles


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of `serve`; addresses are HOST:PORT or unix:PATH.

    `max_secrets_per_node`: how many certificates an Envoy that asks on demand holds at most. `access_policy`: a file; None lets
    every client that is admitted have everything. `processes`: how many share the two gRPC ports. `unlock`: unlocks private keys.
    `allowed_schemes`: what envelopes may be sealed by to be opened.
    """

    keys_dir: Path
    redis_url: str = field(repr=False)
    redis_insecure: bool
    redis_ca: Path | None
    xds_address: str
    api_address: str
    metrics_address: str
    metrics_insecure: bool
    tls: TlsFiles | None
    xds_clients: tuple[str, ...]
    api_clients: tuple[str, ...]
    access_policy: Path | None
    max_secrets_per_node: int
    expiry_alert: timedelta
    processes: int = 1
    unlock: Unlock = NOTHING
    allowed_schemes: frozenset[Scheme] = ALL_SCHEMES


def check_settings(settings: ServeSettings) -> AccessPolicy:
    """Checks what can be checked without a key, and returns the access policy.

    Raises:
        ConfigurationError: an address or the way to the store is exposed, or the policy cannot be read.
    """
    check_listener(settings.xds_address, settings.tls is not None)
    check_listener(settings.api_address, settings.tls is not None)
    check_metrics_address(settings.metrics_address, settings.metrics_insecure)
    check_redis_url(settings.redis_url, settings.redis_insecure)
    return read_access_policy(settings.access_policy, tls=settings.tls is not None)


def read_access_policy(path: Path | None, *, tls: bool) -> AccessPolicy:
    """Returns the policy in a file, as far as it is about a listener with or without TLS; None is no policy.

    Raises:
        ConfigurationError: the file cannot be read or is not understood. The text names it.
    """
    if path is None:
        return AccessPolicy()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read the access policy {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the access policy {path} is not UTF-8") from error
    try:
        policy = parse_access_policy(text).over(tls=tls)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not policy.rules:
        about = "clients over TLS: state their identity" if tls else 'clients without TLS: write identity = ""'
        raise ConfigurationError(f"{path}: no rule is about {about}; as it is, nobody could have anything")
    return policy
