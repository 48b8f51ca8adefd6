"""The wheel as it is installed: what is not Python must be in it too."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RENDER = """
import sys
sys.path.insert(0, sys.argv[1])
from controlplane.adapters.envoy_templates import EdgeParameters, render_edge, template_directory
render_edge(EdgeParameters(xds_address="a:1", upstream="b:1", http_port=1, https_port=2, admin_port=3, node_id="n"))
print(template_directory())
"""
PROFILES = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from controlplane.adapters import ca_profiles
print(pathlib.Path(ca_profiles.__file__).parent, *(profile.name for profile in ca_profiles.built_in_profiles()))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the content of a freshly built wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def test_installed_package_has_its_envoy_templates(unpacked: Path, tmp_path: Path) -> None:
    """Away from the checkout, templates are found inside the package and can be rendered."""
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(unpacked)], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )

    assert str(unpacked / "controlplane" / "envoy_templates") == done.stdout.strip()


def test_wheel_has_no_envoy_package_of_its_own(unpacked: Path) -> None:
    """Nothing is installed beside the package: a top-level `envoy` would shadow Envoy's API."""
    top = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}

    assert top == {"controlplane"}


def test_installed_package_has_its_ca_profiles(unpacked: Path, tmp_path: Path) -> None:
    """Away from the checkout, the built-in profiles of CAs are found inside the package and understood."""
    done = subprocess.run(
        [sys.executable, "-c", PROFILES, str(unpacked)], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )

    assert [str(unpacked / "controlplane" / "adapters"), "letsencrypt", "letsencrypt-staging", "pebble"] == done.stdout.split()
