"""What a command says when it cannot do what it was asked: one line, exit status 1, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from controlplane.core.errors import CertplaneError


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turns errors that Certplane raises on purpose into click's, which print `Error: ...` on standard error."""
    try:
        yield
    except CertplaneError as error:
        raise click.ClickException(str(error)) from error
