"""A pre-flight that answers from a table, after it has looked whether its probe is planted."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.core.caa import Issuer
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports import PreflightVerdict
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.core.preflight import CAA_FORBIDS, PROBLEM_TYPE
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import utc_now


def failing(name: str, *, conclusive: bool = True) -> PreflightVerdict:
    """A verdict that a name fails, for its customer to mend; or that a check of it told nothing."""
    kind, actor = ("connection-refused", Actor.CUSTOMER) if conclusive else ("timeout", Actor.NOBODY)
    problem = Problem(f"urn:certplane:error:preflight:{kind}", f"{name} does not answer", actor, utc_now(), name)
    return PreflightVerdict(DomainName(name), problem, conclusive)


def forbidding(name: str, account_url: str) -> PreflightVerdict:
    """A verdict that CAA forbids a CA to issue for a name."""
    detail = f"{name} may not get a certificate from {account_url}"
    return PreflightVerdict(DomainName(name), Problem(PROBLEM_TYPE + CAA_FORBIDS, detail, Actor.CUSTOMER, utc_now(), name), conclusive=True)


@dataclass(slots=True)
class TablePreflight:
    """`Preflight` from a table; names that are not in it pass, unless `caa` has other issuers for them, by account URL.

    `checked` and `asked` remember names, and patience and issuer; a check ends when `hold`, if there is one, is set.
    """

    tokens: InMemoryTokens
    verdicts: dict[str, PreflightVerdict] = field(default_factory=dict)
    caa: dict[str, set[str]] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    asked: list[tuple[timedelta, Issuer | None]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    broken: Exception | None = None

    async def check(
        self,
        name: DomainName,
        token: str,
        expected_body: bytes,
        *,
        patience: timedelta = FULL_PATIENCE,
        issuer: Issuer | None = None,
    ) -> PreflightVerdict:
        """See `Preflight.check`."""
        self.checked.append(name.value)
        self.asked.append((patience, issuer))
        if self.hold is not None:
            await self.hold.wait()
        if self.broken is not None:
            raise self.broken
        record = await self.tokens.find(token)
        assert record is not None
        assert expected_body == record.key_authorization.reveal()
        assert name.value in record.names
        allowed = self.caa.get(name.value)
        if allowed is not None and issuer is not None and issuer.account_url not in allowed:
            return forbidding(name.value, issuer.account_url)
        return self.verdicts.get(name.value, PreflightVerdict(name, None, True))
