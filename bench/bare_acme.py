"""What the least possible program needs for a certificate: the `acme` package's client, the steps of an order by hand, and nothing stored.

Its Pebble is a second one, started the same way, whose validation connects to a responder that only looks a token up in a dictionary.
So no part of Certplane or Envoy is in its way, and no wait but the CA's.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from acme import challenges, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from bench.installation import PEBBLE_ENVIRONMENT
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.embedded.pebble import Pebble, PebblePorts

_PAUSE_SECONDS = 0.01
_DEADLINE_SECONDS = 30.0
_PATH = b"/.well-known/acme-challenge/"


class BareClient:
    """Blocking: call its methods in a thread, beside the event loop that answers the CA."""

    def __init__(self, directory_url: str, ca_bundle: Path, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        network = ClientNetwork(key, alg=ES256, verify_ssl=str(ca_bundle), user_agent="bench")
        # As Certplane's client: nothing from the environment, which `requests` would read anew at each request.
        network.session.trust_env = False
        self._key = key
        self._client = ClientV2(ClientV2.get_directory(directory_url, network), network)
        self._client.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))

    def order(self, name: str) -> float:
        """Gets a certificate, from making its key to the downloaded chain; returns seconds."""
        begun = time.perf_counter()
        order = self._answered_order(name)
        self._wait(order.uri, messages.STATUS_READY)
        self._client.begin_finalization(order)
        body = self._wait(order.uri, messages.STATUS_VALID)
        chain = self._post_as_get(body.certificate).text
        seconds = time.perf_counter() - begun
        _check(chain, name)
        return seconds

    def stock_order(self, name: str) -> float:
        """The same with the package's own `poll_and_finalize`; returns seconds."""
        begun = time.perf_counter()
        chain = self._client.poll_and_finalize(self._answered_order(name)).fullchain_pem
        seconds = time.perf_counter() - begun
        _check(chain, name)
        return seconds

    def _answered_order(self, name: str) -> messages.OrderResource:
        csr = x509.load_der_x509_csr(make_leaf_key((name,)).csr)
        order = self._client.new_order(csr.public_bytes(Encoding.PEM))
        for authorization in order.authorizations:
            challenge = next(each for each in authorization.body.challenges if isinstance(each.chall, challenges.HTTP01))
            response, body = challenge.response_and_validation(self._key)
            self._answers[challenge.chall.encode("token").encode()] = body.encode()
            self._client.answer_challenge(challenge, response)
        return order

    def _wait(self, order_url: str, status: messages.Status) -> messages.Order:
        """Reads the order at once and then every ten milliseconds, until it has `status`."""
        end = time.monotonic() + _DEADLINE_SECONDS
        while time.monotonic() < end:
            body = messages.Order.from_json(self._post_as_get(order_url).json())
            if body.status == status:
                return body
            if body.status == messages.STATUS_INVALID:
                raise AssertionError(f"the order {order_url} became invalid: {body.error}")
            time.sleep(_PAUSE_SECONDS)
        raise TimeoutError(f"the order {order_url} did not become {status} in time")

    def _post_as_get(self, url: str):
        return self._client.net.post(url, None, new_nonce_url=self._client.directory["newNonce"])


@contextlib.asynccontextmanager
async def bare_client(directory: Path) -> AsyncIterator[BareClient]:
    """Starts the second Pebble and the responder, and makes an account."""
    async with bare_clients(directory, 1) as clients:
        yield clients[0]


@contextlib.asynccontextmanager
async def bare_clients(directory: Path, count: int) -> AsyncIterator[Sequence[BareClient]]:
    """The same for several clients, each with an account and connections of its own: one may be used by one thread at a time."""
    answers: dict[bytes, bytes] = {}
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(_responder(answers), "127.0.0.1", 0)
        stack.callback(server.close)
        directory.mkdir()
        ports = PebblePorts.free(http=server.sockets[0].getsockname()[1])
        pebble = await stack.enter_async_context(Pebble(directory, ports, env=PEBBLE_ENVIRONMENT))
        made = [asyncio.to_thread(BareClient, pebble.directory_url, pebble.ca_bundle, answers) for _ in range(count)]
        yield await asyncio.gather(*made)


def _responder(answers: dict[bytes, bytes]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                body = answers[path.removeprefix(_PATH)]
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        finally:
            writer.close()

    return serve


def _check(chain_pem: str, name: str) -> None:
    leaf = x509.load_pem_x509_certificates(chain_pem.encode())[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    if found != [name]:
        raise AssertionError(f"a certificate for {found} was issued, not for {name}")
