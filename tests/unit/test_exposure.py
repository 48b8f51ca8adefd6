"""What may cross which wire in the clear."""

import pytest

from controlplane.core.errors import ConfigurationError
from controlplane.core.exposure import ListenerAddress, check_listener, check_redis_url, is_loopback, parse_listener

LOCAL = ["127.0.0.1:18000", "127.8.9.10:0", "[::1]:18000", "[::ffff:127.0.0.1]:1", "localhost:18000", "LOCALHOST:1", "unix:/run/xds.sock"]
EXPOSED = [
    "0.0.0.0:18000",
    ":18000",
    "[::]:18000",
    "10.0.0.7:18000",
    "[2001:db8::1]:18000",
    "[::ffff:10.0.0.7]:1",
    "serve.example.com:18000",
    "localhost.example.com:1",
    "127.0.0.1.example.com:1",
    "127.1:18000",
    "*:18000",
]


@pytest.mark.parametrize("address", LOCAL)
def test_a_local_listener_may_be_plaintext(address: str) -> None:
    """Loopback addresses and unix sockets need no TLS, and may have it."""
    check_listener(address, tls=False)
    check_listener(address, tls=True)


@pytest.mark.parametrize("address", EXPOSED)
def test_an_exposed_listener_needs_tls(address: str) -> None:
    """Every other address is refused in the clear, with the way to have TLS; with TLS it is taken."""
    check_listener(address, tls=True)
    with pytest.raises(ConfigurationError, match="--tls-client-ca") as caught:
        check_listener(address, tls=False)
    assert "certplane pki init" in str(caught.value)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "18000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:18000", "unix:", "unix:a.sock"]
)
def test_an_address_that_is_not_one_is_refused(address: str) -> None:
    """A mistyped address is refused with the forms that are understood, never guessed at."""
    with pytest.raises(ConfigurationError, match=r"HOST:PORT, \[IPV6\]:PORT or unix:/PATH"):
        check_listener(address, tls=False)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:18000", ListenerAddress("127.0.0.1", 18000)),
        ("[::1]:0", ListenerAddress("::1", 0)),
        (":443", ListenerAddress("", 443)),
        ("unix:/run/a:b.sock", ListenerAddress("", 0, "/run/a:b.sock")),
        ("unix:///run/xds.sock", ListenerAddress("", 0, "/run/xds.sock")),
    ],
)
def test_an_address_is_taken_apart(address: str, expected: ListenerAddress) -> None:
    """Host, port and path come out as written, without brackets."""
    assert expected == parse_listener(address)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("", False), ("::", False), ("127.0.0.1 ", False)]
)
def test_loopback_is_a_literal_or_localhost(host: str, expected: bool) -> None:
    """Nothing is resolved: a name is not loopback, except `localhost`."""
    assert expected is is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379",
        "redis://localhost",
        "redis://",
        "redis:///3",
        "redis://:hunter2@127.0.0.1:6379",
        "redis+sentinel://127.0.0.1:26379,localhost:26380/mymaster",
        "unix:///run/valkey.sock?db=1",
        "rediss://store.example.com:6380/0",
        "rediss://:hunter2@10.0.0.7?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "rediss://127.0.0.1?ssl_cert_reqs=none",
    ],
)
def test_a_safe_redis_url_is_taken(url: str) -> None:
    """The store may be local in any way, or anywhere over verified TLS."""
    check_redis_url(url, insecure=False)


@pytest.mark.parametrize(
    "url",
    [
        "redis://store.example.com:6379",
        "redis://10.0.0.7",
        "redis://:hunter2@10.0.0.7:6379/0",
        "redis://127.0.0.1@10.0.0.7",
        "redis:///0?host=10.0.0.7",
        "redis://%31%30.0.0.7:6379",
        "redis+sentinel://127.0.0.1:26379,10.0.0.7:26379/mymaster",
        "rediss://10.0.0.7?ssl_cert_reqs=none",
        "rediss://10.0.0.7?ssl_cert_reqs=optional",
        "rediss://10.0.0.7?ssl_check_hostname=False",
    ],
)
def test_an_exposed_redis_url_needs_an_explicit_word(url: str) -> None:
    """A store over the network in the clear, or unverified, is refused unless the operator says --redis-insecure."""
    check_redis_url(url, insecure=True)
    with pytest.raises(ConfigurationError, match="--redis-insecure") as caught:
        check_redis_url(url, insecure=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "10.0.0.7:6379", "http://10.0.0.7", "redis://[::1:6379", "memcached://:hunter2@127.0.0.1"])
@pytest.mark.parametrize("insecure", [False, True])
def test_what_is_no_redis_url_is_refused(url: str, insecure: bool) -> None:
    """Another scheme is refused in any case, and the text does not repeat a password."""
    with pytest.raises(ConfigurationError, match="Redis URL is not understood") as caught:
        check_redis_url(url, insecure=insecure)
    assert "hunter2" not in str(caught.value)
