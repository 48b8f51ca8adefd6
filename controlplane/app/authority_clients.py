"""An ACME client from the settings of a CA."""

from collections.abc import Awaitable, Callable

from controlplane.adapters.acme_account_requests import Pace
from controlplane.adapters.acme_client import AcmeClient, free, no_wait
from controlplane.adapters.mac_key_file import read_external_account
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.ports import AccountStore, Clock, Opener, Sealer


def acme_client(
    settings: AuthoritySettings,
    *,
    accounts: AccountStore,
    sealer: Sealer,
    opener: Opener,
    clock: Clock,
    pace: Pace = no_wait,
    allow_registration: Callable[[], Awaitable[None]] = free,
) -> AcmeClient:
    """Returns a client; see `AcmeClient` for the arguments.

    Raises:
        ConfigurationError: the MAC key of the external account cannot be read, or is open to others.
    """
    external = settings.external_account
    return AcmeClient(
        settings.directory_url,
        accounts=accounts,
        sealer=sealer,
        opener=opener,
        clock=clock,
        ca_bundle=str(settings.ca_bundle) if settings.ca_bundle else None,
        contact=settings.contact,
        external_account=read_external_account(external.key_id, external.key_file, external.algorithm) if external else None,
        pace=pace,
        allow_registration=allow_registration,
    )
