"""Profiles of CAs: those that come with Certplane (`profiles/*.toml`), and files of an operator."""

from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.core.ca_profile import CaProfile, parse_ca_profile, unknown_authority
from controlplane.core.errors import ConfigurationError


@cache
def built_in_profiles() -> tuple[CaProfile, ...]:
    """Returns the profiles that come with Certplane, in the order of their names."""
    files = (resources.files("controlplane.adapters") / "profiles").iterdir()
    found = [parse_ca_profile(file.read_text(encoding="utf-8"), file.name) for file in files if file.name.endswith(".toml")]
    return tuple(sorted(found, key=lambda profile: profile.name))


def load_profile(name_or_path: str) -> CaProfile:
    """Returns a built-in profile by its name, or the one in a TOML file.

    Raises:
        ConfigurationError: no built-in profile has the name and there is no such file, or the file is not understood.
    """
    for profile in built_in_profiles():
        if profile.name == name_or_path:
            return profile
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(profile.name for profile in built_in_profiles())
        detail = f"the CA profile {name_or_path!r} is neither one of {known} nor a file that can be read ({type(error).__name__})"
        raise ConfigurationError(detail) from error
    return parse_ca_profile(text, name_or_path)


def profile_for(directory_url: str, chosen: str = "") -> CaProfile:
    """Returns the profile for a CA's directory.

    Args:
        directory_url: its host picks a built-in profile.
        chosen: a built-in profile's name or a file's path, in place of what the host picks.

    Raises:
        ConfigurationError: `chosen` is neither, or is not understood.
    """
    if chosen:
        return load_profile(chosen)
    host = (urlsplit(directory_url).hostname or "").lower()
    for profile in built_in_profiles():
        if host in profile.hosts:
            return profile
    return unknown_authority(host)
