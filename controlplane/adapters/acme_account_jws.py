"""The JWS inside a JWS that two requests about accounts have (RFC 8555 sections 7.3.4 and 7.3.5)."""

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from josepy.json_util import encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK

from controlplane.core.external_account import ExternalAccount, MacAlgorithm

_DIGESTS = {MacAlgorithm.HS256: "sha256", MacAlgorithm.HS384: "sha384", MacAlgorithm.HS512: "sha512"}


def key_change(account_url: str, account_key: JWK, successor: JWK, url: str) -> Mapping[str, Any]:
    """Returns the payload of keyChange: the new key says that it is to take the account key's place (RFC 8555 section 7.3.5).

    Args:
        account_url: of the account.
        account_key: the one that the CA has.
        successor: the one that it is to have; P-256. It signs.
        url: of keyChange, which is the URL of the outer request too.
    """
    content = {"account": account_url, "oldKey": account_key.public_key().to_json()}
    header = {"alg": ES256.name, "jwk": successor.public_key().to_json(), "url": url}
    return _flattened(header, content, lambda signed: ES256.sign(successor.key, signed))


def external_account_binding(external: ExternalAccount, account_key: JWK, url: str) -> Mapping[str, Any]:
    """Returns the field `externalAccountBinding` of newAccount: the CA's MAC key vouches for the account key (RFC 8555 section 7.3.4).

    `url` is that of newAccount.
    """
    header = {"alg": str(external.algorithm), "kid": external.key_id, "url": url}
    digest = _DIGESTS[external.algorithm]
    return _flattened(header, account_key.public_key().to_json(), lambda signed: hmac.digest(external.mac_key.reveal(), signed, digest))


def _flattened(header: Mapping[str, Any], content: Any, sign: Callable[[bytes], bytes]) -> Mapping[str, Any]:
    """Returns a flattened JWS (RFC 7515 section 7.2.2). It has no nonce: the outer one has."""
    protected, payload = encode_b64jose(json.dumps(header).encode()), encode_b64jose(json.dumps(content).encode())
    return {"protected": protected, "payload": payload, "signature": encode_b64jose(sign(f"{protected}.{payload}".encode()))}
