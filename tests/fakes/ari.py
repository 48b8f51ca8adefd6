"""Certificates and a CA for renewal windows (RFC 9773)."""

import base64
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controlplane.core.certificate import CertificateRecord
from controlplane.core.ports import RenewalInfo
from tests.fakes import samples

# RFC 9773 appendix A, and its identifier by section 4.1.
EXAMPLE_LEAF = base64.b64decode(
    "MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt"
    "cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS"
    "BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu"
    "7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf"
    "qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B"
    "yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb"
    "+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK"
)
EXAMPLE_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"

DIRECTORY = "https://ca.example/dir"
ACCOUNT = "https://ca.example/acct/1"
_SAMPLE = samples.certificate("shop.example.com")


def certificate(
    issue_time: datetime, lifetime: timedelta = timedelta(days=90), *, id: str = "first", leaf: bytes = EXAMPLE_LEAF
) -> CertificateRecord:
    """A certificate of `DIRECTORY` that was dated back by an hour, as CAs do."""
    start = issue_time - timedelta(hours=1)
    return replace(
        _SAMPLE,
        id=id,
        leaf=leaf,
        not_before=start,
        not_after=start + lifetime,
        issue_time=issue_time,
        directory_url=DIRECTORY,
        account_url=ACCOUNT,
    )


@dataclass(slots=True)
class RenewalInfoCa:
    """A `CertificateAuthority` as far as renewal windows go: it answers, or raises, what `script` says, in order; the last repeats."""

    script: list[RenewalInfo | Exception | None]
    directory_url: str = DIRECTORY
    asked: list[str] = field(default_factory=list)

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """See `CertificateAuthority.renewal_info`."""
        self.asked.append(certificate_id)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
