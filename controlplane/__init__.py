"""Certplane: HTTPS for domains that customers own, with nobody touching it."""

__version__ = "0.1.0"
