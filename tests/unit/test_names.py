"""DNS names at the edge: what is accepted, what is refused, and what the refusal says."""

import subprocess
import sys

import pytest

from controlplane.core.errors import InvalidArgument
from controlplane.core.names import (
    DomainName,
    domain_resource_name,
    parse_additional_names,
    parse_domain_name,
    parse_domain_resource,
    registered_domain,
    special_use_suffix,
)

GOOD = [
    ("shop.example.com", "shop.example.com"),
    ("example.com", "example.com"),
    ("Shop.Example.COM", "shop.example.com"),
    ("shop.example.com.", "shop.example.com"),
    ("SHOP.EXAMPLE.COM.", "shop.example.com"),
    ("a.b.c.d.e.f.example.org", "a.b.c.d.e.f.example.org"),
    ("shop.test", "shop.test"),
    ("www.shop.test", "www.shop.test"),
    ("dealer.example", "dealer.example"),
    ("3com.com", "3com.com"),
    ("1.2.3.com", "1.2.3.com"),
    ("a-b-c.com", "a-b-c.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    ("faß.de", "xn--fa-hia.de"),
    ("βόλος.com", "xn--nxasmm1c.com"),
    ("例え.jp", "xn--r8jz45g.jp"),
    ("例え。jp", "xn--r8jz45g.jp"),
    ("ｓｈｏｐ．example．com", "shop.example.com"),
    ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
    ("shop.co.uk", "shop.co.uk"),
    ("user.github.io", "user.github.io"),
    ("www.ck", "www.ck"),
    ("shop.unheard-of-tld", "shop.unheard-of-tld"),
    ("a" * 63 + ".com", "a" * 63 + ".com"),
]

BAD = [
    ("", "is empty; send a fully qualified DNS name"),
    (".", "is the DNS root"),
    (" ", "white space around"),
    (" shop.example.com", "white space around"),
    ("shop.example.com ", "white space around"),
    ("shop.example.com\n", "white space around"),
    ("\u3000shop.example.com", "white space around"),
    ("shop. example.com", "contains white space"),
    ("shop.example.com\t.x", "contains white space"),
    ("shop\x00.example.com", "invisible character U+0000"),
    ("shop\x7f.example.com", "invisible character U+007F"),
    ("shop\u200b.example.com", "invisible character U+200B"),
    ("shop\u202e.example.com", "invisible character U+202E"),
    ("shop\u00ad.example.com", "invisible character U+00AD"),
    ("\ufeffshop.example.com", "invisible character U+FEFF"),
    ("shop\ud800.example.com", "invisible character U+D800"),
    ("localhost", "special-use name (.localhost)"),
    ("shop.localhost", "special-use name (.localhost)"),
    ("printer.local", "special-use name (.local)"),
    ("x.onion", "special-use name (.onion)"),
    ("1.0.0.127.in-addr.arpa", "special-use name (.arpa)"),
    ("db.internal", "special-use name (.internal)"),
    ("no-sni.invalid", "special-use name (.invalid)"),
    ("name.alt", "special-use name (.alt)"),
    ("router.home", "special-use name (.home)"),
    ("shop", "has a single label"),
    ("com", "has a single label"),
    ("test", "has a single label"),
    ("co.uk", "is a public suffix"),
    ("CO.UK.", "is a public suffix"),
    ("github.io", "is a public suffix"),
    ("anything.kawasaki.jp", "is a public suffix"),
    ("公司.cn", "is a public suffix"),
    ("xn--55qx5d.cn", "send a name below it, such as shop.xn--55qx5d.cn"),
    ("*.example.com", "is a wildcard"),
    ("*", "is a wildcard"),
    ("shop.*.com", "is a wildcard"),
    ("＊.example.com", "is a wildcard"),
    ("_acme-challenge.example.com", "contains an underscore"),
    ("my_shop.example.com", "contains an underscore"),
    ("my＿shop.example.com", "contains an underscore"),
    ("192.0.2.1", "is an IP address"),
    ("192.0.2.1.", "is an IP address"),
    ("１９２.0.2.1", "is an IP address"),
    ("2001:db8::1", "is an IP address"),
    ("[2001:db8::1]", "is an IP address"),
    ("[::1]:443", "is an IP address"),
    ("[not.an.address]", "is an IP address"),
    ("fe80::1%eth0", "is an IP address"),
    ("2130706433", "ends in the number 2130706433"),
    ("0x7f000001", "ends in the number 0x7f000001"),
    ("0x7f.1", "ends in the number 1"),
    ("127.0.0.0x1", "ends in the number 0x1"),
    ("1.2.3", "ends in the number 3"),
    ("shop.example.123", "ends in the number 123"),
    ("http://shop.example.com", "is a URL; send the host name alone"),
    ("https://shop.example.com/", "is a URL; send the host name alone"),
    ("//shop.example.com", "is a URL; send the host name alone"),
    ("shop.example.com/", "contains a path"),
    ("shop.example.com/cart", "contains a path"),
    ("shop.example.com?x=1", "contains a path"),
    ("shop.example.com#top", "contains a path"),
    ("shop.example.com\\cart", "contains a path"),
    ("shop.example.com／cart", "contains a path"),
    ("shop.example.com:443", "without a port"),
    ("shop.example.com：443", "without a port"),
    ("user@example.com", "contains @"),
    ("user:secret@example.com", "contains @"),
    ("a.example.com,b.example.com", "one name a field"),
    ("shop%2eexample.com", "not valid under IDNA 2008"),
    ("shop!.example.com", "not valid under IDNA 2008"),
    ("shop'.example.com", "not valid under IDNA 2008"),
    ("☃.example.com", "not valid under IDNA 2008"),
    ("😀.example.com", "not valid under IDNA 2008"),
    ("a\u200cb.com", "not valid under IDNA 2008"),
    ("\u0301a.com", "not valid under IDNA 2008"),
    ("שa.com", "not valid under IDNA 2008"),
    ("xn--a.com", "not valid under IDNA 2008"),
    ("xn---bbk.com", "not valid under IDNA 2008"),
    ("xn--bücher.example", "not valid under IDNA 2008"),
    ("xn--99999999.com", "not valid under IDNA 2008"),
    ("xn--.com", "starts or ends with a hyphen"),
    ("ab--cd.com", "two hyphens in the third and fourth place"),
    ("-shop.example.com", "starts or ends with a hyphen"),
    ("shop-.example.com", "starts or ends with a hyphen"),
    ("-.example.com", "starts or ends with a hyphen"),
    ("..", "empty label"),
    (".shop.example.com", "empty label"),
    ("shop..example.com", "empty label"),
    ("shop.example.com..", "empty label"),
    ("a" * 64 + ".com", "more than 63 characters"),
    ("ü" * 60 + ".com", "more than 63 characters"),
    ("a." * 125 + "com.x", "is 255 characters long"),
    ("x" * 1025, "is 1025 characters long"),
]


@pytest.mark.parametrize(("text", "canonical"), GOOD)
def test_good_name(text: str, canonical: str) -> None:
    """An acceptable name becomes its canonical form: A-labels, lower case, no trailing dot."""
    assert DomainName(canonical) == parse_domain_name(text, field="domain_id")


@pytest.mark.parametrize(("text", "canonical"), GOOD)
def test_canonical_form_stays(text: str, canonical: str) -> None:
    """The canonical form is its own canonical form."""
    assert canonical == parse_domain_name(parse_domain_name(text, field="f").value, field="f").value


@pytest.mark.parametrize(("text", "words"), BAD)
def test_bad_name(text: str, words: str) -> None:
    """A name that cannot get a certificate is refused once, at its field, with what is wrong."""
    with pytest.raises(InvalidArgument) as refused:
        parse_domain_name(text, field="domain_id")
    (violation,) = refused.value.violations
    assert violation.field == "domain_id"
    assert words in violation.description


@pytest.mark.parametrize(("length", "accepted"), [(252, True), (253, True), (254, False)])
def test_longest_name(length: int, accepted: bool) -> None:
    """253 characters are the most that a name may have; the trailing dot does not count."""
    labels = "a" * 49 + "." + "b" * 49 + "." + "c" * 49 + "." + "d" * 49 + "."
    name = labels + "e" * (length - len(labels) - 4) + ".com"
    assert length == len(name)
    if accepted:
        assert name == parse_domain_name(name + ".", field="f").value
    else:
        with pytest.raises(InvalidArgument, match="254 characters long"):
            parse_domain_name(name, field="f")


def test_message_says_what_to_do() -> None:
    """The refusal of a public suffix gives the reason and the remedy in one sentence."""
    with pytest.raises(InvalidArgument) as refused:
        parse_domain_name("co.uk", field="domain_id")
    expected = "domain_id: is a public suffix: other people's names lie below co.uk; send a name below it, such as shop.co.uk"
    assert expected == str(refused.value)


def test_message_is_bounded() -> None:
    """A refusal does not repeat an endless input."""
    with pytest.raises(InvalidArgument) as refused:
        parse_domain_name("☃" * 1000 + ".com", field="f")
    assert len(str(refused.value)) < 400


OWN = DomainName("shop.example.com")


def test_additional_names_keep_their_order() -> None:
    """Additional names come back canonical, in the order of the request."""
    names = parse_additional_names(["WWW.shop.example.com", "api.shop.example.com."], own=OWN)
    assert (DomainName("www.shop.example.com"), DomainName("api.shop.example.com")) == names


def test_no_additional_names() -> None:
    """A domain may have no additional name."""
    assert parse_additional_names([], own=OWN) == ()


def test_additional_names_report_every_violation() -> None:
    """Every bad entry is reported at its own index: no name, a repetition in another spelling, and the own name."""
    texts = ["www.shop.example.com", "*.example.com", "WWW.shop.example.com.", "Shop.example.com"]
    with pytest.raises(InvalidArgument) as refused:
        parse_additional_names(texts, own=OWN)
    fields = [violation.field for violation in refused.value.violations]
    assert fields == ["domain.additional_names[1]", "domain.additional_names[2]", "domain.additional_names[3]"]
    assert "is there already, at index 0" in refused.value.violations[1].description
    assert "is the domain's own name" in refused.value.violations[2].description


@pytest.mark.parametrize(("count", "accepted"), [(24, True), (25, False)])
def test_number_of_additional_names(count: int, accepted: bool) -> None:
    """24 additional names are the most."""
    texts = [f"n{index}.example.com" for index in range(count)]
    if accepted:
        assert count == len(parse_additional_names(texts, own=OWN))
    else:
        with pytest.raises(InvalidArgument, match="send at most 24"):
            parse_additional_names(texts, own=OWN)


def test_resource_name_round_trip() -> None:
    """A resource name is `domains/` and the canonical name, and is read back in any spelling of the name."""
    assert domain_resource_name(OWN) == "domains/shop.example.com"
    assert parse_domain_resource("domains/Shop.Example.com", field="name") == OWN


@pytest.mark.parametrize("text", ["", "shop.example.com", "domain/shop.example.com", "Domains/shop.example.com", "domains"])
def test_no_resource_name(text: str) -> None:
    """A text without the collection is refused with the pattern of the resource name."""
    with pytest.raises(InvalidArgument, match=r"send domains/\{fqdn\}"):
        parse_domain_resource(text, field="name")


@pytest.mark.parametrize("text", ["domains/", "domains/co.uk", "domains/a.com/b", "domains/domains/a.com"])
def test_resource_name_with_a_bad_domain(text: str) -> None:
    """The name in a resource name is judged like any other."""
    with pytest.raises(InvalidArgument) as refused:
        parse_domain_resource(text, field="name")
    assert refused.value.violations[0].field == "name"


@pytest.mark.parametrize(
    ("name", "registered"),
    [("a.b.shop.co.uk", "shop.co.uk"), ("a.user.github.io", "user.github.io"), ("a.b.test", "b.test"), ("example.com", "example.com")],
)
def test_registered_domain(name: str, registered: str) -> None:
    """The registered domain is the public suffix with one label more."""
    assert registered == registered_domain(DomainName(name))


@pytest.mark.parametrize(("name", "suffix"), [("a.local", "local"), ("localhost", "localhost"), ("local.com", ""), ("a.test", "")])
def test_special_use_suffix(name: str, suffix: str) -> None:
    """Only the top-level label makes a name special."""
    assert suffix == special_use_suffix(name)


def test_memory_of_the_public_suffix_list() -> None:
    """Parsing names costs a process less than 16 MB of resident memory, list and IDNA tables included."""
    script = """
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident()
from controlplane.core.names import parse_domain_name
parse_domain_name("bücher.example", field="f")
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60)
    assert int(done.stdout) < 16 * 1024
