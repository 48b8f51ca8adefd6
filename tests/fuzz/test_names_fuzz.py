"""Any text as a DNS name: refused with one kind of error, or made canonical once and for all."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.core.errors import InvalidArgument
from controlplane.core.names import parse_domain_name

LDH = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

any_text = st.text(st.characters(codec=None, exclude_categories=()))
labels = (
    st.text(st.sampled_from("abcxyz019-_.*üßſİ例\u200c\u200d\u0300אا１．。"))
    | st.from_regex(r"xn--[a-z0-9-]{0,20}", fullmatch=True)
    | any_text
)
near_names = st.lists(labels, max_size=6).map(".".join) | st.tuples(labels, st.sampled_from(["com", "co.uk", "test", "jp."])).map(".".join)


@given(any_text | near_names)
@example("xn--0000h.com")
@example("\u2488com.test")
@example("ǆ.test")
@example("a\u0345.test")
def test_any_text_is_refused_or_canonical(text: str) -> None:
    """No text raises anything but InvalidArgument; what is accepted is LDH, of legal length, and stays as it is when parsed again."""
    try:
        name = parse_domain_name(text, field="f")
    except InvalidArgument as refused:
        (violation,) = refused.violations
        assert violation.field == "f"
        assert 0 < len(violation.description) < 500
        return
    assert LDH.fullmatch(name.value)
    assert len(name.value) <= 253
    assert name == parse_domain_name(name.value, field="f")
    assert name == parse_domain_name(name.value.upper() + ".", field="f")
