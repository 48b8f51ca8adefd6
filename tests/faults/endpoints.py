"""Which ACME resource (RFC 8555 section 7.1) a request to Pebble asks for, by its path."""

from enum import StrEnum


class Endpoint(StrEnum):
    """The resources, by the names of the directory's fields and of the objects."""

    DIRECTORY = "directory"
    NEW_NONCE = "newNonce"
    NEW_ACCOUNT = "newAccount"
    ACCOUNT = "account"
    NEW_ORDER = "newOrder"
    ORDER = "order"
    AUTHORIZATION = "authorization"
    CHALLENGE = "challenge"
    FINALIZE = "finalize"
    CERTIFICATE = "certificate"
    RENEWAL_INFO = "renewalInfo"
    REVOKE_CERT = "revokeCert"
    KEY_CHANGE = "keyChange"
    OTHER = "other"


RENEWAL_INFO_PATH = "/renewal-info"
NEW_NONCE_PATH = "/nonce-plz"

_WHOLE = {
    "/dir": Endpoint.DIRECTORY,
    NEW_NONCE_PATH: Endpoint.NEW_NONCE,
    "/sign-me-up": Endpoint.NEW_ACCOUNT,
    "/order-plz": Endpoint.NEW_ORDER,
    "/revoke-cert": Endpoint.REVOKE_CERT,
    "/rollover-account-key": Endpoint.KEY_CHANGE,
}
_FIRST_PART = {
    "my-account": Endpoint.ACCOUNT,
    "my-order": Endpoint.ORDER,
    "authZ": Endpoint.AUTHORIZATION,
    "chalZ": Endpoint.CHALLENGE,
    "finalize-order": Endpoint.FINALIZE,
    "certZ": Endpoint.CERTIFICATE,
    RENEWAL_INFO_PATH.removeprefix("/"): Endpoint.RENEWAL_INFO,
}


def classify(path: str) -> Endpoint:
    """Returns the resource that Pebble (or the proxy, for renewalInfo) has at a path."""
    return _WHOLE.get(path) or _FIRST_PART.get(path.split("/")[1] if path.startswith("/") else "", Endpoint.OTHER)
