"""The certplane command."""
