"""Why an address cannot be listened on, in words for the operator who stated it."""

import errno

from controlplane.core.errors import ConfigurationError

_REASONS = {errno.EADDRINUSE: "it is taken by another process", errno.EACCES: "permission denied"}


def bind_failure(address: str, error: OSError) -> ConfigurationError:
    """Returns the error to raise when `address` (as stated) could not be bound."""
    return ConfigurationError(f"cannot listen on {address}: {_REASONS.get(error.errno or 0, 'it is not an address of this machine')}")
