"""What workers say of their CAs, for those who never talk to one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from controlplane.core.authority_report import AuthorityReport

REPORT_LASTS: Final = timedelta(minutes=1)
"""By the store's clock; four times as long as workers take from one report to the next."""


class AuthorityReports(Protocol):
    """The last report of each CA, by its directory URL. There is nothing secret in it."""

    async def report(self, report: AuthorityReport) -> None:
        """Puts a report in the place of the last one of this CA, whoever made that. It is forgotten after `REPORT_LASTS`."""
        ...

    async def live(self) -> Sequence[AuthorityReport]:
        """Returns the reports that are not forgotten, the most preferred CA first. What cannot be read is logged and left out."""
        ...
