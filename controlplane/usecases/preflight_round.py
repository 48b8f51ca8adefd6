"""One pre-flight of all names of a domain, with a probe token planted for it."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from controlplane.core.names import DomainName
from controlplane.core.ports import Clock, Preflight, PreflightVerdict, TokenRecord, TokenStore
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.concurrently import all_of

# Longer than a check may take; a probe whose worker dies answers nobody for long.
_PROBE_LIFETIME = timedelta(minutes=1)


class PreflightRound:
    """Plants, checks, withdraws."""

    def __init__(self, tokens: TokenStore, preflight: Preflight, clock: Clock, make_token: Callable[[], str]) -> None:
        self._tokens = tokens
        self._preflight = preflight
        self._clock = clock
        self._make_token = make_token

    async def check(self, names: Sequence[DomainName]) -> Sequence[PreflightVerdict]:
        """Returns a verdict for each name, in order. One probe answers for all names, as a challenge's token does.

        Raises:
            Unavailable: the store is away; the probe then expires by itself.
        """
        token, body = self._make_token(), self._make_token().encode()
        texts = tuple(name.value for name in names)
        await self._tokens.plant(TokenRecord(token, SecretBytes(body), texts, self._clock() + _PROBE_LIFETIME))
        verdicts: list[PreflightVerdict] = await all_of(*(self._preflight.check(name, token, body) for name in names))
        await self._tokens.withdraw([token])
        return verdicts
