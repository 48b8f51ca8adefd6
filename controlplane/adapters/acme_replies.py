"""From a CA's JSON to the port's values.

Replies are read by hand, not by `acme.messages`: that raises on statuses that it does not know (`expired`), and keeps neither Retry-After
nor the problem of a 409. Whatever has not the shape of RFC 8555 is not ACME: `AcmeUnreachable` with the status of a reply that came whole.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.core.ports import AcmeProblem, AcmeUnreachable, RemoteAuthorization, RemoteOrder, RenewalInfo

_LONGEST_RETRY_AFTER = 7 * 24 * 3600.0
_DEEPEST_SUBPROBLEMS = 1
_OK = 200
# RFC 8555 section 8.3: base64url, at least 128 bits. What a CA sends becomes part of a key in the store.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,512}")
# What is shown to people as a link; no spaces, nothing that breaks a line.
_PAGE = re.compile(r"https?://[!-~]{1,500}")
_TERMS = re.compile(r"""<([^>]*)>\s*(?:;[^,]*?)?;\s*rel\s*=\s*"?terms-of-service"?""", re.IGNORECASE)


def retry_after(value: str | None, now: datetime, date: str | None = None) -> float | None:
    """Returns the seconds of a Retry-After header (RFC 9110 section 10.2.3: seconds or an HTTP date), a week at most.

    None when there is none, or none that can be read.

    Args:
        value: the header.
        now: by our clock.
        date: the reply's Date header: a date is one by the CA's clock, so it is compared with that where it is known.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    until = _http_date(text)
    if until is None:
        return None
    sent = (_http_date(date) if date else None) or now
    return min(max((until - sent).total_seconds(), 0.0), _LONGEST_RETRY_AFTER)


def parse_json(body: bytes, what: str, status: int = _OK, wait: float | None = None) -> Mapping[str, Any]:
    """Returns a JSON object; `status` and `wait` are of the reply, for the error."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AcmeUnreachable(f"the reply to {what} is not JSON", sent=True, status=status, retry_after=wait) from error
    if not isinstance(parsed, dict):
        raise AcmeUnreachable(f"the reply to {what} is not a JSON object", sent=True, status=status, retry_after=wait)
    return parsed


def problem_of(document: Mapping[str, Any], status: int = 0, wait: float | None = None, *, links: str = "", depth: int = 0) -> AcmeProblem:
    """Returns a problem document (RFC 7807; subproblems by RFC 8555 section 6.7.1).

    `links` is the reply's Link header: where the document names no page for people, new terms of service may be linked there
    (section 7.3.3).
    """
    listed = document.get("subproblems")
    subproblems = []
    if isinstance(listed, list) and depth < _DEEPEST_SUBPROBLEMS:
        for sub in listed:
            if isinstance(sub, dict):
                identifier = sub.get("identifier")
                name = _text(identifier, "value") if isinstance(identifier, dict) else ""
                subproblems.append((name, problem_of(sub, depth=depth + 1)))
    return AcmeProblem(
        type=_text(document, "type") or "about:blank",
        detail=_text(document, "detail") or _text(document, "title"),
        status=status,
        retry_after=wait,
        subproblems=tuple(subproblems),
        instance=_page(_text(document, "instance")) or _page(terms.group(1) if (terms := _TERMS.search(links)) else ""),
    )


def order_of(url: str, body: bytes, wait: float | None) -> RemoteOrder:
    """Returns an order (RFC 8555 section 7.1.3); `url` may be empty where the CA does not repeat it."""
    document = parse_json(body, "an order")
    authorizations = document.get("authorizations")
    if not (_text(document, "status") and _text(document, "finalize") and isinstance(authorizations, list)):
        raise AcmeUnreachable("the reply is not an order", sent=True, status=_OK)
    error = document.get("error")
    return RemoteOrder(
        url=url,
        status=_text(document, "status"),
        finalize_url=_text(document, "finalize"),
        authorization_urls=tuple(str(each) for each in authorizations),
        certificate_url=_text(document, "certificate"),
        expire_time=_time(_text(document, "expires")),
        error=problem_of(error) if isinstance(error, dict) else None,
        retry_after=wait,
    )


def authorization_of(url: str, body: bytes) -> RemoteAuthorization:
    """Returns an authorization (RFC 8555 section 7.1.4) with its HTTP-01 challenge, or with the error of whichever challenge failed."""
    document = parse_json(body, "an authorization")
    identifier, challenges = document.get("identifier"), document.get("challenges")
    if not (_text(document, "status") and isinstance(identifier, dict) and isinstance(challenges, list)):
        raise AcmeUnreachable("the reply is not an authorization", sent=True, status=_OK)
    offered = [each for each in challenges if isinstance(each, dict)]
    http: Mapping[str, Any] = next((each for each in offered if each.get("type") == "http-01"), {})
    token = _text(http, "token")
    if token and not _TOKEN.fullmatch(token):
        raise AcmeUnreachable("the CA sent a token that is not one", sent=True, status=_OK)
    error = next((each["error"] for each in (http, *offered) if isinstance(each.get("error"), dict)), None)
    return RemoteAuthorization(
        url=url,
        name=_text(identifier, "value"),
        status=_text(document, "status"),
        challenge_status=_text(http, "status"),
        challenge_url=_text(http, "url"),
        token=token,
        error=None if error is None else problem_of(error),
    )


def renewal_info_of(body: bytes, wait: float | None) -> RenewalInfo:
    """Returns a renewal window (RFC 9773 section 4.2)."""
    document = parse_json(body, "renewalInfo")
    window = document.get("suggestedWindow")
    start = _time(_text(window, "start")) if isinstance(window, dict) else None
    end = _time(_text(window, "end")) if isinstance(window, dict) else None
    if start is None or end is None:
        raise AcmeUnreachable("the reply is not a renewal window", sent=True, status=_OK)
    return RenewalInfo(start, end, _text(document, "explanationURL"), wait)


def chain_of(body: bytes) -> tuple[bytes, ...]:
    """Returns the DER certificates of a PEM chain (RFC 8555 section 9.1)."""
    try:
        chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(body))
    except ValueError as error:
        raise AcmeUnreachable("the reply to a download is not a PEM chain", sent=True, status=_OK) from error
    if not chain:
        raise AcmeUnreachable("the reply to a download is an empty chain", sent=True, status=_OK)
    return chain


def _page(url: str) -> str:
    return url if _PAGE.fullmatch(url) else ""


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _time(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
