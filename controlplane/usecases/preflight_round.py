"""One pre-flight of all names of a domain, with a probe token planted for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from controlplane.core.caa import Issuer
from controlplane.core.names import DomainName
from controlplane.core.ports import Clock, Preflight, PreflightVerdict, TokenRecord, TokenStore
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.concurrently import all_of

# Longer than a check may take; a probe whose worker dies answers nobody for long.
_PROBE_LIFETIME = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CheckedNames:
    """A verdict for each name, in order, and the probe token that is still to be withdrawn."""

    verdicts: tuple[PreflightVerdict, ...]
    probe_token: str


class PreflightRound:
    """Plants and checks; withdraws when asked to, so that nobody need wait for that."""

    def __init__(self, tokens: TokenStore, preflight: Preflight, clock: Clock, make_token: Callable[[], str]) -> None:
        self._tokens = tokens
        self._preflight = preflight
        self._clock = clock
        self._make_token = make_token

    async def check(
        self, names: Sequence[DomainName], *, patience: timedelta = FULL_PATIENCE, issuer: Issuer | None = None
    ) -> CheckedNames:
        """Checks all names. One probe answers for all of them, as a challenge's token does, and for no other.

        `patience` and `issuer` are those of `Preflight.check`.

        Raises:
            Unavailable: the store is away; the probe then expires by itself.
        """
        token, body = self._make_token(), self._make_token().encode()
        texts = tuple(name.value for name in names)
        await self._tokens.plant(TokenRecord(token, SecretBytes(body), texts, self._clock() + _PROBE_LIFETIME))
        verdicts = await all_of(*(self._preflight.check(name, token, body, patience=patience, issuer=issuer) for name in names))
        return CheckedNames(tuple(verdicts), token)

    async def withdraw(self, checked: CheckedNames) -> None:
        """Withdraws the probe.

        Raises:
            Unavailable: the store is away; the probe then expires by itself.
        """
        await self._tokens.withdraw([checked.probe_token])
