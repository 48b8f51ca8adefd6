"""How commands import what they are made of: quickly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the garbage collector: imports make hundreds of thousands of objects that all stay, and it looks at them again and again.

    Measured on the imports of `serve`: a tenth of their CPU time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
